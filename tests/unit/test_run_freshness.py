"""When a notebook has to run again, and when its results are what a run would make: no kernel starts."""

import json
from dataclasses import dataclass

import nbformat
import pytest

from nbutils import paths, record
from nbutils.run import freshness_key, why_stale


@dataclass(frozen=True)
class Preset:
    ks: tuple[int, ...] = (1, 5)  # a list in JSON


@pytest.fixture
def fresh(project, demo):
    """A notebook whose results are in place; what a run leaves behind, without running it."""

    def settle(parameters=None, out_dir=None):
        results = paths.results_dir("00_demo", "tiny", out_dir)
        results.mkdir(parents=True, exist_ok=True)
        figures = {"recall": {"file": "recall.png", "caption": "c"}}
        (results / "record.json").write_text(json.dumps({"figures": figures}), encoding="utf-8")
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

    made_by = record.made_by(demo)
    functions = {**made_by["functions"], "metrics.bootstrap_mean": "0"}
    monkeypatch.setattr("nbutils.record.made_by", lambda path: {**made_by, "functions": functions})
    assert why_stale(demo, "tiny") == "changed since: metrics.bootstrap_mean"
    monkeypatch.setattr("nbutils.record.made_by", lambda path: made_by)
    monkeypatch.setattr("nbutils.presets.find_presets", lambda: {"00_demo": {"tiny": Preset()}})
    assert why_stale(demo, "tiny") == "changed since: preset"
    fresh()
    assert why_stale(demo, "tiny") == ""
    monkeypatch.setattr("nbutils.record.device_name", lambda: "another machine")
    assert why_stale(demo, "tiny") == "changed since: device"


def test_code_and_inputs_make_results_stale_and_prose_does_not(project, demo, fresh):
    results = fresh()
    text = demo.read_text(encoding="utf-8")
    demo.write_text(text.replace("A demonstration", "Another title"), encoding="utf-8")
    assert why_stale(demo, "tiny") == ""
    demo.write_text(text.replace("print('n_docs', n_docs)", "print( 'n_docs', n_docs )  # shown"), encoding="utf-8")
    assert why_stale(demo, "tiny") == ""
    demo.write_text(text.replace("print('n_docs', n_docs)", "print('n_docs', n_docs + 1)"), encoding="utf-8")
    assert why_stale(demo, "tiny") == "changed since: notebook (cell cell-0)"
    demo.write_text(text.replace("n_docs: int = 3", "n_docs: int = 4"), encoding="utf-8")
    assert why_stale(demo, "tiny") == "changed since: parameters"
    demo.write_text(text, encoding="utf-8")
    (project.root / "data" / "leaders.csv").write_text("a,b\n", encoding="utf-8")
    assert why_stale(demo, "tiny") == "changed since: inputs"
    fresh()
    key = json.loads((results / "run.json").read_text(encoding="utf-8"))
    (results / "run.json").write_text(json.dumps({**key, "made_by": {}}), encoding="utf-8")  # as before it was noted
    assert why_stale(demo, "tiny") == "changed since: what made it was not noted"
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
