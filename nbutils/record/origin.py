"""What code made a record, by name, and what of it has changed since.

That is the code of the notebook, cell by cell; the functions and constants of the package that it names, each with all
that these name in turn; the files of the package that are read while it runs; and the papers' values in its figures.
Layout, comments and docstrings count nowhere, so that rewording or moving code leaves a record as it is.
"""

import ast
import functools
import importlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from nbutils import code_digest, files, paths, presets
from nbutils.code_text import source_text
from nbutils.errors import InputError
from nbutils.record.claim_files import load_paper
from nbutils.record.values import plain

MISSING = "there is nothing of that name"

_PACKAGE = "nbutils"
_ROOT = Path(__file__).resolve().parents[1]
# What these give is in the record itself, and compared there: how they do it changes no number.
_IN_THE_RECORD = (
    "nbutils.record.record.Record",
    "nbutils.presets.load_preset",
    "nbutils.record.claim_files.paper_values",
)
# Reached by methods of the record, which a notebook does not name: its intervals. `report` judges verdicts again.
_BY_METHODS = ("metrics.bootstrap_mean",)


def made_by(path: Path) -> dict[str, dict[str, Any]]:
    """What a run of the notebook at `path` is made by: {"notebook": {cell id: digest}, "functions": {"data.sample":
    digest}, "files": {"prompts/question.txt": digest}, "paper": {"figure/group/method": percent}}.

    The parameters cell and papermill's are left out. Raises InputError when there is no such notebook, and for a name
    of the package of which there is no digest.
    """
    cells = _code_cells(path)
    trees = [tree for tree in map(_parsed, cells.values()) if tree is not None]
    return {
        "notebook": {id_: _text_sha256(source) for id_, source in cells.items()},
        "functions": _functions(path.name, trees),
        "files": dict(_package_files()),
        "paper": _paper(path, trees),
    }


def changes(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of `kept`, an earlier result of `made_by`, is no longer so `now`: names of functions, files, cells.

    What has come since, as the file of another notebook's prompt, is no change: no cell that counts could name it.
    """
    if not kept:
        return ["what made it was not noted"]
    found = []
    if [*kept["notebook"].items()] != [*now["notebook"].items()]:
        cells = dict.fromkeys([*now["notebook"], *kept["notebook"]])
        cells = [id_ for id_ in cells if kept["notebook"].get(id_) != now["notebook"].get(id_)]
        found.append(f"notebook ({', '.join(f'cell {id_}' for id_ in cells) or 'order of cells'})")
    # A function that the notebook names no longer is a change of a cell, which is said above.
    same_notebook = {name: now["functions"][name] for name in kept["functions"] if name in now["functions"]}
    found += [name for name, digest in same_notebook.items() if kept["functions"][name] != digest]
    found += [name for name, digest in kept["files"].items() if now["files"].get(name) != digest]
    found += [f"paper value {name}" for name, value in kept["paper"].items() if now["paper"].get(name) != value]
    return found


def changes_since(record: Mapping[str, Any], path: Path) -> list[str]:
    """Why the record of the notebook at `path` is not what a run would make now, as far as code and preset go; [] if
    it is.
    """
    from dataclasses import asdict

    known = presets.parameter_names(record["notebook"], record["scale"])
    given = {name: value for name, value in record["parameters"].items() if name in known}
    preset = plain("preset", asdict(presets.load_preset(record["notebook"], record["scale"], given)))
    changed = [] if record["preset"] == preset else ["preset"]
    return changed + changes(record["made_by"], made_by(path))


# --- the notebook -----------------------------------------------------------------------------------------------------


def _code_cells(path: Path) -> dict[str, str]:
    """{id: source} of the code cells in order, without the parameters cell and papermill's injected one."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except FileNotFoundError as error:
        raise InputError(f"no notebook {path.name} in {path.parent.name}/: a record names its notebook") from error
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path.name} is not a notebook of format 4") from error
    found = {}
    for number, cell in enumerate(cells):
        tags = cell.get("metadata", {}).get("tags", [])
        if cell["cell_type"] == "code" and not {"parameters", "injected-parameters"} & set(tags):
            # a list of lines in the file, or one string; ids came with format 4.5
            found[cell.get("id", f"number {number}")] = "".join(cell["source"])
    return found


