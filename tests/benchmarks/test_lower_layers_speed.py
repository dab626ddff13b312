"""An index by an encoder whose top layer learned, above lower layers that were read once, against reading all anew."""

import time

import numpy as np
from substitution import uncached

from nbutils import data, models, training

N_PASSAGES = 400


def test_an_index_above_lower_layers(benchmark):
    """At least three times as fast as `models.encode`, with the same vectors."""
    passages = data.load_dataset("factbook", n_countries=30).corpus
    corpus = dict(list(passages.items())[:N_PASSAGES])
    encoder = models.load_encoder("minilm")
    learned = training.trainable_encoder(encoder, 1)
    learned.model.requires_grad_(False)
    lower = training.LowerLayers(encoder, corpus, 1)
    start = time.perf_counter()
    expected = uncached(models.encode, learned, lower.texts)
    whole = time.perf_counter() - start
    assert len(lower.states) <= len(corpus)  # read before the clock runs
    vectors = benchmark.pedantic(uncached, args=(training.encode_above, learned, lower), rounds=3)
    ratio = whole / benchmark.stats.stats.median
    benchmark.extra_info["times as fast as models.encode"] = round(ratio, 2)
    assert np.abs(vectors - expected).max() < 1e-3 and ratio > 3
