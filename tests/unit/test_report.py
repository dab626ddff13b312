"""The report: tables and page are what records and claims say, stale ones are noticed, and text stays text."""

import html
import json
import re

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from nbutils import paths, plotting
from nbutils.data import Dataset
from nbutils.errors import InputError
from nbutils.record import Record, report

EVIL = "<script>alert('x')</script> a | b [c](d) `e` &amp;"
CLAIMS = f"""\
00.dense_over_bm25:
  paper: "Karpukhin et al. 2020"
  where: "top-20 accuracy, NQ test"
  sentence: {json.dumps("Dense finds more. " + EVIL)}
  paper_values: "BM25 59.1, DPR 78.4 [M]"
  quantity: {{difference: ["recall/Dense", "recall/BM25"]}}
  rule: {{ordering: "> 0"}}
  null: {{difference: ["recall/shuffled", "recall/BM25"]}}
  min_scale: tiny
00.far_better:
  paper: "this project"
  where: "Figure 1"
  sentence: "Dense finds nearly everything."
  paper_values: "-"
  quantity: {{mean: "recall/Dense"}}
  rule: {{interval: [0.95, 1.0]}}
  null: {{mean: "recall/shuffled"}}
  min_scale: tiny
  note: "a small encoder"
01.rag_token:
  paper: "Lewis et al. 2020"
  where: "Table 1"
  sentence: "RAG-Token answers as many questions as RAG-Sequence."
  paper_values: "-"
  quantity: {{mean: "exact_match/a"}}
  rule: {{interval: [0, 1]}}
  null: {{mean: "exact_match/b"}}
  min_scale: gpu
"""
README = f"# Title\n\n{report.BEGIN}\nold table\n{report.END}\n\n## Rest\n"
IDS = [f"q{i}" for i in range(24)]


@pytest.fixture
def repository(project, write_notebook, write_claims):
    write_notebook(project.notebooks / "00_start_here.ipynb", "x = 1")
    write_claims(CLAIMS)
    paths.README.write_text(README, encoding="utf-8")
    return project


def make_record(scale="tiny", out_dir=None, caption="Recall, n = 24."):
    one = Record("00_start_here", scale, 0, {}, {}, out_dir)
    one.dataset(Dataset("factbook", {}, [], sha256="d" * 64))
    one.model("encoder", "MiniLM", "e" * 64)
    for name, found in (("Dense", 18), ("BM25", 6), ("shuffled", 1)):
        one.scores(f"recall/{name}", IDS, np.arange(24) < found)
    for id_ in ("00.dense_over_bm25", "00.far_better"):
        one.claim(id_)
    with matplotlib.rc_context():
        plotting.set_style()
        fig, ax = plt.subplots(figsize=plotting.SINGLE)
        plotting.plot_bars(ax, one, {"all": {"Dense": "recall/Dense"}}, "questions", "recall")
        plotting.save_figure(fig, "recall", one, caption)
        plt.close(fig)
    one.save()
    return one


def table_cells(row):
    """Cells of a Markdown table row as a reader sees them."""
    cells = re.split(r"(?<!\\)\|", row)[1:-1]
    return [html.unescape(re.sub(r"\\([^\w\s])", r"\1", cell.strip())) for cell in cells]


def table_rows(text):
    """Cells of the rows of all tables of claims."""
    cells = [table_cells(line) for line in text.splitlines() if line.startswith("| ")]
    return [row for row in cells if len(row) == 6 and row[0] != "claim"]


def test_readme_has_a_row_per_claim_folded_by_notebook(repository):
    one = make_record()
    report.render()
    text = paths.README.read_text(encoding="utf-8")
    summary = "| notebook | claims | reproduced | not reproduced | not run |\n|---|---:|---:|---:|---:|\n"
    summary += "| [`00_start_here`](notebooks/00_start_here.ipynb) | 2 | 1 | 1 | 0 |\n| 01 | 1 | 0 | 0 | 1 |\n\n"
    assert text.startswith(f"# Title\n\n{report.BEGIN}\n\n{summary}<details>\n")
    assert text.endswith(f"|\n\n</details>\n\n{report.END}\n\n## Rest\n")
    folded = re.findall(r"<summary>(.*)</summary>", text)
    assert folded == ["00_start_here: 1 reproduced, 1 not reproduced", "01: 1 not run"]
    dense, better, rag = table_rows(text)
    outcome, null = one["claims"]["00.dense_over_bm25"], one["claims"]["00.dense_over_bm25"]["null"]
    assert dense == [
        f"Dense finds more. {EVIL}",
        "Karpukhin et al. 2020, top-20 accuracy, NQ test: BM25 59.1, DPR 78.4 [M]",
        f"{outcome['value']:+.3f} [{outcome['low']:.3f}, {outcome['high']:.3f}], n = 24",
        f"{null['value']:+.3f} [{null['low']:.3f}, {null['high']:.3f}] not reproduced",
        "reproduced",
        "tiny",
    ]
    assert better[0] == "Dense finds nearly everything. (a small encoder)"  # with its note
    assert better[4:] == ["not reproduced", "tiny"]
    assert rag[2:] == ["-", "-", "not run", "needs gpu"]


