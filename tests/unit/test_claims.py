"""Claims: the schema of their files refuses what is malformed, and verdicts follow the interval."""

import math

import numpy as np
import pytest

from nbutils import metrics, paths
from nbutils.errors import InputError
from nbutils.presets import SCALES
from nbutils.record.claim_files import load_claims, load_paper, paper_values
from nbutils.record.claims import interval_text, judge, verdict

GOOD = """\
00.dense_over_bm25:
  paper: "Karpukhin et al. 2020"
  where: "top-20 accuracy, NQ test"
  sentence: "Dense retrieval finds the gold passage more often than BM25."
  paper_values: "BM25 59.1, DPR 78.4 [M]"
  quantity: {difference: ["recall_at_1/Dense", "recall_at_1/BM25"]}
  rule: {ordering: "> 0"}
  null: {difference: ["recall_at_1/shuffled", "recall_at_1/BM25"]}
  min_scale: tiny
"""


@pytest.fixture
def load(tmp_path):
    def load_text(text):
        path = tmp_path / "00.yaml"
        path.write_text(text, encoding="utf-8")
        return load_claims(path)

    return load_text


def scores(**columns):
    ids = [f"q{i}" for i in range(len(next(iter(columns.values()))))]
    return {f"recall_at_1/{name}": {"ids": ids, "values": list(values)} for name, values in columns.items()}


def test_a_good_file_loads(load):
    (claim,) = load(GOOD + "  note: few questions\n").values()
    assert claim["id"] == "00.dense_over_bm25"
    assert claim["null"] == {"difference": ["recall_at_1/shuffled", "recall_at_1/BM25"]}  # an unquoted `null:` key
    assert claim["note"] == "few questions"
    assert load(GOOD)["00.dense_over_bm25"]["note"] == ""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("00.dense_over_bm25:", "dense:", "claim dense: an id is"),
        ("00.dense_over_bm25:", "0.dense:", "claim 0.dense: an id is"),
        ("00.dense_over_bm25:", "00.1:", "claim 0.1: an id is"),
        ("  where:", "  table:", "claim 00.dense_over_bm25 has unknown key 'table'"),
        ("  min_scale: tiny\n", "", "claim 00.dense_over_bm25 lacks 'min_scale'"),
        ('  null: {difference: ["recall_at_1/shuffled", "recall_at_1/BM25"]}\n', "", "00.dense_over_bm25 lacks 'null'"),
        ("min_scale: tiny", "min_scale: huge", "00.dense_over_bm25: min_scale is 'huge'"),
        ("min_scale: tiny", "min_scale: smoke", "00.dense_over_bm25: min_scale is 'smoke'"),
        ('"> 0"', '"about 0"', "00.dense_over_bm25: rule"),
        ('"> 0"', '"> zero"', "00.dense_over_bm25: rule"),
        ('{ordering: "> 0"}', "{interval: [1, 0]}", "00.dense_over_bm25: rule"),
        ('{ordering: "> 0"}', "{interval: [0, .inf]}", "00.dense_over_bm25: rule"),
        ('{ordering: "> 0"}', '{ordering: "> 0", interval: [0, 1]}', "00.dense_over_bm25: rule"),
        ('{ordering: "> 0"}', '"> 0"', "00.dense_over_bm25: rule"),
        ("{difference: [", "{ratio: [", "00.dense_over_bm25: quantity"),
        ('"recall_at_1/Dense", ', "", "00.dense_over_bm25: quantity"),
        ('["recall_at_1/Dense", "recall_at_1/BM25"]', '["a", "a"]', "00.dense_over_bm25: quantity"),
        ('["recall_at_1/Dense", "recall_at_1/BM25"]', '["a", 1]', "00.dense_over_bm25: quantity"),
        ("{difference: [", "{trend: [", "00.dense_over_bm25: quantity"),
        ('{difference: ["recall_at_1/Dense", "recall_at_1/BM25"]}', '{trend: ["a", "b", "a"]}', "quantity"),
        ('{difference: ["recall_at_1/Dense", "recall_at_1/BM25"]}', "{trend: abc}", "quantity"),
        ('{difference: ["recall_at_1/Dense", "recall_at_1/BM25"]}', '{mean: ["a", "b", "c"]}', "quantity"),
        ('{difference: ["recall_at_1/Dense", "recall_at_1/BM25"]}', '{difference: ["a", "b", "c"]}', "quantity"),
        ('{difference: ["recall_at_1/shuffled", "recall_at_1/BM25"]}', '{trend: ["a", "b", "c"]}', "null must be"),
        ("recall_at_1/shuffled", "recall_at_1/Dense", "00.dense_over_bm25: null"),
        ('{difference: ["recall_at_1/shuffled", "recall_at_1/BM25"]}', '{mean: "a"}', "00.dense_over_bm25: null"),
        ("  min_scale", "  rule: {ordering: '< 0'}\n  min_scale", "'rule' occurs twice"),
        ('paper_values: "BM25 59.1, DPR 78.4 [M]"', "paper_values: 59.1", "00.dense_over_bm25: paper_values"),
        ('sentence: "', 'sentence: ""\n  note: "', "00.dense_over_bm25: sentence"),
        (GOOD, "", "must map"),
        (GOOD, "- a\n", "must map"),
        (GOOD, "00.a: text\n", "claim 00.a must be a mapping"),
        (GOOD, "a: [\n", "not YAML"),
        (GOOD, GOOD + GOOD, r"/00\.yaml: '00.dense_over_bm25' occurs twice"),
        (
            "00.dense",
            "01.dense",
            r"/00\.yaml: claim 01.dense_over_bm25 is one of another .*: move it to 01\.yaml",
        ),
        (GOOD, GOOD + GOOD.replace("00.dense", "10.dense"), r"00\.yaml: claim 10.dense_over_bm25 is one of another"),
        ("paper:", "paper: !!python/object/apply:os.getcwd []\n  x:", "not YAML"),
    ],
)
def test_a_malformed_file_is_refused(load, old, new, message):
    assert old in GOOD
    with pytest.raises(InputError, match=message):
        load(GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("{mean: recall}", {"mean": "recall, shuffled qrels"}),
        ("{difference: [a, b/c]}", {"difference": ["a, shuffled qrels", "b/c, shuffled qrels"]}),
        ("{trend: [a, b, c]}", {"trend": ["a, shuffled qrels", "b, shuffled qrels", "c, shuffled qrels"]}),
    ],
)
def test_a_null_by_name_is_the_quantity_with_the_name_behind_each_score(load, quantity, expected):
    text = GOOD.replace('{difference: ["recall_at_1/Dense", "recall_at_1/BM25"]}', quantity)
    short = text.replace('{difference: ["recall_at_1/shuffled", "recall_at_1/BM25"]}', "shuffled qrels")
    explicit = text.replace('{difference: ["recall_at_1/shuffled", "recall_at_1/BM25"]}', str(expected))
    assert load(short) == load(explicit)
    assert load(short)["00.dense_over_bm25"]["null"] == expected


