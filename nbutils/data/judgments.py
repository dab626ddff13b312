"""Relevance judgments (qrels): which passages answer a query, in the forms that people keep them in.

Found are qrels/SPLIT.EXT (or Qrels), and beside the corpus qrels.EXT, SPLIT.EXT and SPLIT_qrels.EXT; EXT is tsv, csv,
txt, jsonl, json or parquet, each also with .gz. Columns query-id, corpus-id and score, or the four of TREC. What looks
like judgments elsewhere is refused by its name, since questions without any would all be taken for a test set.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nbutils.data.records import keys_of, left_out, read_lines, read_table
from nbutils.data.schema import SPLITS
from nbutils.errors import InputError

_ROWS, _LINES = ("jsonl", "ndjson", "json", "parquet"), ("tsv", "csv", "txt", "qrels", "qrel", "trec")
_PART = r"-\d{5}-of-\d{5}(?:-[0-9a-f]+)?"  # one of several files, as the hub names them
_NAME = re.compile(rf"(?P<stem>.+?)(?:{_PART})?\.(?P<form>{'|'.join((*_ROWS, *_LINES))})(?:\.gz)?")
_OTHER_FORM = re.compile(r"(?P<stem>.+?)\.(?:\w+\.)?(?:arrow|feather|xlsx?|ods|zip|7z|tar|tgz|xz|bz2|zst|pkl|pickle)")
_ABOUT_JUDGMENTS = re.compile(r"qrels?|judge?ments?|relevan(?:ce|t)")
_SPLIT = re.compile(rf"(?:qrels?[ ._-]?)?(?P<split>{'|'.join(SPLITS)})(?:[ ._-]?qrels?)?")
_OTHER_SPLIT = re.compile(r"(?:qrels?[ ._-]?)?(?:val|valid|validation|development)(?:[ ._-]?qrels?)?")
_COLUMNS = {
    "query-id": ("query-id", "queryid", "qid", "question-id", "topic-id"),
    "corpus-id": ("corpus-id", "corpusid", "doc-id", "docid", "document-id", "passage-id", "pid"),
    "score": ("score", "relevance", "relevancy", "rel", "label"),
}


@dataclass(frozen=True)
class Judgment:
    """One row: where it stands, and what it says."""

    where: str
    query: str
    passage: str
    is_gold: bool


def read_judgments(folder: Path, bad: list[str] | None = None) -> Iterator[tuple[str | None, list[Judgment]]]:
    """(split, its judgments) for each split that `folder` judges; None is the split of a file that names none.

    Raises InputError with file and line for a bad row, and by name for a file that looks like judgments and cannot be
    read, or that says of a split something else than another one.
    """
    paths: dict[str | None, list[Path]] = {}
    for path, split in _judgment_files(folder):
        paths.setdefault(split, []).append(path)
    for split in (*SPLITS, None):
        forms: dict[str, list[Judgment]] = {}  # one form may come in several parts
        for path in paths.get(split, ()):
            forms.setdefault(re.sub(_PART, "", str(path)), []).extend(_read(path, bad))
        for other in list(forms)[1:]:
            if _content(forms[other]) != _content(next(iter(forms.values()))):
                raise InputError(f"{other}: says something else than {Path(next(iter(forms))).name}; keep one of them")
        if forms:
            yield split, next(iter(forms.values()))


def _content(judgments: list[Judgment]) -> set[tuple[str, str, bool]]:
    return {(judgment.query, judgment.passage, judgment.is_gold) for judgment in judgments}


def _judgment_files(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """(file, split) of each file of judgments; the split is None where its name is qrels alone."""
    for path in sorted(folder.iterdir()):
        name = path.name.casefold()
        if name.startswith(".") or name.endswith((".md", ".py")):
            continue
        if path.is_dir():
            if name in ("qrels", "qrel"):
                yield from _files_inside(path)
            else:
                _require_no_judgments_in(path)
            continue
        match = _NAME.fullmatch(name)
        stem = match["stem"] if match else ""
        if named := _SPLIT.fullmatch(stem):
            yield path, named["split"]
        elif stem in ("qrels", "qrel"):
            yield path, None
        elif _looks_like_judgments(path):
            raise _no_split(path)


def _looks_like_judgments(path: Path) -> bool:
    """Whether a file that is not read may hold judgments: by its name, or by the columns of its first row."""
    name = path.name.casefold()
    match = _NAME.fullmatch(name)
    other = _OTHER_FORM.fullmatch(name)
    if _ABOUT_JUDGMENTS.search(name) or (match and _OTHER_SPLIT.fullmatch(match["stem"])):
        return True
    if other and (_SPLIT.fullmatch(other["stem"]) or _OTHER_SPLIT.fullmatch(other["stem"])):
        return True
    if not match or match["stem"] in ("corpus", "queries", "claims", "clues"):
        return False
    try:
        next((_read_lines if match["form"] in _LINES else _read_rows)(path, None), None)
    except InputError:
        return False
    return True


def _require_no_judgments_in(folder: Path) -> None:
    """Raise InputError for a folder of another name than qrels that may hold judgments."""
    if _ABOUT_JUDGMENTS.search(folder.name.casefold()):
        raise _no_split(folder)
    for path in sorted(folder.iterdir()):
        name = path.name.casefold()
        if _ABOUT_JUDGMENTS.search(name) and (path.is_dir() or _NAME.fullmatch(name) or _OTHER_FORM.fullmatch(name)):
            raise _no_split(path)


def _no_split(path: Path) -> InputError:
    return InputError(f"{path}: is no split's judgments; make it qrels/train.tsv, dev.tsv or test.tsv, or move it")


def _files_inside(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.iterdir()):
        name = path.name.casefold()
        if name.startswith((".", "__", "readme", "license")):
            continue
        match = _NAME.fullmatch(name)
        named = _SPLIT.fullmatch(match["stem"]) if match and path.is_file() else None
        if not named:
            raise InputError(f"{path}: is no split; rename it to train.tsv, dev.tsv or test.tsv")
        yield path, named["split"]


def _read(path: Path, bad: list[str] | None) -> Iterator[Judgment]:
    lines = _NAME.fullmatch(path.name.casefold())["form"] in _LINES
    for where, values in (_read_lines if lines else _read_rows)(path, bad):
        with left_out(bad):
            query, passage = (_checked_id(value, where) for value in values[:2])
            yield Judgment(where, query, passage, _checked_score(values[2], where) > 0)


def _read_rows(path: Path, bad: list[str] | None) -> Iterator[tuple[str, list]]:
    """(where, [query, passage, score]) of each JSON object or row of parquet."""
    columns: list[str] | None = None
    for where, record in read_table(path, bad):
        with left_out(bad):
            if columns is None or not record.keys() >= {*columns}:
                columns = _columns_of(list(record))
            if columns is None:
                raise InputError(
                    f"{where}: no judgment; it must have query-id, corpus-id and score (its keys are: "
                    f"{keys_of(record)}); rename them, or move the file out of the data set"
                )
            yield where, [record[column] for column in columns]


def _read_lines(path: Path, bad: list[str] | None) -> Iterator[tuple[str, list[str]]]:
    """(where, [query, passage, score]) of each line below the header; of each, where the columns are TREC's."""
    places: list[int] = []
    n_columns, delimiter, quoted = 0, "\t", False
    for where, line in read_lines(path, bad):
        if not places:
            delimiter = next((mark for mark in "\t,;" if mark in line), " ")
            quoted = '"' in line or delimiter in ",;"
            header = _cells(line, delimiter, quoted)
            n_columns, columns = len(header), _columns_of(header)
            if columns is not None:
                places = [header.index(column) for column in columns]
                continue
            if n_columns != 4 or header[1] not in ("0", "Q0") or not re.fullmatch(r"-?\d+", header[3]):
                raise InputError(f"{where}: the first line must be query-id<tab>corpus-id<tab>score")
            places = [0, 2, 3]
        with left_out(bad):
            cells = _cells(line, delimiter, quoted)
            if len(cells) != n_columns:
                names = "query-id<tab>corpus-id<tab>score" if n_columns == 3 else "as in the first line"
                raise InputError(f"{where}: {len(cells)} columns, must be {n_columns}: {names}")
            yield where, [cells[place] for place in places]


def _cells(line: str, delimiter: str, quoted: bool) -> list[str]:
    if delimiter == " ":
        return line.split()
    return next(csv.reader([line], delimiter=delimiter)) if quoted else line.split(delimiter)


def _columns_of(header: list[str]) -> list[str] | None:
    """Which of the columns hold query, passage and score; None where one of the three is not there."""
    plain = {re.sub(r"[\s_]+", "-", str(name).strip().casefold()): name for name in reversed(header)}
    found = [next((plain[name] for name in names if name in plain), None) for names in _COLUMNS.values()]
    return None if None in found else found


def _checked_id(value: object, where: str) -> str:
    if type(value) is int:
        return str(value)
    if not isinstance(value, str):
        raise InputError(f"{where}: id {value!r:.40} must be a string")
    return value


def _checked_score(score: object, where: str) -> float:
    """Whole numbers only, "1.0" among them: what a share of relevance would mean, the file does not say."""
    text = str(score).strip() if type(score) in (int, float, str) else ""
    if not re.fullmatch(r"[+-]?[0-9]{1,300}(\.0*)?", text):
        raise InputError(f"{where}: score {score!r} is not an integer; write 1 for gold, 0 for not")
    return float(text)
