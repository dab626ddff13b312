"""Runs of notebooks: what they replace, what they leave alone, and what is left when they end early."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pytest

from nbutils import paths
from nbutils.run import NotebookFailed, run_notebook, run_notebooks, why_stale

starts_kernels = pytest.mark.notebook


def contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def left_over(marker: str) -> list[str]:
    """Command lines of processes whose environment holds `marker`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def wait_for(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


@starts_kernels
def test_a_run_as_committed_replaces_notebook_and_results_and_repeats_to_the_byte(project, demo):
    seen = []
    results = run_notebook(demo, progress=lambda *state: seen.append(state))
    assert results == project.figures / "tiny" / "00_demo"
    assert sorted(contents(project.figures)) == ["tiny/00_demo/record.json", "tiny/00_demo/run.json"]
    assert [state[:3] for state in seen][-1] == ("00_demo", 3, 3)
    assert why_stale(demo, "tiny") == ""

    first = demo.read_bytes()
    notebook = nbformat.read(demo, as_version=4)
    nbformat.validate(notebook)
    assert "papermill" not in first.decode() and str(project.root) not in first.decode()
    assert {key for cell in notebook.cells for key in cell.metadata} == {"tags"}
    assert [cell.id for cell in notebook.cells] == ["title", "parameters", "cell-0", "save"]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3]
    assert code[1].outputs[0].text == "n_docs 3\n"
    assert code[2].outputs[0].execution_count == 3  # the value of the last line

    (results / "left_from_before.png").write_bytes(b"stale")
    run_notebook(demo)
    assert demo.read_bytes() == first
    assert "left_from_before.png" not in os.listdir(results)


@starts_kernels
def test_other_parameters_leave_the_committed_notebook_alone(project, demo):
    before = demo.read_bytes()
    out = project.root / "{out}"  # papermill takes paths as format strings
    results = run_notebook(demo, "smoke", {"n_docs": "7", "name": "007"}, out)
    assert demo.read_bytes() == before and contents(project.figures) == {}
    assert results == out / "smoke" / "00_demo"
    assert sorted(os.listdir(out)) == ["smoke"] and sorted(os.listdir(results)) == [
        "00_demo.ipynb",
        "record.json",
        "run.json",
    ]
    assert json.loads((results / "record.json").read_text()) == {"seed": 0, "n_docs": 7, "name": "007", "figures": {}}
    text = (results / "00_demo.ipynb").read_text(encoding="utf-8")
    assert '"id": "injected-parameters"' in text and "n_docs = 7" in text  # papermill's id is another each time
    assert "papermill" not in text and str(project.root) not in text
    assert json.loads((results / "run.json").read_text())["parameters"]["n_docs"] == 7


FAILURES = {
    "error": (
        "open('/dev/full', 'w').write('x' * 100_000)",
        r"^00_demo, cell 3 of 4 \(`open.*`\): OSError: \[Errno 28\] No space left on device; what ran is in [^;]*$",
    ),
    "wrong input": (
        "from nbutils.errors import InputError\nraise InputError('corpus.jsonl, line 3:\\nno _id')",
        r"^00_demo, cell 3: corpus.jsonl, line 3: no _id; what ran is in [^;]*$",
    ),
    "killed": (
        "import os; os.kill(os.getpid(), 9)",
        r"the kernel died at cell 3 of 4 \(`import os.*`\), killed by SIGKILL; .* too little memory; what ran is in",
    ),
    "too long": (
        "import time\ntime.sleep(60)",
        r"took longer than 25 s, at cell 3 of 4 \(`import time`\); what ran is in",
    ),
}


@starts_kernels
@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_is_one_line_and_leaves_earlier_results(project, write_notebook, case):
    source, message = FAILURES[case]
    path = write_notebook(project.notebooks / "00_demo.ipynb", "print('begun')", source)
    results = project.figures / "tiny" / "00_demo"
    results.mkdir(parents=True)
    (results / "record.json").write_text("earlier", encoding="utf-8")
    before, notebook_before = contents(project.figures), path.read_bytes()
    with pytest.raises(NotebookFailed, match=message) as failure:
        run_notebook(path, timeout_s=25 if case == "too long" else 60)
    assert "\n" not in str(failure.value)
    assert path.read_bytes() == notebook_before
    after = contents(project.figures)
    assert after.pop("tiny/00_demo/00_demo.failed.ipynb")
    assert after == before
    failed = nbformat.read(results / "00_demo.failed.ipynb", as_version=4)
    assert "begun\n" in [output.text for cell in failed.cells for output in cell.get("outputs", []) if "text" in output]


@pytest.fixture
def pretend(monkeypatch):
    """Function (change) that puts a pretended execution in place of the child process; `change` spoils its result."""

    def pretend(change=lambda notebook, folder, job: None):
        def run_child(job, *arguments):
            notebook = nbformat.read(job["notebook"], as_version=4)
            for number, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
                cell.execution_count = number
            folder = Path(job["scratch"]) / "tiny" / "00_demo"
            folder.mkdir(parents=True)
            (folder / "record.json").write_text("{}", encoding="utf-8")
            change(notebook, folder, job)
            nbformat.write(notebook, job["executed"])

        monkeypatch.setattr("nbutils.run.one.run_child", run_child)

    return pretend


