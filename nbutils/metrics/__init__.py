"""How good answers and rankings are, a question at a time, and bootstrap intervals of the means."""

from nbutils.metrics.answers import (
    ANSWER_METRICS,
    answer_scores,
    distinct_ngram_scores,
    distinct_ngrams,
    normalize_answer,
)
from nbutils.metrics.bootstrap import bootstrap_mean
from nbutils.metrics.rankings import recall_curve, retrieval_scores, topk_accuracy
