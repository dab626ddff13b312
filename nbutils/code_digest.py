"""The code that a result depends on, as a checksum: that of a function, and of all of the package that it names.

What counts is the syntax tree without comments, docstrings and annotations, with what a name stands for in place of the
name. So rewording, formatting, renaming a function or moving it to another file changes nothing; a changed callee or
constant, however far down, does.
"""

import contextlib
import contextvars
import dataclasses
import enum
import functools
import importlib
import importlib.util
import inspect
import logging
import re
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any

from nbutils.code_text import class_pieces, function_pieces
from nbutils.files import sha256_text

_PACKAGE = "nbutils"
# Modules of the package on which no number depends: what they hold is not looked at.
_GROUND_FLOOR = ("cache", "code_digest", "code_text", "errors", "files", "paths", "progress")
_PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes, range)
_METHODS_COUNT = (str, bytes, tuple, list, set, frozenset, dict, re.Pattern)  # as in FIND = re.compile("x").finditer
_IGNORED = (
    types.ModuleType, types.BuiltinFunctionType, types.MethodWrapperType, types.WrapperDescriptorType,
    types.MethodDescriptorType, type(threading.Lock()), type(threading.RLock()), logging.Logger, contextvars.ContextVar,
    PurePath,  # says where a file lies, not what is in it
)  # fmt: skip

_kept: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # function or class -> its code object and digest


def digest(function: Callable) -> str:
    """Hex digest of the code of a function or class and of everything of the package that it names, and so on down.

    Followed are functions, classes (methods and bases included), constants, names reached through modules of the
    package, imports inside functions, closures, decorators and `functools.partial`; other libraries are not. Nor can it
    be seen what is reached by a method of an argument, or by a string: digest that beside. A path is no part of it,
    since it says where a file lies, not what it holds. Annotations are not followed.

    Computed at the first call in a process and kept: a constant that is set while a program runs does not change it.
    A function whose file was edited since it was imported is described by its compiled code, not by the new file.
    Raises TypeError for a constant that has no description of its own, as an open file has none.
    """
    while not isinstance(function, (types.FunctionType, type)) and hasattr(function, "__wrapped__"):
        function = function.__wrapped__  # of functools.cache and its like
    keeps = isinstance(function, type) or (isinstance(function, types.FunctionType) and not function.__closure__)
    code = getattr(function, "__code__", None)
    if keeps:
        known_code, known = _kept.get(function, (None, ""))
        if known and known_code is code:  # another one where a notebook has loaded a module again
            return known
    walk = _Walk(_module_of(_innermost(function)))
    start = _describe(function, walk, getattr(function, "__qualname__", repr(function)))
    if start is None or not walk.found:
        raise TypeError(f"{function!r} has no code of its own here: name functions or classes of {_PACKAGE}")
    texts = [_definition(thing, walk) for thing in walk.found]  # `found` grows meanwhile
    result = sha256_text(start, *texts)
    if keeps:
        _kept[function] = (code, result)
    return result


@dataclasses.dataclass(frozen=True)
class _Walk:
    """What one digest has come across. Functions and classes are named by their numbers, so that recursion ends."""

    home: str  # module of the function that is asked about, which counts wherever it is
    found: list = dataclasses.field(default_factory=list)
    numbers: dict = dataclasses.field(default_factory=dict)  # id -> place in `found`


def _number(thing, walk: _Walk) -> str:
    if id(thing) not in walk.numbers:
        walk.numbers[id(thing)] = len(walk.found)
        walk.found.append(thing)
    return f"@{walk.numbers[id(thing)]}"


def _innermost(function):
    """What decorators, methods and partials were made of."""
    while True:
        inner = getattr(function, "__wrapped__", None) or getattr(function, "__func__", None)
        inner = inner or (function.func if isinstance(function, functools.partial) else None)
        if inner is None:
            return function
        function = inner


def _module_of(thing) -> str:
    """Where it was defined. Not a function's `__module__`: functools.wraps copies that of what is wrapped."""
    if isinstance(thing, types.FunctionType):
        return thing.__globals__.get("__name__", "")
    return getattr(thing, "__module__", None) or ""


def _counts(module: str, walk: _Walk) -> bool:
    package, _, rest = module.partition(".")
    return module in (walk.home, "__main__") or (package == _PACKAGE and rest.partition(".")[0] not in _GROUND_FLOOR)


# --- values -----------------------------------------------------------------------------------------------------------


