"""Data sets as folders, read and written:

corpus.jsonl           {"_id", "title", "text"}
queries.jsonl          {"_id", "text", "answers": [...], "metadata": {"kind", "field", "subject", "template", ...}}
qrels/<split>.tsv      header "query-id corpus-id score", tab-separated; score > 0 is gold; other forms: judgments.py
claims.jsonl           optional: {"_id", "text", "label", "gold_passages", "split", "field"}
clues.jsonl            optional: {"_id", "text", "answer", "gold_passages", "split"}; text as "category: clue"

The subject of a question or claim is the title of its first gold passage where none is named.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from nbutils.data.factbook import with_article
from nbutils.data.judgments import Judgment, read_judgments
from nbutils.data.records import (
    checked_choice,
    checked_gold,
    checked_id,
    checked_passage,
    checked_question,
    checked_strings,
    checked_text,
    find_records,
    left_out,
    optional_text,
    read_records,
    read_table,
)
from nbutils.data.schema import (
    CLAIM_LABELS,
    OTHER_TASKS,
    SPLITS,
    Dataset,
    Example,
    Passage,
    content_sha256,
)
from nbutils.data.tasks import claim_example, claim_label, clue_example, question_example, written_text
from nbutils.errors import InputError
from nbutils.files import atomic_path


def is_data_folder(folder: Path) -> bool:
    """Whether the folder holds a corpus or queries in the format above, whatever else is there."""
    return folder.is_dir() and any(find_records(folder, name).exists() for name in ("corpus", "queries"))


def read_folder(folder: str | Path, name: str | None = None, bad: list[str] | None = None) -> Dataset:
    """The data set in `folder` (format above), called `name` or like the folder.

    The qrels file that a query stands in is its split, rows with a score above 0 are its gold passages; a query in no
    qrels file has none and is in split "test", or in the one its metadata names. Corpus and queries may be packed by
    gzip, a JSON array or parquet.
    Raises InputError with file, line and reason for the first bad record; with a list of what is `bad`, such records
    are left out, and the list says what is wrong with each.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; a data set is a folder with corpus.jsonl and queries.jsonl")
    corpus = _read_corpus(_records_file(folder, "corpus"), bad)
    queries = _read_queries(_records_file(folder, "queries"), bad)
    gold = _read_gold(folder, corpus, queries, bad)
    examples = []
    for id, (text, answers, metadata) in queries.items():
        gold_passages = tuple(gold.get(id, ()))
        metadata.setdefault("subject", _first_title(gold_passages, corpus))
        examples.append(question_example(id, text, answers, gold_passages, metadata.pop("kind", "open"), **metadata))
    examples += _read_claims(folder / "claims.jsonl", corpus, bad) + _read_clues(folder / "clues.jsonl", corpus, bad)
    dataset = Dataset(name or folder.resolve().name, corpus, examples)
    return replace(dataset, sha256=content_sha256(dataset))


def write_folder(folder: str | Path, dataset: Dataset) -> None:
    """Write `dataset` to `folder` in the format above, whole or not at all, replacing a data set that stands there.

    Raises InputError, and writes nothing, when `dataset` holds a record that `read_folder` would refuse, when `folder`
    holds files that are not a data set's, or when the disk is full.
    """
    write_dataset(Path(folder), dataset, digest_beside=False)


def _records_file(folder: Path, name: str) -> Path:
    path = find_records(folder, name)
    others = () if path.exists() else sorted(p for p in folder.iterdir() if p.name.casefold().startswith(name))
    if others:
        raise InputError(f"{others[0]}: is no form of {name} that is read; make it {path.name}")
    return path


def _read_corpus(path: Path, bad: list[str] | None) -> dict[str, Passage]:
    corpus: dict[str, Passage] = {}
    lines: dict[str, str] = {}
    for where, record in read_table(path, bad):
        with left_out(bad, lines, where):
            id = checked_id(record, "_id", where, lines)
            corpus[id] = Passage(*checked_passage(record, where))
    if not corpus:
        raise InputError(f"{path}: holds no passage; put one JSON object per line there: _id, title, text")
    return corpus


def _read_queries(path: Path, bad: list[str] | None) -> dict[str, tuple[str, tuple[str, ...], dict]]:
    queries = {}
    lines: dict[str, str] = {}
    for where, record in read_table(path, bad):
        with left_out(bad, lines, where):
            id = checked_id(record, "_id", where, lines)
            text = checked_question(record, "text", where)
            answers = checked_strings(record, "answers", where)
            queries[id] = (text, answers, _checked_metadata(record.get("metadata"), where))
    if not queries:
        raise InputError(f"{path}: holds no question; put one JSON object per line there: _id, text, answers")
    return queries


_METADATA = {"kind": str, "split": str, "field": str, "subject": str, "template": int, "held_out_template": bool}


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
    if known.get("kind") in OTHER_TASKS:
        raise InputError(f"{where}: metadata kind is {known['kind']!r}, which is no kind of question; name another one")
    if "split" in known:
        checked_choice("split", known["split"], SPLITS, where)
    return known


def _read_gold(folder: Path, corpus: dict, queries: dict, bad: list[str] | None) -> dict[str, list[str]]:
    """Gold passage ids of each query; writes the split of each query that stands in a file into its metadata."""
    gold: dict[str, list[str]] = {}
    seen: dict[tuple[str, str], str] = {}
    for split, judgments in read_judgments(folder, bad):
        for judgment in judgments:
            with left_out(bad):
                _check_judgment(judgment, split, corpus, queries, seen)
                if judgment.is_gold:
                    gold.setdefault(judgment.query, []).append(judgment.passage)
    return gold