def exits_early(notebook, folder, job):
    notebook.cells[-1].execution_count = None


def writes_no_record(notebook, folder, job):
    (folder / "record.json").unlink()


def shows_one_of_two_figures(notebook, folder, job):
    (folder / "record.json").write_text('{"figures": {"recall": {}, "answers": {}}}', encoding="utf-8")
    notebook.cells[2].outputs = [nbformat.v4.new_output("display_data", {"image/png": "AA==", "text/plain": "Figure"})]


def prints_its_folder(notebook, folder, job):
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text=f"saved {folder}/recall.png")]


def prints_the_repository(notebook, folder, job):
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text=f"read {paths.ROOT}/data")]


def is_edited_meanwhile(notebook, folder, job):
    Path(job["notebook"]).write_text(Path(job["notebook"]).read_text(encoding="utf-8") + "\n", encoding="utf-8")


def fills_the_disk(notebook, folder, job):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (exits_early, "ended early, cell 3 did not run"),
        (writes_no_record, r"wrote no tiny/00_demo/record\.json"),
        (shows_one_of_two_figures, r"its record has 2 figures \(recall, answers\), and it shows 1 images"),
        (prints_its_folder, r"cell 3 \(of all cells\) shows the path '\.00_demo\.\w+'; print names only"),
        (prints_the_repository, r"cell 3 \(of all cells\) shows the path '.*/'; print names only"),
        (is_edited_meanwhile, "was changed while it ran"),
        (fills_the_disk, "the disk is full, nothing was replaced"),
    ],
)
def test_a_run_that_ends_wrong_replaces_nothing(project, demo, pretend, change, message):
    pretend()
    run_notebook(demo)  # shows that the pretended run is accepted as long as nothing is spoilt
    notebook_before, before = demo.read_text(encoding="utf-8"), contents(project.figures)
    pretend(change)
    with pytest.raises(NotebookFailed, match=message):
        run_notebook(demo)
    after = contents(project.figures)
    after.pop("tiny/00_demo/00_demo.failed.ipynb", None)
    assert after == before
    assert demo.read_text(encoding="utf-8").strip() == notebook_before.strip()


def test_a_disk_that_fills_up_while_results_are_moved_replaces_nothing(project, demo, pretend, monkeypatch):
    pretend()
    results = project.figures / "tiny" / "00_demo"
    results.mkdir(parents=True)
    (results / "record.json").write_text("earlier", encoding="utf-8")
    notebook_before, before = demo.read_bytes(), contents(project.figures)
    monkeypatch.setattr(os, "replace", lambda *paths: fills_the_disk(None, None, None))
    with pytest.raises(NotebookFailed, match=r"the disk is full, nothing was replaced.*could not be kept"):
        run_notebook(demo)
    assert (demo.read_bytes(), contents(project.figures)) == (notebook_before, before)


@starts_kernels
def test_a_kernel_that_does_not_start_is_tried_once_more(project, write_notebook, monkeypatch):
    tries = project.root / "tries"
    launcher = project.root / "launch.py"
    launcher.write_text(
        "import pathlib, runpy, sys\n"
        f"tries = pathlib.Path({str(tries)!r})\n"
        "tries.write_text(tries.read_text() + 'x' if tries.exists() else 'x')\n"
        "if len(tries.read_text()) < int(sys.argv.pop(1)):\n"
        "    sys.exit('no port left')\n"
        "runpy.run_module('ipykernel_launcher', run_name='__main__')\n",
        encoding="utf-8",
    )
    spec = project.root / "jupyter" / "kernels" / "flaky" / "kernel.json"
    spec.parent.mkdir(parents=True)
    monkeypatch.setenv("JUPYTER_PATH", str(project.root / "jupyter"))
    path = write_notebook(project.notebooks / "00_demo.ipynb")
    path.write_text(path.read_text().replace('"name": "python3"', '"name": "flaky"'), encoding="utf-8")

    def starts_at(number):
        tries.unlink(missing_ok=True)
        argv = [sys.executable, str(launcher), str(number), "-f", "{connection_file}"]
        spec.write_text(json.dumps({"argv": argv, "display_name": "flaky", "language": "python"}), encoding="utf-8")

    starts_at(2)
    run_notebook(path, "smoke")
    assert tries.read_text() == "xx"
    starts_at(9)
    with pytest.raises(NotebookFailed, match=r"(?s)the kernel did not start, twice: .*no port left"):
        run_notebook(path, "smoke")
    assert tries.read_text() == "xx"


