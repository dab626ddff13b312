"""Texts about something else than any data set here, by which one sees what a model relies on."""

import re

import numpy as np


def unrelated_texts(n: int, n_words: int, seed: int) -> list[str]:
    """`n` texts of `n_words` words, drawn by `seed`, from the language reference that comes with Python.

    English prose about something else than any data set here; another version of Python has slightly other texts.
    """
    from pydoc_data.topics import topics

    texts = [" ".join(re.sub(r"[*`|]|\n[-=~^]+\n", " ", topics[name]).split()) for name in sorted(topics)]
    long = [" ".join(text.split()[:n_words]) for text in texts if len(text.split()) >= n_words]
    return [long[i] for i in np.random.default_rng(seed).permutation(len(long))[:n]]
