"""Records of JSONL files, and checks of their values that name file, line and reason."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from nbutils.errors import InputError


def read_records(path: Path) -> Iterator[tuple[str, dict]]:
    """(where, record) of each line of a JSONL file; `where` is "file, line n", to begin an error message with."""
    for where, line in read_lines(path):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not JSON ({json_fault(error)}); write one JSON object per line") from error
        if not isinstance(record, dict):
            raise InputError(f"{where}: not a JSON object; write one JSON object per line")
        if "\\u" in line:
            check_unicode(record, where)
        yield where, record


def json_fault(error: Exception) -> str:
    """What `json.loads` found wrong, without the line number that it counts from the start of its own text."""
    return f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(where, line) of each line of a UTF-8 file that is not blank, without its line break."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - the `with` below closes it; here only opening may fail
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    with file:
        for number, raw in enumerate(file, start=1):  # binary: a line ends at \n only, not at U+2028 inside a text
            where = f"{path}, line {number}"
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


def checked_id(record: dict, key: str, where: str, first_seen: dict[str, str]) -> str:
    """The record's id as a string; raises InputError when it is missing, empty or in `first_seen` (id -> where)."""
    id = record.get(key)
    if type(id) is int:
        id = str(id)
    if id is None:
        raise InputError(f"{where}: no {key}; give every record a unique one")
    if not isinstance(id, str):
        raise InputError(f"{where}: {key} is {id!r}, it must be a string")
    if not id.strip():
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
        raise InputError(f"{where}: no {key}; give the record one or remove it")
    if not isinstance(text, str):
        raise InputError(f"{where}: {key} is {text!r:.40}, it must be a string")
    if not text.strip():
        raise InputError(f"{where}: empty {key}; give the record one or remove it")
    return text


def checked_strings(record: dict, key: str, where: str) -> tuple[str, ...]:
    """The list at `key`; raises InputError when it is missing or empty, or holds a blank string or no strings."""
    values = record.get(key)
    if values is None or values == []:
        raise InputError(f"{where}: no {key}; list every accepted answer or remove the question")
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InputError(f"{where}: {key} is {values!r:.40}, it must be a list of strings")
    if not all(value.strip() for value in values):
        raise InputError(f"{where}: {key} holds an empty string; remove it")
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
