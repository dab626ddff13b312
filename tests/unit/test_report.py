"""The report: README, ledger and page are what records and claims say, stale ones are noticed, and text stays text."""

import copy
import html
import json
import re
import shutil
from types import SimpleNamespace

import pytest

from nbutils import paths
from nbutils.data import Dataset
from nbutils.errors import InputError
from nbutils.record import Record, claim_files, claims, report, sections, storage

EVIL = "<script>alert('x')</script> a | b [c](d) `e` $f$ &amp;"
README = f"# Title\n\n{report.BEGIN}\nold table\n{report.END}\n\n## Rest\n"
IDS = [f"q{i}" for i in range(24)]
BLUE = bytes.fromhex(  # a PNG of 1 x 1 pixel
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060000000040001"
    "27a65be90000000049454e44ae426082"
)


def claim(id_, **changes):
    """A claim as `claim_files.load_file` gives it."""
    return {
        "id": id_,
        "paper": "Lin et al. 2023",
        "where": "Table 2, NQ",
        "sentence": "A passage raises exact match.",
        "paper_values": "5.2 to 28.8 [X]",
        "quantity": {"difference": ["exact_match/RAG", "exact_match/closed-book"]},
        "rule": {"ordering": "> 0"},
        "null": {"difference": ["exact_match/random", "exact_match/closed-book"]},
        "min_scale": "tiny",
        "note": "",
        "primary": False,
        **changes,
    }


DIGEST = claims.digest(claim("00.any"))  # of all claims below: it is of quantity, rule and null


def outcome(verdict="reproduced", **changes):
    """An outcome as a record of format 4 holds it."""
    return {
        "verdict": verdict,
        "value": 0.12,
        "low": 0.05,
        "high": 0.19,
        "n": 200,
        "subjects": 59,
        "fields": 48,
        "seeds": 5,
        "p": 0.001,
        "digest": DIGEST,
        "locked": True,
        "primary": True,
        "null": {"verdict": "open", "value": 0.01, "low": -0.02, "high": 0.04},
        **changes,
    }


HOLM = {"alpha": 0.0125, "low": 0.03, "high": 0.21}
EFFECT = {"value": 0.236, "tag": "X"}
CLAIMS = [
    claim("00.explored", sentence=f"Dense finds more. {EVIL}", paper="this project", where="-", paper_values="-"),
    claim("00.helps", primary=True),
    claim("00.undecided", primary=True, sentence="Two passages beat one.", note="few questions"),
]
OUTCOMES = {
    "00.explored": outcome("holds", n=20, subjects=10, permutation_p=0.04),
    "00.helps": outcome(holm=HOLM, paper_effect=EFFECT),
    "00.undecided": outcome("open", low=-0.02, high=0.26, mde=0.2, n_needed=1234),
}
for label in ("fields", "seeds"):  # of other data: documents, and nothing trained
    del OUTCOMES["00.explored"][label]


def claims_file(*chosen, **changes):
    """A claims file as `claim_files.load_file` gives it, but that it can be changed."""
    file = {
        "claims": {one["id"]: dict(one) for one in chosen},
        "paper": {},
        "headline": "RAG answers {exact_match/RAG} of the questions, the model alone {exact_match/closed-book}.",
        "minutes": 6,
        "status": "",
        "lock": {"draw": 1, "claims": {one["id"]: DIGEST for one in chosen if one["primary"]}},
    }
    return SimpleNamespace(**{**file, **changes})


