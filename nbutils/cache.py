"""Results kept by content: what was computed once from the same model, texts and settings is read back."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nbutils.files import atomic_path, write_text
from nbutils.paths import CACHE


def cached_array(kind: str, key: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The array stored under `key` (a content hash), computed and stored when it is missing or unreadable."""
    path = _path(kind, key, "npy")
    try:
        return np.load(path, allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        array = compute()
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array, allow_pickle=False)
    return array


def cached_json(kind: str, key: str, compute: Callable[[], list]) -> list:
    """The list stored under `key` (a content hash), computed and stored when it is missing or unreadable."""
    path = _path(kind, key, "json")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        value = compute()
    write_text(path, json.dumps(value, ensure_ascii=False))
    return value


def _path(kind: str, key: str, suffix: str) -> Path:
    return CACHE / kind / f"{key}.{suffix}"
