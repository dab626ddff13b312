"""One notebook from start to publishing."""

import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from nbutils import paths
from nbutils.files import atomic_path, sha256_file
from nbutils.run.failures import DISK_FULL, NotebookFailed
from nbutils.run.freshness import freshness_key
from nbutils.run.job import TIMEOUT_S, Progress, run_child
from nbutils.run.kernel import check_kernel
from nbutils.run.notebook import display_path, kernel_name
from nbutils.run.parameters import are_defaults, resolve_parameters
from nbutils.run.results import (
    fill_marks,
    keep_failed,
    private_folders,
    publish,
    read_executed,
    refuse_private_paths,
    strip,
)


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

    Raises InputError before any kernel starts when a parameter or the kernel is wrong, and NotebookFailed when the
    notebook does not finish: earlier results are then as they were, and the part that ran is
    `<results>/<slug>.failed.ipynb`.
    """
    path = Path(path).resolve()
    slug = path.stem
    given = resolve_parameters(path, scale, parameters)
    check_kernel(path)
    root = Path(out_dir or paths.FIGURES).resolve()
    results = paths.results_dir(slug, scale, root)
    key = freshness_key(path, scale, parameters)
    before = sha256_file(path)
    try:
        root.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{slug}.", dir=root))
    except OSError as error:
        message = f"{slug}: cannot write to {display_path(root)}: {error.strerror}; name another folder by -o"
        raise NotebookFailed(message) from error
    try:
        executed = scratch / f"{slug}.ipynb"
        job = {
            "notebook": str(path),
            "executed": str(executed),
            "scratch": str(scratch),
            "kernel": kernel_name(path),
            "parameters": {**given, "out_dir": str(scratch)},
        }
        try:
            run_child(job, timeout_s, threads, progress, stop or threading.Event())
            notebook = read_executed(executed, scratch, scale)
            fill_marks(notebook, scratch, scale)
            if out_dir is None and are_defaults(path, given):
                text = strip(notebook, keep_injected=False)
                refuse_private_paths(slug, text, [scratch.name, *private_folders()])
                if sha256_file(path) != before:
                    raise NotebookFailed(f"{slug}: was changed while it ran, so {path.name} is not overwritten")
                with atomic_path(path) as temporary:
                    temporary.write_text(text, encoding="utf-8")
                    publish(slug, scratch, scale, results, key, None)
            else:
                text = strip(notebook, keep_injected=True)
                refuse_private_paths(slug, text, [scratch.name])
                publish(slug, scratch, scale, results, key, text)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            message = f"{slug}: the disk is full, nothing was replaced in {display_path(results)}"
            raise NotebookFailed(message) from error
    except NotebookFailed as failure:
        if stop is not None and stop.is_set():
            raise
        line, *log = str(failure).split("\n", 1)
        raise NotebookFailed("\n".join([f"{line}{keep_failed(executed, results)}", *log])) from failure.__cause__
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return results
