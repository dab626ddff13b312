"""`record.json`: how a record is written, and read again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbutils.errors import InputError

FORMAT = 2
VOLATILE = ("timings", "versions", "device")
# Sections whose order means nothing are sorted; claims and figures keep the order of the notebook.
_SORTED = ("parameters", "models", "versions", "timings", "scores", "metrics", "series", "matrices")


def load_record(path: Path) -> dict:
    """The content of a `record.json`. Raises InputError when it is missing, not JSON, or of another format."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"no record {path}: run the notebook first") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not a record ({error}): run the notebook again") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} is not a record of format {FORMAT}: run the notebook again")
    scores = content.get("scores", {})
    for entry in scores.values():
        if isinstance(entry["ids"], str):
            entry["ids"] = scores[entry["ids"]]["ids"]
    return content


def figure_files(path: Path) -> set[str]:
    """Files of the figures of the record that lies at `path`; none if there is no readable one, as in a first run."""
    try:
        return {figure["file"] for figure in load_record(path)["figures"].values()}
    except InputError:
        return set()


def without_volatile(record: Mapping[str, Any]) -> dict:
    """The parts of a record's content that two runs with equal input must share: no timings, versions or device."""
    return {section: content for section, content in record.items() if section not in VOLATILE}


def to_json(content: Mapping[str, Any]) -> str:
    """Deterministic JSON with one line per entry of a section, so that a diff shows which results changed."""
    sections = []
    for section, value in {**content, "scores": _folded(content["scores"])}.items():
        if isinstance(value, dict) and value:
            names = sorted(value) if section in _SORTED else list(value)
            entries = ",\n".join(f"  {_compact(name)}: {_compact(value[name])}" for name in names)
            sections.append(f" {_compact(section)}: {{\n{entries}\n }}")
        else:
            sections.append(f" {_compact(section)}: {_compact(value)}")
    return "{\n" + ",\n".join(sections) + "\n}\n"


def _folded(scores: Mapping[str, dict]) -> dict[str, dict]:
    """Scores as they are written: where one with the same question ids stands before, its name in place of the ids.

    A thousand ids under a hundred scores would be most of a record.
    """
    first: dict[tuple[str, ...], str] = {}
    folded = {}
    for name in sorted(scores):
        owner = first.setdefault(tuple(scores[name]["ids"]), name)
        folded[name] = scores[name] if owner == name else {**scores[name], "ids": owner}
    return folded


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