@pytest.fixture
def repository(project, write_notebook, monkeypatch):
    """A repository of two notebooks: 00 with three claims, and 01 with one. Its `files` and `fresh` can be changed."""
    write_notebook(project.notebooks / "00_start_here.ipynb", "x = 1")
    write_notebook(project.notebooks / "01_rag.ipynb", "x = 1")
    paths.README.write_text(README, encoding="utf-8")
    folder = project.notebooks / "claims"
    folder.mkdir()
    monkeypatch.setattr(paths, "CLAIMS", folder)
    rag = claims_file(claim("01.rag_token", primary=True, min_scale="gpu"), headline="", minutes=None, lock=None)
    project.files = {"00": claims_file(*CLAIMS), "01": rag}
    project.fresh = copy.deepcopy(OUTCOMES)
    for number in project.files:
        (folder / f"{number}.yaml").write_text("", encoding="utf-8")
    monkeypatch.setattr(claim_files, "load_file", lambda path: project.files[path.stem])
    monkeypatch.setattr(claims, "judge_all", lambda known, scores, scale: {id_: project.fresh[id_] for id_ in known})
    return project


def write_record(scale="tiny", out_dir=None, outcomes=OUTCOMES, caption="Recall, n = 24.", **changes):
    """Write a record by hand, of 00_start_here, with two figures; its folder."""
    folder = paths.results_dir("00_start_here", scale, out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "format": storage.FORMAT,
        "notebook": "00_start_here",
        "scale": scale,
        "seed": 0,
        "data": {"name": "factbook", "n_passages": 4148},
        "models": {"encoder": {"name": "MiniLM"}},
        "scores": {},
        "metrics": {"exact_match/RAG": {"value": 0.426}, "exact_match/closed-book": {"value": 0.05}},
        "claims": outcomes,
        "skipped": {},
        "figures": {name: {"file": f"{name}.png", "caption": caption} for name in ("recall", "forest")},
        **changes,
    }
    for figure in content["figures"].values():
        (folder / figure["file"]).write_bytes(BLUE)
    (folder / "record.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def rendered(scale="tiny", **record):
    """(README, ledger, page) of a record."""
    write_record(scale, **record)
    return [path.read_text(encoding="utf-8") for path in report.render(scale)]


def table_cells(row):
    """Cells of a Markdown table row as a reader sees them."""
    cells = re.split(r"(?<!\\)\|", row)[1:-1]
    return [html.unescape(re.sub(r"\\([^\w\s])", r"\1", cell.strip())) for cell in cells]


def ledger_rows(text):
    """{claim id: cells of its row}, in the ledger's order."""
    rows = [table_cells(line) for line in text.splitlines() if line.startswith('| <a id="')]
    return {row[0].split('"')[1]: [row[0].split("</a>")[1], *row[1:]] for row in rows}


# ---------------------------------------------------------------------------------------------------------------------
# README


def test_readme_has_one_row_per_notebook_and_counts_primary_claims_alone(repository):
    readme, *_ = rendered()
    table = (
        "| notebook | what it shows | primary claims | minutes |\n|---|---|---|---:|\n"
        "| [`00_start_here`](notebooks/00_start_here.ipynb) "
        "| RAG answers 43 % of the questions, the model alone 5 %. "
        "| [1 reproduced, 1 open](figures/tiny/README.md#00_start_here) | 6 |\n"
        "| [`01_rag`](notebooks/01_rag.ipynb) | A demonstration | [1 not run](figures/tiny/README.md#01_rag) | - |\n"
    )
    assert readme == f"# Title\n\n{report.BEGIN}\n\n{table}\n{report.END}\n\n## Rest\n"


def test_a_status_stands_in_the_row(repository):
    repository.files["00"].status = "on the former split"
    readme, ledger, page = rendered()
    assert "the model alone 5 %. *(on the former split)* |" in readme
    assert "\nStatus: on the former split.\n" in ledger and "<p>Status: on the former split.</p>" in page


def test_a_headline_without_its_numbers(repository):
    with pytest.raises(InputError, match=r"the headline of claims/00\.yaml names 'exact_match/RAG': 00_start_here has"):
        rendered(metrics={"exact_match/closed-book": {"value": 0.05}})
    # Other data skips the claims that it cannot test: then the notebook's title stands there.
    repository.files["00"].headline = "RAG answers {exact_match/RAG, held out}."
    outcomes = {id_: OUTCOMES[id_] for id_ in ("00.helps", "00.undecided")}
    readme, *_ = rendered(outcomes=outcomes, skipped={"00.explored": "no gold passages"})
    assert "ipynb) | A demonstration | [1 reproduced, 1 open]" in readme


def test_without_records_every_claim_is_not_run(repository):
    readme, ledger, _ = (path.read_text(encoding="utf-8") for path in report.render())
    assert "| A demonstration | [2 not run](figures/tiny/README.md#00_start_here) | 6 |" in readme
    assert [row[4] for row in ledger_rows(ledger).values()] == [
        *(
            "**not run**<br>locked",
            "**not run**<br>locked",
            "**not run**",
            "**not run**<br>needs scale gpu<br>not locked",
        )
    ]


def test_no_primary_claims(repository):
    repository.files["00"].claims.pop("00.helps")
    repository.files["00"].claims.pop("00.undecided")
    readme, *_ = rendered(outcomes={"00.explored": OUTCOMES["00.explored"]})
    assert "[none yet](figures/tiny/README.md#00_start_here)" in readme


# ---------------------------------------------------------------------------------------------------------------------
# Ledger


def test_the_ledger_has_a_row_per_claim_primary_ones_first(repository):
    _, ledger, _ = rendered()
    rows = ledger_rows(ledger)
    assert list(rows) == ["00.helps", "00.undecided", "00.explored", "01.rag_token"]
    where = "<br>[scores](00_start_here/record.json)"
    assert rows["00.helps"] == [
        "A passage raises exact match.",
        "Lin et al. 2023, Table 2, NQ: 5.2 to 28.8 [X]; effect +0.236 [X]",
        "+0.12 [0.05, 0.19], 200 questions of 59 subjects and 48 fields, 5 seeds"
        "<br>Holm: +0.12 [0.03, 0.21] at 98.75 %",
        "+0.010 [-0.020, 0.040], open",
        "**reproduced**<br>locked",
        f"`00.helps`{where}",
    ]
    assert rows["00.undecided"][0] == "Two passages beat one.<br>Note: few questions"
    assert rows["00.undecided"][4] == (
        "**open**<br>minimum detectable effect ±0.20; about 1,234 questions would decide<br>locked"
    )
    assert rows["00.explored"] == [
        f"Dense finds more. {EVIL}",
        "this project",
        "+0.12 [0.05, 0.19], 20 questions of 10 subjects; permutation test: p = 0.040",
        "+0.010 [-0.020, 0.040], open",
        "**holds**",  # and no word on a lock, which only primary claims have
        f"`00.explored`{where}",
    ]
    assert rows["01.rag_token"][1:] == [
        *("Lin et al. 2023, Table 2, NQ: 5.2 to 28.8 [X]", "-", "-"),
        *("**not run**<br>needs scale gpu<br>not locked", "`01.rag_token`"),
    ]


def test_every_link_of_readme_and_ledger_leads_somewhere(repository):
    write_record()
    for file in report.render()[:2]:
        text = file.read_text(encoding="utf-8")
        links = re.findall(r"(?<!\\)\]\(([^)]+)\)", text)
        assert len(links) >= 4
        for link in links:
            path, _, anchor = link.partition("#")
            target = file.parent / path if path else file
            assert target.is_file(), link
            if anchor:
                assert f"\n## {anchor}\n" in target.read_text(encoding="utf-8")


def test_the_way_from_a_claim_to_its_cell(repository):
    notebook = repository.notebooks / "00_start_here.ipynb"
    content = json.loads(notebook.read_text(encoding="utf-8"))
    lines = ["reproduced  00.helps  +0.12\n", "open  00.undecided_too  +0.12\n"]
    content["cells"][2] |= {"execution_count": 14, "outputs": [{"output_type": "stream", "text": lines}]}
    notebook.write_text(json.dumps(content), encoding="utf-8")
    _, ledger, page = rendered()
    link = "../../notebooks/00_start_here.ipynb"
    assert f"| `00.helps`<br>[cell \\[14\\]]({link}) · [scores](00_start_here/record.json) |" in ledger
    assert ledger.count("[cell ") == 1  # 00.undecided is another claim than 00.undecided_too
    assert f'<a href="{link}">cell [14] of the notebook</a>' in page


def test_a_run_elsewhere_links_to_its_own_notebook_and_to_no_folder_of_the_machine(repository, tmp_path):
    folder = write_record("smoke", tmp_path / "other")
    ledger = report.render("smoke", tmp_path / "other")[0].read_text(encoding="utf-8")
    assert "ipynb" not in ledger and str(tmp_path) not in ledger
    (folder / "00_start_here.ipynb").write_bytes((repository.notebooks / "00_start_here.ipynb").read_bytes())
    ledger = report.render("smoke", tmp_path / "other")[0].read_text(encoding="utf-8")
    assert "[notebook](00_start_here/00_start_here.ipynb)" in ledger
    assert paths.README.read_text(encoding="utf-8") == README  # it shows tiny


@pytest.mark.parametrize(
    ("locked", "recorded", "changed", "expected"),
    [
        ({"00.helps": DIGEST}, {}, {}, "locked"),
        ({"00.helps": DIGEST}, {"locked": False}, {}, "locked after results"),
        ({"00.helps": DIGEST}, {"digest": "old"}, {}, "changed after results"),
        ({"00.helps": DIGEST}, {}, {"rule": {"ordering": "> 0.01"}}, "changed after results"),
        ({}, {"locked": False}, {}, "not locked"),
    ],
)
def test_what_became_of_the_lock(repository, locked, recorded, changed, expected):
    repository.files["00"].lock = {"draw": 1, "claims": locked}
    repository.files["00"].claims["00.helps"] |= changed
    _, ledger, page = rendered(outcomes={**OUTCOMES, "00.helps": {**OUTCOMES["00.helps"], **recorded}})
    assert ledger_rows(ledger)["00.helps"][4] == f"**reproduced**<br>{expected}"
    assert f"<code>00.helps</code>, {expected}" in page


def test_a_skipped_claim_and_a_refused_one_say_why(repository):
    repository.fresh["00.helps"] = outcome("refused", why="its null is constant")
    outcomes = {"00.explored": OUTCOMES["00.explored"], "00.helps": repository.fresh["00.helps"]}
    readme, ledger, page = rendered(outcomes=outcomes, skipped={"00.undecided": f"no gold passages {EVIL}"})
    assert "[1 refused, 1 skipped]" in readme
    rows = ledger_rows(ledger)
    assert rows["00.undecided"][4] == f"**skipped**<br>no gold passages {EVIL}<br>locked"
    assert rows["00.helps"][4] == "**refused**<br>its null is constant<br>locked"
    assert "refused: its null is constant" in page and "skipped: no gold passages &lt;script&gt;" in page
    del repository.files["00"].claims["00.undecided"]
    with pytest.raises(InputError, match=r"00_start_here skipped claim 00\.undecided, which is no longer one"):
        report.render()


def test_what_was_computed_and_not_tested(repository):
    outcomes = {id_: {**one, "verdict": "not tested at this scale"} for id_, one in OUTCOMES.items()}
    repository.fresh |= outcomes
    write_record("smoke", outcomes=outcomes)
    ledger = report.render("smoke")[0].read_text(encoding="utf-8")
    row = ledger_rows(ledger)["00.helps"]
    assert row[2].startswith("+0.12 [") and "Holm" not in row[2]
    assert row[3:5] == ["-", "**not tested at this scale**<br>needs scale tiny<br>locked"]


# ---------------------------------------------------------------------------------------------------------------------
# Page


def test_page_shows_every_figure_claim_and_verdict_without_outside_resources(repository):
    _, _, page = rendered()
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert "00_start_here/recall.png" in sources and "00_start_here/record.json" in sources
    for source in sources:
        if source.startswith("#"):
            assert f'id="{source[1:]}"' in page, source
        else:
            assert (paths.FIGURES / "tiny" / source).is_file(), source
    assert not re.search(r"https?:|//|url\(|@import|<script|<link|\son\w+=", page)
    for text in ("Recall, n = 24.", "Two passages beat one.", "Note: few questions", "00.undecided", "1 not run"):
        assert text in page
    assert page.count("<figcaption>") == page.count("<img ") == 2 and 'width="1" height="1"' in page
    assert "RAG answers 43 % of the questions, the model alone 5 %." in page
    assert str(repository.root) not in page


def test_the_forest_plot_comes_first_then_the_primary_claims(repository):
    _, _, page = rendered()
    places = [page.index(text) for text in ("forest.png", ">Primary claims<", 'id="00.helps"', "recall.png")]
    places.append(page.index('id="00.explored"'))
    assert places == sorted(places)


def test_the_answers_are_linked_where_there_are_some(repository):
    answers = write_record() / "answers.json"
    question = {"question": "Where?", "answers": ["here"], "gold": []}
    systems = {"RAG": {"q0": {"text": "there", "right": 0.0, "passages": []}}}
    for text in (None, json.dumps({"questions": {"q0": question}, "systems": systems, "passages": {}}), None):
        answers.unlink(missing_ok=True)
        if text:
            answers.write_text(text, encoding="utf-8")
        written = report.render()
        report.check()
        ledger, page = (path.read_text(encoding="utf-8") for path in (written[1], written[-1]))
        there = (paths.FIGURES / "tiny" / "answers.html").is_file()
        assert ("(answers.html)" in ledger) == ('href="answers.html"' in page) == there == bool(text)


def test_the_page_spells_a_rule_out(repository):
    change = {"quantity": {"trend": ["em/1", "em/2", "em/5"]}, "rule": {"interval": [0, 1]}}
    repository.files["00"] = claims_file(claim("00.helps", primary=True, **change))
    _, _, page = rendered(outcomes={"00.helps": OUTCOMES["00.helps"]})
    assert "trend of em/1, em/2, em/5 within [0, 1]" in html.unescape(page)


def test_planted_markup_stays_text(repository):
    repository.files["00"].headline = repository.files["00"].status = EVIL
    texts = rendered(caption=f'" onerror="x {EVIL}')
    for text in texts:
        assert "<script" not in text and "&lt;script&gt;" in text
    readme, ledger, page = texts
    assert ' onerror="' not in page
    for text in (readme, ledger):
        assert "](d)" not in text.replace("\\]", "") and not re.search(r"(?<!\\)[$]f", text)


# ---------------------------------------------------------------------------------------------------------------------
# A record that a run saves, claims that a file lists, and nothing stood in for

FILE = """\
headline: "Dense finds {recall/Dense} of the passages."
minutes: 6
00.dense_over_bm25:
  paper: "Karpukhin et al. 2020"
  where: "NQ test"
  sentence: "Dense finds more than BM25."
  paper_values: "-"
  quantity: {difference: ["recall/Dense", "recall/BM25"]}
  rule: {ordering: "> 0"}
  null: shuffled
  min_scale: tiny
  primary: true
00.nearly_all:
  paper: "this project"
  where: "-"
  sentence: "Dense finds nearly everything."
  paper_values: "-"
  quantity: {mean: "recall/Dense"}
  rule: {interval: [0.5, 1.0]}
  null: shuffled
  min_scale: tiny
"""


def test_what_a_run_saves_is_what_the_report_reads(project, write_notebook, write_claims):
    write_notebook(project.notebooks / "00_start_here.ipynb", "x = 1")
    paths.README.write_text(README, encoding="utf-8")
    (paths.CLAIMS / "00.yaml").write_text(FILE, encoding="utf-8")
    one = Record("00_start_here", "tiny", 0, {}, {})
    one.dataset(Dataset("factbook", {}, [], sha256="d" * 64))
    for name, found in (("Dense", 18), ("BM25", 6)):
        shuffled = [float(i % 12 == found // 6) for i in range(24)]
        one.scores(f"recall/{name}", IDS, [float(i < found) for i in range(24)], {"shuffled": shuffled})
    for id_ in ("00.dense_over_bm25", "00.nearly_all"):
        one.claim(id_)
    one.save()
    readme, ledger, page = (path.read_text(encoding="utf-8") for path in report.render())
    report.check()
    assert "| Dense finds 75 % of the passages. | [1 reproduced](figures/tiny/README.md#00_start_here) | 6 |" in readme
    dense, nearly_all = ledger_rows(ledger).values()
    assert dense[2].startswith("+0.50 [") and "24 questions" in dense[2] and "<br>Holm: +0.50 [" in dense[2]
    assert dense[4] == "**reproduced**<br>not locked" and nearly_all[4] == "**holds**"
    assert "Dense finds nearly everything." in page
    (paths.CLAIMS / "00.yaml").write_text(FILE.replace("[0.5, 1.0]", "[0.95, 1.0]"), encoding="utf-8")
    with pytest.raises(InputError, match=r"00\.nearly_all of 00_start_here is no longer judged"):
        report.render()


# ---------------------------------------------------------------------------------------------------------------------
# What is stale or broken


def test_rendering_again_changes_nothing(repository):
    write_record()
    written = report.render()
    folder = paths.FIGURES / "tiny"
    assert written == [paths.README, folder / "README.md", folder / "index.html"]
    before = [path.read_bytes() for path in written]
    report.check()
    report.render()
    assert [path.read_bytes() for path in written] == before


def test_check_notices_whatever_is_stale(repository):
    write_record()
    with pytest.raises(InputError, match=r"README\.md is not what the records say"):
        report.check()
    readme, ledger, page = report.render()
    report.check()
    for path, name in ((readme, "README.md"), (ledger, "tiny/README.md"), (page, "tiny/index.html")):
        text = path.read_text(encoding="utf-8")
        assert "reproduced" in text
        path.write_text(text.replace("1 reproduced", "2 reproduced", 1), encoding="utf-8")
        with pytest.raises(InputError, match=f"^{re.escape(name)} is not what the records say"):
            report.check()
        path.write_text(text, encoding="utf-8")
    page.unlink()
    with pytest.raises(InputError, match=r"tiny/index\.html is not"):
        report.check()


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "not reproduced"},
        {"value": 0.13},
        {"n": 201},
        {"p": 0.002},
        {"holm": None},
        {"holm": {**HOLM, "low": -0.01}},
        {"null": {**OUTCOMES["00.helps"]["null"], "verdict": "reproduced"}},
        {"null": {**OUTCOMES["00.helps"]["null"], "high": 0.05}},
    ],
)
def test_an_outcome_that_the_scores_do_not_give_is_noticed(repository, change):
    write_record()
    repository.fresh["00.helps"] = {**OUTCOMES["00.helps"], **change}
    with pytest.raises(InputError, match=r"00\.helps of 00_start_here is no longer judged as in its record"):
        report.render()
    assert paths.README.read_text(encoding="utf-8") == README
    repository.fresh["00.helps"] = {**OUTCOMES["00.helps"], "value": 0.12 + 1e-13}  # another processor
    report.render()


