"""The job of executing one notebook: the child process that drives papermill, and the caller's end of it.

Three processes stand behind one notebook: the caller, a child that drives papermill, and the kernel. The child exists
so that the working directory, the environment and a crash belong to one notebook only. It takes the job and then orders
on its standard input ("stop", "kill"), and ends the kernel when that closes, so nothing outlives the caller, however
the caller ends. On its standard output it reports events, one JSON object a line.
"""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

from nbutils.run.environment import child_environment
from nbutils.run.failures import DISK_FULL, NotebookFailed
from nbutils.run.kernel import kernel_specs
from nbutils.run.notebook import escape_braces, is_own_code, read_cells

TIMEOUT_S = 4 * 3600.0  # the budget of a notebook at scale `gpu`
GRACE_S = 10.0  # for a cell to clean up after an interrupt, before its kernel is killed
KILL_S = 5.0  # for the child to end after it killed the kernel, before it is killed itself

Progress = Callable[[str, int, int, float], None]  # notebook, code cell now running, code cells, seconds so far


# ---------------------------------------------------------------------------------------------------------------------
# The caller's end


def run_child(
    job: dict, timeout_s: float, threads: int | None, progress: Progress | None, stop: threading.Event
) -> None:
    """Execute the job in a child process; returns when all its cells ran.

    `job` holds "notebook", "executed" (where the executed notebook goes) and "scratch" (a folder for temporary files),
    all three paths, "kernel" (its name) and "parameters" (name -> value). `threads` limits those of the kernel, None
    leaves them; `stop`, once set, ends the job. Raises NotebookFailed when a cell fails or the job is ended.
    """
    slug = Path(job["notebook"]).stem
    start = time.monotonic()
    with open(Path(job["scratch"]) / "child.log", "w+", encoding="utf-8", errors="replace") as log:
        child = subprocess.Popen(
            [sys.executable, "-c", "from nbutils.run.job import execute_job; execute_job()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=Path(job["notebook"]).parent,
            env=child_environment(job["scratch"], threads),
            text=True,
            start_new_session=True,  # Ctrl-C in a terminal reaches us alone, and we pass it on in order
        )
        try:
            _send(child, json.dumps(job))
            last, why = _watch(child, slug, start, timeout_s, progress, stop)
        finally:
            _end(child)
        if last.get("event") == "done":
            return
        log.seek(0)
        raise NotebookFailed(_failure_message(slug, last, why, log.read().strip()))


def _watch(
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
    why = ""
    orders = ["stop", "kill"]
    next_order = 0.0
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
                _send(child, orders.pop(0))
            else:
                child.kill()
            next_order = now + (GRACE_S if orders else KILL_S)


def _read_events(stream: Iterable[str], events: queue.Queue) -> None:
    """Put the child's events into the queue, and None at its end."""
    for line in stream:
        events.put(json.loads(line))
    events.put(None)


def _send(child: subprocess.Popen, line: str) -> None:
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


def _failure_message(slug: str, last: dict, why: str, log: str) -> str:
    """One line on what went wrong; the child's log as well when it is not the notebook's doing."""
    place = f"cell {last['cell']} of {last['cells']} (`{last['line']}`)" if last["cell"] else "start of the kernel"
    if why:
        return f"{slug}: {why}, at {place}"
    kind = last["event"]
    if kind == "dead":
        return f"{slug}: the kernel died at {place}{_exit_reason(last['status'])}"
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


def _exit_reason(status: int | None) -> str:
    """What a kernel's exit status says, as the end of a sentence."""
    if status is None:
        return ""
    if status == -signal.SIGKILL:
        return ", killed by SIGKILL; the usual reason is too little memory"
    if status < 0:
        return f", killed by {signal.Signals(-status).name}"
    return f" with exit status {status}"


# ---------------------------------------------------------------------------------------------------------------------
# The child


class _Stopped(Exception):
    """The caller asked for an end between two cells."""


def execute_job() -> None:
    """Execute the notebook that standard input describes; one JSON line per event on standard output.

    Only for the child process that `run_child` starts.
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
    n_cells = sum(cell["cell_type"] == "code" for cell in read_cells(Path(job["notebook"])))
    state = SimpleNamespace(cell=0, manager=None, ready=False, stopping=False, finished=False)

    def report(event: str, **details: object) -> None:
        events.write(json.dumps({"event": event, **details}) + "\n")
        events.flush()

    def on_notebook_start(notebook: object) -> None:
        state.ready = True

    def on_cell_start(cell: dict, cell_index: int) -> None:
        if state.stopping:
            raise _Stopped
        if is_own_code(cell):
            state.cell += 1
            line = next(iter(cell["source"].strip().splitlines()), "")
            report("cell", cell=state.cell, cells=n_cells, line=line[:80])

    def signal_kernel(signum: int) -> None:
        provisioner = getattr(state.manager, "provisioner", None)
        if provisioner and provisioner.pgid:
            with suppress(ProcessLookupError):
                os.killpg(provisioner.pgid, signum)

    def follow_orders() -> None:
        for order in orders:
            state.stopping = True
            signal_kernel(signal.SIGKILL if order.strip() == b"kill" else signal.SIGINT)
        if not state.finished:  # the caller is gone
            signal_kernel(signal.SIGKILL)
            shutil.rmtree(job["scratch"], ignore_errors=True)
            os._exit(1)

    def execute(attempt: int) -> None:
        state.manager = AsyncKernelManager(
            kernel_name=job["kernel"],
            kernel_spec_manager=kernel_specs(job["kernel"]),
            connection_file=str(Path(job["scratch"]) / f"kernel-{attempt}.json"),
        )
        papermill.execute_notebook(
            escape_braces(job["notebook"]),
            escape_braces(job["executed"]),
            parameters=job["parameters"],
            progress_bar=False,
            km=state.manager,
            on_notebook_start=on_notebook_start,
            on_cell_start=on_cell_start,
            iopub_timeout=120,  # a busy machine delivers late, and the default of 4 s then fails the run
            coalesce_streams=True,  # or the pieces of an output depend on timing
        )

    threading.Thread(target=follow_orders, daemon=True).start()
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
            # One that never answered is not asked to end: its sockets are closed already.
            run_sync(state.manager.shutdown_kernel)(now=state.stopping or not state.ready)
        if provisioner and provisioner.pgid:  # what the notebook started and left behind
            with suppress(ProcessLookupError):
                os.killpg(provisioner.pgid, signal.SIGKILL)
