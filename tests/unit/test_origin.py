"""What made a record: which changes of a notebook and of the package are noticed, and that they are named."""

import importlib
import json
import linecache
import sys

import pytest

from nbutils import paths, record
from nbutils.errors import InputError
from nbutils.record import Record, changes, changes_since, made_by, origin

SETUP = "from nbutils import stand_in\nfrom nbutils.presets import load_preset\nfrom nbutils.record import Record"
CELL = 'values = stand_in.double(stand_in.START)\nprint(load_preset, Record, "main")'
MODULE = '''\
"""A room."""

START = 3


def double(x):
    """Twice as much."""
    return _times(x, 2)  # by a helper


def _times(x, n):
    return x * n


def unreached(x):
    return x
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Function text -> `nbutils.stand_in` with that text, as a process that starts now would import it."""
    import nbutils

    place = tmp_path / "stand_in.py"
    monkeypatch.setattr(nbutils, "__path__", [*nbutils.__path__, str(tmp_path)])

    def write(text):
        place.write_text(text, encoding="utf-8")
        linecache.clearcache()
        importlib.invalidate_caches()
        sys.modules.pop("nbutils.stand_in", None)
        monkeypatch.setattr(nbutils, "stand_in", importlib.import_module("nbutils.stand_in"), raising=False)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield write
    sys.modules.pop("nbutils.stand_in", None)


@pytest.fixture
def notebook(project, package, write_notebook):
    package(MODULE)
    return write_notebook(project.notebooks / "00_start_here.ipynb", SETUP, CELL, save=False)


def edit(path, old, new):
    content = json.loads(path.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        cell["source"] = "".join(cell["source"]).replace(old, new)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_the_functions_and_constants_that_a_notebook_names_are_noted(notebook):
    found = made_by(notebook)
    # What the record itself keeps is not, and intervals are taken by the record's methods.
    assert [*found["functions"]] == ["metrics.bootstrap_mean", "stand_in.START", "stand_in.double"]
    assert [*found["notebook"]] == ["cell-0", "cell-1"]
    assert {"prompts/question.txt", "metrics/modules/exact_match/exact_match.py"} <= found["files"].keys()
    assert not any(name.startswith("templates") for name in found["files"])
    assert found["paper"] == {}
    assert changes(found, made_by(notebook)) == []


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("  # by a helper", "  # another comment", []),
        ('"""Twice as much."""', '"""The double."""', []),
        ("return _times(x, 2)", "return _times(\n        x,\n        2,\n    )", []),
        ("def unreached(x):\n    return x", "def unreached(x):\n    return 7", []),
        ("def unreached", "def also_unreached(x):\n    return 8\n\n\ndef unreached", []),
        ("_times", "_product", []),  # renamed
        ("return _times(x, 2)", "return _times(x, 3)", ["stand_in.double"]),
        ("return x * n", "return x * n + 1", ["stand_in.double"]),  # a callee
        ("START = 3", "START = 4", ["stand_in.START"]),
        ("def double", "def twice", ["stand_in.double"]),  # it is gone
    ],
)
def test_of_the_package_only_what_the_notebook_reaches_is_stale(notebook, package, old, new, changed):
    before = made_by(notebook)
    assert old in MODULE
    package(MODULE.replace(old, new))
    now = made_by(notebook)
    assert changes(before, now) == changed
    if "def twice" in new:
        assert now["functions"]["stand_in.double"] == origin.MISSING


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("print(", "# a comment\nprint(", []),
        ('START)\nprint(load_preset, Record, "main")', "START)\nprint(\n    load_preset, Record, 'main'\n);", []),
        ("# 00 · A demonstration", "# Other prose", []),
        ("seed: int = 0", "seed: int = 5", []),  # the parameters cell
        ('"main"', '"other"', ["notebook (cell cell-1)"]),
        ("stand_in.double(stand_in.START)", "stand_in.double(3)", ["notebook (cell cell-1)"]),
        ("stand_in.double(", "stand_in.unreached(", ["notebook (cell cell-1)"]),
    ],
)
def test_of_the_notebook_only_what_runs_is_stale(notebook, old, new, changed):
    before = made_by(notebook)
    text = notebook.read_text(encoding="utf-8")
    edit(notebook, old, new)
    assert notebook.read_text(encoding="utf-8") != text
    assert changes(before, made_by(notebook)) == changed


def test_cells_that_come_go_or_move_are_stale_and_outputs_are_not(notebook):
    before = made_by(notebook)
    text = notebook.read_text(encoding="utf-8")

    def changed(do):
        content = json.loads(text)
        do(content["cells"])
        notebook.write_text(json.dumps(content), encoding="utf-8")
        return changes(before, made_by(notebook))

    more = {"cell_type": "code", "id": "more", "metadata": {}, "source": ["x = ", "1"], "outputs": []}
    injected = {**more, "metadata": {"tags": ["injected-parameters"]}}
    outputs = [{"output_type": "stream", "name": "stdout", "text": "1"}]
    assert changed(lambda cells: cells.insert(2, injected)) == []
    assert changed(lambda cells: cells[-1].update(outputs=outputs, execution_count=7)) == []
    assert changed(lambda cells: cells.append(more)) == ["notebook (cell more)"]
    assert changed(lambda cells: cells.pop()) == ["notebook (cell cell-1)"]
    assert changed(lambda cells: cells.append(cells.pop(-2))) == ["notebook (order of cells)"]
    assert changed(lambda cells: cells[-1].update(source="%time x = 1")) == ["notebook (cell cell-1)"]  # no Python
    for broken, message in (("{}", "not a notebook of format 4"), ("{", "not a notebook")):
        notebook.write_text(broken, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            made_by(notebook)


@pytest.mark.parametrize(
    ("statement", "use"),
    [
        ("import nbutils.stand_in", "nbutils.stand_in.double(3)"),
        ("import nbutils.stand_in as room", "room.double(3)"),
        ("import nbutils", "nbutils.stand_in.double(3)"),
        ("from nbutils.stand_in import double", "list(map(double, [3]))"),
        ("from nbutils.stand_in import double as twice", "twice(3)"),
        ("from nbutils import stand_in as room", "room.double.__name__"),
    ],
)
def test_however_a_function_is_imported_it_is_found(notebook, write_notebook, statement, use):
    write_notebook(notebook, statement, use, save=False)
    assert [*made_by(notebook)["functions"]] == ["metrics.bootstrap_mean", "stand_in.double"]


def test_something_without_a_digest_is_refused(notebook, package):
    package(MODULE.replace("START = 3", "START = open(__file__)"))
    with pytest.raises(InputError, match=r"00_start_here\.ipynb names nbutils\.stand_in\.START, of which no digest"):
        made_by(notebook)


def test_files_and_papers_values_that_a_record_names_are_part_of_it(notebook, write_claims):
    write_claims("")
    before = made_by(notebook)
    entry = '  "{}/EM/RAG": {{value: {}, tag: S, where: "Table 1"}}\n'
    claims = paths.CLAIMS / "00.yaml"
    claims.write_text("paper:\n" + entry.format("main", 44) + entry.format("Table 2", 7), encoding="utf-8")
    now = made_by(notebook)
    assert now["paper"] == {"main/EM/RAG": 44}  # the other is of no figure of the notebook
    claims.write_text("paper:\n" + entry.format("main", 45) + entry.format("Table 2", 8), encoding="utf-8")
    assert changes(now, made_by(notebook)) == ["paper value main/EM/RAG"]
    assert changes(before, now) == []
    fewer = {**before["files"]}
    del fewer["prompts/statement.txt"]  # of another notebook, and new
    assert changes({**before, "files": fewer}, before) == []
    assert changes({**before, "files": {**fewer, "prompts/question.txt": "0"}}, before) == ["prompts/question.txt"]
    assert changes({}, before) == ["what made it was not noted"]


def test_a_record_is_compared_with_the_code_and_preset_of_today(notebook, package, monkeypatch):
    from nbutils.presets import load_preset

    chosen = {"n_questions": 7, "scale": "tiny", "generator": None}
    preset = load_preset("00_start_here", "tiny", {"n_questions": 7})
    content = record.load_record(Record("00_start_here", "tiny", 0, chosen, preset).save())
    assert changes_since(content, notebook) == []
    assert changes_since({**content, "parameters": {**chosen, "n_questions": None}}, notebook) == ["preset"]
    package(MODULE.replace("x * n", "x * n * 1"))
    edit(notebook, "print", "repr")
    assert changes_since(content, notebook) == ["notebook (cell cell-1)", "stand_in.double"]
