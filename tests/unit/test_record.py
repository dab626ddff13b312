"""The record: what it refuses, what it writes, and when."""

import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from nbutils import paths, record
from nbutils.data import Dataset, Passage, question_example
from nbutils.errors import InputError
from nbutils.record import Record, answer_files, load_record, without_volatile

CLAIMS = """\
00.dense_over_bm25:
  paper: "this project"
  where: "Figure 1"
  sentence: "Dense retrieval finds more than BM25."
  paper_values: "-"
  quantity: {difference: ["recall/Dense", "recall/BM25"]}
  rule: {ordering: "> 0"}
  null: {difference: ["recall/shuffled", "recall/BM25"]}
  min_scale: tiny
01.of_another_notebook:
  paper: "this project"
  where: "Figure 1"
  sentence: "Dense retrieval finds something."
  paper_values: "-"
  quantity: {mean: "recall/Dense"}
  rule: {ordering: "> 0"}
  null: {mean: "recall/shuffled"}
  min_scale: tiny
"""
IDS = [f"q{i}" for i in range(40)]


@dataclass(frozen=True)
class Preset:
    n_questions: int = 40
    ks: tuple[int, ...] = (1, 5)


@pytest.fixture
def new(project, write_notebook, write_claims):
    """Function -> a record of notebook 00 in a temporary project."""
    write_notebook(project.notebooks / "00_start_here.ipynb", "x = 1", "print(x)")
    write_claims(CLAIMS)

    def make(scale="tiny", out_dir=None, seed=0):
        parameters = {"scale": scale, "seed": seed, "n_docs": None, "out_dir": out_dir}
        return Record("00_start_here", scale, seed, parameters, Preset(), out_dir)

    return make


def fill(one, dense=0.9):
    rng = np.random.default_rng(0)
    one.dataset(Dataset("factbook", {"p": Passage("t", "text")}, [], sha256="d" * 64))
    one.model("encoder", "MiniLM", "e" * 64)
    for name, share in (("Dense", dense), ("BM25", 0.4), ("shuffled", 0.0)):
        one.scores(f"recall/{name}", IDS, rng.random(40) < share)
    one.curve("curve/Dense", [1, 5], IDS, np.stack([np.arange(40) % 2, np.ones(40)], axis=1))
    one.matrix("posterior", ["p1", "p2"], [" Sun", " the", " the"], np.array([[1, 0.5, 0.25], [0, 0.5, 0.75]]))
    one.metric("loss", 1.5, 1.4, 1.6, n=3, interval="spread over 3 seeds")
    with one.timing("retrieval"):
        pass
    return one


def test_a_saved_record_has_everything_and_reads_back(new):
    one = fill(new())
    line = one.claim("00.dense_over_bm25")
    one.figure("recall", b"png", "Recall.\n  n = 40")
    target = one.save()
    assert target == paths.FIGURES / "tiny" / "00_start_here" / "record.json"
    content = load_record(target)
    assert content == one.content
    assert list(content) == [
        *("format", "notebook", "scale", "seed", "draw", "parameters", "preset", "data", "models", "made_by"),
        *("versions", "device", "timings", "scores", "metrics", "series", "matrices", "claims", "skipped", "figures"),
    ]
    assert (content["format"], content["draw"]) == (4, None)  # a notebook without that parameter
    assert content["parameters"] == {"n_docs": None, "scale": "tiny", "seed": 0}  # out_dir is no part of the result
    assert content["preset"] == {"n_questions": 40, "ks": [1, 5]}
    assert content["data"] == {"name": "factbook", "sha256": "d" * 64, "n_passages": 1, "n_questions": 0}
    assert content["models"] == {"encoder": {"name": "MiniLM", "sha256": "e" * 64}}
    assert content["scores"]["recall/Dense"]["ids"] == IDS
    metric = content["metrics"]["recall/Dense"]
    assert metric["value"] == pytest.approx(np.mean(content["scores"]["recall/Dense"]["values"]))
    assert metric["low"] < metric["value"] < metric["high"]
    assert (metric["n"], metric["interval"]) == (40, "95 %, questions independent")
    assert content["metrics"]["loss"]["interval"] == "spread over 3 seeds"
    assert content["series"]["curve/Dense"]["y"] == [0.5, 1.0]
    assert content["series"]["curve/Dense"]["low"][0] < 0.5
    assert content["matrices"]["posterior"] == {
        "rows": ["p1", "p2"],
        "columns": [" Sun", " the", " the"],
        "values": [[1.0, 0.5, 0.25], [0.0, 0.5, 0.75]],
    }
    assert content["figures"] == {"recall": {"file": "recall.png", "caption": "Recall. n = 40"}}
    assert (target.parent / "recall.png").read_bytes() == b"png"
    outcome = content["claims"]["00.dense_over_bm25"]
    interval = f"{outcome['value']:+.2f} [{outcome['low']:.2f}, {outcome['high']:.2f}]"
    assert line == f"holds  00.dense_over_bm25  {interval}, 40 questions"
    assert outcome["sentence"] == "Dense retrieval finds more than BM25."
    assert not {"label", "paper_effect", "locked"} & outcome.keys()  # the claim has none, and is exploratory


