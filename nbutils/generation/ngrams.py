"""A language model of n-grams over token ids, from few texts: what counting gives where kNN-LM looks for neighbors."""

from collections.abc import Sequence

import numpy as np

from nbutils.errors import InputError


def ngram_probabilities(
    texts: Sequence[Sequence[int]], sequences: Sequence[Sequence[int]], order: int = 4
) -> np.ndarray:
    """p(token | the order - 1 tokens before) of every token after the first of each sequence, (N,) float64, in order.

    Interpolated Witten-Bell smoothing, by nltk: counts of all orders up to `order` in `texts`, each weighed by how
    often its context went on with something new. A token that is nowhere in the texts has 0. Raises InputError for no
    texts and an order below 1.
    """
    if not texts or order < 1:
        raise InputError(f"{len(texts)} texts, order {order}: give at least one text, and an order of at least 1")
    from nltk.lm import WittenBellInterpolated
    from nltk.util import everygrams

    as_words = [[str(token) for token in text] for text in texts]  # nltk looks up words, no numbers
    model = WittenBellInterpolated(order)
    model.fit([everygrams(words, max_len=order) for words in as_words], [word for words in as_words for word in words])
    found = []
    for sequence in sequences:
        words = [str(token) for token in sequence]
        for place in range(1, len(words)):
            known = words[place] in model.vocab  # nltk gives all that it does not know one probability together
            found.append(model.score(words[place], words[max(0, place - order + 1) : place]) if known else 0.0)
    return np.array(found)
