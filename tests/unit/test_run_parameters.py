"""Which notebooks and which parameters the runner takes, and what it refuses before any kernel starts."""

import json
import subprocess

import pytest

from nbutils.errors import InputError
from nbutils.run import check_parameters, find_notebooks, notebook_parameters, run_notebook, run_notebooks


@pytest.fixture
def no_kernel(monkeypatch):
    """Fails the test at once when a kernel is about to be started."""

    def refuse(*arguments, **options):
        pytest.fail("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)


def test_notebooks_are_found_by_number_name_and_file(project, write_notebook):
    one, two = (write_notebook(project.notebooks / f"{name}.ipynb") for name in ("00_demo", "01_other"))
    write_notebook(project.notebooks / "00_demo.failed.ipynb")
    write_notebook(project.notebooks / "scratch.ipynb")
    assert find_notebooks() == [one, two]
    assert find_notebooks(["01", "00_demo"]) == [two, one]
    assert find_notebooks(["notebooks/00_demo.ipynb"]) == [one]
    with pytest.raises(InputError, match="no notebook '7'; there are: 00_demo, 01_other"):
        find_notebooks(["7"])


def test_an_empty_folder_is_an_error(project):
    with pytest.raises(InputError, match="no notebook NN_slug"):
        find_notebooks()


def test_parameters_are_read_with_type_default_and_help(demo):
    parameters = notebook_parameters(demo)
    assert list(parameters) == ["scale", "seed", "n_docs", "share", "name", "pooling", "verbose", "out_dir"]
    assert parameters["n_docs"] == {"type": "int", "default": 3, "help": "passages per question"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("twice: int = seed * 2", "no literal"),  # papermill would leave it at 0 whatever the seed
        ("a, b = 1, 2", "the parameters cell holds `a, b = 1, 2`"),
        ("n = 3", "write `name: type = value"),
        ("ids: list = [1]", "cannot read parameter 'ids'"),
        ("limit: int | None = None", "cannot read parameter 'limit'"),
        ("n_steps: int = 0", "must be at least 1, not 0"),
        ("rate: float = 2.0  # share [0..1]", "must be 0 to 1"),
        ("rate: float = 0.5  # share [0, 1]", "is no range of float"),
        ("import os", "the parameters cell holds `import os`"),
        ("n_steps: int = (", "is not Python"),
    ],
)
def test_a_parameters_cell_that_papermill_would_mishandle_is_refused(project, write_notebook, line, message):
    path = write_notebook(project.notebooks / "00_demo.ipynb", parameters=f"seed: int = 0\n{line}")
    with pytest.raises(InputError, match=message):
        notebook_parameters(path)


def test_text_is_parsed_by_the_annotation(demo):
    given = {"n_docs": "7", "share": "1", "name": "007", "verbose": "True", "seed": 2, "pooling": "max"}
    checked = check_parameters(demo, given)
    assert checked == {"n_docs": 7, "share": 1.0, "name": "007", "verbose": True, "seed": 2, "pooling": "max"}
    assert {name: type(value) for name, value in checked.items()}["share"] is float


def test_none_is_the_presets_value(project, write_notebook):
    """As `list` shows it, whatever the type, where the default is None, and nowhere else."""
    parameters = "n_questions: int = None\nshare: float = None\ndataset: str = None\nseed: int = 0"
    path = write_notebook(project.notebooks / "00_demo.ipynb", parameters=parameters)
    none = {"n_questions": "None", "share": "None", "dataset": "None"}
    assert check_parameters(path, {**none, "seed": "0"}) == {**dict.fromkeys(none), "seed": 0}
    assert check_parameters(path, dict.fromkeys(none)) == dict.fromkeys(none)
    assert check_parameters(path, {"dataset": "none", "n_questions": "7"}) == {"dataset": "none", "n_questions": 7}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_docs", "None", "'n_docs' cannot be None: its default is 3, not the preset's; leave it out"),
        ("pooling", "None", "'pooling' cannot be None: its default is 'mean'"),
        ("verbose", None, "'verbose' cannot be None: its default is False"),
        ("n_doc", "5", "no parameter 'n_doc'; did you mean 'n_docs'"),
        ("zebra", "5", "no parameter 'zebra'; it has: scale, seed"),
        ("n_docs", "many", "of type int, and 'many' is not"),
        ("n_docs", "1e5", "of type int"),
        ("n_docs", 2.0, "of type int"),
        ("n_docs", True, "of type int"),
        ("n_docs", None, "of type int"),
        ("n_docs", "0", "at least 1, not 0"),
        ("seed", "-1", "at least 0, not -1"),
        ("share", "1.5", "0 to 1, not 1.5"),
        ("share", "nan", "of type float"),
        ("verbose", "1", "of type bool"),
        ("name", 7, "of type str"),
        ("pooling", "median", "one of mean, max, not 'median'"),
        ("scale", "huge", "one of smoke, tiny, gpu, paper"),
    ],
)
def test_a_wrong_parameter_ends_the_run_before_any_kernel(project, demo, no_kernel, name, value, message):
    given = {name: value}
    scale = given.pop("scale", "tiny")
    with pytest.raises(InputError, match=message) as failure:
        run_notebook(demo, scale, given)
    assert "\n" not in str(failure.value)
    with pytest.raises(InputError, match=message):
        run_notebooks([demo], scale, given)
    assert list(project.figures.iterdir()) == []


def test_what_the_runner_sets_is_no_parameter(demo, no_kernel):
    with pytest.raises(InputError, match="use --out-dir"):
        run_notebook(demo, parameters={"out_dir": "/elsewhere"})


def test_a_notebook_without_scale_kernel_or_parameters_is_refused(project, write_notebook, no_kernel):
    path = write_notebook(project.notebooks / "00_demo.ipynb", parameters="out_dir: str = None")
    with pytest.raises(InputError, match="has no parameter 'scale'"):
        run_notebook(path)
    path = write_notebook(project.notebooks / "01_demo.ipynb")
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["metadata"] = {}
    path.write_text(json.dumps(notebook), encoding="utf-8")
    with pytest.raises(InputError, match="names no kernel"):
        run_notebooks([path])
    notebook["cells"][1]["metadata"] = {}
    path.write_text(json.dumps(notebook), encoding="utf-8")
    with pytest.raises(InputError, match="0 cells are tagged 'parameters'"):
        run_notebook(path)
    path.write_text("half a note", encoding="utf-8")
    with pytest.raises(InputError, match="is not a notebook"):
        run_notebook(path)


def test_wrong_jobs_and_time_limits_are_refused(demo, no_kernel):
    with pytest.raises(InputError, match="--jobs must be at least 1"):
        run_notebooks([demo], jobs=0)
    with pytest.raises(InputError, match="--timeout must be more than 0"):
        run_notebooks([demo], timeout_s=0)