def test_the_file_is_json_without_nan_with_one_line_per_entry(new):
    text = fill(new()).save().read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda word: pytest.fail(word))
    assert sum(line.startswith('  "recall/Dense": ') for line in text.splitlines()) == 2  # in scores and in metrics
    assert str(paths.ROOT) not in text


def test_question_ids_that_several_scores_share_are_written_once(new):
    one = fill(new())
    one.scores("other questions", [f"x{i}" for i in range(40)], [0.5] * 40)
    target = one.save()
    text = target.read_text(encoding="utf-8")
    assert text.count(json.dumps(IDS)) == 1 and text.count('"x0"') == 1
    content = load_record(target)
    assert content["scores"] == one.content["scores"]
    assert content["scores"]["other questions"]["ids"][0] == "x0"


@dataclass(frozen=True)
class Item:
    """An example as far as the record looks at it."""

    id: str
    subject: str = "Peru"
    field: str = "capital"


def test_scores_know_what_their_questions_are_about(new):
    one = fill(new())
    items = [Item(f"x{i}", "Peru" if i % 2 else "Chad") for i in range(40)]
    one.scores("of items", items, [0.5] * 40)
    one.scores("of the same", items, [1] * 40)
    one.scores("without all subjects", [replace(items[0], subject=""), *items[1:]], [1] * 40)
    one.scores("ids alone", [item.id for item in items], [1] * 40)
    one.curve("curve of items", [1], items, np.ones((40, 1)))
    with pytest.raises(InputError, match="'x0' occurs twice"):
        one.scores("twice", [items[0], items[0]], [0, 1])
    target = one.save()
    scores = load_record(target)["scores"]
    assert scores == one["scores"]
    assert scores["of the same"]["subjects"] == ["Chad", "Peru"] * 20
    assert scores["of the same"]["fields"] == ["capital"] * 40
    assert scores["without all subjects"].keys() == {"ids", "values", "fields"}
    assert scores["ids alone"] == {"ids": [item.id for item in items], "values": [1] * 40}
    assert scores["of items"]["ids"] == scores["ids alone"]["ids"]
    assert target.read_text(encoding="utf-8").count('["Chad", "Peru", ') == 1  # written once


def test_nulls_go_under_the_name_that_claims_give_them(new):
    one = fill(new())
    nulls = {"shuffled qrels": np.zeros(40), "other questions": np.ones(40)}
    one.scores("recall/X", [Item(id_) for id_ in IDS], np.arange(40) / 40, nulls)
    assert one["scores"]["recall/X, shuffled qrels"]["values"] == [0] * 40
    assert one["metrics"]["recall/X, other questions"]["value"] == 1
    assert one["scores"]["recall/X, shuffled qrels"]["subjects"] == ["Peru"] * 40
    with pytest.raises(InputError, match=r"39 question ids|40 question ids but values of 39"):
        one.scores("recall/Y", IDS, np.zeros(40), {"shuffled qrels": np.zeros(39)})
    with pytest.raises(InputError, match="already has scores 'recall/Z, again'"):
        one.scores("recall/Z, again", IDS, np.zeros(40))
        one.scores("recall/Z", IDS, np.zeros(40), {"again": np.zeros(40)})


