"""Test and training questions of a folder: its own splits, or halves that share no passage."""

from collections.abc import Sequence

import numpy as np

from nbutils.data import Example, short_answer
from nbutils.errors import InputError

MIN_QUESTIONS = 8  # half to train on, half to test


def split_questions(
    examples: Sequence[Example], n_test: int, n_train: int, seed: int
) -> tuple[list[Example], list[Example], list[str]]:
    """Test questions, training questions, and what to know of them.

    The data's own splits "test" and "train" are kept where both have enough; otherwise all questions are shuffled by
    `seed`, and half of them are for training. Questions that share a passage (where none is named: a text) go to one
    side, since a model that has learned one wording has seen the answer to the other. Raises InputError for fewer than
    `MIN_QUESTIONS`.
    """
    short = short_answer(examples, indirect=True)
    if len(short) < MIN_QUESTIONS:
        raise InputError(
            f"{len(short)} question{'s' * (len(short) != 1)}: a pilot needs at least {MIN_QUESTIONS}, half of them to "
            "train on; with fewer than about 100 it will say that it cannot tell"
        )
    rng, least = np.random.default_rng(seed), MIN_QUESTIONS // 2
    splits = {name: [q for q in short if q.split == name] for name in ("test", "train")}
    notes = []
    if min(map(len, splits.values())) < least:
        splits, together = _draw_halves(short, rng)
        counts = f"{sum(q.split == 'test' for q in short)} test, {sum(q.split == 'train' for q in short)} training"
        notes.append(f"The data name too few questions of one kind ({counts}): half of all, drawn, were trained on.")
        if not together:
            notes.append("Questions of one passage were trained on and tested: fine-tuning may have seen the answers.")
    drawn = {name: [splits[name][i] for i in rng.permutation(len(splits[name]))] for name in ("test", "train")}
    return drawn["test"][:n_test], drawn["train"][:n_train], notes


def _draw_halves(questions: list[Example], rng: np.random.Generator) -> tuple[dict[str, list[Example]], bool]:
    """Two halves, and whether questions of one passage stand on one side: not where a side would be left too small."""
    groups = _group_by_passage(questions)
    test: list[Example] = []
    train: list[Example] = []
    for i in rng.permutation(len(groups)):
        side = test if len(test) + len(groups[i]) <= len(questions) // 2 else train
        side += groups[i]
    together = min(len(test), len(train)) >= MIN_QUESTIONS // 2
    if not together:
        shuffled = [questions[i] for i in rng.permutation(len(questions))]
        test, train = shuffled[: len(questions) // 2], shuffled[len(questions) // 2 :]
    return {"test": test, "train": train}, together


def _group_by_passage(questions: list[Example]) -> list[list[Example]]:
    """Groups of questions, no two of which share a gold passage or, where none is named, a text."""
    parents: dict[str, str] = {}  # passage -> a passage of its group; the group's first one -> itself

    def root(passage: str) -> str:
        while parents.setdefault(passage, passage) != passage:
            passage = parents[passage]
        return passage

    keys = [question.gold_passages or (question.query.casefold(),) for question in questions]
    for passages in keys:
        for passage in passages:
            parents[root(passage)] = root(passages[0])
    groups: dict[str, list[Example]] = {}
    for question, passages in zip(questions, keys, strict=True):
        groups.setdefault(root(passages[0]), []).append(question)
    return [*groups.values()]
