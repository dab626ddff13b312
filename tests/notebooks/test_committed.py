"""What is committed agrees with itself: records and notebooks, README, report, environment, no trace of a machine."""

import json
import re
import subprocess

import nbformat
import pytest
import yaml

from nbutils import data, paths, presets, record, run
from nbutils.errors import InputError
from nbutils.record import claim_files, marks, report

FIXED_PACKAGES = {
    *("jupyterlab", "transformers", "peft", "bitsandbytes", "datasets", "faiss-gpu"),
    *("evaluate", "matplotlib", "papermill"),
}


# ---------------------------------------------------------------------------------------------------------------------
# Records


def why_stale(content, path):
    """Why a record is not of the notebook as it is now, or ""."""
    changed = record.changes(content["made_by"], record.made_by(path))
    if changed:
        return f"stale: {', '.join(changed)} changed after the run; python -m nbutils run {path.stem[:2]}"
    return ""


FORMER_SPLIT = "on the former split"  # begins the `status` of a notebook that waits to be run on today's data


def data_of_today(path):
    """What the record of a run at tiny would say now of its data set."""
    sources = presets.load_preset(path.stem, "tiny", {}).sources
    dataset = data.load_dataset(sources.dataset, sources.n_countries, n_passages=sources.n_passages)
    return {"sha256": dataset.sha256, "n_passages": len(dataset.corpus)}


def check_record(path, figures, expected, status="", data_of_today=data_of_today):
    """What is wrong with a notebook's committed record: that it is of this code at default parameters, that it has the
    `expected` claims, and that its figures are there and not blank.

    A notebook whose `status` says that its results are on the former split may be of earlier code, as long as that is
    so: of today's corpus, but not of today's data set.
    """
    import numpy as np
    from PIL import Image

    folder = figures / "tiny" / path.stem
    try:
        content = record.load_record(folder / "record.json")
    except InputError as error:
        return [str(error)]
    if status.startswith(FORMER_SPLIT):
        today, problems = data_of_today(path), []
        if content["data"]["sha256"] == today["sha256"]:
            problems.append(f"its status is {status!r}, but its data are those of today: take the status out")
        elif content["data"]["n_passages"] != today["n_passages"]:
            problems.append(f"its status is {status!r}, but its corpus is not that of today either")
    else:
        problems = [why] if (why := why_stale(content, path)) else []
    defaults = {name: parameter["default"] for name, parameter in run.notebook_parameters(path).items()}
    del defaults["out_dir"]
    if content["parameters"] != defaults:
        problems.append(f"the record's parameters are {content['parameters']}, the notebook's {defaults}")
    judged = content["claims"].keys() | content.get("skipped", {}).keys()
    if judged != {*expected}:
        problems.append(f"not both in the record and in its file: claims {sorted(judged ^ expected)}")
    if not content["figures"]:
        problems.append("the record has no figure")
    for name, figure in content["figures"].items():
        file = folder / figure["file"]
        if not file.is_file():
            problems.append(f"figure {name} is missing: {figure['file']}")
        elif np.asarray(Image.open(file).convert("L"), dtype=float).std() < 1:
            problems.append(f"figure {name} is blank")
    named = {figure["file"] for figure in content["figures"].values()}
    return problems + [f"no record names {file.name}" for file in folder.glob("*.png") if file.name not in named]


@pytest.mark.parametrize("path", run.find_notebooks(), ids=lambda path: path.stem)
def test_the_record_is_of_this_notebook(path):
    file = claim_files.load_file(claim_files.claims_path(path.stem))
    assert check_record(path, paths.FIGURES, file.claims.keys(), file.status) == []


def wrong_marks(cells, content, known):
    """The Markdown cells whose numbers between marks are not those of the record."""
    written = [cell.source for cell in cells if cell.cell_type == "markdown"]
    return [source for source in written if marks.fill(source, content, known) != source]