def test_the_page_spells_a_trend_out(repository, write_claims):
    trend = CLAIMS.replace('{mean: "exact_match/a"}', "{trend: [em/1, em/2, em/5]}")
    trend = trend.replace('{mean: "exact_match/b"}', "{trend: [em/5, em/2, em/1]}")
    write_claims(trend)
    make_record()
    report.render()
    page = (paths.FIGURES / "tiny" / "index.html").read_text(encoding="utf-8")
    assert "trend of em/1, em/2, em/5 within [0, 1]" in html.unescape(page)


def test_rendering_again_changes_nothing(repository):
    make_record()
    written = report.render()
    assert written == [paths.README, paths.FIGURES / "tiny" / "index.html"]
    before = [path.read_bytes() for path in written]
    report.check()
    report.render()
    assert [path.read_bytes() for path in written] == before


def test_page_shows_every_figure_claim_and_verdict_without_outside_resources(repository):
    make_record()
    page = report.render()[1].read_text(encoding="utf-8")
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert "00_start_here/recall.png" in sources
    for source in sources:
        assert source.startswith("#") or (paths.FIGURES / "tiny" / source).is_file(), source
    assert not re.search(r"https?:|//|url\(|@import|<script|<link|\son\w+=", page)
    for text in (
        "Recall, n = 24.",
        "Dense finds nearly everything.",
        "Note: a small encoder",
        "00.far_better",
        "not run",
    ):
        assert text in page
    assert 'width="660" height="460"' in page
    assert "1 reproduced," in page
    assert str(repository.root) not in page


def test_planted_markup_in_captions_and_claims_stays_text(repository):
    make_record(caption=f'" onerror="x {EVIL}')
    page = report.render()[1].read_text(encoding="utf-8")
    assert "<script" not in page
    assert ' onerror="' not in page
    assert page.count("&lt;script&gt;alert(") == 3  # caption, its alt text, and the claim
    readme = paths.README.read_text(encoding="utf-8")
    assert "<script" not in readme
    assert "](d)" not in readme.replace("\\]", "")


def test_check_notices_whatever_is_stale(repository):
    make_record()
    with pytest.raises(InputError, match=r"README\.md is not what the records say"):
        report.check()
    report.render()
    report.check()
    page = paths.FIGURES / "tiny" / "index.html"
    for path, old, new in ((paths.README, "reproduced", "proved"), (page, "not reproduced", "reproduced")):
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(InputError, match=f"{path.name} is not what the records say"):
            report.check()
        path.write_text(text, encoding="utf-8")
    page.unlink()
    with pytest.raises(InputError, match=r"index\.html is not"):
        report.check()


def test_a_rule_changed_after_the_run_is_noticed(repository, write_claims):
    make_record()
    write_claims(CLAIMS.replace("[0.95, 1.0]", "[0.5, 0.9]"))
    with pytest.raises(InputError, match=r"00\.far_better of 00_start_here is no longer judged as in its record"):
        report.render()
    write_claims(CLAIMS.replace("00.far_better", "00.renamed"))
    with pytest.raises(InputError, match=r"00\.far_better"):
        report.render()
    assert paths.README.read_text(encoding="utf-8") == README


def test_an_edited_number_is_noticed(repository):
    make_record()
    path = paths.FIGURES / "tiny" / "00_start_here" / "record.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["claims"]["00.dense_over_bm25"]["value"] += 0.01
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="no longer judged"):
        report.render()


@pytest.mark.parametrize(
    "text",
    [
        "# no markers\n",
        f"{report.BEGIN}\n",
        f"{report.END}\n{report.BEGIN}\n",
        README + README,
        None,
    ],
)
def test_a_readme_without_its_markers_is_refused_and_nothing_is_written(repository, text):
    make_record()
    if text is None:
        paths.README.unlink()
    else:
        paths.README.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"README\.md"):
        report.render()
    assert not (paths.FIGURES / "tiny" / "index.html").exists()


def test_missing_or_broken_pieces_are_refused(repository):
    make_record()
    folder = paths.FIGURES / "tiny" / "00_start_here"
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


def test_without_records_every_claim_is_not_run(repository):
    report.render()
    assert [row[4] for row in table_rows(paths.README.read_text(encoding="utf-8"))] == ["not run"] * 3


def test_a_skipped_claim_says_why(repository, write_claims):
    one = Record("00_start_here", "tiny", 0, {}, {})
    one.skip(["00.dense_over_bm25", "00.far_better"], f"no gold passages {EVIL}")
    one.save()
    page = report.render()[1].read_text(encoding="utf-8")
    report.check()
    assert "2 skipped," in page and page.count("skipped: no gold passages &lt;script&gt;") == 2
    assert 'class="skipped"' in page
    readme = paths.README.read_text(encoding="utf-8")
    assert [row[4] for row in table_rows(readme)] == [f"skipped: no gold passages {EVIL}"] * 2 + ["not run"]
    assert "| notebook | claims | skipped | not run |" in readme
    write_claims(CLAIMS.replace("00.far_better", "00.renamed"))
    with pytest.raises(InputError, match=r"00_start_here skipped claim 00\.far_better, which is no longer one"):
        report.render()


def test_smoke_records_are_shown_and_not_judged(repository, tmp_path):
    make_record("smoke", tmp_path / "other")
    (page,) = report.render("smoke", tmp_path / "other")
    assert page == tmp_path / "other" / "smoke" / "index.html"
    text = page.read_text(encoding="utf-8")
    assert "not tested at this scale" in text and "needs tiny" in text
    assert "not tested" not in paths.README.read_text(encoding="utf-8")  # the README shows tiny
