"""Results kept by content, all kinds of them: what was computed once from the same code, model, texts and settings.

Everything lies in `data/cache/<kind>/`, or where NBUTILS_CACHE says, under a key that says what it depends on: files
written whole or not at all, and folders with a lock beside. What is missing or damaged is computed again, once it is
clear that it can be kept. `with off():` computes everything.
"""

import errno
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np

from nbutils import paths
from nbutils.code_digest import digest
from nbutils.errors import InputError
from nbutils.files import atomic_path, exclusive, sha256_text

MODELS = "models"  # kind of the converted checkpoints: `prune` leaves them alone
DOWNLOADS = "downloads"  # kind of other people's files, which no code could make again: it leaves them alone too
_DAY = 86_400
_GONE = float("inf")  # last use of what somebody else has just removed

_is_off: ContextVar[bool] = ContextVar("cache_is_off", default=False)


def key(functions: Callable | Sequence[Callable], *parts: str) -> str:
    """Hex digest of the code of one or more functions, with all of the package that they name, and of strings.

    What is reached by a method of an argument or by a string is not seen: list it in `functions`, see
    `code_digest.digest`. What else a result depends on goes into `parts`: weights, texts, settings, versions of
    libraries. Where one part ends and the next begins matters.
    """
    functions = [functions] if callable(functions) else functions
    return sha256_text(str(len(functions)), *map(digest, functions), *parts)


# --- results ----------------------------------------------------------------------------------------------------------


def array(kind: str, key: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The array stored under `key`, computed and stored when it is missing or unreadable."""

    def read(path: Path) -> np.ndarray:
        return np.load(path, allow_pickle=False)

    def write(value: np.ndarray, path: Path) -> None:
        with open(path, "wb") as opened:
            np.save(opened, value, allow_pickle=False)

    return file(kind, key, "npy", compute, read, write)


def json_list(kind: str, key: str, compute: Callable[[], list]) -> list:
    """The list stored under `key` as JSON, computed and stored when it is missing or unreadable."""

    def read(path: Path) -> list:
        return json.loads(path.read_text(encoding="utf-8"))

    def write(value: list, path: Path) -> None:
        path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")

    return file(kind, key, "json", compute, read, write)


def file(
    kind: str,
    key: str,
    suffix: str,
    compute: Callable[[], Any],
    read: Callable[[Path], Any],
    write: Callable[[Any, Path], None],
    damaged: tuple[type[Exception], ...] = (ValueError, EOFError),
) -> Any:
    """What `read` makes of the file stored under `key`; computed, and stored by `write`, when it is missing or damaged.

    `damaged` are the exceptions by which `read` says that a file is not what `write` wrote. Raises InputError, before
    anything is computed, when the cache cannot be written.
    """
    if _is_off.get():
        return compute()
    path = paths.CACHE / kind / f"{key}.{suffix}"
    if path.is_file():
        with suppress(FileNotFoundError, *damaged):
            value = read(path)
            _touch(path)
            return value
    require_writable(path.parent)
    value = compute()
    with atomic_path(path) as temporary:
        write(value, temporary)
    return value


def folder(kind: str, key: str, read: Callable[[Path], Any | None], build: Callable[[Path], Any]) -> Any:
    """What `read` makes of the folder stored under `key`, or, where that is None, what `build` returns and has written.

    Of several processes that ask for the same folder one builds it, the others wait and read it. `read` looks before
    it waits: `build` writes whole or not at all, or `read` knows what is half-written.
    """
    if not _is_off.get():
        path = paths.CACHE / kind / key
        if (value := read(path)) is not None:
            _touch(path)
            return value
    with locked_folder(kind, key) as path:
        return build(path) if (value := read(path)) is None else value


@contextmanager
def locked_folder(kind: str, key: str) -> Iterator[Path]:
    """The folder stored under `key`, for results that grow in it, such as the checkpoints of a training.

    While the block runs, every other process that asks for it waits. It may not exist yet. With the cache off it is a
    temporary folder, which is removed after the block. Raises InputError when the cache cannot be written.
    """
    if _is_off.get():
        with tempfile.TemporaryDirectory(prefix=f"{kind}-") as scratch:
            yield Path(scratch) / key
        return
    path = paths.CACHE / kind / key
    require_writable(path.parent)
    with exclusive(_lock_of(path)):
        yield path
        _touch(path)


@contextmanager
def off() -> Iterator[None]:
    """Nothing; while the block runs, nothing is read from the cache nor written to it, and everything is computed.

    For models that change, and to measure. It holds for this thread (and task), not for those started in the block.
    """
    before = _is_off.set(True)
    try:
        yield
    finally:
        _is_off.reset(before)


def require_writable(folder: Path) -> None:
    """Raise InputError unless files can be made in `folder`, which is made; a full disk is no wrong input."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()  # permissions alone do not tell, as on a disk mounted read-only
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"the cache {paths.CACHE} cannot be written ({error.strerror}): set the variable {paths.CACHE_VARIABLE} to "
            "a folder that can"
        ) from error


