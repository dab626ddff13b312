"""Files that are written whole or not at all, and what they contain as a checksum."""

import ast
import hashlib
import inspect
import os
import shutil
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside `target`; what is written there replaces `target` when the block succeeds.

    Works for a file and for a folder (the block creates whichever it needs). When the block raises, whatever the
    reason (Ctrl-C and a full disk included), the temporary is removed and an earlier `target` is left as it was.
    """
    target = Path(os.path.abspath(target))  # "." has no name that a temporary could stand beside
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    temporary = scratch / target.name
    replaced = scratch / f"{target.name}.replaced"
    try:
        yield temporary
        if temporary.is_dir() and target.is_dir():
            # A non-empty folder cannot be replaced in one step: move the old one aside first.
            os.replace(target, replaced)
        os.replace(temporary, target)
    except BaseException:
        if os.path.lexists(replaced) and not os.path.lexists(target):
            os.replace(replaced, target)  # interrupted between the two moves
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Nothing; while the block runs, every other process that asks for the same `lock` waits.

    The lock file stays behind, empty: removing it would let a third process in.
    """
    from filelock import FileLock

    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):  # released by the system when a process is killed
        yield


def write_text(target: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_text(*parts: str) -> str:
    """Hex digest of several strings; where one ends and the next begins matters."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()


# Temporary, for call sites that have not moved to `cache.key` yet: goes at the merge, with its tests in test_files.py.
def sha256_source(*parts: ModuleType | Callable) -> str:
    """Hex digest of the code of modules, classes or functions: a cache key that holds it outlives no change of code.

    Comments, docstrings and layout do not count: rewording one must not throw away hours of work. Call it while the
    module is imported (the module itself is `sys.modules[__name__]`): a file may change under a running program.
    """
    return sha256_text(*(_code(textwrap.dedent(inspect.getsource(part))) for part in parts))


def _code(source: str) -> str:
    """The syntax tree of `source` without docstrings, as text."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
