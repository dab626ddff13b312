"""Draws by seed: of questions, of test items, and of training batches."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nbutils.data.schema import Question
from nbutils.data.tasks import Example
from nbutils.errors import InputError


def select(
    questions: list[Question],
    kind: str | None = None,
    split: str | None = None,
    n: int | None = None,
    seed: int = 0,
) -> list[Question]:
    """At most `n` questions of one kind and split (None: any), a sample without replacement, in their given order.

    Whether a question is drawn depends on `seed` and its id alone: a smaller sample is part of a larger one, and other
    questions come and go without changing it. All are returned when there are no more than `n`.
    Raises InputError when there are none, which says what there is: a mistyped kind must not become an empty average.
    """
    if n is not None and (type(n) is not int or n < 1):
        raise InputError(f"n is {n!r}, it must be a whole number of at least 1, or None for all")
    found = [q for q in questions if kind in (None, q.kind) and split in (None, q.split)]
    if not found:
        counts = Counter((q.kind, q.split) for q in questions)
        there = ", ".join(f"{count} {k} in {s}" for (k, s), count in sorted(counts.items())) or "none at all"
        raise InputError(f"no question of kind {kind or 'any'!r} in split {split or 'any'!r}; there are: {there}")
    if n is None or n >= len(found):
        return found
    ranks = [hashlib.blake2b(f"{seed} {q.id}".encode(), digest_size=16).digest() for q in found]
    drawn = sorted(range(len(found)), key=ranks.__getitem__)[:n]
    return [found[i] for i in sorted(drawn)]


def sample(records: Sequence, n: int | None, seed: int, split: str, by: str | None = None) -> list:
    """`n` records of a split drawn by `seed` (None or more than there are: all).

    With `by` equally many of each of its values, at most as many as there are of the rarest.

    Raises InputError for a split without records.
    """
    records = [record for record in records if record.split == split]
    if not records:
        raise InputError(
            f"no records in split {split!r}: nothing to draw from; a folder names its questions in qrels/{split}.tsv, "
            f"as `data import --split {split}` writes it"
        )
    order = [records[i] for i in np.random.default_rng(seed).permutation(len(records))]
    if by is None:
        return order[:n]
    groups: dict[str, list] = {}
    for record in order:
        groups.setdefault(getattr(record, by), []).append(record)
    rarest = min(map(len, groups.values()))
    size = rarest if n is None else min(rarest, max(1, n // len(groups)))
    return [record for name in sorted(groups) for record in groups[name][:size]]


def one_per_fact(questions: Sequence[Question], seed: int) -> list[Question]:
    """One question of each fact, in a wording drawn by `seed`: two wordings of a fact are not independent questions."""
    drawn: dict[Any, Question] = {}
    for i in np.random.default_rng(seed).permutation(len(questions)):
        question = questions[i]
        has_wordings = question.template >= 0
        fact = (question.kind, question.field, question.gold_passages, question.answers)
        drawn.setdefault(fact if has_wordings else question.id, question)
    return list(drawn.values())


def task_batches(
    items: Mapping[str, Sequence[Example]], order: Sequence[str], batch_size: int, n_batches: int, seed: int
) -> list[Example]:
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


def sample_mixture(sizes: Sequence[int], shares: Sequence[float], n: int, seed: int) -> list[int]:
    """`n` row numbers of several sources that stand one after the other, drawn by `seed`, by the share of each.

    A source's rows come in an order of their own, and again from the start when all have been.
    """
    if len(sizes) != len(shares) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise InputError(f"shares {list(shares)} of {len(sizes)} sources: give one to each, 1 in all")
    rng, starts = np.random.default_rng(seed), np.cumsum([0, *sizes])
    counts = np.diff(np.round(n * np.cumsum([0, *shares])).astype(int))
    rows = [
        starts[source] + np.resize(rng.permutation(size), count)
        for source, (size, count) in enumerate(zip(sizes, counts, strict=True))
        if count
    ]
    return rng.permutation(np.concatenate(rows)).tolist()