def test_a_claim_that_is_no_longer_one_is_noticed(repository):
    del repository.files["00"].claims["00.helps"]
    with pytest.raises(InputError, match=r"claim 00\.helps of 00_start_here is no longer"):
        rendered()


@pytest.mark.parametrize(
    "text", ["# no markers\n", f"{report.BEGIN}\n", f"{report.END}\n{report.BEGIN}\n", README + README, None]
)
def test_a_readme_without_its_markers_is_refused_and_nothing_is_written(repository, text):
    write_record()
    if text is None:
        paths.README.unlink()
    else:
        paths.README.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"README\.md"):
        report.render()
    assert {path.name for path in (paths.FIGURES / "tiny").iterdir()} == {"00_start_here"}


def test_a_full_disk_leaves_all_three_as_they_were(repository, monkeypatch):
    write_record()
    written = report.render()
    before = [path.read_bytes() for path in written]
    write_record(caption="Another caption.")
    write_text = type(paths.README).write_text

    def full(path, *arguments, **options):
        if path.name == "README.md" and "tiny" not in str(path.parent):
            raise OSError(28, "No space left on device")
        return write_text(path, *arguments, **options)

    repository.files["00"].status = "new"
    monkeypatch.setattr(type(paths.README), "write_text", full)
    with pytest.raises(OSError, match="No space"):
        report.render()
    assert [path.read_bytes() for path in written] == before
    assert not [path for path in repository.root.rglob(".*") if path.name.startswith((".README", ".index"))]


