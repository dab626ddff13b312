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
    question: str | None  # what stands in the prompt; None: nothing, a statement is to be written
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


def statement_items(
    corpus: Mapping[str, Passage], kept: float, seed: int, min_words: int = 6, max_words: int = 30
) -> list[Item]:
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
                items.append(Item(f"{id_}-statement-{number}", query, None, (answer,), (id_,)))
    if not items:
        raise InputError(f"no sentence of {min_words} to {max_words} words in {len(corpus)} passages: no statements")
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


def record_retrieval(
    record: Record,
    system: str,
    items: Sequence[Item],
    corpus: Mapping[str, Passage],
    found: Sequence[np.ndarray],
    ks: Sequence[int] = (1, 5, 20),
) -> None:
    """Note what a system retrieves; `found` has ids (B, >= max k) for each training seed, rows in the items' order.

    "top_<k>/<system>" is the share of questions with an answer in the first k passages (DPR's measure), and the same
    of another question's answers goes under ", shuffled answers". Where all items name gold passages,
    "recall_at_<k>/<system>" is the share of these that is among the first k. Scores are means over seeds.
    """
    ids, accepted = [item.id for item in items], [item.answers for item in items]
    texts = {id_: passage.text for id_, passage in corpus.items()}
    shuffled = [accepted[i] for i in np.random.default_rng(0).permutation(len(items))]
    for label, answers in {"": accepted, ", shuffled answers": shuffled}.items():
        hits = np.mean([metrics.topk_accuracy(rows, texts, answers, ks) for rows in found], axis=0)
        for k, column in zip(ks, hits.T, strict=True):
            record.scores(f"top_{k}/{system}{label}", ids, column)
    gold = [item.gold_passages for item in items]
    if all(gold):
        recall = np.mean([metrics.recall_curve(rows, gold, ks) for rows in found], axis=0)
        for k, column in zip(ks, recall.T, strict=True):
            record.scores(f"recall_at_{k}/{system}", ids, column)