@starts_kernels
def test_side_by_side_each_kernel_has_its_share_and_resume_skips_what_is_fresh(project, write_notebook, monkeypatch):
    monkeypatch.setattr("nbutils.run.batch._n_cores", lambda: 4)
    show = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['TQDM_DISABLE'], os.path.basename(os.getcwd()))"
    fine = write_notebook(project.notebooks / "00_demo.ipynb", show)
    failing = write_notebook(project.notebooks / "01_demo.ipynb", "1 / 0")
    outcomes, signum = run_notebooks([fine, failing], jobs=2)
    assert [outcome.status for outcome in outcomes] == ["done", "failed"] and signum == 0
    assert "ZeroDivisionError" in outcomes[1].message
    assert "2 1 notebooks" in fine.read_text(encoding="utf-8")

    failing.write_text(failing.read_text(encoding="utf-8").replace("1 / 0", "1 / 1"), encoding="utf-8")
    outcomes, _ = run_notebooks([fine, failing], jobs=2, resume=True)
    assert [outcome.status for outcome in outcomes] == ["fresh", "done"]


@starts_kernels
def test_a_stop_between_two_cells_starts_no_further_cell(project, write_notebook):
    path = write_notebook(project.notebooks / "00_demo.ipynb", *["import time\ntime.sleep(0.3)"] * 20)
    stop = threading.Event()
    seen = []

    def progress(notebook, cell, cells, seconds):
        seen.append(cell)
        if cell == 2:
            stop.set()

    with pytest.raises(NotebookFailed, match="interrupted"):
        run_notebook(path, progress=progress, stop=stop)
    assert max(seen) <= 4
    assert contents(project.figures) == {}


# ---------------------------------------------------------------------------------------------------------------------
# Signals, in a process of their own


CALLER = """\
import sys
from pathlib import Path
from nbutils import __main__, paths
root = Path(sys.argv.pop(1))
paths.NOTEBOOKS, paths.FIGURES, paths.DATA = root / "notebooks", root / "figures", root / "data"
__main__.main()
"""

CLEANS_UP = """\
import time
from pathlib import Path
Path("begun").touch()
try:
    time.sleep(60)
finally:
    Path("cleaned").touch()"""

DEAF = """\
import signal, subprocess, time
from pathlib import Path
subprocess.Popen(["sleep", "60"])
signal.signal(signal.SIGINT, signal.SIG_IGN)
Path("begun").touch()
end = time.monotonic() + 60
while time.monotonic() < end:
    pass"""


@starts_kernels
@pytest.mark.parametrize(
    ("signum", "status", "source"),
    [(signal.SIGINT, 130, CLEANS_UP), (signal.SIGTERM, 143, CLEANS_UP), (signal.SIGKILL, -9, DEAF)],
    ids=["SIGINT", "SIGTERM", "SIGKILL"],
)
def test_a_signal_half_way_leaves_no_process_and_earlier_results(project, write_notebook, signum, status, source):
    path = write_notebook(project.notebooks / "00_demo.ipynb", source)
    second = write_notebook(project.notebooks / "01_demo.ipynb", "open('second', 'w')")
    results = project.figures / "tiny" / "00_demo"
    results.mkdir(parents=True)
    (results / "record.json").write_text("earlier", encoding="utf-8")
    before, notebook_before = contents(project.figures), path.read_bytes()
    marker = f"marker-{project.root.name}-{os.getpid()}"
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(project.root), "run", "00", "01"],
        env={**os.environ, "RUN_TEST_MARKER": marker},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert wait_for((project.notebooks / "begun").exists, 30)
        assert len(left_over(marker)) >= 3  # caller, child and kernel: the check below can see them
        start = time.monotonic()
        caller.send_signal(signum)
        output, _ = caller.communicate(timeout=30)
    finally:
        caller.kill()
    assert caller.returncode == status, output
    assert wait_for(lambda: not left_over(marker), 5), left_over(marker)
    assert time.monotonic() - start < 8
    assert wait_for(lambda: contents(project.figures) == before, 5)
    assert [name for name in os.listdir(project.figures) if name.startswith(".")] == []
    assert path.read_bytes() == notebook_before and not (project.notebooks / "second").exists()
    if signum != signal.SIGKILL:
        assert (project.notebooks / "cleaned").exists()
        assert "00_demo: interrupted" in output and "Traceback" not in output
        assert "01_demo: interrupted (not started)" in output
        assert second.exists()


@starts_kernels
def test_a_kernel_deaf_to_the_interrupt_is_killed(project, write_notebook, monkeypatch):
    monkeypatch.setattr("nbutils.run.job.GRACE_S", 1.0)
    path = write_notebook(project.notebooks / "00_demo.ipynb", DEAF)
    marker = f"marker-{project.root.name}-{os.getpid()}"
    monkeypatch.setenv("RUN_TEST_MARKER", marker)
    with pytest.raises(NotebookFailed, match="took longer than 4 s"):
        run_notebook(path, timeout_s=4)
    others = [line for line in left_over(marker) if "pytest" not in line]
    assert others == []
