"""Data sets as records: passages, and the questions, claims and clues over them."""

import hashlib
import json
from dataclasses import dataclass, field, fields
from itertools import islice
from operator import attrgetter

SPLITS = ("train", "dev", "test")
CLAIM_LABELS = ("supported", "refuted", "not_enough_information")


@dataclass(frozen=True)
class Passage:
    """The unit of retrieval: about 100 words of one document."""

    title: str
    text: str


@dataclass(frozen=True)
class Question:
    """A question with every accepted answer string and the ids of the passages that answer it."""

    id: str
    text: str
    answers: tuple[str, ...]
    gold_passages: tuple[str, ...]
    kind: str = "open"  # fact | reverse | long_form | multi_hop; "open" for data that names no kind
    split: str = "test"  # train | dev | test
    field: str = ""  # which Factbook field it asks for; "" elsewhere
    template: int = -1  # which wording of that field; -1 elsewhere
    held_out_template: bool = False  # True: this wording occurs in the test split only


@dataclass(frozen=True)
class Claim:
    """A statement to verify against the corpus."""

    id: str
    text: str
    label: str  # supported | refuted | not_enough_information
    gold_passages: tuple[str, ...]
    split: str = "test"
    field: str = ""


@dataclass(frozen=True)
class Clue:
    """A Jeopardy-style clue whose answer is an entity (a country)."""

    id: str
    text: str
    answer: str
    gold_passages: tuple[str, ...]
    split: str = "test"


@dataclass(frozen=True)
class Dataset:
    """Corpus and questions under one name; `sha256` is a digest of their content, in order."""

    name: str
    corpus: dict[str, Passage]
    questions: list[Question]
    claims: list[Claim] = field(default_factory=list)
    clues: list[Clue] = field(default_factory=list)
    sha256: str = ""


def content_sha256(dataset: Dataset) -> str:
    """Hex digest of every field of every passage, question, claim and clue, in order; the name is left out."""
    return _content_sha256(dataset.corpus, dataset.questions, dataset.claims, dataset.clues)


def corpus_sha256(corpus: dict[str, Passage]) -> str:
    """Hex digest of the ids, titles and texts of all passages, in order."""
    return _content_sha256(corpus, [], [], [])


def _content_sha256(
    corpus: dict[str, Passage], questions: list[Question], claims: list[Claim], clues: list[Clue]
) -> str:
    digest = hashlib.sha256()
    for type_, records in ((Passage, corpus.values()), (Question, questions), (Claim, claims), (Clue, clues)):
        values = attrgetter(*(f.name for f in fields(type_)))
        rows = zip(corpus, map(values, records), strict=True) if type_ is Passage else map(values, records)
        # JSON says where one value ends and the next begins, and never holds a raw line break.
        digest.update(f"{type_.__name__} {len(records)}\n".encode())
        while block := list(islice(rows, 1000)):
            digest.update(json.dumps(block).encode() + b"\n")
    return digest.hexdigest()
