"""Records of JSONL files, and checks of their values that name file, line and reason."""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from nbutils.data.contents import is_parquet, open_text, read_parquet, read_text
from nbutils.errors import InputError
from nbutils.text import word_spans

MAX_TITLE_WORDS, MAX_QUESTION_WORDS = 100, 1000  # more is no title and no question, and no prompt has room for it
_RECORD_FORMS = ("jsonl", "ndjson", "json", "parquet")


class left_out:  # in place of a generator: it stands around each record, and must cost little
    """With a list, an InputError in the block is added to it and the block's record is left out; else it is raised.

    The id that the record at `where` has just taken in `first_seen` is free again.
    """

    __slots__ = ("bad", "first_seen", "where")

    def __init__(self, bad: list[str] | None, first_seen: dict[str, Any] | None = None, where: object = "") -> None:
        self.bad, self.first_seen, self.where = bad, first_seen, where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: object) -> bool:
        if kind is None or self.bad is None or not isinstance(error, InputError):
            return False
        self.bad.append(str(error))
        if self.first_seen and next(reversed(self.first_seen.values())) == self.where:
            self.first_seen.popitem()
        return True


def find_records(folder: Path, name: str) -> Path:
    """The file of records called `name`: NAME.jsonl, or else NAME in another form that `read_table` reads.

    Raises InputError for two of them; where there is none, NAME.jsonl, which does not exist.
    """
    usual = folder / f"{name}.jsonl"
    if usual.exists():
        return usual
    forms = {f"{name}.{form}{packed}" for form in _RECORD_FORMS for packed in ("", ".gz")}
    found = sorted(path for path in folder.iterdir() if path.name.casefold() in forms)
    if len(found) > 1:
        raise InputError(f"{found[0]}: {found[1].name} is there as well; keep one of the two")
    return found[0] if found else usual


def read_table(path: Path, bad: list[str] | None = None) -> Iterator[tuple[str, dict]]:
    """(where, record) of each record of a file, JSONL, a JSON array or parquet: its content decides."""
    if is_parquet(path):
        for number, row in enumerate(read_parquet(path)):
            yield f"{path}, row {number}", row
        return
    with open_text(path) as file:
        is_array = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["
    if not is_array or path.name.casefold().removesuffix(".gz").endswith((".jsonl", ".ndjson")):
        yield from read_records(path, bad)
        return
    try:
        rows = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); is the file whole?") from error
    for number, row in enumerate(rows):
        where = f"{path}, record {number}"
        with left_out(bad):
            if not isinstance(row, dict):
                raise InputError(f"{where}: not a JSON object; write an array of objects")
            check_unicode(row, where)
            yield where, row


def read_records(path: Path, bad: list[str] | None = None) -> Iterator[tuple[str, dict]]:
    """(where, record) of each line of a JSONL file; `where` is "file, line n", to begin an error message with.

    With a list of what is `bad`, lines that hold no record are left out.
    """
    for where, line in read_lines(path, bad):
        with left_out(bad):
            yield where, parse_record(line, where)


def parse_record(line: str, where: str) -> dict:
    """The JSON object that the line holds."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        what = "a JSON array over several lines" if line.strip() == "[" else f"not JSON ({json_fault(error)})"
        raise InputError(f"{where}: {what}; write one JSON object per line") from error
    if not isinstance(record, dict):
        what = "a JSON array, " * isinstance(record, list)
        raise InputError(f"{where}: {what}not a JSON object; write one JSON object per line")
    if "\\u" in line:
        check_unicode(record, where)
    return record


def json_fault(error: Exception) -> str:
    """What `json.loads` found wrong, without the line number that it counts from the start of its own text."""
    return f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)


def read_lines(path: Path, bad: list[str] | None = None) -> Iterator[tuple[str, str]]:
    """(where, line) of each line of a UTF-8 file that is not blank, without its line break; gzip is unpacked."""
    with open_text(path) as file:
        for number, raw in enumerate(file, start=1):  # binary: a line ends at \n only, not at U+2028 inside a text
            where, line = f"{path}, line {number}", ""
            with left_out(bad):
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise InputError(
                        f"{where}: not UTF-8 (byte {error.start + 1} of the line); save it as UTF-8"
                    ) from error
            if line.strip():
                yield where, line


def check_unicode(record: object, where: str) -> None:
    """Nothing; raises InputError when a string in `record` holds a lone surrogate, which no UTF-8 file can hold."""
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: not UTF-8 (a lone surrogate, \\ud800 to \\udfff); correct the text") from error


@lru_cache(maxsize=1)
def _visible():
    """Finds a character that can be seen. Zero-width ones, soft hyphens and fillers leave nothing to compare."""
    import regex

    return regex.compile(r"[^\p{Z}\p{Cc}\p{Cf}\p{Cn}\p{Co}\p{Default_Ignorable_Code_Point}\u2800]")


def is_blank(text: str) -> bool:
    """Whether nothing of the text can be seen: white space, control and zero-width characters only."""
    return not (text[:1].isascii() and text[:1].isalnum()) and not _visible().search(text)


def keys_of(record: dict) -> str:
    """The record's keys, as an error message lists them."""
    keys = ", ".join(map(str, list(record)[:12])) or "none"
    return f"{keys[:150]}{', ...' if len(record) > 12 or len(keys) > 150 else ''}"


