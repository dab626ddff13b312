"""Data sets as folders, read and written:

corpus.jsonl           {"_id", "title", "text"}
queries.jsonl          {"_id", "text", "answers": [...], "metadata": {"kind", "field", "template", ..., "split"}}
qrels/<split>.tsv      header "query-id corpus-id score", tab-separated; score > 0 is gold
claims.jsonl           optional: {"_id", "text", "label", "gold_passages", "split", "field"}
clues.jsonl            optional: {"_id", "text", "answer", "gold_passages", "split"}
"""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from nbutils.data.records import (
    checked_choice,
    checked_gold,
    checked_id,
    checked_strings,
    checked_text,
    optional_text,
    read_lines,
    read_records,
)
from nbutils.data.schema import (
    CLAIM_LABELS,
    SPLITS,
    Claim,
    Clue,
    Dataset,
    Passage,
    Question,
    _content_sha256,
    content_sha256,
)
from nbutils.errors import InputError
from nbutils.files import atomic_path


def read_folder(folder: str | Path, name: str | None = None) -> Dataset:
    """The data set in `folder` (format above), called `name` or like the folder.

    The qrels file that a query stands in is its split, rows with a score above 0 are its gold passages; a query in no
    qrels file has none and is in split "test", or in the one its metadata names.
    Raises InputError with file, line and reason for the first bad record.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; a data set is a folder with corpus.jsonl and queries.jsonl")
    corpus = _read_corpus(folder / "corpus.jsonl")
    queries = _read_queries(folder / "queries.jsonl")
    gold = _read_qrels(folder / "qrels", corpus, queries)
    questions = [
        Question(id, text, answers, gold_passages=tuple(gold.get(id, ())), **metadata)
        for id, (text, answers, metadata) in queries.items()
    ]
    claims, clues = _read_claims(folder / "claims.jsonl", corpus), _read_clues(folder / "clues.jsonl", corpus)
    digest = _content_sha256(corpus, questions, claims, clues)
    return Dataset(name or folder.resolve().name, corpus, questions, claims, clues, digest)


def write_folder(folder: str | Path, dataset: Dataset) -> None:
    """Write `dataset` to `folder` in the format above, whole or not at all, replacing a data set that stands there.

    Raises InputError, and writes nothing, when `dataset` holds a record that `read_folder` would refuse, when `folder`
    holds files that are not a data set's, or when the disk is full.
    """
    write_dataset(Path(folder), dataset, digest_beside=False)


def _read_corpus(path: Path) -> dict[str, Passage]:
    corpus: dict[str, Passage] = {}
    lines: dict[str, str] = {}
    for where, record in read_records(path):
        id = checked_id(record, "_id", where, lines)
        corpus[id] = Passage(optional_text(record, "title", where), checked_text(record, "text", where))
    if not corpus:
        raise InputError(f"{path}: holds no passage; put one JSON object per line there: _id, title, text")
    return corpus


def _read_queries(path: Path) -> dict[str, tuple[str, tuple[str, ...], dict]]:
    queries = {}
    lines: dict[str, str] = {}
    for where, record in read_records(path):
        id = checked_id(record, "_id", where, lines)
        text = checked_text(record, "text", where)
        answers = checked_strings(record, "answers", where)
        queries[id] = (text, answers, _checked_metadata(record.get("metadata"), where))
    if not queries:
        raise InputError(f"{path}: holds no question; put one JSON object per line there: _id, text, answers")
    return queries


_METADATA = {"kind": str, "split": str, "field": str, "template": int, "held_out_template": bool}


def _checked_metadata(metadata: object, where: str) -> dict:
    """The known keys of a query's metadata; what else stands there is somebody else's and left alone."""
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise InputError(f"{where}: metadata is not an object; write it as {{...}} or leave it out")
    known = {key: metadata[key] for key in _METADATA if key in metadata}
    for key, value in known.items():
        if type(value) is not _METADATA[key]:  # not isinstance: true is no template number
            raise InputError(f"{where}: metadata {key} is {value!r}, it must be a {_METADATA[key].__name__}")
    if not known.get("kind", "open").strip():
        raise InputError(f"{where}: metadata kind is empty; name a kind or leave it out")
    if "split" in known:
        checked_choice("split", known["split"], SPLITS, where)
    return known


def _read_qrels(folder: Path, corpus: dict, queries: dict) -> dict[str, list[str]]:
    """Gold passage ids of each query; writes the split of each query that stands in a file into its metadata."""
    gold: dict[str, list[str]] = {}
    seen: dict[tuple[str, str], str] = {}
    if not folder.exists():
        return gold
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; qrels are qrels/train.tsv, qrels/dev.tsv and qrels/test.tsv")
    for path in sorted(folder.glob("*.tsv")):
        if path.stem not in SPLITS and not path.name.startswith("."):
            raise InputError(f"{path}: is no split; rename it to train.tsv, dev.tsv or test.tsv")
    for split in SPLITS:
        path = folder / f"{split}.tsv"
        if not path.exists():
            continue
        header_seen = False
        for where, line in read_lines(path):
            columns = line.split("\t")
            if not header_seen:
                header_seen = True
                if columns != ["query-id", "corpus-id", "score"]:
                    raise InputError(f"{where}: the first line must be query-id<tab>corpus-id<tab>score")
                continue
            if len(columns) != 3:
                raise InputError(f"{where}: {len(columns)} columns, must be 3: query-id<tab>corpus-id<tab>score")
            query, passage, score = columns
            if not re.fullmatch(r"[+-]?[0-9]{1,9}", score):
                raise InputError(f"{where}: score {score!r} is not an integer; write 1 for gold, 0 for not")
            if query not in queries:
                raise InputError(f"{where}: unknown query {query!r}; add it to queries.jsonl or remove the row")
            if passage not in corpus:
                raise InputError(f"{where}: unknown passage {passage!r}; add it to corpus.jsonl or remove the row")
            metadata = queries[query][2]
            if metadata.setdefault("split", split) != split:
                raise InputError(
                    f"{where}: query {query!r} is in split {metadata['split']!r} as well; keep it in one split only"
                )
            if (query, passage) in seen:
                raise InputError(f"{where}: same query and passage as {seen[query, passage]}; remove one of the rows")
            seen[query, passage] = where
            if int(score) > 0:
                gold.setdefault(query, []).append(passage)
    return gold


def _read_claims(path: Path, corpus: dict) -> list[Claim]:
    claims = []
    lines: dict[str, str] = {}
    for where, record in read_records(path) if path.exists() else ():
        id = checked_id(record, "_id", where, lines)
        text = checked_text(record, "text", where)
        label = checked_choice("label", record.get("label"), CLAIM_LABELS, where)
        gold = checked_gold(record, corpus, where)
        split = checked_choice("split", record.get("split", "test"), SPLITS, where)
        claims.append(Claim(id, text, label, gold, split, optional_text(record, "field", where)))
    return claims


def _read_clues(path: Path, corpus: dict) -> list[Clue]:
    clues = []
    lines: dict[str, str] = {}
    for where, record in read_records(path) if path.exists() else ():
        id = checked_id(record, "_id", where, lines)
        text = checked_text(record, "text", where)
        answer = checked_text(record, "answer", where)
        gold = checked_gold(record, corpus, where)
        split = checked_choice("split", record.get("split", "test"), SPLITS, where)
        clues.append(Clue(id, text, answer, gold, split))
    return clues


_FOLDER_ENTRIES = {"corpus.jsonl", "queries.jsonl", "qrels", "claims.jsonl", "clues.jsonl"}
DIGEST = "content.sha256"  # in cached folders only: in a user's own it would be stale after the first edit


def check_replaceable(folder: Path) -> None:
    """Nothing; raises InputError when writing a data set to `folder` would delete anything but a data set."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a new folder")
    others = set(os.listdir(folder)) - _FOLDER_ENTRIES - {DIGEST} if folder.exists() else set()
    others = sorted(name for name in others if not name.startswith("."))  # .DS_Store and the like
    if others:
        raise InputError(f"{folder}: holds other files ({others[0]}), which would be lost; name a new folder")


