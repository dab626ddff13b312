"""Data sets of the Hugging Face hub: questions and corpora by id, in the schemas that are known here."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from nbutils.data.passages import cut_passages, gold_pieces, unique
from nbutils.data.records import checked_id, checked_strings, checked_text
from nbutils.data.sampling import select
from nbutils.data.schema import SPLITS, Dataset, Example, Passage, content_sha256
from nbutils.data.tasks import question_example
from nbutils.errors import InputError
from nbutils.files import sha256_text

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
_QUESTION_SCHEMAS, _CORPUS_SCHEMAS = ("nq_open", "trivia_qa", "squad", "web_questions"), ("squad", "wiki_dpr")


def is_known(name: str) -> bool:
    """Whether every part of `name` ("questions+corpus", "id@revision") is a hub id that is known here, or a folder."""
    parts = _parts(name)
    sources = [_source(part)[0] for part in parts]
    return all(parts) and all(source in HUB_SETS or Path(source).is_dir() for source in sources)


def is_remote(name: str) -> bool:
    """Whether every part of `name` is a hub id."""
    return all(_source(part)[0] in HUB_SETS for part in _parts(name))


def hub_dataset(name: str, n_questions: int | None = None, n_passages: int | None = None, seed: int = 0) -> Dataset:
    """A data set of the hub: the questions of `name` with its own passages, or those of "questions+corpus".

    At most `n_questions` of each split, drawn by `seed`. Of a set's own passages the gold ones and a sample of the
    others are kept, `n_passages` in all; of a separate corpus the first `n_passages`, and gold passages are known only
    where the corpus holds them. Either part is a hub id, "id@revision", or a folder that holds the same files.
    """
    parts = _parts(name)
    questions = [question for split in SPLITS for question in load_questions(parts[0], split, n_questions, seed)]
    if len(parts) == 1:
        corpus = load_corpus(parts[0])
        if n_passages is not None:
            corpus = _keep(corpus, {id for q in questions for id in q.gold_passages}, n_passages, seed)
    else:
        corpus = load_corpus(parts[1], n_passages)
    questions = [replace(q, gold_passages=tuple(id for id in q.gold_passages if id in corpus)) for q in questions]
    dataset = Dataset(name, corpus, questions)
    return replace(dataset, sha256=content_sha256(dataset))


def load_questions(
    source: str | Path, split: str = "test", n: int | None = None, seed: int = 0, revision: str | None = None
) -> list[Example]:
    """At most `n` questions of one split of a hub id, drawn by `seed`, or of a folder that holds the same files.

    Where the hub's test split hides its answers, "test" is its validation split, as in the literature; WebQuestions has
    a test split with answers. "dev" is the last tenth of the training split. SQuAD's questions name their gold
    passages, see `load_corpus`.
    Raises InputError when the hub cannot be reached, or with the row that is not in the data set's schema.
    """
    if split not in SPLITS:
        raise InputError(f"split is {split!r}, it must be one of {', '.join(SPLITS)}")
    source, revision = _source(source, revision)
    hub_split = _test_split(source) if split == "test" else "train"
    schema = _schema(source, hub_split, revision, _QUESTION_SCHEMAS)
    questions = []
    ids: dict[str, str] = {}
    for where, number, row in _rows(source, hub_split, revision, schema):
        # NQ-open and WebQuestions name no ids.
        id = {"trivia_qa": row.get("question_id"), "squad": row.get("id")}.get(schema, f"{hub_split}-{number}")
        id = checked_id({"id": id}, "id", where, ids)
        text = checked_text(row, "question", where)
        answers, gold = _answers(schema, row, where)
        subject = _squad_title(row, where) if gold else ""
        questions.append(question_example(id, text, answers, gold, split=split, subject=subject))
    if not questions:
        raise InputError(f"{source}: its {hub_split} split holds no question")
    cut = -(-len(questions) * 9 // 10)
    part = {"train": questions[:cut], "dev": questions[cut:], "test": questions}[split]
    return select(part, n=n, seed=seed) if part else []


def load_corpus(source: str | Path, n: int | None = None, revision: str | None = None) -> dict[str, Passage]:
    """Passage id -> passage: the first `n` (None: all) of a hub id, or of a folder that holds the same files.

    Of SQuAD the contexts of both splits, cut to about 100 words. wiki_dpr is streamed and read no further than `n`;
    its embeddings are not downloaded.
    """
    source, revision = _source(source, revision)
    corpus: dict[str, Passage] = {}
    ids: dict[str, str] = {}
    schema = _schema(source, "train", revision, _CORPUS_SCHEMAS)
    for hub_split in ("train", "validation") if schema == "squad" else ("train",):
        for where, _, row in _rows(source, hub_split, revision, schema):
            if schema == "squad":
                for id, (passage, _, _) in _squad_passages(row, where).items():
                    corpus.setdefault(id, passage)
            else:
                id = checked_id(row, "id", where, ids)
                title = checked_text(row, "title", where) if row.get("title") else ""
                corpus[id] = Passage(title, checked_text(row, "text", where))
            if n is not None and len(corpus) >= n:
                return dict(list(corpus.items())[:n])
    if not corpus:
        raise InputError(f"{source}: holds no passage")
    return corpus


def _squad_passages(row: dict, where: str) -> dict[str, tuple[Passage, int, int]]:
    return cut_passages(_squad_title(row, where), checked_text(row, "context", where), 100)


def _squad_title(row: dict, where: str) -> str:
    return checked_text(row, "title", where).replace("_", " ") if row.get("title") else ""


def _answers(schema: str, row: dict, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(answers, gold passage ids) of a row."""
    if schema in ("nq_open", "web_questions"):
        return unique(checked_strings(row, COLUMNS[schema][-1], where)), ()
    if schema == "trivia_qa":
        answer = row.get("answer")
        if not isinstance(answer, dict) or not isinstance(answer.get("aliases", []), list):
            raise InputError(f"{where}: answer is {answer!r:.40}, it must hold value and aliases")
        values = [answer.get("value"), *answer.get("aliases", [])]
        return unique(checked_strings({"answer": values}, "answer", where)), ()
    answers = row.get("answers")
    starts = answers.get("answer_start") if isinstance(answers, dict) else None
    if not isinstance(starts, list) or not all(type(start) is int for start in starts):
        raise InputError(f"{where}: answers is {answers!r:.40}, it must hold text and answer_start")
    texts = checked_strings(answers, "text", where)
    if len(texts) != len(starts):
        raise InputError(f"{where}: answers holds {len(texts)} texts but {len(starts)} starts")
    pieces = _squad_passages(row, where)
    return unique(texts), tuple(gold_pieces(pieces, row["context"], list(zip(texts, starts, strict=True))))


