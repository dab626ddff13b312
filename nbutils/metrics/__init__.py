"""What answers and rankings are worth, and how sure that is: scores by `evaluate` and ir_measures, intervals."""

from nbutils.metrics.answers import (
    ANSWER_METRICS,
    OWN_DATA,
    PUBLISHED,
    RULE_NOTES,
    answer_scores,
    check_answers,
    comparison,
    distinct_ngram_scores,
    distinct_ngrams,
    is_label,
    normalize_answer,
)
from nbutils.metrics.bootstrap import bootstrap_mean
from nbutils.metrics.budgets import recall_at_tokens
from nbutils.metrics.intervals import (
    Interval,
    cluster_interval,
    cluster_intervals,
    holm,
    minimum_detectable_effect,
    n_to_decide,
    p_value,
    rule_of_three,
    widened,
)
from nbutils.metrics.rankings import recall_curve, retrieval_scores, topk_accuracy
from nbutils.metrics.resampling import exchanged_range, permutation_p, pigeonhole_bootstrap
