"""Distinct n-grams over all n-grams of the generated texts together (Lewis et al. 2020, Table 5: tri-grams).

Tokens are lower-cased words and single punctuation marks. Corpus-level: the ratio falls as the amount of text grows, so
compare systems on the same questions only. An occurrence of an n-gram counts 1 / (its occurrences in all texts), which
makes the ratio one of two sums over texts; a text's score is that ratio linearised (see metrics.distinct_ngram_scores).
"""

import re
from collections import Counter

import datasets
import evaluate

from nbutils.errors import InputError


class DistinctNgrams(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description="predictions: list of strings; n: length of the n-grams (default 3).",
            features=datasets.Features({"predictions": datasets.Value("string")}),
        )

    def _compute(self, predictions, n=3):
        """{"distinct_ngrams": ratio in (0, 1], "scores": one per text, whose mean is the ratio}."""
        if n < 1:
            raise InputError(f"n-grams of length {n}: n must be at least 1")
        ngrams = []
        for text in predictions:
            tokens = re.findall(r"\w+|[^\w\s]", text.lower())
            ngrams.append(list(zip(*(tokens[i:] for i in range(n)), strict=False)))
        counts = Counter(ngram for of_text in ngrams for ngram in of_text)
        total = sum(counts.values())
        if not total:
            raise InputError(f"none of {len(predictions)} texts is as long as {n} tokens: there are no n-grams")
        ratio, mean_length = len(counts) / total, total / len(ngrams)
        surplus = [sum(1 / counts[ngram] for ngram in of_text) - ratio * len(of_text) for of_text in ngrams]
        return {"distinct_ngrams": ratio, "scores": [ratio + value / mean_length for value in surplus]}
