"""A notebook's parameters: read from its parameters cell, and the values given for them checked.

Parameters are annotated literals, `name: type = value  # help`, with type int, float, str or bool. The help may end in
a range `[1..100]`, `[0..]`, `[..1.0]` or in choices `[mean|max]`. Without one, counts (`n_*`) are at least 1 and
`seed` at least 0. A value derived from another parameter is refused: papermill would leave it at its old value.
"""

import ast
import difflib
import math
import re
from collections.abc import Mapping
from pathlib import Path

from nbutils.errors import InputError
from nbutils.run.notebook import escape_braces, kernel_name, read_cells

RUNNER_PARAMETERS = ("scale", "out_dir")
NONE = "None"  # as `-p name=None` gives it, and as `list` shows it


def notebook_parameters(path: Path) -> dict[str, dict]:
    """Name -> {"type", "default", "help"} of the notebook's parameters, in the order of its parameters cell.

    Raises InputError when the cell holds anything but annotated literals, because papermill would mishandle it.
    """
    import papermill

    kernel_name(path)  # papermill needs it, and its own message does not help
    inspected = papermill.inspect_notebook(escape_braces(str(path)))
    parameters = {}
    for name, default in default_values(path).items():
        if name not in inspected or inspected[name]["inferred_type_name"] not in ("int", "float", "str", "bool"):
            raise InputError(
                f"{path.name}: papermill cannot read parameter {name!r}; write `{name}: type = value  # help` on one "
                "line, with type int, float, str or bool"
            )
        kind = inspected[name]["inferred_type_name"]
        parameters[name] = {"type": kind, "default": default, "help": inspected[name]["help"]}
        if default is not None:
            _checked(path.name, name, default, parameters[name])
    return parameters


def default_values(path: Path) -> dict[str, object]:
    """Name -> default value of the assignments in the cell tagged `parameters`.

    Raises InputError when there is not one such cell, or when it holds anything but annotated literals.
    """
    cells = [cell for cell in read_cells(path) if "parameters" in cell["metadata"].get("tags", [])]
    if len(cells) != 1:
        raise InputError(f"{path.name}: {len(cells)} cells are tagged 'parameters'; there must be one")
    try:
        statements = ast.parse(cells[0]["source"]).body
    except SyntaxError as error:
        raise InputError(f"{path.name}: the parameters cell is not Python (line {error.lineno})") from error
    values = {}
    for statement in statements:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            line = cells[0]["source"].splitlines()[statement.lineno - 1]
            raise InputError(f"{path.name}: the parameters cell holds `{line}`; write `name: type = value  # help`")
        name = statement.target.id
        try:
            values[name] = ast.literal_eval(statement.value)
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{path.name}: parameter {name!r} is no literal, so papermill would leave it at its old value; "
                "derive it in the setup cell"
            ) from error
    return values


def resolve_parameters(path: Path, scale: str, parameters: Mapping[str, object] | None) -> dict[str, object]:
    """Checked parameters with the scale among them.

    Raises InputError for what `check_parameters` refuses, and for a parameter that the runner itself sets.
    """
    taken = [name for name in RUNNER_PARAMETERS if name in (parameters or {})]
    if taken:
        raise InputError(f"{taken[0]!r} is not given as a parameter; use --{taken[0].replace('_', '-')}")
    defaults = default_values(path)
    missing = [name for name in RUNNER_PARAMETERS if name not in defaults]
    if missing:
        raise InputError(f"{path.name} has no parameter {missing[0]!r}, which the runner sets")
    return check_parameters(path, {**(parameters or {}), "scale": scale})


def are_defaults(path: Path, values: Mapping[str, object]) -> bool:
    """Whether these values are the notebook's own defaults."""
    defaults = default_values(path)
    return all(value == defaults[name] for name, value in values.items())


def check_parameters(path: Path, given: Mapping[str, object]) -> dict[str, object]:
    """The given values with their types, text parsed by the notebook's annotations ("007" stays text for a str).

    The text "None" is None, which stands for the preset's value: for parameters whose default is None, and no others.
    Raises InputError for an unknown name, a wrong type, or a value out of range.
    """
    known = notebook_parameters(path)
    checked = {}
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(known)}"
            raise InputError(f"{path.name} has no parameter {name!r}; {hint}")
        checked[name] = _checked(path.name, name, value, known[name])
    return checked


def _checked(where: str, name: str, value: object, parameter: dict) -> object:
    """`value` as the parameter's type and inside its range."""
    kind = parameter["type"]
    if value is None or value == NONE:
        if parameter["default"] is None:
            return None
        raise InputError(
            f"{where}: parameter {name!r} cannot be None: its default is {parameter['default']!r}, not the preset's; "
            f"leave it out, or give one of type {kind}"
        )
    typed: object = None
    if isinstance(value, str):
        typed = _parse(value, kind)
    elif kind == "float" and type(value) in (int, float):
        typed = float(value)
    elif type(value).__name__ == kind:
        typed = value
    if typed is None or (isinstance(typed, float) and not math.isfinite(typed)):
        raise InputError(f"{where}: parameter {name!r} is of type {kind}, and {value!r} is not")
    low, high, choices = _limits(name, parameter)
    if choices and typed not in choices:
        raise InputError(f"{where}: parameter {name!r} is one of {', '.join(choices)}, not {typed!r}")
    if (low is not None and typed < low) or (high is not None and typed > high):
        raise InputError(f"{where}: parameter {name!r} must be {_in_words(low, high)}, not {typed!r}")
    return typed


def _parse(text: str, kind: str) -> object:
    """`text` as a value of type `kind`, or None when it is not one."""
    if kind == "str":
        return text
    if kind == "bool":
        return {"true": True, "false": False}.get(text.lower())
    try:
        return int(text) if kind == "int" else float(text)
    except ValueError:
        return None


def _limits(name: str, parameter: dict) -> tuple[float | None, float | None, tuple[str, ...]]:
    """(lowest, highest, choices) from the end of the help text, or by the name."""
    if name == "scale":
        from nbutils.presets import SCALES

        return None, None, SCALES
    numeric = parameter["type"] in ("int", "float")
    if bracket := re.search(r"\[[^\[\]]*\]$", parameter["help"]):
        return _limits_in_help(name, parameter["type"], bracket[0])
    if numeric and name.startswith("n_"):
        return 1, None, ()
    if numeric and name == "seed":
        return 0, None, ()
    return None, None, ()


def _limits_in_help(name: str, kind: str, bracket: str) -> tuple[float | None, float | None, tuple[str, ...]]:
    """(lowest, highest, choices) that `[1..9]` or `[a|b]` stands for."""
    number = r"\s*([-+]?[\d.]*\d(?:e[-+]?\d+)?)?\s*"
    if kind in ("int", "float") and (found := re.fullmatch(rf"\[{number}\.\.{number}\]", bracket)):
        low, high = (None if text is None else float(text) for text in found.groups())
        return low, high, ()
    if kind == "str" and "|" in bracket:
        return None, None, tuple(choice.strip() for choice in bracket[1:-1].split("|"))
    raise InputError(f"parameter {name!r}: {bracket} is no range of {kind}; write [1..9] or [a|b]")


def _in_words(low: float | None, high: float | None) -> str:
    """A range, of which at least one end is given, as the end of "must be"."""
    if high is None:
        return f"at least {low:g}"
    if low is None:
        return f"at most {high:g}"
    return f"{low:g} to {high:g}"
