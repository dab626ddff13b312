"""Files of other people's making as rows, whatever holds them: JSONL, a JSON array, {"data": [...]}, CSV, parquet.

What holds them is decided by the content. Each row comes with its place, the keys that lead to it, and a place becomes
"file, line n: data[3].paragraphs[0]" where an error is to be reported.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from nbutils.data.contents import is_parquet, read_parquet, read_text
from nbutils.data.records import check_unicode, json_fault, left_out, parse_record
from nbutils.data.separated import is_separated, separated_rows
from nbutils.errors import InputError

Place = tuple[str | int, ...]
_HOLDERS = ("data", "Data")  # SQuAD's and TriviaQA's; the datasets library has "data" too
_LONE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


@dataclass(frozen=True)
class Document:
    """The rows of a file in order, and how to say where each stands."""

    path: Path
    rows: Iterable[tuple[Place, dict]]
    where: Callable[[Place], str]  # to begin an error message with
    name: Callable[[Place], str]  # the same, within the file
    in_lines: bool = False  # a row's place is its line


def open_document(path: Path, bad: list[str] | None = None) -> Document:
    """The file's rows. With a list of what is `bad`, rows that are no JSON objects are left out.

    Raises InputError for a file that cannot be read or whose text is broken outside of its rows.
    """
    if is_parquet(path):
        return _numbered(path, (((i,), row) for i, row in enumerate(read_parquet(path))), "row")
    text = read_text(path, keep_broken=bad is not None)
    if is_separated(text):
        return _numbered(path, (((line,), row) for line, row in separated_rows(path, text, bad)), "line")
    start = len(text) - len(text.lstrip())
    try:
        value, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        if _holds_lines(text):
            return _numbered(path, _rows_of_lines(path, text, bad), "line")
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        what = "write one JSON object per line, or a whole JSON document"
        if text[start : start + 1] in ("{", "["):
            what = "is the file whole?"
        elif start == len(text):
            return _numbered(path, (), "line")
        raise InputError(f"{path}{line}: not JSON ({json_fault(error)}); {what}") from error
    over_lines, is_last = "\n" in text[start:end], not text[end:].strip()
    is_row = isinstance(value, dict) and not {*_HOLDERS, "paragraphs"} & value.keys()
    if over_lines and not is_last:
        raise InputError(
            f"{path}, line {text.count(chr(10), 0, end) + 1}: a second JSON document; write one JSON object per line, "
            "or one array of all"
        )
    if not is_last or (is_row and not over_lines):
        return _numbered(path, _rows_of_lines(path, text, bad), "line")
    places = _Places(path, text)
    rows = [((), value)] if is_row else _rows_of_value(value, text, places, bad)
    return Document(path, rows, places.where, _steps)


def _holds_lines(text: str) -> bool:
    """Whether the text is JSONL in spite of a broken first line: its second one is an object by itself."""
    lines = [line for line in text.split("\n", 1000)[:1000] if line.strip()]
    try:
        return len(lines) > 1 and isinstance(json.loads(lines[1]), dict)
    except (ValueError, RecursionError):
        return False


def _numbered(path: Path, rows: Iterable[tuple[Place, dict]], what: str) -> Document:
    def where(at: Place) -> str:
        return ": ".join(filter(None, (f"{path}, {what} {at[0]}", _steps(at[1:]))))

    return Document(path, rows, where, where, in_lines=what == "line")


def _rows_of_lines(path: Path, text: str, bad: list[str] | None) -> Iterator[tuple[Place, dict]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        with left_out(bad):
            record = parse_record(line, f"{path}, line {number}")
            if bad is not None:
                check_unicode(record, f"{path}, line {number}")  # bytes that are no UTF-8
            yield (number,), record


def _rows_of_value(value: Any, text: str, places: "_Places", bad: list[str] | None) -> Iterator[tuple[Place, dict]]:
    at: Place = ()
    if isinstance(value, dict) and "paragraphs" in value:
        value = [value]
    elif isinstance(value, dict):
        at = (next(key for key in _HOLDERS if key in value),)
        value = value[at[0]]
    if not isinstance(value, list):
        what = f"no list {at[0]!r}; is this SQuAD-style JSON?" if at else "no JSON objects, and no list of them"
        raise InputError(f"{places.where(())}: {what}")
    suspect = _LONE_SURROGATE.search(text)
    for i, row in enumerate(value):
        with left_out(bad):
            if not isinstance(row, dict):
                raise InputError(f"{places.where((*at, i))}: not a JSON object; is this SQuAD-style JSON?")
            if suspect and bad is not None:
                check_unicode(row, places.where((*at, i)))
            yield (*at, i), row


@dataclass(frozen=True)
class _Places:
    """The lines of a JSON text on which its objects begin; the text is parsed again when the first one is asked for."""

    path: Path
    text: str

    def where(self, at: Place) -> str:
        return ": ".join(filter(None, (f"{self.path}, line {line_of(self.text, at)}", _steps(at))))


def _steps(at: Place) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in at).lstrip(".")


def line_of(text: str, at: Place) -> int:
    """Line, from 1, on which the innermost object on the way along the keys begins."""
    value, starts = _parsed(text)
    start = starts.get(id(value), 0)
    for key in at:
        if not isinstance(value, (dict, list)) or (isinstance(value, dict) and key not in value):
            break
        value = value[key]
        start = starts.get(id(value), start)
    return text.count("\n", 0, start) + 1


@lru_cache(maxsize=1)  # slow; a file with many bad records asks again and again
def _parsed(text: str) -> tuple[Any, dict[int, int]]:
    """The JSON value, and where in the text each object in it begins, by its `id`."""
    starts: dict[int, int] = {}
    decoder = json.JSONDecoder()

    def parse_object(text_and_end, *arguments):
        value, end = json.decoder.JSONObject(text_and_end, *arguments)
        starts[id(value)] = text_and_end[1] - 1
        return value, end

    decoder.parse_object = parse_object
    decoder.scan_once = json.scanner.py_make_scanner(decoder)  # the C scanner would not call parse_object
    return decoder.decode(text), starts