@pytest.mark.parametrize("null", ['""', '" "', "3", "[shuffled qrels]", ""])
def test_a_null_that_is_no_name_is_refused(load, null):
    text = GOOD.replace('{difference: ["recall_at_1/shuffled", "recall_at_1/BM25"]}', null)
    with pytest.raises(InputError, match=r"00\.dense_over_bm25: null"):
        load(text)


PAPER = """\
paper:
  "main/EM/RAG": {value: 44.5, tag: S, where: "Table 1"}
  "main/EM/RAG-Token": {value: 44.0, tag: S, where: "Table 1"}
  "main/F1/95/5 mix": {value: 57, tag: "2", where: "a talk"}
"""


def test_papers_values_are_read_once_for_claims_and_figures(project, write_claims, load):
    text = GOOD.replace(
        "BM25 59.1, DPR 78.4 [M]", "EM {main/EM/RAG-Token} to {main/EM/RAG} [S], F1 {main/F1/95/5 mix} [2]"
    )
    (claim,) = load(PAPER + text).values()  # the papers' values are no claim
    assert claim["paper_values"] == "EM 44.0 to 44.5 [S], F1 57 [2]"  # as the file has it
    write_claims("")
    (paths.CLAIMS / "00.yaml").write_text(PAPER + text, encoding="utf-8")
    assert paper_values("00_start_here", "main") == {"EM": {"RAG": 0.445, "RAG-Token": 0.44}, "F1": {"95/5 mix": 0.57}}
    assert load_paper(paths.CLAIMS / "00.yaml")["main/EM/RAG"] == {"value": 44.5, "tag": "S", "where": "Table 1"}
    with pytest.raises(InputError, match=r"claims/00\.yaml has no paper's value other/\.\.\.: name one"):
        paper_values("00_start_here", "other")
    with pytest.raises(InputError, match=r"no claims file 07\.yaml in claims/"):
        paper_values("07_none", "main")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("main/EM/RAG}", "main/EM/REALM}", "there is no paper value 'main/EM/REALM' in this file"),
        ("{main/EM/RAG} [S]", "{main/EM/RAG}", r"show the tags of its values, \[S\]"),
        ("{main/EM/RAG} [S]", "{main/EM/RAG} [M]", r"show the tags of its values, \[S\]"),
        ("main/EM/RAG-Token", "RAG-Token", "a name is figure/group/method"),
        ("value: 44.5", "value: 445", "value is 445: give percent"),
        ("value: 44.5", "value: true", "value is True: give percent"),
        ("tag: S", "tag: Z", "tag is 'Z': use one of S, A"),
        ('where: "Table 1"', 'where: ""', "where is '': say which table"),
        ("tag: S, ", "", "must have value, tag and where"),
        ("paper:\n", "paper: 3\nx:\n", "paper must map names to"),
    ],
)
def test_a_malformed_papers_value_is_refused(load, old, new, message):
    text = PAPER + GOOD.replace("BM25 59.1, DPR 78.4 [M]", "{main/EM/RAG} [S]")
    assert load(PAPER + GOOD) and load(text)  # a text without names may have whatever tags it likes
    assert old in text
    with pytest.raises(InputError, match=message):
        load(text.replace(old, new, 1))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=f"no claims file 00.yaml in {tmp_path.name}/"):
        load_claims(tmp_path / "00.yaml")
    with pytest.raises(InputError, match=f"no claims file NN.yaml in {tmp_path.name}/"):
        load_claims(tmp_path)


