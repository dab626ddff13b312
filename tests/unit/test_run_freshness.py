"""When a notebook has to run again, and when its results are what a run would make: no kernel starts."""

import json

import nbformat
import pytest

from nbutils import paths
from nbutils.run import freshness_key, why_stale


@pytest.fixture
def fresh(project, demo, monkeypatch):
    """A notebook whose results are in place; what a run leaves behind, without running it."""
    monkeypatch.setattr("nbutils.record.package_sha256", lambda: "p" * 64)

    def settle(parameters=None, out_dir=None):
        results = paths.results_dir("00_demo", "tiny", out_dir)
        results.mkdir(parents=True, exist_ok=True)
        record = {"figures": {"recall": {"file": "recall.png", "caption": "c"}}}
        (results / "record.json").write_text(json.dumps(record), encoding="utf-8")
        (results / "recall.png").write_bytes(b"png")
        key = freshness_key(demo, "tiny", parameters)
        (results / "run.json").write_text(json.dumps(key), encoding="utf-8")
        executed = nbformat.read(demo, as_version=4)
        for number, cell in enumerate((c for c in executed.cells if c.cell_type == "code"), start=1):
            cell.execution_count = number
        nbformat.write(executed, results / "00_demo.ipynb" if parameters or out_dir else demo)
        return results

    return settle


def test_results_are_fresh_until_what_they_depend_on_changes(project, demo, fresh, monkeypatch):
    assert why_stale(demo, "tiny") == "no complete results yet"
    fresh()
    assert why_stale(demo, "tiny") == ""
    assert why_stale(demo, "smoke") == "no complete results yet"
    assert why_stale(demo, "tiny", {"seed": "0"}) == ""  # as by default
    assert "no executed notebook" in why_stale(demo, "tiny", {"seed": "1"})

    monkeypatch.setattr("nbutils.record.package_sha256", lambda: "q" * 64)
    assert why_stale(demo, "tiny") == "changed since: nbutils"
    monkeypatch.setattr("nbutils.record.package_sha256", lambda: "p" * 64)
    monkeypatch.setattr("nbutils.record.device_name", lambda: "another machine")
    assert why_stale(demo, "tiny") == "changed since: device"


def test_code_and_inputs_make_results_stale_and_prose_does_not(project, demo, fresh):
    results = fresh()
    text = demo.read_text(encoding="utf-8")
    demo.write_text(text.replace("A demonstration", "Another title"), encoding="utf-8")
    assert why_stale(demo, "tiny") == ""
    demo.write_text(text.replace("print('n_docs', n_docs)", "print('n_docs', n_docs + 1)"), encoding="utf-8")
    assert why_stale(demo, "tiny") == "changed since: notebook"
    demo.write_text(text.replace("n_docs: int = 3", "n_docs: int = 4"), encoding="utf-8")
    assert why_stale(demo, "tiny") == "changed since: parameters"
    demo.write_text(text, encoding="utf-8")
    (project.root / "data" / "leaders.csv").write_text("a,b\n", encoding="utf-8")
    assert why_stale(demo, "tiny") == "changed since: inputs"
    fresh()
    (results / "recall.png").unlink()
    assert why_stale(demo, "tiny") == "recall.png is missing"


def test_a_folder_of_your_own_data_is_part_of_the_key(project, demo, fresh):
    mine = project.root / "mine"
    mine.mkdir()
    (mine / "corpus.jsonl").write_text("one\n", encoding="utf-8")
    given, out = {"name": str(mine)}, project.root / "out"
    fresh(given, out)
    assert why_stale(demo, "tiny", given, out) == ""
    (mine / "corpus.jsonl").write_text("two\n", encoding="utf-8")
    assert why_stale(demo, "tiny", given, out) == "changed since: inputs"
