"""Rows of the hub's data sets and of folders that hold the same files, by the `datasets` library."""

import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nbutils.errors import InputError

# What is known of each: the schema of its rows, how `datasets.load_dataset` is to be called for it, and the split that
# stands in for "test" where that is not "validation".
# wiki_dpr is read by its files: its repository still holds a script, which `datasets` refuses to run, as we do.
HUB_SETS = {
    "google-research-datasets/nq_open": {"schema": "nq_open", "config": None},
    "mandarjoshi/trivia_qa": {"schema": "trivia_qa", "config": "unfiltered.nocontext"},
    "rajpurkar/squad": {"schema": "squad", "config": "plain_text"},
    "facebook/wiki_dpr": {"schema": "wiki_dpr", "config": "data/psgs_w100/no_embeddings/train-*.parquet"},
    "stanfordnlp/web_questions": {"schema": "web_questions", "config": None, "test": "test"},
}
COLUMNS = {
    "nq_open": ("question", "answer"),
    "trivia_qa": ("question_id", "question", "answer"),
    "squad": ("id", "title", "context", "question", "answers"),
    "wiki_dpr": ("id", "title", "text"),
    "web_questions": ("url", "question", "answers"),
}


_SPLIT_WORD = re.compile(r"(?<![a-z])(train|training|test|testing|validation|valid|val|dev|eval|evaluation)(?![a-z])")


def splits_of(source: str) -> tuple[str, ...]:
    """The splits that a source has."""
    if source in HUB_SETS or not Path(source).is_dir():
        known = HUB_SETS.get(source, {})
        return ("train",) if known.get("schema") == "wiki_dpr" else ("train", known.get("test", "validation"))
    import datasets

    with _hub_errors(source), _scratch() as scratch:
        there = tuple(datasets.get_dataset_split_names(source, **scratch))
    _require_splits_known(Path(source), there)
    return there


def _require_splits_known(folder: Path, there: tuple[str, ...]) -> None:
    """Raise InputError for a file whose name says a split in capitals: the library takes it for one of "train"."""
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        is_named = not _SPLIT_WORD.search(name) and _SPLIT_WORD.search(name.casefold())
        if is_named and path.is_file() and not name.startswith("."):
            raise InputError(
                f"{path}: would be taken for one of {', '.join(there)}, splits are known by small letters; rename it "
                f"to {path.name.casefold()}"
            )


def source_of(name: str | Path, revision: str | None = None) -> tuple[str, str | None]:
    """(hub id or folder, revision) of "id@revision"."""
    name = str(name)
    if Path(name).expanduser().is_dir() or "@" not in name:
        return str(Path(name).expanduser()) if name not in HUB_SETS else name, revision
    id, _, pinned = name.partition("@")
    return id, revision or pinned


def schema_of(source: str, split: str, revision: str | None, wanted: tuple[str, ...]) -> str:
    """Which of COLUMNS the rows of `source` follow: known for a hub id, seen in the first row of a folder."""
    if source in HUB_SETS:
        schema = HUB_SETS[source]["schema"]
    elif Path(source).is_dir():
        with _hub_errors(source):
            first = next(iter(_open(source, split, revision)), {})
        # The fullest match first: the columns of NQ-open are among those of the others.
        by_size = sorted(COLUMNS, key=lambda schema: -len(COLUMNS[schema]))
        schema = next((schema for schema in by_size if set(COLUMNS[schema]) <= set(first)), None)
        if schema is None:
            known = "; ".join(f"{schema}: {', '.join(columns)}" for schema, columns in COLUMNS.items())
            has = ", ".join(first) or "none"
            raise InputError(f"{source}: columns {has} are no known schema ({known}); `data import` its files")
    else:
        raise InputError(f"{source}: neither a folder nor one of the known hub ids, {', '.join(HUB_SETS)}")
    if schema not in wanted:
        has = "passages and no questions" if schema == "wiki_dpr" else "questions and no passages"
        raise InputError(f"{source}: has {has}; name questions and a corpus as questions+corpus")
    return schema


def rows_of(source: str, split: str, revision: str | None, schema: str) -> Iterator[tuple[str, int, dict]]:
    """(where, number, row) of each row of one split, with the columns of `schema` only; read as they are asked for."""
    with _hub_errors(source):
        rows = _open(source, split, revision)
        if rows.column_names is not None:  # unknown before the first row of a JSONL file
            rows = rows.select_columns([column for column in COLUMNS[schema] if column in rows.column_names])
        batches = rows.iter(batch_size=1000)
    number = 0
    while True:
        with _hub_errors(source):  # around the library's work alone: a fault of ours is no fault of the hub
            batch = next(batches, None)
        if batch is None:
            return
        missing = [column for column in COLUMNS[schema] if column not in batch]
        if missing:
            raise InputError(f"{source}, {split} row {number}: no column {missing[0]!r}, which {schema} must have")
        for values in zip(*(batch[column] for column in COLUMNS[schema]), strict=True):
            yield f"{source}, {split} row {number}", number, dict(zip(COLUMNS[schema], values, strict=True))
            number += 1


def _open(source: str, split: str, revision: str | None):
    """The rows of one split. Code that a repository holds is never run."""
    import datasets

    if source not in HUB_SETS:
        with _scratch() as scratch:  # streaming leaves no copy in a cache, but makes a folder there
            return datasets.load_dataset(source, split=split, streaming=True, **scratch)
    config = HUB_SETS[source]["config"]
    if HUB_SETS[source]["schema"] == "wiki_dpr":
        files = f"hf://datasets/{source}@{revision or 'main'}/{config}"
        return datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
    return datasets.load_dataset(source, config, split=split, revision=revision)


@contextmanager
def _scratch() -> Iterator[dict[str, Any]]:
    """What has `datasets` put nothing into the home, which may not be writable."""
    import datasets

    with tempfile.TemporaryDirectory() as folder:
        yield {"cache_dir": folder, "download_config": datasets.DownloadConfig(cache_dir=folder)}


@contextmanager
def _hub_errors(source: str) -> Iterator[None]:
    """Turns what the libraries raise, several lines of retries and a class that varies by release, into one line."""
    import datasets  # noqa: F401  (imported later, it would set the levels back)

    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if source in HUB_SETS:
            raise InputError(
                f"cannot reach the hub for {source} ({reason}): download it on a machine that can and set HF_HOME to "
                "that cache, or name a local folder"
            ) from error
        raise InputError(
            f"{source}: cannot be read ({reason}); it must hold corpus.jsonl and queries.jsonl, or a hub set's files"
        ) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
