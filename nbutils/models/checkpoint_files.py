"""The settings files of a checkpoint's folder: read, and taken together as a checksum."""

import json
from pathlib import Path

from nbutils.errors import InputError
from nbutils.files import sha256_file, sha256_text


def read_json(path: Path, kind: type = dict):
    """What the file holds, a `kind`; InputError where it is missing, no JSON, or something else."""
    where = f"{path.parent.name}/{path.name}"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{where} is missing: download the checkpoint again") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{where} is damaged ({error}): download it again") from error
    if not isinstance(value, kind):
        raise InputError(f"{where} is damaged (it holds no {kind.__name__}): download it again")
    return value


def read_json_if_there(path: Path) -> dict:
    return read_json(path) if path.is_file() else {}


def first_line(error: Exception) -> str:
    """What an error of a library says, on one line; its kind, where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def settings_sha256(folder: Path) -> str:
    """Digest of all that the folder says beside its weights: config, tokenizer, pooling, prompts, limits.

    Part of the key of whatever is kept: the same weights with another tokenizer are another model.
    """
    texts = [path for suffix in ("json", "txt", "model", "jinja") for path in folder.glob(f"*.{suffix}")]
    texts += folder.glob("*/config.json")
    return sha256_text(*(f"{path.relative_to(folder)} {sha256_file(path)}" for path in sorted(texts)))
