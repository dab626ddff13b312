"""Notebook files: finding them by name, and reading cells, title and kernel without any library."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from nbutils import paths
from nbutils.errors import InputError


def find_notebooks(names: Iterable[str] = (), folder: Path | None = None) -> list[Path]:
    """The notebooks `NN_slug.ipynb` of a folder, in order, or those named ("00", "00_start_here").

    Raises InputError for a name that matches none, or when there is no notebook at all.
    """
    folder = Path(folder or paths.NOTEBOOKS)
    known = {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")) if is_notebook_name(path.stem)}
    if not known:
        raise InputError(f"no notebook NN_slug.ipynb in {display_path(folder)}")
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


def notebook_title(path: Path) -> str:
    """The first heading of a notebook, without the hash."""
    for cell in read_cells(path):
        if cell["cell_type"] == "markdown" and (found := re.search(r"^# +(.+)$", cell["source"], re.MULTILINE)):
            return found[1].strip()
    return path.stem


def read_cells(path: Path) -> list[dict]:
    """The cells of a notebook as plain dictionaries, their source as one string."""
    return [{**cell, "source": "".join(cell["source"])} for cell in _read(path)["cells"]]


def _read(path: Path) -> dict:
    """A notebook file's JSON."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{display_path(path)} is not a notebook: {error}") from error
    if notebook.get("nbformat") != 4:
        raise InputError(f"{display_path(path)} is not a notebook of format 4; open and save it in JupyterLab")
    return notebook


def kernel_name(path: Path) -> str:
    """The kernel that the notebook asks for; papermill wants to know the language as well.

    Raises InputError when the notebook names none.
    """
    metadata = _read(path).get("metadata", {})
    kernel = metadata.get("kernelspec", {})
    if not kernel.get("name") or not (metadata.get("language_info", {}).get("name") or kernel.get("language")):
        raise InputError(f"{path.name} names no kernel; open it in JupyterLab, choose Python 3 and save")
    return kernel["name"]


def is_own_code(cell: dict) -> bool:
    """Whether it is a code cell of the notebook's author, not the one that papermill injects."""
    return cell["cell_type"] == "code" and "injected-parameters" not in cell["metadata"].get("tags", [])


def escape_braces(path: str) -> str:
    """A path that papermill, which takes paths as format strings, reads as it is."""
    return path.replace("{", "{{").replace("}", "}}")


def display_path(path: Path) -> str:
    """A path as people want to read it: relative to where they are, if it lies below."""
    path = Path(path).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
