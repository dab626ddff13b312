"""Functions and classes as text: their syntax trees, and the names in these that something else gives a meaning to.

A definition becomes a list of pieces: texts, and tuples such as ("rag", "losses", "kl") for the names. What runs may be
older than the file that it came from, so a source counts only where it compiles to the code that runs.
"""

import ast
import dis
import functools
import inspect
import linecache
import sys
import types
from collections.abc import Iterator
from importlib.abc import InspectLoader

Pieces = list[str | tuple[str, ...]]
Imports = dict[str, tuple[int, str, str | None]]  # local name -> (level, module, what of it) of the package's own
Parsed = tuple[list[ast.stmt], dict[tuple[str, int], list[types.CodeType]]]  # statements; codes by name and first line

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_UNWRITTEN = {"ctx", "kind", "type_comment", "annotation", "returns"}  # fields of a tree that change no result


@functools.cache
def function_pieces(code: types.CodeType, filename: str, qualname: str, package: str) -> tuple[Pieces, Imports]:
    """The function that runs as `code`, and its imports of `package`; as compiled where `filename` holds another one.

    Left out are layout, comments, docstrings, annotations, the function's own name, and the imports of the package.
    """
    for text in _texts_of(filename):
        for node, codes in _candidates(text, qualname):
            if any(_same(other, code) for other in codes):
                return _pieces(node, codes, package)
    return _compiled_pieces(code), {}


def class_pieces(cls: type, package: str) -> tuple[Pieces, Imports]:
    """As `function_pieces`, of a class with its name and methods. Raises TypeError for one that has no source."""
    methods = [getattr(member, "__func__", getattr(member, "fget", member)) for member in vars(cls).values()]
    methods = [inspect.unwrap(method) for method in methods if callable(method)]
    running = [method.__code__ for method in methods if isinstance(method, types.FunctionType)]
    module = sys.modules.get(cls.__module__)
    filename = getattr(module, "__file__", None) or next((code.co_filename for code in running), "")
    running = [code for code in running if code.co_filename == filename]  # without those that dataclasses makes
    for text in _texts_of(filename):
        for node, codes in _candidates(text, cls.__qualname__):
            there = [inner for code in codes for inner in _nested(code)]
            if all(any(_same(other, code) for other in there) for code in running):
                return _pieces(node, codes, package)
    if not running:
        raise TypeError(f"class {cls.__module__}.{cls.__qualname__} has no source: it cannot be part of a key")
    return [cls.__qualname__, *(piece for code in running for piece in _compiled_pieces(code))], {}


def source_text(source: str) -> str:
    """The syntax tree of a source as text: layout, comments, docstrings of definitions and annotations are left out.

    Raises SyntaxError for what is no Python.
    """
    pieces: Pieces = []
    _write(ast.parse(source).body, pieces, set(), set())
    return "".join(pieces)


# --- source and compiled code -----------------------------------------------------------------------------------------


def _texts_of(filename: str) -> Iterator[str]:
    """What a file holds, as it was when it was first read, and as it is now: it may be edited and loaded again."""
    yield "".join(linecache.getlines(filename))
    linecache.checkcache(filename)
    yield "".join(linecache.getlines(filename))


@functools.cache
def _parsed(text: str) -> Parsed:
    try:
        tree = ast.parse(text)
        compiled = InspectLoader.source_to_code(tree)  # to be compared; nothing is run
    except (SyntaxError, ValueError):
        return [], {}
    codes: dict[tuple[str, int], list[types.CodeType]] = {}
    for code in _nested(compiled):
        codes.setdefault((code.co_name, code.co_firstlineno), []).append(code)
    return tree.body, codes


def _candidates(text: str, qualname: str) -> Iterator[tuple[ast.AST, list[types.CodeType]]]:
    """Definitions of that name, each with its code as a list; not those of which one line has several."""
    statements, codes = _parsed(text)
    first = qualname.partition(".")[0]
    for statement in statements:
        if not isinstance(statement, _DEFINITIONS) or statement.name == first:
            for node in _named(statement, qualname, ""):
                line = min([node.lineno, *(part.lineno for part in getattr(node, "decorator_list", ()))])
                found = codes.get((getattr(node, "name", "<lambda>"), line), [])
                if len(found) == 1:  # of two lambdas in a line it cannot be told which is which
                    yield node, found


def _named(node: ast.AST, qualname: str, prefix: str) -> Iterator[ast.AST]:
    inside = prefix
    if isinstance(node, (*_DEFINITIONS, ast.Lambda)):
        own = prefix + getattr(node, "name", "<lambda>")
        if own == qualname:
            yield node
        if not qualname.startswith(f"{own}."):
            return
        inside = f"{own}." if isinstance(node, ast.ClassDef) else f"{own}.<locals>."
    for child in ast.iter_child_nodes(node):
        yield from _named(child, qualname, inside)


def _nested(code: types.CodeType) -> list[types.CodeType]:
    """The code and that of what is defined in it."""
    return [code, *(c for const in code.co_consts if isinstance(const, types.CodeType) for c in _nested(const))]