def test_missing_or_broken_pieces_are_refused(repository):
    folder = write_record()
    (folder / "recall.png").write_bytes(b"no picture at all, but long enough")
    with pytest.raises(InputError, match="not a PNG"):
        report.render()
    (folder / "recall.png").unlink()
    with pytest.raises(InputError, match="not beside it"):
        report.render()
    folder.rename(folder.parent / "03_moved")
    with pytest.raises(InputError, match="is of 00_start_here"):
        report.render()
    with pytest.raises(InputError, match="no scale"):
        report.render("huge")
    with pytest.raises(InputError, match="no records of scale gpu"):
        report.render("gpu")
    (repository.notebooks / "01_rag.ipynb").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="is of 00_start_here"):
        report.render()
    shutil.rmtree(folder.parent / "03_moved")
    with pytest.raises(InputError, match=r"01_rag\.ipynb is not a notebook"):
        report.render()


def test_verdicts_are_counted_in_a_fixed_order(repository):
    assert set(sections.VERDICTS) >= {one["verdict"] for one in OUTCOMES.values()}
    repository.fresh = {id_: {**one, "verdict": "open"} for id_, one in OUTCOMES.items()}
    repository.fresh["00.undecided"]["verdict"] = "not reproduced"
    readme, *_ = rendered(outcomes=repository.fresh)
    assert "[1 not reproduced, 1 open]" in readme


