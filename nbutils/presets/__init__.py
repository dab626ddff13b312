"""How large each notebook's run is at each scale: sizes and names only, never a method or a metric. A file a notebook.

The presets of `NN_slug` are in `slug.py`: a dataclass of the sizes, and `PRESETS`, which maps a scale to one of them.
"""

import importlib
import pkgutil
from dataclasses import fields, is_dataclass, replace
from types import ModuleType
from typing import Any, get_args, get_origin, get_type_hints

from nbutils import paths
from nbutils.errors import InputError

SCALES = ("smoke", "tiny", "gpu", "paper")  # in rising order


def find_presets() -> dict[str, dict[str, Any]]:
    """The presets of every file here that has some, by scale, in the order of their notebooks: {"01_rag": {"smoke":
    ..., ...}, ...}. Without its notebook, a file's are under its own name.
    """
    return {name: module.PRESETS for name, module in _modules().items()}


def _modules() -> dict[str, ModuleType]:
    """{notebook: the file of its presets}, in the order of the notebooks."""
    notebooks = {path.stem[3:]: path.stem for path in paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")}
    modules = {file.name: importlib.import_module(f"{__name__}.{file.name}") for file in pkgutil.iter_modules(__path__)}
    found = {notebooks.get(name, name): module for name, module in modules.items() if hasattr(module, "PRESETS")}
    return dict(sorted(found.items()))


def load_preset(notebook: str, scale: str, parameters: dict[str, Any]) -> Any:
    """The preset of a notebook at a scale, with the parameters that are not None put in.

    A parameter has the name of a field, or one to which the file's `PARAMETERS` gives one or more fields, of a group
    by a dot: {"train_steps": ("joint.n_steps",)}.
    Raises InputError for an unknown notebook, scale or parameter, for a value of another type than the field's, for a
    count below 1, for training that would end before its learning rate has warmed up, and for what the preset's own
    dataclass refuses.
    """
    found = _modules()
    module = found.get(notebook) or found.get(notebook[3:])  # by the slug alone where the notebooks are not at hand
    if module is None:
        raise InputError(f"no presets for notebook {notebook!r}: known are {', '.join(found)}")
    if scale not in module.PRESETS:
        raise InputError(f"no scale {scale!r}: use one of {', '.join(module.PRESETS)}")
    preset = module.PRESETS[scale]
    fields_of = _fields_by_parameter(module, preset)
    given = {name: value for name, value in parameters.items() if value is not None}
    changes: dict[str, dict[str, Any]] = {"": {}}  # group -> field -> value; "": the preset's own fields
    for name, value in given.items():
        if name not in fields_of:
            raise InputError(f"preset of {notebook} has no {name!r}: known are {', '.join(fields_of)}")
        for path in fields_of[name]:
            group, _, field = path.rpartition(".")
            _check_type(name, value, get_type_hints(type(getattr(preset, group) if group else preset))[field])
        values = value if isinstance(value, tuple) else (value,)
        if is_count(name) and (not values or min(values) < 1):
            raise InputError(f"{name} = {value}: give at least 1")
        for path in fields_of[name]:
            group, _, field = path.rpartition(".")
            changes.setdefault(group, {})[field] = value
    chosen = changes.pop("")
    for group, values in changes.items():
        chosen[group] = replace(getattr(preset, group), **values)
    for name, value in given.items():
        for path in fields_of[name]:
            group, _, field = path.rpartition(".")
            warmup_steps = chosen[group].warmup_steps if field == "n_steps" else 0
            if field == "n_steps" and value <= warmup_steps:
                raise InputError(f"{name} = {value}: give more than the {warmup_steps} steps of the warm-up")
    return replace(preset, **chosen)


def _check_type(name: str, value: Any, wanted: Any) -> None:
    """The runner gives values their types; plain papermill guesses them: 007 is the number 7, and 1e5 a float."""
    if _is_of(value, wanted):
        return
    kind = wanted.__name__ if type(wanted) is type else str(wanted)
    advice = "papermill reads text that looks like a number as one: give it by -r in place of -p"
    advice = advice if _is_of("", wanted) else "write all digits of a whole number, without point or e"
    raise InputError(f"{name} = {value!r} is of type {type(value).__name__}, not {kind}; {advice}")


def _is_of(value: Any, wanted: Any) -> bool:
    if get_origin(wanted) is tuple:
        return isinstance(value, tuple) and all(_is_of(item, get_args(wanted)[0]) for item in value)
    if get_args(wanted):  # int | None
        return any(_is_of(value, kind) for kind in get_args(wanted))
    return type(value) is wanted or (wanted is float and type(value) is int)


def parameter_names(notebook: str, scale: str) -> set[str]:
    """Names of the parameters that `load_preset` takes for this notebook."""
    module = _modules()[notebook]
    return {*_fields_by_parameter(module, module.PRESETS[scale])}


def _fields_by_parameter(module: ModuleType, preset: Any) -> dict[str, tuple[str, ...]]:
    return {name: (name,) for name in flattened(preset)} | getattr(module, "PARAMETERS", {})


def flattened(preset: Any) -> dict[str, Any]:
    """Every value of a preset by its name, that of a group's field with a dot: {"sources.dataset": "factbook", ...}."""
    found = {}
    for field in fields(preset):
        value = getattr(preset, field.name)
        if is_dataclass(value):
            found |= {f"{field.name}.{name}": inner for name, inner in flattened(value).items()}
        else:
            found[field.name] = value
    return found


def is_count(name: str) -> bool:
    """Whether a field counts something, of which there must be at least one. Steps may be 0: no such training."""
    field = name.rpartition(".")[2]
    return field.startswith(("n_", "max_new_", "max_words_")) and field != "n_steps"