def test_a_skipped_claim_is_not_judged_and_says_why(new):
    one = new()
    one.skip(["00.dense_over_bm25"], "questions name\n no passages")
    assert one.claim("00.dense_over_bm25") == "skipped  00.dense_over_bm25  questions name no passages"
    assert one["claims"] == {} and one["skipped"] == {"00.dense_over_bm25": "questions name no passages"}
    assert load_record(one.save())["skipped"] == one["skipped"]
    for ids, why, message in (
        (["00.dense_over_bm25"], "again", "already has '00.dense_over_bm25' in skipped"),
        (["00.other"], "no data", r"claims/00\.yaml has no claim '00\.other'"),
        (["01.of_another_notebook"], "no data", "not one of notebook 00_start_here"),
        (["00.dense_over_bm25"], " ", "skip 00.dense_over_bm25: say why"),
        ("00.dense_over_bm25", "no data", "give a list of claims"),
    ):
        with pytest.raises(InputError, match=message):
            one.skip(ids, why)
    judged = fill(new())
    judged.claim("00.dense_over_bm25")
    with pytest.raises(InputError, match=r"'00\.dense_over_bm25' is judged already"):
        judged.skip(["00.dense_over_bm25"], "no data")


def test_two_equal_runs_differ_in_volatile_parts_only(new, monkeypatch):
    first = load_record(fill(new()).save())
    monkeypatch.setattr(record.provenance, "library_versions", lambda: {"python": "0"})
    monkeypatch.setattr(record.provenance, "device_name", lambda: "cpu abacus")
    second = fill(new()).content
    assert first != second
    assert without_volatile(first) == without_volatile(second)
    assert without_volatile(first) != without_volatile(fill(new(), dense=0.8).content)
    assert without_volatile(first) != without_volatile(fill(new(seed=1)).content)


def test_equal_content_gives_equal_bytes_whatever_the_order_of_adding(new, monkeypatch):
    monkeypatch.setattr("time.perf_counter", lambda: 0.0)

    def save(names):
        one = new()
        one.dataset(Dataset("factbook", {}, [], sha256="d"))
        for name in names:
            one.scores(name, IDS, np.arange(40) / 40)
        return one.save().read_bytes()

    assert save(["b", "a"]) == save(["a", "b"])


@pytest.mark.parametrize("seed", [1e5, "1", True, None, -1])
def test_a_seed_is_a_whole_number(new, seed):
    with pytest.raises(InputError, match=r"seed = .*: give a whole number of at least 0"):
        new(seed=seed)
    with pytest.raises(InputError, match=r"draw = .*: give a whole number of at least 0"):
        Record("00_start_here", "tiny", 0, {"draw": 1e5 if seed is None else seed}, Preset())
    assert new(seed=np.int64(3))["seed"] == 3


def test_a_folder_that_plain_papermill_read_as_a_number_is_refused(new):
    with pytest.raises(InputError, match="out_dir = 2027 is no path; by plain papermill give it by -r"):
        new(out_dir=2027)


def test_results_go_to_out_dir(new, tmp_path):
    target = fill(new(out_dir=tmp_path / "other")).save()
    assert target == tmp_path / "other" / "tiny" / "00_start_here" / "record.json"
    assert list(paths.FIGURES.iterdir()) == []


def test_bad_scores_are_refused(new):
    one = fill(new())
    for ids, values, message in (
        (IDS, [math.nan] + [0.0] * 39, r"'x' of question q0: nan is not a finite number"),  # the planted NaN
        (IDS, [0.0] * 39 + [math.inf], "question q39"),
        (IDS, [None] * 40, "None is not a finite number"),
        (IDS[:39], [0.0] * 40, "39 question ids but values of 40"),
        (["q0", "q0"], [0.0, 1.0], "'q0' occurs twice"),
        ([0, 1], [0.0, 1.0], "must be strings"),
        (["q0"], [1.0], "scores 'x': an interval over questions needs at least 2"),
    ):
        with pytest.raises(InputError, match=message):
            one.scores("x", ids, values)
    assert "x" not in one["scores"]
    assert "x" not in one["metrics"]


