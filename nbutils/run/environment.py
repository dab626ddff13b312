"""The environment of a notebook's processes: the caller's, less what would change what a notebook does or shows."""

import os
import tempfile
from pathlib import Path

from nbutils import paths

# Variable -> what it does to a kernel. Such settings of a shell have no place in results that others shall repeat.
DROPPED = {
    "MPLBACKEND": "sends figures elsewhere, and none into the notebook",
    "MATPLOTLIBRC": "gives figures another style",
    "PYTHONSTARTUP": "names a file that IPython runs before the first cell",
    "PYTHONOPTIMIZE": "leaves asserts unchecked, and functions without docstrings",
    "PYTHONWARNINGS": "makes warnings errors, or shows more of them between the results",
    "PYTHONDEVMODE": "shows more warnings",
    "PYTHONINSPECT": "keeps Python waiting for input at its end",
    "PYTHONVERBOSE": "logs every import",
    "PYTHONPROFILEIMPORTTIME": "logs every import",
    "TRANSFORMERS_VERBOSITY": "shows log lines between the results",
    "DATASETS_VERBOSITY": "shows log lines between the results",
}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


def child_environment(scratch: str | Path, threads: int | None) -> dict[str, str]:
    """The caller's environment without `DROPPED`, with this package importable and progress bars off.

    What Jupyter, IPython and matplotlib write goes below the folder `scratch` and into the cache: the home may not be
    writable, and the startup files, settings and styles in it are one user's own. `threads` limits those of the
    libraries, None leaves them.
    """
    environment = {name: value for name, value in os.environ.items() if name not in DROPPED}
    environment["TQDM_DISABLE"] = "1"
    # The child and the kernel run elsewhere: relative entries would no longer mean the same folders.
    inherited = [str(Path(entry).resolve()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    environment["PYTHONPATH"] = os.pathsep.join([str(paths.ROOT), *inherited])
    environment[paths.CACHE_VARIABLE] = str(paths.CACHE)
    environment["IPYTHONDIR"] = str(Path(scratch) / "ipython")
    environment["JUPYTER_RUNTIME_DIR"] = str(Path(scratch) / "jupyter")
    environment["MPLCONFIGDIR"] = str(_matplotlib_folder(Path(scratch)))
    if threads is not None:
        environment |= dict.fromkeys(THREADS, str(threads))
    return environment


def _matplotlib_folder(scratch: Path) -> Path:
    """Where matplotlib keeps its list of fonts, which takes seconds to make: in the cache, if that can be written."""
    folder = paths.CACHE / "matplotlib"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # permissions alone do not tell
    except OSError:
        folder = scratch / "matplotlib"
        folder.mkdir(exist_ok=True)
    return folder
