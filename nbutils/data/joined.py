"""Passages joined back into the documents that they were cut from, and where in these the answers stand."""

from collections import Counter
from dataclasses import dataclass

from nbutils.data.schema import SPLITS, Dataset, Example, Passage
from nbutils.data.tasks import questions
from nbutils.text import pattern_of_whole

PARAGRAPH = "\n\n"  # between two passages of a document


@dataclass(frozen=True)
class JoinedDocuments:
    """The documents of a data set, and the place of each question's answer in one of them."""

    documents: dict[str, Passage]  # title (of a passage without one its id) -> the title, and the texts of its passages
    spans: dict[str, tuple[str, int, int]]  # question id -> document id, start and end in characters of its text
    without_span: dict[str, int]  # task -> how many of its questions have none


def join_documents(dataset: Dataset) -> JoinedDocuments:
    """The passages of one title as one document: a country of the Factbook, an article of SQuADShifts.

    They stand in the order of the corpus, an empty line between two. A question's span is where its answer stands in
    its gold passage: the first of its accepted answers that is found there letter by letter, as no part of a longer
    word or number, at the first place; with several gold passages, in the first that holds it. Claims and clues have
    none. Nor have questions whose answer the gold passages give in other words, or in their title only: these are
    left out of `spans` and counted. A passage without a title is a document of its own.
    """
    document_of = {id_: passage.title or id_ for id_, passage in dataset.corpus.items()}
    titles: dict[str, str] = {}
    texts: dict[str, list[str]] = {}
    starts: dict[str, int] = {}  # passage id -> where it begins in its document
    lengths: Counter[str] = Counter()
    for id_, passage in dataset.corpus.items():
        document = document_of[id_]
        titles[document] = passage.title
        starts[id_] = lengths[document]
        lengths[document] += len(passage.text) + len(PARAGRAPH)
        texts.setdefault(document, []).append(passage.text)
    documents = {id_: Passage(titles[id_], PARAGRAPH.join(parts)) for id_, parts in texts.items()}
    spans: dict[str, tuple[str, int, int]] = {}
    without_span: Counter[str] = Counter()
    for question in questions(dataset.examples):
        found = _place(question, dataset.corpus)
        if found is None:
            without_span[question.task] += 1
            continue
        gold, start, end = found
        spans[question.id] = (document_of[gold], starts[gold] + start, starts[gold] + end)
    return JoinedDocuments(documents, spans, dict(without_span))


def _place(question: Example, corpus: dict[str, Passage]) -> tuple[str, int, int] | None:
    """Gold passage in which an answer stands, its start and end there; None where none does."""
    for answer in filter(None, map(str.strip, question.answers)):
        for id_ in question.gold_passages:
            text = corpus[id_].text
            # The plain search first: most of the patterns would be compiled for nothing.
            if answer in text and (match := pattern_of_whole(answer).search(text)):
                return id_, *match.span()
    return None


def document_splits(dataset: Dataset) -> dict[str, str]:
    """The split of each document of `join_documents`: that of the questions whose gold passages it holds.

    A document of which no question knows is not there, and one of several splits is in the last of train, dev and test,
    so that nothing of a test document is learned from. Empty for questions that name no gold passages.
    """
    found: dict[str, str] = {}
    for question in dataset.examples:
        for id_ in question.gold_passages:
            document = dataset.corpus[id_].title or id_
            found[document] = max(found.get(document, "train"), question.split, key=SPLITS.index)
    return found