@pytest.mark.parametrize("path", run.find_notebooks(), ids=lambda path: path.stem)
def test_numbers_between_marks_are_the_record_s(path):
    content = record.load_record(paths.FIGURES / "tiny" / path.stem / "record.json")
    known = claim_files.load_claims(claim_files.claims_path(path.stem))
    cells = nbformat.read(path, as_version=4).cells
    assert wrong_marks(cells, content, known) == []
    name = next(iter(content["metrics"]))
    typed = nbformat.v4.new_markdown_cell(f"<!--={name}|.3f-->101 %<!--/-->")  # a planted fault
    assert wrong_marks([*cells, typed], content, known) == [typed.source]


def test_every_record_and_every_file_of_claims_has_a_notebook():
    slugs = {path.stem for path in run.find_notebooks()}
    assert {file.parent.name for file in paths.FIGURES.glob("tiny/*/record.json")} == slugs
    assert {file.stem for file in paths.CLAIMS.iterdir()} == {slug[:2] for slug in slugs}


def test_readme_ledger_and_page_are_what_the_records_say(tmp_path, monkeypatch):
    sections = report.load_sections("tiny", paths.FIGURES / "tiny")  # every claim is judged anew, once for both checks
    monkeypatch.setattr(report, "load_sections", lambda scale, folder: sections)
    report.check("tiny")
    # Planted fault: verdicts typed by hand.
    readme = tmp_path / "README.md"
    text = paths.README.read_text(encoding="utf-8")
    readme.write_text(text.replace("](figures/tiny/README.md#0", ", all of them](figures/tiny/README.md#0", 1))
    with pytest.raises(InputError, match=r"README\.md is not what the records say"):
        report.check("tiny", readme=readme)


# ---------------------------------------------------------------------------------------------------------------------
# Each check of a record can fail

PARAMETERS = 'scale: str = "tiny"  # preset\nseed: int = 0  # first seed\nout_dir: str = None  # where results go'
EXPECTED = {"00.demo"}
TODAY = {"sha256": "new", "n_passages": 9}


@pytest.fixture
def committed(tmp_path, write_notebook):
    """A notebook with its record and figure, as they are committed: (path, figures, the record's content)."""
    from PIL import Image

    path = write_notebook(tmp_path / "00_demo.ipynb", "print(seed)", parameters=PARAMETERS)
    folder = tmp_path / "figures" / "tiny" / "00_demo"
    folder.mkdir(parents=True)
    Image.effect_noise((40, 30), 60).save(folder / "recall.png")
    content = {
        "format": record.FORMAT,
        "made_by": record.made_by(path),
        "parameters": {"scale": "tiny", "seed": 0},
        "data": {"sha256": "former", "n_passages": 9},
        "claims": {"00.demo": {"verdict": "reproduced"}},
        "figures": {"recall": {"file": "recall.png", "caption": "Recall."}},
    }
    (folder / "record.json").write_text(json.dumps(content), encoding="utf-8")
    return path, tmp_path / "figures", content


def test_a_current_record_passes(committed):
    path, figures, _ = committed
    assert check_record(path, figures, EXPECTED) == []


def test_a_stale_record_is_found_out(committed):
    path, figures, _ = committed
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].source += "\nprint(n_docs)"
    nbformat.write(notebook, path)
    assert "changed after the run" in "; ".join(check_record(path, figures, EXPECTED))


WAITS = "on the former split, to be run again"


def test_a_mark_of_the_former_split_excuses_earlier_code_and_nothing_else(committed):
    path, figures, content = committed
    content["made_by"]["notebook"]["cell-0"] = "other"
    (figures / "tiny" / "00_demo" / "record.json").write_text(json.dumps(content), encoding="utf-8")

    def faults(status, expected=EXPECTED, **changes):
        return "; ".join(check_record(path, figures, expected, status, lambda path: {**TODAY, **changes}))

    assert "changed after the run" in faults("") and "changed after the run" in faults("one seed")
    assert faults(WAITS) == ""
    assert faults(WAITS, {*EXPECTED, "00.more"}) == "not both in the record and in its file: claims ['00.more']"
    # Once it is run again, the mark is no longer true.
    assert (
        faults(WAITS, sha256="former")
        == f"its status is {WAITS!r}, but its data are those of today: take the status out"
    )
    assert faults(WAITS, n_passages=8) == f"its status is {WAITS!r}, but its corpus is not that of today either"


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("parameters", {"scale": "tiny", "seed": 1}, "the record's parameters are"),
        ("claims", {}, "not both in the record and in its file: claims ['00.demo']"),
        ("claims", {"00.demo": {}, "00.more": {}}, "not both in the record and in its file: claims ['00.more']"),
        ("figures", {}, "the record has no figure; no record names recall.png"),
        ("figures", {"other": {"file": "other.png", "caption": "."}}, "figure other is missing"),
        ("format", 0, "is not a record of format"),
    ],
)
def test_a_wrong_record_is_found_out(committed, part, value, message):
    path, figures, content = committed
    file = figures / "tiny" / "00_demo" / "record.json"
    file.write_text(json.dumps({**content, part: value}), encoding="utf-8")
    assert message in "; ".join(check_record(path, figures, EXPECTED))
    file.unlink()
    assert "no record" in "; ".join(check_record(path, figures, EXPECTED))