def _missing(record: dict, key: str, where: str, what_to_do: str) -> InputError:
    return InputError(f"{where}: no {key}; {what_to_do} (its keys are: {keys_of(record)})")


def checked_id(record: dict, key: str, where: str, first_seen: dict[str, str]) -> str:
    """The record's id as a string; raises InputError when it is missing, empty or in `first_seen` (id -> where)."""
    id = record.get(key)
    if type(id) is int:
        id = str(id)
    if id is None:
        raise _missing(record, key, where, "give every record a unique one")
    if not isinstance(id, str):
        raise InputError(f"{where}: {key} is {id!r}, it must be a string")
    if is_blank(id):
        raise InputError(f"{where}: empty {key}; give every record a unique one")
    if re.search(r"[\t\r\n]", id):
        raise InputError(f"{where}: {key} {id!r} holds a tab or a line break, which a qrels row cannot hold; change it")
    if id in first_seen:
        raise InputError(f"{where}: duplicate {key} {id!r}, first used in {first_seen[id]}; ids must be unique")
    first_seen[id] = where
    return id


def checked_text(record: dict, key: str, where: str) -> str:
    """The string at `key`; raises InputError when it is missing, blank or no string."""
    text = record.get(key)
    if text is None:
        raise _missing(record, key, where, "give the record one or remove it")
    if not isinstance(text, str):
        raise InputError(f"{where}: {key} is {text!r:.40}, it must be a string")
    if is_blank(text):
        raise InputError(f"{where}: empty {key}; give the record one or remove it")
    return text


def checked_question(record: dict, key: str, where: str) -> str:
    """The question at `key`; raises InputError as `checked_text`, and for one that no prompt has room for."""
    text = checked_text(record, key, where)
    _require_words(text, MAX_QUESTION_WORDS, f"{where}: {key}", record)
    return text


def checked_title(record: dict, key: str, where: str) -> str:
    """The title at `key`, "" where there is none to be seen; raises InputError for one that no prompt has room for."""
    title = optional_text(record, key, where)
    if title and is_blank(title):
        return ""
    _require_words(title, MAX_TITLE_WORDS, f"{where}: {key}", record)
    return title


def _require_words(text: str, most: int, what: str, record: dict) -> None:
    if len(text) > most and len(word_spans(text)) > most:
        id = record.get("_id", record.get("id"))
        whose = "" if id is None else f" of record {id!r:.40}"
        words = f"{len(word_spans(text)):,} words ({text:.20}...){whose}"
        raise InputError(f"{what} has {words}, at most {most:,} fit in a prompt; shorten it")


def checked_passage(record: dict, where: str) -> tuple[str, str]:
    """(title, text) of a passage; a title alone will do. Raises InputError where both are missing or blank."""
    title, text = checked_title(record, "title", where), record.get("text") or ""
    if "text" in record and isinstance(text, str) and is_blank(text) and not is_blank(title):
        return title, ""
    return title, checked_text(record, "text", where)


def checked_strings(record: dict, key: str, where: str) -> tuple[str, ...]:
    """The list at `key`; raises InputError when it is missing or empty, or holds a blank string or no strings."""
    values = record.get(key)
    if values is None or values == []:
        raise _missing(record, key, where, "list every accepted answer or remove the question")
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InputError(f"{where}: {key} is {values!r:.40}, it must be a list of strings")
    if any(map(is_blank, values)):
        blank = next(filter(is_blank, values))
        shown = f" ({blank!a:.20}, which cannot be seen)" if blank.strip() else ""
        raise InputError(f"{where}: {key} holds an empty string{shown}; remove it")
    return tuple(values)


def optional_text(record: dict, key: str, where: str) -> str:
    text = record.get(key)
    if text is not None and not isinstance(text, str):
        raise InputError(f"{where}: {key} is {text!r:.40}, it must be a string")
    return text or ""


def checked_choice(what: str, value: object, choices: tuple[str, ...], where: str) -> str:
    if value not in choices:
        raise InputError(f"{where}: {what} is {value!r}, it must be one of {', '.join(choices)}")
    return value


def checked_gold(record: dict, corpus: dict, where: str) -> tuple[str, ...]:
    gold = record.get("gold_passages", [])
    if not isinstance(gold, list) or not all(isinstance(id, str) for id in gold):
        raise InputError(f"{where}: gold_passages is {gold!r:.40}, it must be a list of passage ids")
    for id in gold:
        if id not in corpus:
            raise InputError(f"{where}: unknown passage {id!r}; add it to corpus.jsonl or take it out of gold_passages")
    return tuple(gold)