def test_names_are_unique(new):
    one = fill(new())
    for add in (
        lambda: one.scores("recall/Dense", IDS, [0.0] * 40),
        lambda: one.metric("recall/Dense", 1, 1, 1, 2),
        lambda: one.curve("curve/Dense", [1], IDS, np.ones((40, 1))),
        lambda: one.model("encoder", "other", "f"),
        lambda: one.dataset(Dataset("other", {}, [], sha256="d")),
    ):
        with pytest.raises(InputError, match="already has"):
            add()
    with pytest.raises(InputError, match="already has the timing"), one.timing("retrieval"):
        pass
    with pytest.raises(InputError, match="is no name"):
        one.metric("two\nlines", 1, 1, 1, 2)


def test_bad_metrics_series_and_checksums_are_refused(new):
    one = new()
    with pytest.raises(InputError, match="low <= high"):
        one.metric("m", 1.0, 2.0, 1.0, 10)
    with pytest.raises(InputError, match="n >= 2"):
        one.metric("m", 1.0, 1.0, 1.0, 1)
    with pytest.raises(InputError, match="not a finite number"):
        one.metric("m", math.nan, 0.0, 1.0, 10)
    with pytest.raises(InputError, match="equally many"):
        one.series("s", [1, 2], [1], [1], [1], 10)
    with pytest.raises(InputError, match="equally many"):
        one.series("s", [], [], [], [], 10)
    with pytest.raises(InputError, match="low is above its high"):
        one.series("s", [1], [1], [2], [1], 10)
    with pytest.raises(InputError, match="every question needs 3 values"):
        one.curve("s", [1, 2, 3], ["a", "b"], np.ones((2, 2)))
    with pytest.raises(InputError, match="no sha256"):
        one.model("encoder", "MiniLM", "")
    with pytest.raises(InputError, match="no sha256"):
        one.dataset(Dataset("factbook", {}, []))


@pytest.mark.parametrize(
    ("rows", "columns", "values", "message"),
    [
        (["a", "b"], ["x"], [[1.0]], "2 row labels and 1 column labels, but 1 rows"),
        (["a"], ["x", "y"], [[1.0]], "but 1 rows of \\[1\\] values"),
        (["a", "b"], ["x", "y"], [[1.0, 2.0], [1.0]], "rows of \\[1, 2\\] values"),
        (["a"], ["x"], [[math.nan]], "not a finite number"),
        (["a"], ["x"], [["1"]], "not a finite number"),
        (["a"], [17], [[1.0]], "must be texts"),
        ([], [], [], "0 row labels"),
        (["a"], [], [[]], "0 column labels"),
    ],
)
def test_bad_matrices_are_refused(new, rows, columns, values, message):
    one = new()
    with pytest.raises(InputError, match=f"matrix 'm'.*{message}"):
        one.matrix("m", rows, columns, values)
    assert one["matrices"] == {}
    one.matrix("m", ["a"], ["x"], [[1]])
    with pytest.raises(InputError, match="already has 'm' in matrices"):
        one.matrix("m", ["a"], ["x"], [[1]])


def test_claims_are_judged_once_and_only_by_their_notebook(new):
    one = fill(new())
    with pytest.raises(InputError, match=r"no claim '00\.other'"):
        one.claim("00.other")
    with pytest.raises(InputError, match="not one of notebook 00_start_here"):
        one.claim("01.of_another_notebook")
    one.claim("00.dense_over_bm25")
    with pytest.raises(InputError, match=r"already has '00\.dense_over_bm25'"):
        one.claim("00.dense_over_bm25")
    assert (
        fill(new("smoke")).claim("00.dense_over_bm25").startswith("not tested at this scale  00.dense_over_bm25  +0.")
    )


