"""`record.json`: how a record is written, and read again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbutils.errors import InputError

FORMAT = 4
LABELS = ("ids", "subjects", "fields")  # of the questions of a score
VOLATILE = ("timings", "versions", "device")
# Sections whose order means nothing are sorted; claims, figures and the notebook's cells keep their own.
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
            owner = scores[entry["ids"]]
            entry |= {label: owner[label] for label in LABELS if label in owner}
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
    content = {**content, "scores": _folded(content["scores"])}
    content |= {section: dict(sorted(content[section].items())) for section in _SORTED}
    return _lines(content, {section: 2 if section == "made_by" else 1 for section in content}) + "\n"


def _lines(value: Mapping[str, Any], depths: Mapping[str, int], indent: str = "") -> str:
    """A mapping with a line for each entry; of an entry that is a mapping too, down to its depth, for each of its."""
    entries = []
    for name, entry in value.items():
        depth = depths[name] if isinstance(entry, dict) and entry else 0
        below = _lines(entry, dict.fromkeys(entry, depth - 1), f"{indent} ") if depth else _compact(entry)
        entries.append(f"{indent} {_compact(name)}: {below}")
    return "{\n" + ",\n".join(entries) + f"\n{indent}}}"


def _folded(scores: Mapping[str, dict]) -> dict[str, dict]:
    """Scores as they are written: where one of the same questions stands before, its name in place of their ids.

    A thousand ids under a hundred scores would be most of a record.
    """
    first: dict[str, str] = {}
    folded = {}
    for name in sorted(scores):
        labels = {label: scores[name][label] for label in LABELS if label in scores[name]}
        owner = first.setdefault(_compact(labels), name)
        own = {key: value for key, value in scores[name].items() if key not in LABELS}
        folded[name] = {**labels, **own} if owner == name else {"ids": owner, **own}
    return folded


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
