"""Draws by seed: of examples, of facts, and of training batches."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nbutils.data.schema import Example, Passage
from nbutils.errors import InputError
from nbutils.files import sha256_text


def select(
    examples: Sequence[Example],
    task: str | None = None,
    split: str | None = None,
    n: int | None = None,
    seed: int = 0,
) -> list[Example]:
    """At most `n` examples of one task and split (None: any), a sample without replacement, in their given order.

    Whether an example is drawn depends on `seed` and its id alone: a smaller sample is part of a larger one, and other
    examples come and go without changing it. All are returned when there are no more than `n`.
    Raises InputError when there are none, which says what there is: a mistyped task must not become an empty average.
    """
    if n is not None and (type(n) is not int or n < 1):
        raise InputError(f"n is {n!r}, it must be a whole number of at least 1, or None for all")
    found = [example for example in examples if task in (None, example.task) and split in (None, example.split)]
    if not found:
        counts = Counter((example.task, example.split) for example in examples)
        there = ", ".join(f"{count} {k} in {s}" for (k, s), count in sorted(counts.items())) or "none at all"
        raise InputError(f"no question of kind {task or 'any'!r} in split {split or 'any'!r}; there are: {there}")
    if n is None or n >= len(found):
        return found
    ranks = [hashlib.blake2b(f"{seed} {example.id}".encode(), digest_size=16).digest() for example in found]
    drawn = sorted(range(len(found)), key=ranks.__getitem__)[:n]
    return [found[i] for i in sorted(drawn)]


def sample(
    examples: Sequence[Example],
    n: int | None,
    seed: int,
    split: str,
    by: Callable[[Example], str] | None = None,
) -> list[Example]:
    """`n` examples of a split drawn by `seed` (None or more than there are: all).

    With `by` equally many of each of its values, at most as many as there are of the rarest.

    Raises InputError for a split without examples.
    """
    examples = [example for example in examples if example.split == split]
    if not examples:
        raise InputError(
            f"no records in split {split!r}: nothing to draw from; a folder names its questions in qrels/{split}.tsv, "
            f"as `data import --split {split}` writes it"
        )
    order = [examples[i] for i in np.random.default_rng(seed).permutation(len(examples))]
    if by is None:
        return order[:n]
    groups: dict[str, list[Example]] = {}
    for example in order:
        groups.setdefault(by(example), []).append(example)
    rarest = min(map(len, groups.values()))
    size = rarest if n is None else min(rarest, max(1, n // len(groups)))
    return [example for name in sorted(groups) for example in groups[name][:size]]


def keep_gold(corpus: Mapping[str, Passage], gold: set[str], n: int, seed: int) -> dict[str, Passage]:
    """The gold passages and a sample of the others, drawn by `seed`, `n` in all, in the order of `corpus`.

    Raises InputError for fewer than there are gold ones.
    """
    if n < len(gold):
        raise InputError(f"n_passages is {n}, but the questions have {len(gold)} gold passages; take fewer questions")
    others = sorted((id for id in corpus if id not in gold), key=lambda id: sha256_text(str(seed), id))
    kept = gold | set(others[: n - len(gold)])
    return {id: passage for id, passage in corpus.items() if id in kept}


def one_per_fact(questions: Sequence[Example], seed: int) -> list[Example]:
    """One question of each fact, in a wording drawn by `seed`: two wordings of a fact are not independent questions."""
    drawn: dict[Any, Example] = {}
    for i in np.random.default_rng(seed).permutation(len(questions)):
        question = questions[i]
        has_wordings = question.template >= 0
        fact = (question.task, question.field, question.gold_passages, question.answers)
        drawn.setdefault(fact if has_wordings else question.id, question)
    return list(drawn.values())


def require_held_out(train: Sequence[Example], test: Sequence[Example]) -> None:
    """Nothing; raises InputError when a test example is about what a training example is about.

    That is a subject that both have (a country, an article), whatever is asked about it, and an id that both have.
    Where one of two examples names no subject, as questions of a folder without titles, their texts are compared: the
    same question may not be in both. Case and spaces do not count. A passage that both name is no leak by itself: the
    facts that are asked for may be others. The message names the first of what is shared, and how many there are.
    """
    named = [example for example in test if example.subject]
    unnamed = [example for example in test if not example.subject]
    trained_unnamed = [example for example in train if not example.subject]
    shared = (
        ("subject", _shared(train, named, lambda example: example.subject)),
        ("id", _shared(train, test, lambda example: example.id)),
        ("text", _shared(train, unnamed, _asked) or _shared(trained_unnamed, test, _asked)),
    )
    for what, found in shared:
        if found:
            many = f"{len(found)} {what}s are" if len(found) > 1 else f"1 {what} is"
            raise InputError(
                f"the {what} {found[0]!r} is one of a training and of a test example ({many} in both): leave it out of "
                "one of them, or split by subject"
            )


def _shared(train: Sequence[Example], test: Sequence[Example], of: Callable[[Example], str]) -> list[str]:
    """What examples of both have, as the test examples write it, in their order."""
    trained = {_folded(of(example)) for example in train}
    found = {_folded(of(example)): of(example) for example in reversed(test)}
    return [found[key] for key in dict.fromkeys(_folded(of(example)) for example in test) if key in trained]


def _asked(example: Example) -> str:
    return example.query if example.question is None else example.question


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def task_batches(
    examples: Mapping[str, Sequence[Example]], order: Sequence[str], batch_size: int, n_batches: int, seed: int
) -> list[Example]:
    """`n_batches` batches, one after the other, each of one task: that of `order`, over and over.

    A task's examples are taken in an order drawn by `seed`, and again from the start when all have been. Batches of one
    task keep long answers, whose loss is a sum over many tokens, from drowning short ones within a step.
    Raises InputError for a task without examples.
    """
    for task in order:
        if not examples.get(task):
            raise InputError(f"no items of task {task!r}: leave it out of the order")
    shuffled = {task: np.random.default_rng(seed).permutation(len(examples[task])) for task in order}
    taken = dict.fromkeys(order, 0)
    mixed = []
    for number in range(n_batches):
        task = order[number % len(order)]
        for _ in range(batch_size):
            mixed.append(examples[task][shuffled[task][taken[task] % len(examples[task])]])
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