def _check_judgment(judgment: Judgment, split: str | None, corpus: dict, queries: dict, seen: dict) -> None:
    where, query, passage = judgment.where, judgment.query, judgment.passage
    if query not in queries:
        raise InputError(f"{where}: unknown query {query!r}; add it to queries.jsonl or remove the row")
    if passage not in corpus:
        raise InputError(f"{where}: unknown passage {passage!r}; add it to corpus.jsonl or remove the row")
    metadata = queries[query][2]
    if split is not None and metadata.setdefault("split", split) != split:
        raise InputError(
            f"{where}: query {query!r} is in split {metadata['split']!r} as well; keep it in one split only"
        )
    if (query, passage) in seen:
        raise InputError(f"{where}: same query and passage as {seen[query, passage]}; remove one of the rows")
    seen[query, passage] = where


def _first_title(gold_passages: tuple[str, ...], corpus: dict[str, Passage]) -> str:
    """The subject of an example that names none: the title of its first gold passage, "" without one."""
    return corpus[gold_passages[0]].title if gold_passages else ""


def _read_claims(path: Path, corpus: dict, bad: list[str] | None) -> list[Example]:
    claims = []
    lines: dict[str, str] = {}
    for where, record in read_records(path, bad) if path.exists() else ():
        with left_out(bad, lines, where):
            id = checked_id(record, "_id", where, lines)
            text = checked_text(record, "text", where)
            label = checked_choice("label", record.get("label"), CLAIM_LABELS, where)
            gold = checked_gold(record, corpus, where)
            split = checked_choice("split", record.get("split", "test"), SPLITS, where)
            field = optional_text(record, "field", where)
            subject = optional_text(record, "subject", where) if "subject" in record else _first_title(gold, corpus)
            claims.append(claim_example(id, text, label, gold, split, field, subject))
    return claims


def _read_clues(path: Path, corpus: dict, bad: list[str] | None) -> list[Example]:
    clues = []
    lines: dict[str, str] = {}
    for where, record in read_records(path, bad) if path.exists() else ():
        with left_out(bad, lines, where):
            id = checked_id(record, "_id", where, lines)
            text = checked_text(record, "text", where)
            answer = checked_text(record, "answer", where)
            gold = checked_gold(record, corpus, where)
            split = checked_choice("split", record.get("split", "test"), SPLITS, where)
            try:
                clues.append(clue_example(id, text, answer, with_article(answer), gold, split))
            except InputError as error:
                raise InputError(f"{where}: {error}") from error
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
            in_order = [example for examples in _by_file(dataset.examples) for example in examples]
            if written.sha256 != content_sha256(replace(dataset, examples=in_order)):
                raise InputError(f"{folder}: what was read back differs from what was to be written; nothing is kept")
            if digest_beside:
                (temporary / DIGEST).write_text(written.sha256, encoding="utf-8")
            return written
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{folder}: cannot be written ({reason}); make room or name another folder") from error


def _by_file(examples: list[Example]) -> tuple[list[Example], list[Example], list[Example]]:
    """The examples of queries.jsonl, claims.jsonl and clues.jsonl; what has no file is in the first, to be refused."""
    claims, clues = ([e for e in examples if e.task == task] for task in ("verification", "clue"))
    return [e for e in examples if e.task not in ("verification", "clue")], claims, clues


def _write_files(folder: Path, dataset: Dataset) -> None:
    passages = ({"_id": id, "title": p.title, "text": p.text} for id, p in dataset.corpus.items())
    _write_records(folder / "corpus.jsonl", passages)
    asked, claims, clues = _by_file(dataset.examples)
    _write_records(folder / "queries.jsonl", (_query_record(q, dataset.corpus) for q in asked))
    for split in sorted({q.split for q in asked if q.gold_passages}):
        (folder / "qrels").mkdir(exist_ok=True)
        with open(folder / "qrels" / f"{split}.tsv", "w", encoding="utf-8", newline="\n") as file:
            file.write("query-id\tcorpus-id\tscore\n")
            file.writelines(f"{q.id}\t{p}\t1\n" for q in asked if q.split == split for p in q.gold_passages)
    if claims:
        _write_records(folder / "claims.jsonl", (_claim_record(claim, dataset.corpus) for claim in claims))
    if clues:
        _write_records(folder / "clues.jsonl", map(_clue_record, clues))


def _query_record(question: Example, corpus: dict[str, Passage]) -> dict:
    record = {"_id": question.id, "text": question.query, "answers": list(question.answers)}
    metadata = {
        "kind": (question.task, "open"),
        "split": (question.split, question.split if question.gold_passages else "test"),  # else the qrels file says it
        "field": (question.field, ""),
        "template": (question.template, -1),
        "held_out_template": (question.held_out_template, False),
    }
    metadata = {key: value for key, (value, default) in metadata.items() if value != default}
    metadata |= _named_subject(question, corpus)
    return record | ({"metadata": metadata} if metadata else {})


def _claim_record(claim: Example, corpus: dict[str, Passage]) -> dict:
    record = {"_id": claim.id, "text": claim.query, "label": claim_label(claim), "gold_passages": claim.gold_passages}
    return record | {"split": claim.split, "field": claim.field} | _named_subject(claim, corpus)


def _clue_record(clue: Example) -> dict:
    record = {"_id": clue.id, "text": written_text(clue), "answer": clue.subject}
    return record | {"gold_passages": clue.gold_passages, "split": clue.split}


def _named_subject(example: Example, corpus: dict[str, Passage]) -> dict[str, str]:
    """{"subject": ...} where it is not what reading would take; of a passage that is unknown, reading will tell."""
    known = all(id in corpus for id in example.gold_passages[:1])
    is_taken = known and example.subject == _first_title(example.gold_passages, corpus)
    return {} if is_taken else {"subject": example.subject}


def _write_records(path: Path, records: Iterable[dict]) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
