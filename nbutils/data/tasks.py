"""Tasks in one form: what is searched, what is asked, and which answers count."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nbutils.data.factbook import with_article
from nbutils.data.schema import CLAIM_LABELS, Claim, Clue, Passage, Question
from nbutils.errors import InputError

LABEL_ANSWERS = dict(zip(CLAIM_LABELS, ("true", "false", "unknown"), strict=True))


@dataclass(frozen=True)
class Example:
    """One example of a task."""

    id: str
    query: str  # what is searched
    question: str | None  # what stands in the prompt; None: nothing, a statement is to be written
    answers: tuple[str, ...]  # accepted ones; the first is trained on
    gold_passages: tuple[str, ...]


def question_items(questions: Sequence[Question], max_words: int | None = None) -> list[Example]:
    """Questions, searched and asked as they are; answers are cut to `max_words` words (None: left whole)."""
    return [
        Example(
            question.id,
            question.text,
            question.text,
            tuple(" ".join(answer.split()[:max_words]) for answer in question.answers),
            question.gold_passages,
        )
        for question in questions
    ]


def claim_items(claims: Sequence[Claim]) -> list[Example]:
    """Fact verification as question answering (FEVER's three classes): the answer is "true", "false" or "unknown".

    The claim itself is searched. One word is the whole answer, so that RAG-Sequence and RAG-Token nearly agree.
    """
    return [
        Example(
            claim.id,
            claim.text,
            f"{claim.text} Is this true, false or unknown?",
            (LABEL_ANSWERS[claim.label],),
            claim.gold_passages,
        )
        for claim in claims
    ]


def clue_items(clues: Sequence[Clue]) -> list[Example]:
    """Jeopardy question generation (Lewis et al. 2020, section 3.3): from an answer, here a country, to its clue.

    As on the show the clue has a category, here what stands before its colon ("The flag of this country"); without it
    a country's clues could not be told apart.
    """
    items = []
    for clue in clues:
        category, colon, text = clue.text.partition(": ")
        if not colon:
            raise InputError(f"clue {clue.id!r} has no category: write it as 'category: text'")
        topic = re.sub(r"this (country or territory|country|territory)", with_article(clue.answer), category)
        request = f"Write a clue on this topic: {topic}."
        items.append(Example(clue.id, topic, request, (text,), clue.gold_passages))
    return items


def statement_items(
    corpus: Mapping[str, Passage], kept: float, seed: int, min_words: int = 6, max_words: int = 30
) -> list[Example]:
    """Statement reconstruction (Siriwardhana et al. 2023, "+R"): sentences of the corpus, to be written again.

    A statement is a sentence of `min_words` to `max_words` words, with its passage's title before it. It is searched
    and is the answer, but does not stand in the prompt: the generator has the retrieved passages alone. These sentences
    stand in a passage word for word, so that it is found by its words and the statement copied from it. The share
    `kept` of its words, drawn by `seed`, is what is searched (1: all of them, as in the paper); the title stays.
    Raises InputError for a share outside (0, 1] and a corpus without such a sentence.
    """
    if not 0 < kept <= 1:
        raise InputError(f"kept = {kept}: give a share of the words above 0, at most 1")
    rng, items = np.random.default_rng(seed), []
    for id_, passage in corpus.items():
        for number, sentence in enumerate(re.split(r"(?<=[.!?]) (?=[A-Z])", passage.text)):
            words = sentence.split()
            if min_words <= len(words) <= max_words:
                some = np.sort(rng.permutation(len(words))[: max(1, round(kept * len(words)))])
                query = f"{passage.title}: {' '.join(words[i] for i in some)}"
                answer = f"{passage.title}: {' '.join(words)}"
                items.append(Example(f"{id_}-statement-{number}", query, None, (answer,), (id_,)))
    if not items:
        raise InputError(f"no sentence of {min_words} to {max_words} words in {len(corpus)} passages: no statements")
    return items


def continuation_items(corpus: Mapping[str, Passage], ids: Sequence[str], max_words: int) -> list[Example]:
    """Passages as their own teachers: their first words are searched and shown, their last ones are the answer.

    Half of a passage each, at most `max_words`; Lin et al. 2023 sec. 2.4 takes the first and the last 50 tokens.
    """
    items = []
    for id_ in ids:
        words = corpus[id_].text.split()
        if len(words) < 2:
            raise InputError(f"passage {id_!r} is a single word: it has no second half")
        size = min(max_words, len(words) // 2)
        first, second = " ".join(words[:size]), " ".join(words[-size:])
        items.append(Example(id_, first, first, (second,), ()))
    return items