def test_files_are_found_and_read_in_order(project, write_claims):
    first, second = GOOD.replace("00.dense", "00.b") + GOOD.replace("00.dense", "00.a"), GOOD.replace("00.", "98.")
    write_claims(second + first)
    assert sorted(path.name for path in paths.CLAIMS.iterdir()) == ["00.yaml", "98.yaml"]
    known = load_claims()
    assert [*known] == ["00.b_over_bm25", "00.a_over_bm25", "98.dense_over_bm25"]
    assert load_claims(paths.CLAIMS / "98.yaml") == {"98.dense_over_bm25": known["98.dense_over_bm25"]}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("98.yaml", "98.a: text\n", r"claims/98\.yaml: claim 98.a must be a mapping"),
        ("98.yaml", "", r"claims/98\.yaml must map claim ids"),
        ("98.yaml", "a: [\n", r"claims/98\.yaml is not YAML"),
        ("98.yaml", GOOD, r"claims/98\.yaml: claim 00.dense_over_bm25 is one of another notebook: move it to 00\.yaml"),
        ("draft.yaml", GOOD, r"claims/draft\.yaml: claim 00.dense_over_bm25 is one of another notebook"),
    ],
)
def test_a_fault_names_its_file(project, write_claims, name, text, message):
    write_claims(GOOD)
    (paths.CLAIMS / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        load_claims()
    assert "\n" not in str(caught.value)


def test_every_claim_stands_in_the_file_of_a_notebook():
    notebooks = {path.stem[:2] for path in paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")}
    assert {path.stem for path in paths.CLAIMS.iterdir()} <= notebooks
    assert len(load_claims()) > 100
    assert all(load_paper(path) for path in paths.CLAIMS.iterdir())


@pytest.mark.parametrize(
    ("low", "high", "rule", "expected"),
    [
        (0.1, 0.3, {"ordering": "> 0"}, "reproduced"),
        (0.0, 0.3, {"ordering": "> 0"}, "inconclusive"),  # 0 is not > 0
        (0.0, 0.3, {"ordering": ">= 0"}, "reproduced"),
        (-0.1, 0.3, {"ordering": "> 0"}, "inconclusive"),
        (-0.1, 0.0, {"ordering": "> 0"}, "inconclusive"),  # one question of many differs
        (-0.2, -0.1, {"ordering": "> 0"}, "not reproduced"),
        (-0.1, 0.0, {"ordering": ">= 0"}, "inconclusive"),
        (-0.2, -0.1, {"ordering": ">= 0"}, "not reproduced"),
        (0.0, 0.0, {"ordering": "> 0"}, "inconclusive"),  # two equal systems
        (-0.3, -0.1, {"ordering": "< 0"}, "reproduced"),
        (-0.3, 0.0, {"ordering": "<0"}, "inconclusive"),
        (-0.3, 0.0, {"ordering": "<= 0"}, "reproduced"),
        (0.0, 0.1, {"ordering": "< 0"}, "inconclusive"),
        (0.1, 0.2, {"ordering": "< 0"}, "not reproduced"),
        (0.0, 0.1, {"ordering": "<= 0"}, "inconclusive"),
        (0.41, 0.44, {"ordering": "> 0.4"}, "reproduced"),
        (-0.3, -0.2, {"ordering": "> -0.5"}, "reproduced"),
        (0.4, 0.6, {"interval": [0.4, 0.6]}, "reproduced"),
        (0.39, 0.6, {"interval": [0.4, 0.6]}, "inconclusive"),
        (0.5, 0.61, {"interval": [0.4, 0.6]}, "inconclusive"),
        (0.3, 0.7, {"interval": [0.4, 0.6]}, "inconclusive"),
        (0.61, 0.7, {"interval": [0.4, 0.6]}, "not reproduced"),
        (0.1, 0.39, {"interval": [0.4, 0.6]}, "not reproduced"),
    ],
)
def test_verdict(low, high, rule, expected):
    assert verdict((low + high) / 2, low, high, rule) == expected


@pytest.mark.parametrize("bad", [(math.nan, 0, 1), (0, math.nan, 1), (0, 0, math.inf), (0.5, 1, 0)])
def test_verdict_refuses_what_is_no_interval(bad):
    with pytest.raises(InputError, match="cannot judge"):
        verdict(*bad, {"ordering": "> 0"})


def test_judge_pairs_by_question_id(load):
    (claim,) = load(GOOD).values()
    bm25 = np.linspace(0, 0.8, 40)
    found = scores(Dense=bm25 + 0.1, BM25=bm25, shuffled=bm25 - 0.1)
    dense = found["recall_at_1/Dense"]
    found["recall_at_1/Dense"] = {"ids": dense["ids"][::-1], "values": dense["values"][::-1]}
    outcome = judge(claim, found, "tiny")
    # Paired, every difference is 0.1; paired by position they would range from -0.7 to 0.9.
    assert [outcome["value"], outcome["low"], outcome["high"]] == pytest.approx([0.1, 0.1, 0.1])
    assert outcome["verdict"] == "reproduced"
    assert outcome["n"] == 40
    assert outcome["null"].keys() == {"verdict", "value", "low", "high"}
    assert outcome["null"]["verdict"] == "not reproduced"


def test_judge_of_a_mean(load):
    text = GOOD.replace('{difference: ["recall_at_1/Dense", "recall_at_1/BM25"]}', "{mean: recall_at_1/Dense}")
    text = text.replace('{difference: ["recall_at_1/shuffled", "recall_at_1/BM25"]}', "{mean: recall_at_1/shuffled}")
    (claim,) = load(text.replace('{ordering: "> 0"}', "{interval: [0.3, 0.7]}")).values()
    outcome = judge(claim, scores(Dense=[0, 1] * 100, shuffled=[0] * 199 + [1]), "gpu")
    assert (outcome["verdict"], outcome["value"], outcome["null"]["verdict"]) == ("reproduced", 0.5, "not reproduced")


def trend_claim(load, *names):
    forward, backward = (str([f"recall_at_1/{name}" for name in order]) for order in (names, names[::-1]))
    text = GOOD.replace('{difference: ["recall_at_1/Dense", "recall_at_1/BM25"]}', f"{{trend: {forward}}}")
    text = text.replace('{difference: ["recall_at_1/shuffled", "recall_at_1/BM25"]}', f"{{trend: {backward}}}")
    (claim,) = load(text).values()
    return claim


@pytest.mark.parametrize("n", [3, 4, 5])
def test_a_trend_is_the_slope_of_the_least_squares_line_of_each_question(load, n):
    names = [f"k{i}" for i in range(n)]
    claim = trend_claim(load, *names)
    values = np.random.default_rng(0).random((60, n)) + 0.2 * np.arange(n)
    slopes = np.polyfit(np.arange(n), values.T, 1)[0]
    found = scores(**dict(zip(names, values.T, strict=True)))
    # Paired by id: another order of one score's questions changes nothing.
    found["recall_at_1/k1"] = {key: column[::-1] for key, column in found["recall_at_1/k1"].items()}
    outcome = judge(claim, found, "tiny")
    expected = metrics.bootstrap_mean(slopes)
    assert [outcome["value"], outcome["low"], outcome["high"]] == pytest.approx(expected)
    assert (outcome["verdict"], outcome["null"]["verdict"]) == ("reproduced", "not reproduced")
    assert outcome["null"]["value"] == -outcome["value"]


def test_a_trend_is_the_change_per_step(load):
    claim = trend_claim(load, "k1", "k2", "k5", "k10")
    outcome = judge(claim, scores(k1=[0.1, 0.3], k2=[0.2, 0.4], k5=[0.3, 0.5], k10=[0.4, 0.6]), "tiny")
    assert [outcome["value"], outcome["low"], outcome["high"]] == pytest.approx([0.1, 0.1, 0.1])


def test_planted_fault_a_flat_or_falling_curve_is_no_rising_trend(load):
    claim = trend_claim(load, "k1", "k2", "k3", "k4", "k5")
    flat = np.random.default_rng(0).random(50)  # exactly 0, not 1e-17 above it
    outcome = judge(claim, scores(**{f"k{k}": flat for k in range(1, 6)}), "tiny")
    assert (outcome["value"], outcome["verdict"]) == (0, "inconclusive")
    falling = scores(**{f"k{k}": flat - 0.1 * k for k in range(1, 6)})
    with pytest.raises(InputError, match="also holds on its null input"):
        judge(claim, falling, "tiny")
    falling["recall_at_1/k3"] = {key: column[1:] for key, column in falling["recall_at_1/k3"].items()}
    with pytest.raises(InputError, match="'recall_at_1/k1' and 'recall_at_1/k3' are scores of different questions"):
        judge(claim, falling, "tiny")


def test_planted_fault_a_claim_that_its_null_passes_too_is_refused(load):
    (claim,) = load(GOOD).values()
    passing = scores(Dense=[1, 1, 1, 1], BM25=[0, 0, 0, 0], shuffled=[1, 1, 1, 1])
    with pytest.raises(InputError, match=r"00\.dense_over_bm25 also holds on its null input .* cannot fail"):
        judge(claim, passing, "tiny")
    assert judge(claim, passing, "smoke")["verdict"] == "not tested at this scale"


def test_fewer_than_six_questions_that_differ_decide_nothing(load):
    (claim,) = load(GOOD).values()
    for n_differing, word in {4: "inconclusive", 5: "inconclusive", 6: "reproduced"}.items():
        dense = np.zeros(200)
        dense[:n_differing] = 0.5  # one seed of two
        outcome = judge(claim, scores(Dense=dense, BM25=np.zeros(200), shuffled=np.zeros(200)), "tiny")
        assert outcome["low"] > 0 and outcome["verdict"] == word  # the bootstrap alone would say reproduced
    # 200 questions without any difference do say that it is not as large as 0.05.
    (claim,) = load(GOOD.replace("> 0", "< 0.05")).values()
    found = scores(Dense=np.zeros(200), BM25=np.zeros(200), shuffled=np.ones(200))
    assert judge(claim, found, "tiny")["verdict"] == "reproduced"


def test_large_numbers_are_shown_in_powers_of_ten():
    assert interval_text({"value": 0.12, "low": -0.05, "high": 0.3}) == "+0.120 [-0.050, 0.300]"
    assert interval_text({"value": 0.12, "low": 0.05, "high": 0.3}, sign="") == "0.120 [0.050, 0.300]"
    assert interval_text({"value": 46_172_142_558.7, "low": 9e9, "high": 5e10}) == "+4.617e+10 [9.000e+09, 5.000e+10]"


def test_below_its_scale_a_claim_is_computed_but_not_judged(load):
    (claim,) = load(GOOD.replace("min_scale: tiny", "min_scale: gpu")).values()
    found = scores(Dense=[1] * 9 + [0] * 3, BM25=[0] * 12, shuffled=[0] * 12)
    words = {scale: judge(claim, found, scale)["verdict"] for scale in SCALES}
    untested = "not tested at this scale"
    assert words == {"smoke": untested, "tiny": untested, "gpu": "reproduced", "paper": "reproduced"}
    assert judge(claim, found, "smoke")["value"] == 0.75
    with pytest.raises(InputError, match="no scale 'huge'"):
        judge(claim, found, "huge")


def test_missing_scores_and_other_questions_are_refused(load):
    (claim,) = load(GOOD).values()
    found = scores(Dense=[1, 0], BM25=[0, 0], shuffled=[0, 0])
    found["recall_at_1/BM25"]["ids"] = ["q0", "q7"]
    with pytest.raises(InputError, match=r"claim 00\.dense_over_bm25: quantity.*different questions"):
        judge(claim, found, "tiny")
    del found["recall_at_1/Dense"]
    with pytest.raises(InputError, match="no score 'recall_at_1/Dense'"):
        judge(claim, found, "smoke")