def test_shares_are_rounded_half_up_and_counts_agree_with_their_verbs():
    shares = {"a": 0.125, "b": 0.135, "c": 0.365, "d": 0.0049, "e": 0.29}
    content = {"metrics": {name: {"value": share} for name, share in shares.items()}, "skipped": {}}
    file = SimpleNamespace(headline=" ".join(f"{{{name}}}" for name in shares))
    assert sections._headline("00_demo", content, file, []) == "13 % 14 % 37 % 0 % 29 %"
    rows = [SimpleNamespace(primary=True, verdict=word) for word in ("holds", "holds", "fails", "reproduced")]
    section = sections.Section("00_demo", "", "", "", "", None, "", rows)
    assert section.counted() == "1 reproduced, 2 hold, 1 fails"


def test_a_headline_with_numbers_that_are_no_shares():
    content = {"metrics": {"perplexity/LM": {"value": 18.25}, "recall": {"value": 0.5}}, "skipped": {}}
    file = SimpleNamespace(headline="{perplexity/LM|.1f} and {recall}")
    assert sections._headline("00_demo", content, file, []) == "18.2 and 50 %"
    with pytest.raises(InputError, match="names 'perplexity/other'"):
        sections._headline("00_demo", content, SimpleNamespace(headline="{perplexity/other|.1f}"), [])
