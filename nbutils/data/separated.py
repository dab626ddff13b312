"""Rows of text whose cells are separated by tabs, commas or semicolons, below a header that names them."""

import csv
import io
import json
from collections.abc import Iterator

from nbutils.data.records import left_out
from nbutils.errors import InputError

_LISTS = ("answers", "golden_answers")  # of these columns a cell holds a list, written as JSON, or a single answer


def is_separated(text: str) -> bool:
    """Whether the first line is a header of several cells, one of which is "question"."""
    return len(header := _header(text)) > 1 and "question" in header


def separated_rows(path: object, text: str, bad: list[str] | None) -> Iterator[tuple[int, dict]]:
    """(line, row) of each row below the header, whose cells are strings; empty ones and empty lines are left out.

    Raises InputError for a row of more or fewer cells than the header, and for a list that is not JSON; with a list of
    what is `bad` such rows are left out.
    """
    header = _header(text)
    reader = csv.reader(io.StringIO(text.lstrip()), delimiter=_delimiter(text), strict=True)
    start = text[: len(text) - len(text.lstrip())].count("\n")
    next(reader)
    while True:
        line = start + reader.line_num + 1
        with left_out(bad):
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise InputError(f"{path}, line {line}: no row of cells ({error}); correct it") from error
            if cells is None:
                return
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise InputError(f"{path}, line {line}: {len(cells)} cells, the header has {len(header)}; correct it")
            row = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
            yield line, row | {name: _listed(row[name], f"{path}, line {line}") for name in _LISTS if name in row}


def _header(text: str) -> list[str]:
    first = text.lstrip().split("\n", 1)[0]
    if first[:1] in ("{", "["):
        return []
    return [cell.strip() for cell in next(csv.reader([first], delimiter=_delimiter(text)), [])]


def _delimiter(text: str) -> str:
    first = text.lstrip().split("\n", 1)[0]
    return next((mark for mark in "\t,;" if mark in first), ",")


def _listed(cell: str, where: str) -> object:
    """The JSON that the cell holds, or the cell as the only answer."""
    if not cell.lstrip().startswith(("[", "{")):
        return [cell]
    try:
        return json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise InputError(f'{where}: answers {cell!r:.40} is no list in JSON; write it as ["..."]') from error
