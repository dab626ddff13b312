"""TODO"""

from nbutils.metrics.answers import (
    ANSWER_METRICS,
    answer_scores,
    check_answers,
    distinct_ngram_scores,
    distinct_ngrams,
    normalize_answer,
)
from nbutils.metrics.bootstrap import N_RESAMPLES, bootstrap_mean
from nbutils.metrics.rankings import recall_curve, retrieval_scores, topk_accuracy
