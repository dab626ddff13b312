"""What a machine's own settings may not change: the environment, the home and the kernel that a notebook runs with."""

import json
import sys
from pathlib import Path

import pytest

from nbutils import paths
from nbutils.errors import InputError
from nbutils.run import run_notebook, run_notebooks
from nbutils.run.environment import DROPPED, child_environment
from nbutils.run.kernel import check_kernel, kernel_specs
from nbutils.run.results import private_folders, refuse_private_paths

FIGURE = """\
import matplotlib.pyplot as plt
fig, ax = plt.subplots()
ax.plot([0, 1]);"""
CHECKS = """\
def documented():
    "documented"
try:
    assert False
except AssertionError:
    print("asserts are checked")
print(documented.__doc__)
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.warn("is no error")
print(len(caught), "warning")
print(matplotlib.get_backend())"""
SAVE = """\
import json
from pathlib import Path
folder = Path(out_dir) / scale / "00_demo"
folder.mkdir(parents=True)
(folder / "record.json").write_text(json.dumps({"figures": {"line": {"file": "line.png"}}}));"""


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Function (name, *command) that installs a kernel for the user, in front of the environment's own."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")

    def install(name, *command):
        file = tmp_path / "jupyter" / "kernels" / name / "kernel.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        spec = {"argv": [*command, "-f", "{connection_file}"], "display_name": name, "language": "python"}
        file.write_text(json.dumps(spec), encoding="utf-8")

    return install


@pytest.mark.notebook
def test_a_machines_settings_change_nothing(project, write_notebook, cache_folder, kernel, monkeypatch, tmp_path):
    sources = [f"import matplotlib\n{FIGURE}", CHECKS, SAVE]
    path = write_notebook(project.notebooks / "00_demo.ipynb", *sources, save=False)
    run_notebook(path)
    plain = path.read_text(encoding="utf-8")
    assert plain.count('"image/png"') == 1 and "inline" in plain
    assert "asserts are checked" in plain and '"documented\\n"' in plain and "1 warning" in plain

    (tmp_path / "startup.py").write_text("print('started'); documented = None", encoding="utf-8")
    (tmp_path / "style").write_text("figure.facecolor: black", encoding="utf-8")
    settings = {
        "MPLBACKEND": "Agg",
        "MATPLOTLIBRC": str(tmp_path / "style"),
        "PYTHONSTARTUP": str(tmp_path / "startup.py"),
        "PYTHONOPTIMIZE": "2",
        "PYTHONWARNINGS": "error",
    }
    homes = ("HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "MPLCONFIGDIR", "HF_HOME")
    for name, value in [*settings.items(), *((home, "/proc/none") for home in homes)]:
        monkeypatch.setenv(name, value)
    kernel("python3", "/bin/false")
    run_notebook(path)
    assert path.read_text(encoding="utf-8") == plain


@pytest.mark.parametrize("name", DROPPED)
def test_what_would_change_results_is_dropped(name, cache_folder, monkeypatch, tmp_path):
    monkeypatch.setenv(name, "set")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")  # which device is the user's choice
    environment = child_environment(tmp_path, None)
    assert name not in environment and environment["CUDA_VISIBLE_DEVICES"] == "3"
    assert environment["NBUTILS_CACHE"] == str(cache_folder)


def test_what_is_written_goes_into_scratch_and_cache(cache_folder, monkeypatch, tmp_path):
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, "/proc/none")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = child_environment(scratch, 2)
    assert environment["IPYTHONDIR"] == f"{scratch}/ipython"
    assert environment["JUPYTER_RUNTIME_DIR"] == f"{scratch}/jupyter"
    assert environment["MPLCONFIGDIR"] == f"{cache_folder}/matplotlib"
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "2"
    monkeypatch.setattr(paths, "CACHE", Path("/proc/none"))
    assert child_environment(scratch, None)["MPLCONFIGDIR"] == f"{scratch}/matplotlib"


def test_a_python3_of_another_environment_is_not_seen(demo, kernel):
    kernel("python3", "/usr/bin/other")
    check_kernel(demo)
    assert kernel_specs("python3").get_kernel_spec("python3").argv[0] == sys.executable
    assert kernel_specs("flaky").get_kernel_spec("python3").argv[0] == "/usr/bin/other"  # it would have been


def asks_for(notebook, name):
    notebook.write_text(notebook.read_text().replace('"name": "python3"', f'"name": "{name}"'), encoding="utf-8")


@pytest.mark.parametrize("program", ["/usr/bin/other", "/usr/bin/env", "bin/python"])
def test_a_kernel_of_another_environment_is_refused_before_it_starts(project, demo, kernel, monkeypatch, program):
    monkeypatch.setattr("subprocess.Popen", lambda *arguments, **options: pytest.fail("a process was started"))
    kernel("mine", program)
    asks_for(demo, "mine")
    with pytest.raises(
        InputError, match=rf"kernel 'mine', and .*kernels/mine/kernel\.json starts '{program}'"
    ) as caught:
        run_notebook(demo)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="'mine'"):
        run_notebooks([demo])
    assert list(project.figures.iterdir()) == []


@pytest.mark.parametrize("program", ["python", "python3", sys.executable, f"{Path(sys.executable).parent}/python"])
def test_a_kernel_of_this_environment_may_have_any_name(demo, kernel, program):
    kernel("mine", program)
    asks_for(demo, "mine")
    check_kernel(demo)


@pytest.mark.parametrize(("spec", "message"), [(None, "is not installed"), ("{", "cannot be read"), ("[]", "be read")])
def test_a_kernel_that_is_not_there_is_one_line(demo, kernel, tmp_path, spec, message):
    kernel("mine", "python")
    file = tmp_path / "jupyter" / "kernels" / "mine" / "kernel.json"
    file.unlink() if spec is None else file.write_text(spec, encoding="utf-8")
    asks_for(demo, "mine")
    with pytest.raises(InputError, match=f"asks for kernel 'mine', which .*{message}.* choose Python 3 and save"):
        check_kernel(demo)


@pytest.mark.parametrize(("home", "kept"), [("/home/ada", ["/home/ada/"]), ("/", []), ("", []), ("ada", [])])
def test_a_home_that_is_no_folder_is_no_private_path(monkeypatch, cache_folder, home, kept):
    monkeypatch.setenv("HOME", home)
    found = private_folders()
    assert found == [f"{paths.ROOT}/", f"{cache_folder}/", *kept]
    refuse_private_paths("00_demo", "see https://example.org/", found)


def test_a_user_whom_the_system_does_not_know_has_no_home(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    assert private_folders() == [f"{paths.ROOT}/", f"{paths.CACHE}/"]
