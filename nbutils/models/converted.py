"""Checkpoints that are made once, in the cache: whole or not at all, and checked by their checksum at every use."""

import json
from collections.abc import Callable
from pathlib import Path

from nbutils import cache, paths
from nbutils.errors import InputError
from nbutils.files import atomic_path, exclusive, sha256_file

WEIGHTS = "model.safetensors"
_STAMP = "sha256.json"  # written last: what has one is complete


def converted_folder(name: str, sha256: str) -> Path:
    """Where the checkpoint that is made of a file with that checksum lies, once it is made."""
    return paths.CACHE / cache.MODELS / f"{name}-{sha256[:12]}"


def is_converted(folder: Path) -> bool:
    return (folder / _STAMP).is_file()


def convert_once(folder: Path, convert: Callable[[Path], None]) -> None:
    """Have `convert` write a checkpoint, unless it is there; of several processes one does, the others wait.

    The folder appears under its name only when it is complete: an interrupted conversion leaves nothing behind.
    """
    if is_converted(folder):
        return
    cache.require_writable(folder.parent)
    with exclusive(folder.parent / f".{folder.name}.lock"):
        if is_converted(folder):
            return
        with atomic_path(folder) as temporary:
            convert(temporary)
            digest = sha256_file(temporary / WEIGHTS)
            (temporary / _STAMP).write_text(json.dumps({WEIGHTS: digest}))


def require_unchanged(folder: Path, remedy: str) -> None:
    """InputError where the weights are not those that were written."""
    require_sha256(folder / WEIGHTS, json.loads((folder / _STAMP).read_text())[WEIGHTS], remedy)


def require_sha256(path: Path, expected: str, remedy: str) -> None:
    """InputError with the remedy where the file is missing or another."""
    if not path.is_file():
        raise InputError(f"{path.name} is missing: {remedy}")
    if sha256_file(path) != expected:
        raise InputError(f"{path.name} is damaged (its sha256 is not {expected[:12]}…): {remedy}")