def _touch(path: Path) -> None:
    """Note that an entry was used: `prune` goes by that."""
    with suppress(OSError):  # not there, or somebody else's: no reason to fail
        os.utime(path)


def _lock_of(path: Path) -> Path:
    return path.parent / f".{path.name}.lock"  # beside the folder: it outlives it


# --- housekeeping -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Usage:
    """Entries of one kind or several; times of last use in seconds since the epoch."""

    n_entries: int
    n_bytes: int
    oldest: float
    newest: float


def show() -> dict[str, Usage]:
    """What the cache holds, by kind."""
    found = {kind: [_measure(entry) for entry in _entries(paths.CACHE / kind)] for kind in _kinds()}
    there = {kind: [measure for measure in found[kind] if measure[1] < _GONE] for kind in found}
    return {kind: _total(measures) for kind, measures in there.items() if measures}


def prune(older_than_days: float) -> dict[str, Usage]:
    """Remove what was last used more than so many days ago; what was removed, by kind.

    Converted models and downloads stay, and folders whose lock somebody holds. Raises InputError for a negative number
    of days.
    """
    if not older_than_days >= 0:
        raise InputError(f"older than {older_than_days:g} days: give a number of days of at least 0")
    return _remove(set(_kinds()) - {MODELS, DOWNLOADS}, time.time() - older_than_days * _DAY)


def clear() -> dict[str, Usage]:
    """Remove everything but folders whose lock somebody holds, models and downloads too; what was removed, by kind."""
    return _remove(set(_kinds()), _GONE)


def _kinds() -> list[str]:
    root = paths.CACHE
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _entries(kind: Path) -> list[Path]:
    """What is stored; of hidden files, which are locks and results that are being written, what was left behind."""
    found = list(kind.iterdir())
    abandoned = time.time() - _DAY
    return [p for p in found if not p.name.startswith(".") or (p.suffix != ".lock" and _last_use(p) < abandoned)]


def _last_use(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return _GONE


def _measure(entry: Path) -> tuple[int, float]:
    """Bytes and time of last use."""
    n_bytes = 0
    for path in [entry, *entry.rglob("*")] if entry.is_dir() else [entry]:
        with suppress(FileNotFoundError):
            n_bytes += path.stat().st_size if path.is_file() else 0
    return n_bytes, _last_use(entry)


def _total(measures: list[tuple[int, float]]) -> Usage:
    sizes, times = zip(*measures, strict=True)
    return Usage(len(sizes), sum(sizes), min(times), max(times))


def _remove(kinds: set[str], before: float) -> dict[str, Usage]:
    """Remove the entries of these kinds that were last used before that time."""
    removed = {}
    for kind in sorted(kinds):
        old = [entry for entry in _entries(paths.CACHE / kind) if _last_use(entry) < before]
        measures = [measure for entry in old if (measure := _remove_entry(entry, before)) is not None]
        if measures:
            removed[kind] = _total(measures)
    return removed


def _remove_entry(entry: Path, before: float) -> tuple[int, float] | None:
    """Bytes and last use of what was removed; None for a folder in use."""
    from filelock import FileLock, Timeout

    measure = _measure(entry)
    if not entry.is_dir():
        entry.unlink(missing_ok=True)
        return measure
    if entry.name.startswith("."):  # left behind by a writer that was killed
        rmtree(entry, ignore_errors=True)
        return measure
    try:
        with FileLock(_lock_of(entry), timeout=0):
            if not _last_use(entry) < before:  # used while we looked
                return None
            rmtree(entry)
            return measure
    except Timeout:
        return None
