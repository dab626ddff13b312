"""Distinct n-grams over all n-grams of the generated texts together (Lewis et al. 2020, Table 5: tri-grams).

Tokens are lower-cased words and single punctuation marks. Corpus-level: there are no per-example scores, and the ratio
falls as the amount of text grows, so compare systems on the same questions only.
"""

import re

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
        """{"distinct_ngrams": ratio in (0, 1]}."""
        if n < 1:
            raise InputError(f"n-grams of length {n}: n must be at least 1")
        ngrams = []
        for text in predictions:
            tokens = re.findall(r"\w+|[^\w\s]", text.lower())
            ngrams += zip(*(tokens[i:] for i in range(n)), strict=False)
        if not ngrams:
            raise InputError(f"none of {len(predictions)} texts is as long as {n} tokens: there are no n-grams")
        return {"distinct_ngrams": len(set(ngrams)) / len(ngrams)}
