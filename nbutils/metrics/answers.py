"""Scores of answers and texts, by the `evaluate` modules of this package."""

import functools
import re
import string
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nbutils.errors import InputError
from nbutils.text import comparable

ANSWER_METRICS = ("exact_match", "token_f1", "rouge_l", "bleu_1")
PUBLISHED, OWN_DATA = "published", "own data"
RULE_NOTES = {  # what a page says of the rule
    PUBLISHED: "Answers are compared as SQuAD's evaluation does: without case, punctuation and articles.",
    OWN_DATA: (
        "Answers are compared without case, punctuation and articles; signs, decimals and symbols count (-1.5, 10%, "
        "C++), and what would become empty is compared as it stands (A)."
    ),
}


def normalize_answer(text: str) -> str:
    """`text` as SQuAD's evaluation compares it: lower case, no ASCII punctuation, no articles, single spaces.

    An answer that is nothing but an article or punctuation ("A", "?") becomes "", "-1.5" and "1.5" both become "15":
    that is SQuAD's rule, kept here since papers score by it. For one's own data there is `text.comparable`.
    """
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def is_label(answer: str) -> bool:
    """True for "yes", "no", "true", "false" and a single letter, which no passage supports by its words."""
    short = comparable(answer)
    return short in ("yes", "no", "true", "false") or (len(short) == 1 and short.isascii() and short.isalpha())


def check_answers(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> None:
    """Raise InputError unless there is at least one prediction, and for each one a list of non-blank answers."""
    _check_texts("predictions", predictions)
    if isinstance(answers, str) or len(predictions) != len(answers):
        n_answers = "a string" if isinstance(answers, str) else len(answers)
        raise InputError(f"{len(predictions)} predictions but {n_answers} lists of answers: give one list each")
    for i, accepted in enumerate(answers):
        if isinstance(accepted, str) or not all(isinstance(answer, str) for answer in accepted):
            raise InputError(f"answers[{i}] is {accepted!r}: give a list of strings")
        if len(accepted) == 0 or not all(answer.strip() for answer in accepted):
            raise InputError(f"answers[{i}] is {accepted!r}: give at least one answer, none of them blank")


def _check_texts(what: str, texts: Sequence[str]) -> None:
    if isinstance(texts, str) or len(texts) == 0:
        raise InputError(f"{what} is {texts!r}: give a list of at least one string")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"{what}[{i}] is {text!r}: give a string")


def comparison(rule: str) -> Callable[[str], str]:
    """What is compared of an answer: `normalize_answer` of papers ("published") or `text.comparable` ("own data")."""
    require_rule(rule)
    return normalize_answer if rule == PUBLISHED else comparable


def require_rule(rule: str) -> None:
    """Raise InputError for a rule of comparison that is none."""
    if rule not in RULE_NOTES:
        raise InputError(f"no rule {rule!r} to compare answers by: use one of {', '.join(RULE_NOTES)}")


def answer_scores(
    metric: str, predictions: Sequence[str], answers: Sequence[Sequence[str]], rule: str = PUBLISHED
) -> np.ndarray:
    """Score of each prediction against its accepted answers, in [0, 1]: (n,).

    `metric` is one of "exact_match", "token_f1", "rouge_l", "bleu_1"; each module's docstring has its definition.
    `rule`: exact match and token F1 compare answers as papers do, or, with "own data", by `text.comparable`.
    Raises InputError for an unknown metric or rule, no predictions, unequal lengths, or a question without an answer.
    """
    if metric not in ANSWER_METRICS:
        known = ", ".join(ANSWER_METRICS)
        raise InputError(f"no per-answer metric {metric!r}: use one of {known} (distinct_ngrams is corpus-level)")
    check_answers(predictions, answers)
    references = [list(accepted) for accepted in answers]
    require_rule(rule)
    if rule != PUBLISHED and metric not in ("exact_match", "token_f1"):
        raise InputError(f"{metric} has no rule {rule!r}: score by exact_match or token_f1")
    extra = {} if rule == PUBLISHED else {"rule": rule}
    result = _evaluate_module(metric).compute(predictions=list(predictions), references=references, **extra)
    return np.asarray(result["scores"], dtype=np.float64)


def distinct_ngrams(texts: Sequence[str], n: int = 3) -> float:
    """Number of distinct n-grams over number of n-grams in all texts together (Lewis et al. 2020, Table 5, n = 3).

    Corpus-level: it falls as the amount of text grows, so compare systems on the same questions only.
    Raises InputError when no text is as long as n tokens.
    """
    _check_texts("texts", texts)
    return float(_evaluate_module("distinct_ngrams").compute(predictions=list(texts), n=n)["distinct_ngrams"])


def distinct_ngram_scores(texts: Sequence[str], n: int = 3) -> np.ndarray:
    """One value a text whose mean is exactly `distinct_ngrams(texts, n)`: (n_texts,).

    With c(g) the occurrences of n-gram g in all texts, the ratio is R = sum_i s_i / sum_i l_i, s_i = sum of 1 / c(g)
    over text i and l_i its number of n-grams; the value is R + (s_i - R l_i) / mean(l), R linearised, so that the
    bootstrap of the mean is that of a ratio and long texts do not widen it. For a paired difference give each system's
    texts to the same questions, in the same order. The interval is conditional on c: repeated questions of a resample
    do not repeat their n-grams. Raises InputError as distinct_ngrams.
    """
    _check_texts("texts", texts)
    return np.asarray(_evaluate_module("distinct_ngrams").compute(predictions=list(texts), n=n)["scores"])


@functools.cache
def _evaluate_module(name: str) -> Any:
    # The first `import evaluate` of a process costs seconds (it imports torch); loading a module then takes 20 ms.
    from evaluate.loading import import_main_class

    # Not by `evaluate.load`: that copies modules into the home directory first, which may not be writable.
    module = import_main_class(f"nbutils.metrics.modules.{name}.{name}")
    with tempfile.TemporaryDirectory() as scratch:  # it makes folders, into which nothing goes: scores stay in memory
        return module(keep_in_memory=True, cache_dir=scratch)
