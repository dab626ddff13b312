"""Data sets as records: passages, and the examples (questions, claims, clues) over them."""

import hashlib
import json
from dataclasses import dataclass, field, fields
from itertools import islice
from operator import attrgetter

SPLITS = ("train", "dev", "test")
CLAIM_LABELS = ("supported", "refuted", "not_enough_information")
OTHER_TASKS = ("verification", "clue", "statement", "continuation")  # of examples that are no questions


@dataclass(frozen=True)
class Passage:
    """The unit of retrieval: about 100 words of one document."""

    title: str
    text: str


@dataclass(frozen=True)
class Example:
    """One question, claim, clue or statement: what is searched, what is asked, and which answers count."""

    id: str
    task: str  # of a question: fact | reverse | long_form | multi_hop | open; else one of OTHER_TASKS
    query: str  # what is searched
    question: str | None  # what stands in the prompt; None: nothing, a statement is to be written
    answers: tuple[str, ...]  # accepted ones; the first is trained on
    gold_passages: tuple[str, ...]  # ids of the passages that answer it
    split: str = "test"  # train | dev | test
    field: str = ""  # which Factbook field it asks for, or a clue's category; "" elsewhere
    subject: str = ""  # the entity it is about (country, document); "" where that is unknown
    template: int = -1  # which wording of that field; -1 elsewhere
    held_out_template: bool = False  # True: this wording occurs in the test split only


@dataclass(frozen=True)
class Dataset:
    """Corpus and examples under one name; `sha256` is a digest of their content, in order."""

    name: str
    corpus: dict[str, Passage]
    examples: list[Example]  # a folder holds questions, then claims, then clues
    sha256: str = ""
    left_out: dict[str, int] = field(default_factory=dict, compare=False)  # what its source holds besides, counted


def content_sha256(dataset: Dataset) -> str:
    """Hex digest of every field of every passage and example, in order; the name is left out."""
    digest = hashlib.sha256()
    for type_, records in ((Passage, dataset.corpus.values()), (Example, dataset.examples)):
        values = attrgetter(*(f.name for f in fields(type_)))
        rows = zip(dataset.corpus, map(values, records), strict=True) if type_ is Passage else map(values, records)
        # JSON says where one value ends and the next begins, and never holds a raw line break.
        digest.update(f"{type_.__name__} {len(records)}\n".encode())
        while block := list(islice(rows, 1000)):
            digest.update(json.dumps(block).encode() + b"\n")
    return digest.hexdigest()


def corpus_sha256(corpus: dict[str, Passage]) -> str:
    """Hex digest of the ids, titles and texts of all passages, in order."""
    return content_sha256(Dataset("", corpus, []))
