"""Several notebooks: side by side, ended together by a signal, the fresh ones skipped."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nbutils.errors import InputError
from nbutils.run.failures import NotebookFailed
from nbutils.run.freshness import why_stale
from nbutils.run.job import TIMEOUT_S, Progress
from nbutils.run.kernel import check_kernel
from nbutils.run.one import run_notebook
from nbutils.run.parameters import resolve_parameters


@dataclass(frozen=True)
class Outcome:
    """How one notebook of a batch ended: "done", "fresh" (skipped), "failed" or "interrupted"."""

    notebook: str
    status: str
    seconds: float
    message: str = ""


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
    are fresh. Raises InputError, before any kernel starts, when a parameter or the kernel is wrong for one of the
    notebooks.
    """
    notebooks = list(notebooks)
    if jobs < 1:
        raise InputError(f"--jobs must be at least 1, not {jobs}")
    if not timeout_s > 0:  # nor not a number
        raise InputError(f"--timeout must be more than 0 seconds, not {timeout_s:g}")
    for path in notebooks:
        resolve_parameters(path, scale, parameters)
        check_kernel(path)
    # One notebook has the machine to itself; a caller's own OMP_NUM_THREADS then holds.
    threads = None if jobs == 1 else max(1, _n_cores() // jobs)
    stop = threading.Event()

    def run_one(path: Path) -> Outcome:
        start = time.monotonic()
        status, message = "done", ""
        try:
            if stop.is_set():
                status, message = "interrupted", "not started"
            elif resume and not why_stale(path, scale, parameters, out_dir):
                status = "fresh"
            else:
                run_notebook(path, scale, parameters, out_dir, timeout_s, threads, progress, stop)
        except NotebookFailed as failure:
            status, message = ("interrupted" if stop.is_set() else "failed"), str(failure)
        outcome = Outcome(path.stem, status, time.monotonic() - start, message)
        if ended:
            ended(outcome)
        return outcome

    with _set_by_signals(stop) as received, ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(run_one, path) for path in notebooks]
        outcomes = [future.result() for future in futures]
        return outcomes, received[0] if received else 0


@contextmanager
def _set_by_signals(stop: threading.Event) -> Iterator[list[int]]:
    """The numbers of the signals received so far; inside the block they set `stop` and do nothing else."""
    received: list[int] = []

    def on_signal(signum: int, frame: object) -> None:
        received.append(signum)
        stop.set()

    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    earlier = {signum: signal.signal(signum, on_signal) for signum in handled}
    try:
        yield received
    finally:
        for signum, handler in earlier.items():
            signal.signal(signum, handler)


def _n_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