def _keep(corpus: dict[str, Passage], gold: set[str], n: int, seed: int) -> dict[str, Passage]:
    """The gold passages and a seeded sample of the others, `n` in all, in the order of `corpus`."""
    if n < len(gold):
        raise InputError(f"n_passages is {n}, but the questions have {len(gold)} gold passages; take fewer questions")
    others = sorted((id for id in corpus if id not in gold), key=lambda id: sha256_text(str(seed), id))
    kept = gold | set(others[: n - len(gold)])
    return {id: passage for id, passage in corpus.items() if id in kept}


def _parts(name: str) -> list[str]:
    """["questions", "corpus"], or ["both"]: also when a folder's name holds a plus."""
    return [name] if name and Path(name).expanduser().is_dir() else name.split("+", 1)


def _test_split(source: str) -> str:
    """The split of a source that stands in for "test"."""
    if source in HUB_SETS or not Path(source).is_dir():
        return HUB_SETS.get(source, {}).get("test", "validation")
    import datasets

    with _hub_errors(source):
        splits = datasets.get_dataset_split_names(source)
    return "test" if "test" in splits and "validation" not in splits else "validation"


def _source(name: str | Path, revision: str | None = None) -> tuple[str, str | None]:
    """(hub id or folder, revision) of "id@revision"."""
    name = str(name)
    if Path(name).expanduser().is_dir() or "@" not in name:
        return str(Path(name).expanduser()) if name not in HUB_SETS else name, revision
    id, _, pinned = name.partition("@")
    return id, revision or pinned


def _schema(source: str, split: str, revision: str | None, wanted: tuple[str, ...]) -> str:
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
            raise InputError(f"{source}: columns {', '.join(first) or 'none'} are no known schema ({known})")
    else:
        raise InputError(f"{source}: neither a folder nor one of the known hub ids, {', '.join(HUB_SETS)}")
    if schema not in wanted:
        has = "passages and no questions" if schema == "wiki_dpr" else "questions and no passages"
        raise InputError(f"{source}: has {has}; name questions and a corpus as questions+corpus")
    return schema


def _rows(source: str, split: str, revision: str | None, schema: str) -> Iterator[tuple[str, int, dict]]:
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
        return datasets.load_dataset(source, split=split, streaming=True)  # streaming: leaves no copy in a cache
    config = HUB_SETS[source]["config"]
    if HUB_SETS[source]["schema"] == "wiki_dpr":
        files = f"hf://datasets/{source}@{revision or 'main'}/{config}"
        return datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
    return datasets.load_dataset(source, config, split=split, revision=revision)


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