def test_a_claim_that_its_null_passes_is_refused_and_says_so(new):
    one = new()
    for name, value in (("Dense", 1.0), ("BM25", 0.0), ("shuffled", 1.0)):
        one.scores(f"recall/{name}", IDS, [value] * 40)
    line = one.claim("00.dense_over_bm25")
    assert line.startswith("refused  00.dense_over_bm25  +1.00 [")
    assert line.endswith("(its null input has one value for every question: the check cannot fail)")


def test_seeds_are_kept_beside_the_mean_over_them(new):
    one = fill(new())
    by_seed = np.stack([np.arange(40) % 2, np.ones(40), np.zeros(40)])
    one.scores("trained", IDS, by_seed, {"shuffled": by_seed[:1]})
    one.scores("not trained", IDS, by_seed[0])
    scores = load_record(one.save())["scores"]
    assert scores["trained"]["values"] == pytest.approx([1 / 3, 2 / 3] * 20)
    assert scores["trained"]["seed_means"] == [0.5, 1.0, 0.0]
    assert scores["trained, shuffled"]["seed_means"] == [0.5]
    assert "seed_means" not in scores["not trained"]
    assert one["metrics"]["trained"]["seeds"] == 3 and "seeds" not in one["metrics"]["not trained"]
    # Their variance is part of the interval: three means with a variance of 1/4, over 3.
    wide, narrow = (one["metrics"][name] for name in ("trained", "not trained"))
    assert (wide["low"], wide["high"]) == (0.0, 1.0) and narrow["low"] > 0.3
    with pytest.raises(InputError, match="40 question ids but values of 39"):
        one.scores("other", IDS, by_seed[:, 1:])
    with pytest.raises(InputError, match="scores 'nan' of question q0: nan is not a finite number"):
        one.scores("nan", IDS, [[0.0] * 40, [math.nan] + [0.0] * 39])


PRIMARY = """\
00.first:
  primary: true
  label: first over BM25
  paper: "Lewis et al. 2020"
  where: "Table 1"
  sentence: "The first is better."
  paper_values: "-"
  quantity: {mean: first}
  rule: {ordering: "> 0"}
  null: {mean: noise}
  min_scale: tiny
00.second:
  primary: true
  paper: "this project"
  where: "-"
  sentence: "The second is better."
  paper_values: "-"
  quantity: {difference: [second, zero]}
  rule: {ordering: "> 0"}
  null: {difference: [noise, zero]}
  min_scale: tiny
00.third:
  primary: true
  paper: "this project"
  where: "-"
  sentence: "The third is better."
  paper_values: "-"
  quantity: {difference: [zero, second]}
  rule: {ordering: "> 0.3"}
  null: {difference: [zero, noise]}
  min_scale: tiny
"""


def judged_primaries(new):
    """Records whose second primary claim is p = 0.030: decided alone, open beside two others."""
    one = new()
    one.dataset(Dataset("factbook", {}, [], sha256="d"))
    ids, spread = [f"q{i}" for i in range(100)], np.tile([1.0, -1.0], 50)
    for name, values in (("first", spread + 1), ("second", spread + 0.221), ("zero", 0 * spread), ("noise", spread)):
        one.scores(name, ids, values)
    return one, [one.claim(f"00.{name}") for name in ("first", "second", "third")]


def test_verdicts_of_primary_claims_are_adjusted_once_all_are_judged(new, write_claims):
    write_claims(PRIMARY.replace('"> 0.3"', '"> -0.1"'))  # not there at all: the third is open
    one, lines = judged_primaries(new)
    assert lines[0] == "reproduced  00.first  1.00 [0.80, 1.20], 100 questions"  # a mean has no sign
    assert lines[1] == "holds  00.second  +0.22 [0.02, 0.42], 100 questions"  # by itself
    text = one.verdicts()
    assert text.splitlines() == [
        *("reproduced  1.00 [0.76, 1.24], 100 questions", "    The first is better."),
        *("open  +0.22 [-0.01, 0.45], 100 questions", "    The second is better."),
        *("open  -0.22 [-0.45, 0.01], 100 questions", "    The third is better."),
    ]
    assert one.verdicts() == text
    outcome = load_record(one.save())["claims"]["00.second"]
    assert (outcome["verdict"], outcome["locked"], outcome["primary"]) == ("open", False, True)
    assert outcome["holm"].keys() == {"alpha", "low", "high"} and outcome["mde"] > 0
    assert fill(new()).verdicts() == "no primary claim was judged"