def _same(one: types.CodeType, other: types.CodeType) -> bool:
    """True for the same instructions, wherever they stand."""
    parts = ("co_code", "co_names", "co_varnames", "co_freevars")
    if any(getattr(one, part) != getattr(other, part) for part in parts):
        return False
    if len(one.co_consts) != len(other.co_consts):
        return False
    return all(map(_same_constant, one.co_consts, other.co_consts))


def _same_constant(one, other) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, types.CodeType):
        return _same(one, other)
    return one == other if isinstance(one, frozenset) else repr(one) == repr(other)


def _compiled_pieces(code: types.CodeType) -> Pieces:
    pieces: Pieces = [f"compiled {code.co_code.hex()} {code.co_names} {code.co_varnames} {code.co_freevars}"]
    chain: tuple[str, ...] = ()
    for instruction in dis.get_instructions(code):
        if chain and instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            chain += (instruction.argval,)
            continue
        pieces += [chain] if chain else []
        chain = (instruction.argval,) if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF") else ()
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            pieces += _compiled_pieces(const)
        else:
            pieces.append(repr(sorted(map(repr, const)) if isinstance(const, frozenset) else const))
    return pieces


# --- syntax trees -----------------------------------------------------------------------------------------------------


def _pieces(node: ast.AST, codes: list[types.CodeType], package: str) -> tuple[Pieces, Imports]:
    parts = list(ast.walk(node))
    own = [(part, found) for part in parts if (found := _own_imports(part, package))]
    imports = {local: target for _, found in own for local, target in found.items()}
    # Which names are not the function's own? Those that it loads and that no scope in it binds. A name that some scope
    # in it binds and another one does not is looked for in the instructions, and so is what is an attribute as well.
    nested = [inner for code in codes for inner in _nested(code)]
    local = {name for code in nested for name in (*code.co_varnames, *code.co_cellvars)}
    names = _loaded(parts) - local | {name for code in codes for name in code.co_freevars} | imports.keys()
    unclear = {name for code in nested for name in code.co_names if name in local}
    if unclear:
        instructions = [instruction for code in nested for instruction in dis.get_instructions(code)]
        names |= {i.argval for i in instructions if i.opname in ("LOAD_GLOBAL", "LOAD_NAME") and i.argval in unclear}
    for part in _around(node):
        names |= _loaded(ast.walk(part))
    pieces: Pieces = []
    _write(node, pieces, names, {id(part) for part, _ in own}, is_top=True)
    return pieces, imports


def _around(node: ast.AST) -> list[ast.AST]:
    """What is evaluated where the definition stands: decorators, bases and defaults."""
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *node.bases, *node.keywords]
    return [*getattr(node, "decorator_list", ()), *node.args.defaults, *filter(None, node.args.kw_defaults)]


def _loaded(parts) -> set[str]:
    return {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}


def _own_imports(node: ast.AST, package: str) -> Imports:
    """What an import statement brings in of the package, by local name."""
    if isinstance(node, ast.ImportFrom) and (node.level or node.module.partition(".")[0] == package):
        return {alias.asname or alias.name: (node.level, node.module or "", alias.name) for alias in node.names}
    if isinstance(node, ast.Import):
        own = [alias for alias in node.names if alias.name.partition(".")[0] == package]
        return {alias.asname or package: (0, alias.name if alias.asname else package, None) for alias in own}
    return {}


def _write(node, pieces: Pieces, names: set[str], skipped: set[int], is_top: bool = False) -> None:
    """Append a syntax tree, with chains that begin with one of `names` as tuples."""
    if isinstance(node, list):
        pieces.append("[")
        for part in node:
            if id(part) not in skipped:
                _write(part, pieces, names, skipped)
        pieces.append("]")
        return
    if not isinstance(node, ast.AST):
        pieces.append(f"{node!r} ")
        return
    chain = _chain(node)
    if chain and chain[0] in names:
        pieces.append(chain)
        return
    pieces.append(f"{type(node).__name__}(")
    for field in node._fields:
        value = getattr(node, field, None)
        if value is None or value == [] or field in _UNWRITTEN or (field == "name" and is_top and not _is_class(node)):
            continue
        if field == "body" and isinstance(node, _DEFINITIONS) and ast.get_docstring(node, clean=False) is not None:
            value = value[1:]
        pieces.append(f"{field}=")
        if field == "body" and _is_class(node):  # annotations are what the fields of a dataclass are made of
            for part in value:
                if isinstance(part, ast.AnnAssign):
                    _write(part.annotation, pieces, set(), skipped)
        _write(value, pieces, names, skipped)
    pieces.append(")")


def _is_class(node: ast.AST) -> bool:
    return isinstance(node, ast.ClassDef)


def _chain(node: ast.AST) -> tuple[str, ...]:
    """("a", "b", "c") of `a.b.c` where it is read; () of anything else."""
    attributes: tuple[str, ...] = ()
    while isinstance(node, ast.Attribute):
        attributes = (node.attr, *attributes)
        node = node.value
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        return (node.id, *attributes)
    return ()
