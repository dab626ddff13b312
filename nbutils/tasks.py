"""Tasks in one form: questions, claims and clues as what is searched, what is asked, and which answers count."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nbutils import metrics
from nbutils.data import CLAIM_LABELS, Claim, Clue, Passage, Question
from nbutils.errors import InputError
from nbutils.factbook import with_article
from nbutils.generation import build_prompt
from nbutils.record import Record

LABEL_ANSWERS = dict(zip(CLAIM_LABELS, ("true", "false", "unknown"), strict=True))


@dataclass(frozen=True)
class Item:
    """One example of a task."""

    id: str
    query: str  # what is searched
    question: str  # what stands in the prompt
    answers: tuple[str, ...]  # accepted ones; the first is trained on
    gold_passages: tuple[str, ...]


def question_items(questions: Sequence[Question], max_words: int | None = None) -> list[Item]:
    """Questions, searched and asked as they are; answers are cut to `max_words` words (None: left whole)."""
    return [
        Item(
            question.id,
            question.text,
            question.text,
            tuple(" ".join(answer.split()[:max_words]) for answer in question.answers),
            question.gold_passages,
        )
        for question in questions
    ]


def claim_items(claims: Sequence[Claim]) -> list[Item]:
    """Fact verification as question answering (FEVER's three classes): the answer is "true", "false" or "unknown".

    The claim itself is searched. One word is the whole answer, so that RAG-Sequence and RAG-Token nearly agree.
    """
    return [
        Item(
            claim.id,
            claim.text,
            f"{claim.text} Is this true, false or unknown?",
            (LABEL_ANSWERS[claim.label],),
            claim.gold_passages,
        )
        for claim in claims
    ]


def clue_items(clues: Sequence[Clue]) -> list[Item]:
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
        items.append(Item(clue.id, topic, request, (text,), clue.gold_passages))
    return items


def draw(records: Sequence, n: int | None, seed: int, split: str, by: str | None = None) -> list:
    """`n` records of a split drawn by `seed` (None or more than there are: all), equally many of each value of `by`.

    Raises InputError for a split without records.
    """
    records = [record for record in records if record.split == split]
    if not records:
        raise InputError(f"no records in split {split!r}: nothing to draw from")
    order = [records[i] for i in np.random.default_rng(seed).permutation(len(records))]
    if by is None:
        return order[:n]
    groups: dict[str, list] = {}
    for record in order:
        groups.setdefault(getattr(record, by), []).append(record)
    size = None if n is None else max(1, n // len(groups))
    return [record for name in sorted(groups) for record in groups[name][:size]]


def prompts(items: Sequence[Item], ids: np.ndarray, corpus: dict[str, Passage]) -> list[list[str]]:
    """For each item one prompt per retrieved passage: `ids` (B, K) -> B lists of K."""
    return [
        [build_prompt(item.question, corpus[id_]) for id_ in row]
        for item, row in zip(items, np.asarray(ids).tolist(), strict=True)
    ]


def interleave(
    items: Mapping[str, Sequence[Item]], order: Sequence[str], batch_size: int, n_batches: int, seed: int
) -> list[Item]:
    """`n_batches` batches, one after the other, each of one task: that of `order`, over and over.

    A task's items are taken in an order drawn by `seed`, and again from the start when all have been. Batches of one
    task keep long answers, whose loss is a sum over many tokens, from drowning short ones within a step.
    Raises InputError for a task without items.
    """
    for task in order:
        if not items.get(task):
            raise InputError(f"no items of task {task!r}: leave it out of the order")
    shuffled = {task: np.random.default_rng(seed).permutation(len(items[task])) for task in order}
    taken = dict.fromkeys(order, 0)
    mixed = []
    for number in range(n_batches):
        task = order[number % len(order)]
        for _ in range(batch_size):
            mixed.append(items[task][shuffled[task][taken[task] % len(items[task])]])
            taken[task] += 1
    return mixed


def record_answers(
    record: Record, metric: str, system: str, task: str, items: Sequence[Item], answers: Sequence[Sequence[str]]
) -> None:
    """Note a system's scores as "<metric>/<system>/<task>"; `answers` has one list a training seed, in `items`' order.

    A question's score is the mean over seeds; the range of the seeds' means goes under "<name>, seeds". The same
    answers scored against shuffled references go under "<name>, shuffled answers": what chance gives.
    """
    ids, accepted = [item.id for item in items], [item.answers for item in items]
    shuffled = [accepted[i] for i in np.random.default_rng(0).permutation(len(items))]
    for label, references in {"": accepted, ", shuffled answers": shuffled}.items():
        per_seed = [metrics.answer_scores(metric, said, references) for said in answers]
        record.scores(f"{metric}/{system}/{task}{label}", ids, np.mean(per_seed, axis=0))
        if not label and len(per_seed) > 1:
            means = [scores.mean() for scores in per_seed]
            interval = f"range over {len(means)} seeds"
            record.metric(
                f"{metric}/{system}/{task}, seeds", np.mean(means), min(means), max(means), len(ids), interval
            )