def test_save_adjusts_what_was_not_adjusted_before(new, write_claims):
    write_claims(PRIMARY)
    one, _ = judged_primaries(new)
    outcomes = load_record(one.save())["claims"]
    assert [outcome["verdict"] for outcome in outcomes.values()] == ["reproduced", "holds", "fails"]
    assert all("holm" in outcome for outcome in outcomes.values())
    assert outcomes["00.first"]["label"] == "first over BM25"


def test_answers_are_written_beside_the_record_and_taken_away_again(new):
    items = [question_example("q0", "Capital of Peru?", ("Lima",), ("p",))]
    one = fill(new())
    one.answers("RAG", items, ["Lima"], [1], [["p", ""]])  # "": a place that a search left empty
    target = one.save()
    content = answer_files.load_answers(target.parent / "answers.json")
    assert content["systems"]["RAG"]["q0"] == {"text": "Lima", "right": 1, "passages": ["p"]}
    fill(new()).save()
    assert sorted(path.name for path in target.parent.iterdir()) == ["record.json"]


def test_nothing_is_written_before_save_and_a_failed_save_changes_nothing(new, monkeypatch):
    one = fill(new())
    one.figure("recall", b"first", "n = 40")
    target = one.save()
    before = {path.name: path.read_bytes() for path in target.parent.iterdir()}
    two = fill(new(), dense=0.5)
    two.figure("recall", b"second", "n = 40")
    two.figure("more", b"third", "n = 40")
    assert {path.name: path.read_bytes() for path in target.parent.iterdir()} == before
    written = []

    def full_disk(path, data):
        if written:
            raise OSError(28, "No space left on device")
        written.append(path)
        with open(path, "wb") as file:
            return file.write(data)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(type(target), "write_bytes", full_disk)
        two.save()
    assert written
    assert {path.name: path.read_bytes() for path in target.parent.iterdir()} == before
    two.save()
    assert (target.parent / "recall.png").read_bytes() == b"second"


def test_save_removes_the_figures_that_the_earlier_record_named_and_nothing_else(new):
    one = fill(new())
    one.figure("old", b"png", "n = 40")
    target = one.save()
    (target.parent / "mine.png").write_bytes(b"png")
    two = fill(new())
    two.figure("fresh", b"png", "n = 40")
    two.save()
    assert sorted(path.name for path in target.parent.iterdir()) == ["fresh.png", "mine.png", "record.json"]
    target.write_text("{broken", encoding="utf-8")
    assert two.save() == target


def test_scores_without_their_data_set_are_not_saved(new):
    one = new()
    one.scores("a", IDS, [0.0] * 40)
    with pytest.raises(InputError, match="no data set"):
        one.save()


def test_constructor_refuses_unknown_scales_notebooks_and_values(new):
    new()
    with pytest.raises(InputError, match="no scale 'huge'"):
        Record("00_start_here", "huge", 0, {}, {})
    with pytest.raises(InputError, match=r"no notebook 07_none\.ipynb in notebooks/"):
        Record("07_none", "tiny", 0, {}, {})
    with pytest.raises(InputError, match=r"preset\.rate: nan"):
        Record("00_start_here", "tiny", 0, {}, {"rate": math.nan})


def test_load_record_refuses_what_is_no_record(tmp_path):
    path = tmp_path / "record.json"
    for text in (None, "{", "[]", '{"format": 0}', '{"format": 3}', '{"format": 4'):
        if text is not None:
            path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError):
            load_record(path)


def test_versions_and_device_are_named():
    versions = record.library_versions()
    assert {"python", "numpy", "bm25s", "icu4py"} <= versions.keys()
    assert record.device_name().startswith(("cpu ", "gpu "))
    assert record.device_name().endswith("bf16")
