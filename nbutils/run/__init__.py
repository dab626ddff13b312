"""The strict runner of notebooks: wrong parameters are errors, results are replaced whole or not at all.

`notebook` finds and reads notebook files, `parameters` checks what they are given, `kernel` and `environment` say what
runs them and with which settings, `job` executes one in a process of its own, `results` puts what came out in place,
`freshness` says whether a run is needed, `one` runs a notebook from start to publishing, and `batch` runs several.
"""

from nbutils.run.batch import Outcome, run_notebooks
from nbutils.run.failures import DISK_FULL, NotebookFailed
from nbutils.run.freshness import freshness_key, why_stale
from nbutils.run.job import TIMEOUT_S
from nbutils.run.notebook import find_notebooks, is_notebook_name, notebook_title
from nbutils.run.one import run_notebook
from nbutils.run.parameters import NONE, check_parameters, notebook_parameters, resolve_parameters
from nbutils.run.results import strip

__all__ = [
    "DISK_FULL",
    "NONE",
    "TIMEOUT_S",
    "NotebookFailed",
    "Outcome",
    "check_parameters",
    "find_notebooks",
    "freshness_key",
    "is_notebook_name",
    "notebook_parameters",
    "notebook_title",
    "resolve_parameters",
    "run_notebook",
    "run_notebooks",
    "strip",
    "why_stale",
]