def write_dataset(folder: Path, dataset: Dataset, digest_beside: bool) -> Dataset:
    """What `read_folder` makes of the folder just written: a data set that it would refuse is never put in place."""
    check_replaceable(folder)
    try:
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            _write_files(temporary, dataset)
            try:
                written = read_folder(temporary, dataset.name)
            except InputError as error:
                raise InputError(str(error).replace(str(temporary), str(folder))) from error
            if written.sha256 != content_sha256(dataset):
                raise InputError(f"{folder}: what was read back differs from what was to be written; nothing is kept")
            if digest_beside:
                (temporary / DIGEST).write_text(written.sha256, encoding="utf-8")
            return written
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{folder}: cannot be written ({reason}); make room or name another folder") from error


def _write_files(folder: Path, dataset: Dataset) -> None:
    passages = ({"_id": id, "title": p.title, "text": p.text} for id, p in dataset.corpus.items())
    _write_records(folder / "corpus.jsonl", passages)
    _write_records(folder / "queries.jsonl", map(_query_record, dataset.questions))
    for split in sorted({q.split for q in dataset.questions if q.gold_passages}):
        (folder / "qrels").mkdir(exist_ok=True)
        with open(folder / "qrels" / f"{split}.tsv", "w", encoding="utf-8", newline="\n") as file:
            file.write("query-id\tcorpus-id\tscore\n")
            file.writelines(f"{q.id}\t{p}\t1\n" for q in dataset.questions if q.split == split for p in q.gold_passages)
    for name, records in (("claims.jsonl", dataset.claims), ("clues.jsonl", dataset.clues)):
        if records:
            _write_records(folder / name, ({"_id" if k == "id" else k: v for k, v in vars(r).items()} for r in records))


def _query_record(question: Question) -> dict:
    record = {"_id": question.id, "text": question.text, "answers": list(question.answers)}
    metadata = {f.name: getattr(question, f.name) for f in fields(Question) if f.name in _METADATA}
    defaults = {f.name: f.default for f in fields(Question)}
    metadata = {key: value for key, value in metadata.items() if value != defaults[key]}
    if question.gold_passages:
        metadata.pop("split", None)  # the qrels file says it
    return record | ({"metadata": metadata} if metadata else {})


def _write_records(path: Path, records: Iterable[dict]) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
