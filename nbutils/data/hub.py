"""Data sets of the Hugging Face hub: questions and corpora by id, in the schemas that are known here."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nbutils.data.hub_rows import COLUMNS, HUB_SETS, rows_of, schema_of, source_of, splits_of
from nbutils.data.passages import cut_passages, gold_pieces, unique
from nbutils.data.records import (
    checked_id,
    checked_passage,
    checked_question,
    checked_strings,
    checked_text,
    checked_title,
)
from nbutils.data.sampling import keep_gold, select
from nbutils.data.schema import SPLITS, Dataset, Example, Passage, content_sha256
from nbutils.data.tasks import question_example
from nbutils.errors import InputError

_QUESTION_SCHEMAS, _CORPUS_SCHEMAS = ("nq_open", "trivia_qa", "squad", "web_questions"), ("squad", "wiki_dpr")


def is_known(name: str) -> bool:
    """Whether every part of `name` ("questions+corpus", "id@revision") is a hub id that is known here, or a folder."""
    parts = _parts(name)
    sources = [source_of(part)[0] for part in parts]
    return all(parts) and all(source in HUB_SETS or Path(source).is_dir() for source in sources)


def is_remote(name: str) -> bool:
    """Whether every part of `name` is a hub id."""
    return all(source_of(part)[0] in HUB_SETS for part in _parts(name))


def hub_dataset(name: str, n_questions: int | None = None, n_passages: int | None = None, seed: int = 0) -> Dataset:
    """A data set of the hub: the questions of `name` with its own passages, or those of "questions+corpus".

    At most `n_questions` of each split, drawn by `seed`. Of a set's own passages the gold ones and a sample of the
    others are kept, `n_passages` in all; of a separate corpus the first `n_passages`, and gold passages are known only
    where the corpus holds them. Either part is a hub id, "id@revision", or a folder that holds the same files; one
    split will do. Its `left_out` counts SQuAD 2's unanswerable questions.
    """
    parts = _parts(name)
    source, revision = source_of(parts[0])
    there, left_out = splits_of(source), Counter[str]()
    known = [(split, _hub_split(there, split)) for split in SPLITS if _hub_split(there, split) in there]
    if not known:
        raise InputError(f"{source}: has no split train, validation or test, but {', '.join(there)}; rename its files")
    questions = []
    for split, hub_split in known:
        questions += _questions(source, split, hub_split, n_questions, seed, revision, left_out)
    if len(parts) == 1:
        corpus = load_corpus(parts[0])
        if n_passages is not None:
            corpus = keep_gold(corpus, {id for q in questions for id in q.gold_passages}, n_passages, seed)
    else:
        corpus = load_corpus(parts[1], n_passages)
    questions = [replace(q, gold_passages=tuple(id for id in q.gold_passages if id in corpus)) for q in questions]
    dataset = Dataset(name, corpus, questions, left_out=dict(left_out))
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
    source, revision = source_of(source, revision)
    there = splits_of(source) if split == "test" else ()
    return _questions(source, split, _hub_split(there, split), n, seed, revision, Counter())


def _questions(
    source: str, split: str, hub_split: str, n: int | None, seed: int, revision: str | None, left_out: Counter[str]
) -> list[Example]:
    """What `load_questions` returns; unanswerable questions are counted in `left_out`, a hub's split once."""
    schema = schema_of(source, hub_split, revision, _QUESTION_SCHEMAS)
    questions, n_unanswerable = [], 0
    ids: dict[str, str] = {}
    for where, number, row in rows_of(source, hub_split, revision, schema):
        # NQ-open and WebQuestions name no ids.
        id = {"trivia_qa": row.get("question_id"), "squad": row.get("id")}.get(schema, f"{hub_split}-{number}")
        id = checked_id({"id": id}, "id", where, ids)
        if schema == "squad" and isinstance(row["answers"], dict) and row["answers"].get("text") == []:
            n_unanswerable += 1
            continue
        text = checked_question(row, "question", where)
        answers, gold = _answers(schema, row, where)
        subject = _squad_title(row, where) if gold else ""
        questions.append(question_example(id, text, answers, gold, split=split, subject=subject))
    if not questions:
        why = f" with an answer ({n_unanswerable} unanswerable ones)" * (n_unanswerable > 0)
        raise InputError(f"{source}: its {hub_split} split holds no question{why}")
    if n_unanswerable and split != "dev":
        left_out["unanswerable questions left out"] += n_unanswerable
    cut = -(-len(questions) * 9 // 10)
    part = {"train": questions[:cut], "dev": questions[cut:], "test": questions}[split]
    return select(part, n=n, seed=seed) if part else []


def load_corpus(source: str | Path, n: int | None = None, revision: str | None = None) -> dict[str, Passage]:
    """Passage id -> passage: the first `n` (None: all) of a hub id, or of a folder that holds the same files.

    Of SQuAD the contexts of all splits, cut to about 100 words. wiki_dpr is streamed and read no further than `n`;
    its embeddings are not downloaded.
    """
    source, revision = source_of(source, revision)
    corpus: dict[str, Passage] = {}
    ids: dict[str, str] = {}
    there = splits_of(source)
    hub_splits = [split for split in ("train", "validation", "test") if split in there] or ["train"]
    schema = schema_of(source, hub_splits[0], revision, _CORPUS_SCHEMAS)
    for hub_split in hub_splits if schema == "squad" else hub_splits[:1]:
        for where, _, row in rows_of(source, hub_split, revision, schema):
            if schema == "squad":
                for id, (passage, _, _) in _squad_passages(row, where).items():
                    corpus.setdefault(id, passage)
            else:
                id = checked_id(row, "id", where, ids)
                corpus[id] = Passage(*checked_passage(row, where))
            if n is not None and len(corpus) >= n:
                return dict(list(corpus.items())[:n])
    if not corpus:
        raise InputError(f"{source}: holds no passage")
    return corpus


def _squad_passages(row: dict, where: str) -> dict[str, tuple[Passage, int, int]]:
    return cut_passages(_squad_title(row, where), checked_text(row, "context", where), 100)


def _squad_title(row: dict, where: str) -> str:
    return checked_title(row, "title", where).replace("_", " ")


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


def _parts(name: str) -> list[str]:
    """["questions", "corpus"], or ["both"]: also when a folder's name holds a plus."""
    return [name] if name and Path(name).expanduser().is_dir() else name.split("+", 1)


def _hub_split(there: Sequence[str], split: str) -> str:
    """The split of a source that stands in for "train", "dev" or "test", of those that are there."""
    if split != "test":
        return "train"
    return "test" if "test" in there and "validation" not in there else "validation"
