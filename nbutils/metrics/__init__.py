"""What answers and rankings are worth, and how sure that is: scores by `evaluate` and ir_measures, bootstrap."""

from nbutils.metrics.answers import (
    ANSWER_METRICS,
    answer_scores,
    check_answers,
    distinct_ngram_scores,
    distinct_ngrams,
    normalize_answer,
)
from nbutils.metrics.bootstrap import bootstrap_mean
from nbutils.metrics.rankings import recall_curve, retrieval_scores, topk_accuracy