def _parsed(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except SyntaxError:  # a magic command
        return None


def _text_sha256(source: str) -> str:
    return files.sha256_text(source if _parsed(source) is None else source_text(source))


def _paper(path: Path, trees: Iterable[ast.Module]) -> dict[str, float]:
    """The papers' values of the figures that the notebook names, as any text of its code may do."""
    claims = paths.CLAIMS / f"{path.stem[:2]}.yaml"
    if not claims.is_file():
        return {}
    texts = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    paper = load_paper(claims)
    return {name: entry["value"] for name, entry in paper.items() if name.partition("/")[0] in texts}


# --- the package ------------------------------------------------------------------------------------------------------


def _functions(file: str, trees: list[ast.Module]) -> dict[str, str]:
    """{name: digest} of what the code names of the package, by the names that a reader would import."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {local: target for node in nodes for local, target in _imports(node).items()}
    chains = {chain for node in nodes if (chain := _chain(node)) and chain[0] in imported}
    found = {name: _resolved(f"{_PACKAGE}.{name}")[1] for name in _BY_METHODS}
    for first, *rest in chains:
        name, value = _resolved(".".join([imported[first], *rest]))
        if not isinstance(value, ModuleType) and _full_name(value) not in _IN_THE_RECORD:
            found[name] = value
    return {name: _digest(f"{file} names {_PACKAGE}.{name}", found[name]) for name in sorted(found)}


def _imports(node: ast.AST) -> dict[str, str]:
    """What an import statement brings in of the package: {local name: dotted path}."""
    if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").partition(".")[0] == _PACKAGE:
        return {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    if isinstance(node, ast.Import):
        own = [alias for alias in node.names if alias.name.partition(".")[0] == _PACKAGE]
        return {alias.asname or _PACKAGE: alias.name if alias.asname else _PACKAGE for alias in own}
    return {}


def _chain(node: ast.AST) -> tuple[str, ...]:
    """("data", "sample") of `data.sample`; () of anything else."""
    attributes: tuple[str, ...] = ()
    while isinstance(node, ast.Attribute):
        attributes = (node.attr, *attributes)
        node = node.value
    return (node.id, *attributes) if isinstance(node, ast.Name) else ()


def _resolved(path: str) -> tuple[str, Any]:
    """What a dotted path leads to, and the path as far as that lies, without the package's name."""
    value: Any = importlib.import_module(_PACKAGE)
    names = path.split(".")[1:]
    taken = []
    while names and isinstance(value, ModuleType):
        taken.append(names.pop(0))
        if not hasattr(value, taken[-1]):
            try:
                importlib.import_module(f"{value.__name__}.{taken[-1]}")
            except ImportError:
                return ".".join([*taken, *names]), MISSING
        value = getattr(value, taken[-1])
    return ".".join(taken), value


def _full_name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


def _digest(where: str, value: Any) -> str:
    if value is MISSING:
        return MISSING
    try:
        return code_digest.digest(value if callable(value) else functools.partial(_constant, value))
    except TypeError as error:
        raise InputError(f"{where}, of which no digest can be made: {error}") from error


def _constant(value: Any) -> Any:
    """A function whose digest, as a partial of a constant, is that of the constant."""
    return value


def _package_files() -> Iterable[tuple[str, str]]:
    """(path, digest) of what functions read by a path, of which their digests know nothing: prompts, tables, metrics.

    Pages are left out: no number is in a template.
    """
    for path in sorted(path for path in _ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        is_metric = paths.METRICS in path.parents
        if "templates" not in path.parts and (is_metric or path.suffix != ".py"):
            is_code = path.suffix == ".py"
            digest = _text_sha256(path.read_text(encoding="utf-8")) if is_code else files.sha256_file(path)
            yield path.relative_to(_ROOT).as_posix(), digest
