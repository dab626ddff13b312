"""Files that are written whole or not at all, and what they contain as a checksum."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