def test_a_blank_figure_is_found_out(committed):
    from PIL import Image

    path, figures, _ = committed
    Image.new("RGB", (40, 30), "white").save(figures / "tiny" / "00_demo" / "recall.png")
    assert check_record(path, figures, EXPECTED) == ["figure recall is blank"]


# ---------------------------------------------------------------------------------------------------------------------
# Other files


def tracked_texts():
    names = subprocess.run(["git", "ls-files"], cwd=paths.ROOT, check=True, capture_output=True, text=True).stdout
    for name in names.splitlines():
        path = paths.ROOT / name
        if path.is_file() and path.suffix not in (".png",):
            yield name, path.read_text(encoding="utf-8")


def test_environment_names_the_fixed_packages():
    environment = yaml.safe_load((paths.ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert set(pip) >= FIXED_PACKAGES
    assert any(entry.startswith("-e .[gpu") for entry in pip)


def broken_links(file):
    """Links of a Markdown file to files that are not there, or to headings and anchors that these do not have."""
    links = re.findall(r"(?<!\\)\]\(([^):]+)\)", file.read_text(encoding="utf-8"))
    return [link for link in links if not leads_somewhere(file, link)]


def leads_somewhere(file, link):
    path, _, anchor = link.partition("#")
    target = file.parent / path if path else file
    if not anchor:
        return target.exists()
    text = target.read_text(encoding="utf-8")
    return f"\n## {anchor}\n" in f"\n{text}" or f'<a id="{anchor}"></a>' in text


READMES = ("README.md", "notebooks/README.md", "nbutils/README.md", "tests/README.md", "data/README.md")


@pytest.mark.parametrize("name", [*READMES, "figures/tiny/README.md"])
def test_every_link_of_a_readme_leads_somewhere(name):
    assert broken_links(paths.ROOT / name) == []


def test_a_broken_link_is_found_out(tmp_path):
    (tmp_path / "other.md").write_text('## 00_demo\n\n| <a id="00.demo"></a>It works. |\n', encoding="utf-8")
    file = tmp_path / "README.md"
    file.write_text("[a](other.md#00_demo) [b](other.md#00.demo) [c](https://example.org)", encoding="utf-8")
    assert broken_links(file) == []
    file.write_text("[a](other.md#01_demo) [b](gone.md) [![c](gone.png)](other.md)", encoding="utf-8")
    assert broken_links(file) == ["other.md#01_demo", "gone.md", "gone.png"]


def test_the_readme_is_short_and_says_on_its_first_screen_what_this_is():
    lines = paths.README.read_text(encoding="utf-8").splitlines()
    first = "\n".join(lines[:40])
    assert len(lines) <= 200
    assert "![" in first and first.count("```") == 2 and report.END in first


def test_no_path_of_a_machine_and_no_package_index():
    home = re.compile(r"(?<![\w./-])/(?:home|root|Users|work|mnt|tmp)/\w|pypi" + r"\.org|pythonhosted|registry\.npmjs")
    assert home.search("see /home/someone/x") and not home.search("notebooks/home/x")
    files = [(name, text) for name, text in tracked_texts() if not name.startswith("tests/")]
    assert len(files) > 20
    found = [(name, match.group()) for name, text in files if (match := home.search(text))]
    assert not found