def _describe(value, walk: _Walk, name: str) -> str | None:
    """A text that is the same in every process, or None for what does not count; `name` is for the error message."""
    if type(value) in _PLAIN:
        return repr(value)
    if _is_typing(value):
        return None
    if isinstance(value, (types.FunctionType, type)):
        if _counts(_module_of(value), walk):
            return _number(value, walk)
        inner = vars(value).get("__wrapped__")
        return None if inner is None else _describe(inner, walk, name)
    if isinstance(value, types.ModuleType) and _is_ours(value.__name__, walk):
        raise TypeError(f"{name} is the whole module {value.__name__}: name the functions that are used of it")
    if isinstance(value, functools.partial):
        given = (value.func, *value.args, *(part for item in sorted(value.keywords.items()) for part in item))
        return f"partial{_describe_all(given, walk, name)}"
    if isinstance(value, (types.MethodType, staticmethod, classmethod)):
        method = _describe(value.__func__, walk, name)
        if method is None or not inspect.ismethod(value):
            return method
        return f"{_describe(value.__self__, walk, name)}.{method}"
    if isinstance(value, types.BuiltinFunctionType) and type(value.__self__) in _METHODS_COUNT:
        return f"{_describe(value.__self__, walk, name)}.{value.__name__}"
    if hasattr(value, "__wrapped__"):
        return _describe(value.__wrapped__, walk, name)
    return None if isinstance(value, _IGNORED) else _describe_data(value, walk, name)


def _describe_data(value, walk: _Walk, name: str) -> str:
    kind = type(value)
    label = _describe(kind, walk, name) or kind.__qualname__
    if isinstance(value, enum.Enum):
        return f"{label}.{value.name}"
    if isinstance(value, re.Pattern):
        return f"{label}({value.pattern!r}, {value.flags})"
    if isinstance(value, (tuple, list)):
        return f"{label}{_describe_all(value, walk, name)}"
    if isinstance(value, (set, frozenset)):
        return f"{label}({', '.join(sorted(_describe(item, walk, name) or '_' for item in value))})"
    if isinstance(value, (dict, types.MappingProxyType)):
        return f"{label}{_describe_all((part for item in value.items() for part in item), walk, name)}"
    if dataclasses.is_dataclass(value) and kind.__dataclass_params__.frozen:
        fields = (getattr(value, field.name) for field in dataclasses.fields(value))
        return f"{label}{_describe_all(fields, walk, name)}"
    if kind is object or kind.__module__ == "operator":  # a mark that something is missing; attrgetter and its like
        return "object()" if kind is object else repr(value)
    raise TypeError(f"{name} is {value!r:.80}, of which no key can be made: name what it is made from instead")


def _describe_all(values, walk: _Walk, name: str) -> str:
    return f"({', '.join(_describe(value, walk, name) or '_' for value in values)})"


def _is_typing(value) -> bool:
    kind = type(value)  # not isinstance: list[int] claims to be a type in Python 3.10
    return kind.__module__ in ("typing", "typing_extensions") or kind in (types.GenericAlias, types.UnionType)


# --- definitions ------------------------------------------------------------------------------------------------------


def _definition(thing, walk: _Walk) -> str:
    """A function or class as text, with what its names stand for in place of these."""
    where = f"{thing.__module__}.{thing.__qualname__}"
    if isinstance(thing, type):
        pieces, imports = class_pieces(thing, _PACKAGE)
        scopes = [vars(sys.modules[thing.__module__]) if thing.__module__ in sys.modules else {}]
        beside = [base for base in thing.__bases__ if base is not object]
    else:
        code = thing.__code__
        pieces, imports = function_pieces(code, code.co_filename, thing.__qualname__, _PACKAGE)
        scopes = [dict(_cells(thing)), thing.__globals__]
        beside = [vars(thing).get("__wrapped__")]
        if "<locals>" in thing.__qualname__:  # its defaults were made of another function's variables
            beside += [thing.__defaults__, thing.__kwdefaults__]
    package = scopes[-1].get("__package__") or ""
    scopes.insert(0, {local: _imported(*target, package) for local, target in imports.items()})
    texts = [piece if isinstance(piece, str) else _stands_for(piece, scopes, walk, where) for piece in pieces]
    return "".join(texts) + _describe_all(beside, walk, where)


def _stands_for(chain: tuple[str, ...], scopes: list[dict], walk: _Walk, where: str) -> str:
    """What `a.b.c` is, as far as it counts; otherwise the names themselves."""
    literal = ".".join(chain)
    scope = next((scope for scope in scopes if chain[0] in scope), None)
    if scope is None or chain[0].startswith("__"):  # __file__ is another one in each checkout
        return literal
    value, rest = scope[chain[0]], chain[1:]
    while rest and isinstance(value, types.ModuleType) and _is_ours(value.__name__, walk):
        if rest[0].startswith("__") or not hasattr(value, rest[0]):
            return literal
        value, rest = getattr(value, rest[0]), rest[1:]
    described = _describe(value, walk, f"{literal} in {where}")
    return literal if described is None else ".".join([f"<{described}>", *rest])


def _is_ours(module: str, walk: _Walk) -> bool:
    return module == walk.home or module.partition(".")[0] == _PACKAGE


def _cells(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # empty as yet
            yield name, cell.cell_contents


def _imported(level: int, module: str, attribute: str | None, package: str):
    """What an import inside a function gives: a module, or what one holds."""
    found = importlib.import_module(importlib.util.resolve_name("." * level + module, package))
    if attribute is None or hasattr(found, attribute):
        return found if attribute is None else getattr(found, attribute)
    return importlib.import_module(f"{found.__name__}.{attribute}")
