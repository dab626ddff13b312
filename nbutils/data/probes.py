"""Probes of what a model relies on: changed passages, options to choose from, texts about something else."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from nbutils.data.schema import Example, Passage
from nbutils.text import pattern_of_whole


def unrelated_texts(n: int, n_words: int, seed: int) -> list[str]:
    """`n` texts of `n_words` words, drawn by `seed`, from the language reference that comes with Python.

    English prose about something else than any data set here; another version of Python has slightly other texts.
    """
    from pydoc_data.topics import topics

    texts = [" ".join(re.sub(r"[*`|]|\n[-=~^]+\n", " ", topics[name]).split()) for name in sorted(topics)]
    long = [" ".join(text.split()[:n_words]) for text in texts if len(text.split()) >= n_words]
    return [long[i] for i in np.random.default_rng(seed).permutation(len(long))[:n]]


def counterfactual_passages(
    questions: Sequence[Example], corpus: Mapping[str, Passage], pool: Sequence[Example], seed: int
) -> dict[str, tuple[Passage, str]]:
    """{question id: (its gold passage with another answer in place of the right one, that answer)}.

    The other answer is one that some question of `pool` about the same field has, drawn by `seed`. Left out are
    questions without one, whose gold passage lacks the answer as whole words, or names a second right one.
    """
    rng, found = np.random.default_rng(seed), {}
    for question, others in zip(questions, _answers_of_others(questions, pool), strict=True):
        passage = corpus[question.gold_passages[0]]
        answer = next((text for text in question.answers if pattern_of_whole(text).search(passage.text)), None)
        if answer is None or not others:
            continue
        other = others[rng.integers(len(others))]
        text = pattern_of_whole(answer).sub(lambda _, other=other: other, passage.text)
        if not any(pattern_of_whole(right).search(text) or right in other for right in question.answers):
            found[question.id] = Passage(passage.title, text), other
    return found


def answer_options(
    questions: Sequence[Example], pool: Sequence[Example], n_choices: int, seed: int
) -> dict[str, list[str]]:
    """{question id: its first answer and `n_choices` - 1 wrong ones}; questions for which there are fewer are left out.

    The wrong ones are answers of `pool` to the same field. The right one stands first: who chooses by likelihood does
    not see the order.
    """
    rng, found = np.random.default_rng(seed), {}
    for question, others in zip(questions, _answers_of_others(questions, pool), strict=True):
        if len(others) >= n_choices - 1:
            chosen = rng.choice(len(others), n_choices - 1, replace=False)
            found[question.id] = [question.answers[0], *(others[i] for i in chosen)]
    return found


def _answers_of_others(questions: Sequence[Example], pool: Sequence[Example]) -> list[list[str]]:
    """For each question the first answers in `pool` to the same field that are not its own; none without a field."""
    by_field: dict[str, dict[str, None]] = {}
    for question in (question for question in pool if question.field):
        by_field.setdefault(question.field, {})[question.answers[0]] = None
    return [[text for text in by_field.get(q.field, ()) if text not in q.answers] for q in questions]
