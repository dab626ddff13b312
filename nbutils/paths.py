"""Where things are: the only module that knows the layout of the repository."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
CLAIMS = NOTEBOOKS / "claims"  # one file a notebook, NN.yaml
FIGURES = ROOT / "figures"
DATA = ROOT / "data"
CACHE_VARIABLE = "NBUTILS_CACHE"  # moves the cache; a relative path counts from the repository, wherever a process runs
CACHE = ROOT / os.path.expanduser(os.environ.get(CACHE_VARIABLE) or "data/cache")
README = ROOT / "README.md"
PROMPTS = Path(__file__).resolve().parent / "prompts"
FACTBOOK = Path(__file__).resolve().parent / "data" / "factbook"  # the code and tables of the data set
METRICS = Path(__file__).resolve().parent / "metrics" / "modules"


def results_dir(notebook: str, scale: str, out_dir: str | Path | None = None) -> Path:
    """Folder of one notebook's record and figures, `<out_dir or figures/>/<scale>/<notebook>/`."""
    return Path(out_dir or FIGURES) / scale / notebook
