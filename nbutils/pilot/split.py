"""Test and training questions of a folder: its own splits, or halves that share no passage."""

from collections.abc import Sequence

import numpy as np

from nbutils.data import Example, require_held_out, short_answer
from nbutils.errors import InputError

MIN_QUESTIONS = 8  # half to train on, half to test


def split_questions(
    examples: Sequence[Example], n_test: int, n_train: int, seed: int
) -> tuple[list[Example], list[Example], list[str]]:
    """Test questions, training questions, and what to know of them.

    The data's own splits "test" and "train" are kept where both have enough; otherwise all questions are shuffled by
    `seed`, and half of them are for training. Questions that share a passage or a text go to one side, since a model
    that has learned one wording has seen the answer to the other. That the halves, or the data's own splits, share a
    subject or a question nevertheless is one of the things to know: in a collection about one subject it cannot be
    otherwise. Raises InputError for fewer than `MIN_QUESTIONS`.
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
    try:
        require_held_out(splits["train"], splits["test"])
    except InputError as error:
        notes.append(f"Not held out: {error}.")
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
    """Groups of questions, no two of which share a gold passage or a text."""
    Key = tuple[str, str]
    parents: dict[Key, Key] = {}  # key -> a key of its group; the group's first one -> itself

    def root(key: Key) -> Key:
        while parents.setdefault(key, key) != key:
            key = parents[key]
        return key

    texts = [" ".join(question.query.casefold().split()) for question in questions]
    keys = [
        [("text", text), *(("passage", passage) for passage in question.gold_passages)]
        for question, text in zip(questions, texts, strict=True)
    ]
    for of_question in keys:
        for key in of_question:
            parents[root(key)] = root(of_question[0])
    groups: dict[Key, list[Example]] = {}
    for question, of_question in zip(questions, keys, strict=True):
        groups.setdefault(root(of_question[0]), []).append(question)
    return [*groups.values()]
