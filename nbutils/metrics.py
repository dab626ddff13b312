"""Scores of answers and of rankings, one value per question, and the bootstrap intervals of their means.

Answer metrics are `evaluate` modules that lie in this package and load offline:
`evaluate.load(str(paths.METRICS / "exact_match"))`. Retrieval metrics are computed by `ir_measures`.
"""

import functools
import re
import string
import unicodedata
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nbutils import paths
from nbutils.errors import InputError

ANSWER_METRICS = ("exact_match", "token_f1", "rouge_l", "bleu_1")
N_RESAMPLES = 10_000


# Answers ------------------------------------------------------------------------------------------------------------


def normalise_answer(text: str) -> str:
    """`text` as SQuAD's evaluation compares it: lower case, no ASCII punctuation, no articles, single spaces.

    An answer that is nothing but an article or punctuation ("A", "?") becomes "": that is SQuAD's rule, kept here.
    """
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


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


def answer_scores(metric: str, predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> np.ndarray:
    """Score of each prediction against its accepted answers, in [0, 1]: (n,).

    `metric` is one of "exact_match", "token_f1", "rouge_l", "bleu_1"; each module's docstring has its definition.
    Raises InputError for an unknown metric, no predictions, unequal lengths, or a question without an answer.
    """
    if metric not in ANSWER_METRICS:
        known = ", ".join(ANSWER_METRICS)
        raise InputError(f"no per-answer metric {metric!r}: use one of {known} (distinct_ngrams is corpus-level)")
    check_answers(predictions, answers)
    references = [list(accepted) for accepted in answers]
    result = _evaluate_module(metric).compute(predictions=list(predictions), references=references)
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
    import evaluate

    # In memory: without it every call writes, locks and deletes a file below the home directory.
    return evaluate.load(str(paths.METRICS / name), keep_in_memory=True)


# Rankings -----------------------------------------------------------------------------------------------------------


def retrieval_scores(
    measures: Sequence[str],
    run: Mapping[str, Mapping[str, float] | Sequence[str]],
    qrels: Mapping[str, Mapping[str, int]],
) -> dict[str, np.ndarray]:
    """Per question, in the order of `qrels`: {measure: (n_questions,)}, computed by ir_measures.

    `measures` are its names: "R@1", "R@100", "RR@10", "nDCG@10". `run` gives for each question a ranking (passage ids,
    best first) or {passage id: score}; equal scores keep their order, where trec_eval would sort them by id.
    A question with an explicitly empty ranking scores 0. Raises InputError when the questions of `run` and `qrels`
    differ, when a question has no relevant passage, and for an unknown measure.
    """
    import ir_measures

    if not qrels:
        raise InputError("qrels is empty: there is nothing to score")
    if run.keys() != qrels.keys():
        missing, extra = sorted(qrels.keys() - run.keys()), sorted(run.keys() - qrels.keys())
        raise InputError(
            f"run and qrels must have the same questions: {len(missing)} missing from run {missing[:3]}, "
            f"{len(extra)} not in qrels {extra[:3]}"
        )
    for question, relevant in qrels.items():
        if not any(relevance > 0 for relevance in relevant.values()):
            raise InputError(f"question {question!r} has no relevant passage in qrels: leave it out of both")
    parsed = {name: _parse_measure(name) for name in measures}
    ranked = {question: _ranks(question, ranking) for question, ranking in run.items()}
    judged = {question: dict(relevant) for question, relevant in qrels.items()}
    rows = {question: i for i, question in enumerate(qrels)}
    scores = {measure: np.full(len(rows), np.nan) for measure in parsed.values()}
    for metric in ir_measures.iter_calc(list(scores), judged, ranked):
        scores[metric.measure][rows[metric.query_id]] = metric.value
    return {name: scores[measure] for name, measure in parsed.items()}


def _parse_measure(name: str) -> Any:
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name)
        measure.validate_params()
    except (NameError, ValueError, AssertionError) as error:
        raise InputError(f"no retrieval measure {name!r}: use names such as R@20, RR@10, nDCG@10") from error
    if name.partition("@")[2] == "0":
        raise InputError(f"retrieval measure {name!r} has cut-off 0: the smallest is 1")
    return measure


def _ranks(question: str, ranking: Mapping[str, float] | Sequence[str]) -> dict[str, float]:
    """{passage id: minus its rank}. trec_eval keeps scores in single precision, where near scores become ties."""
    if isinstance(ranking, Mapping):
        if any(score != score for score in ranking.values()):
            raise InputError(f"the ranking of question {question!r} has a score that is not a number")
        ranking = sorted(ranking, key=lambda passage: -ranking[passage])
    _check_distinct(f"the ranking of question {question!r}", ranking)
    return {passage: -float(rank) for rank, passage in enumerate(ranking)}


def recall_curve(
    ids: Sequence[Sequence[Hashable]] | np.ndarray, gold: Sequence[Collection[Hashable]], ks: Sequence[int]
) -> np.ndarray:
    """recall_at_k = |top k and gold| / |gold| of each question at each k: (n_questions, len(ks)).

    `ids[i]` are the passage ids retrieved for question i, best first; `gold[i]` its gold passages. A ranking may be
    shorter than k (the retriever found no more), but not every one: then k is deeper than what was retrieved.
    Raises InputError for that, for no questions, unequal lengths, no gold passage and a passage ranked twice.
    """
    ranked = _rankings(ids, ks)
    if len(ranked) != len(gold):
        raise InputError(f"{len(ranked)} rankings but {len(gold)} sets of gold passages: give one each")
    hits = np.zeros((len(ranked), max(ks)), dtype=int)
    n_gold = np.zeros((len(ranked), 1))
    for i, (row, relevant) in enumerate(zip(ranked, gold, strict=True)):
        relevant = _as_set(f"gold[{i}]", relevant)
        hits[i, : len(row)] = [passage in relevant for passage in row[: max(ks)]]
        n_gold[i] = len(relevant)
    return np.cumsum(hits, axis=1)[:, np.asarray(ks) - 1] / n_gold


def topk_accuracy(
    ids: Sequence[Sequence[Hashable]] | np.ndarray,
    texts: Mapping[Hashable, str],
    answers: Sequence[Sequence[str]],
    ks: Sequence[int],
) -> np.ndarray:
    """1 where some top-k passage contains an answer string, else 0: (n_questions, len(ks)).

    DPR's measure (Karpukhin et al. 2020, Section 5): text and answer are brought to Unicode NFD, cut into runs of
    letters, digits and marks or else single symbols, and lower-cased; an answer counts where its tokens stand in the
    passage one after the other. So "Man" is not found in "Oman", and punctuation and articles must match. `texts` maps
    passage id to text; DPR searches the text, not the title. Chance hits count, hence never call this recall.
    Raises InputError for unequal lengths, an unknown passage, and an answer without a token.
    """
    ranked = _rankings(ids, ks)
    check_answers([""] * len(ranked), answers)
    padded: dict[Hashable, str] = {}  # each passage is normalised once, however many questions retrieve it
    found = np.zeros((len(ranked), max(ks)), dtype=bool)
    for i, (row, accepted) in enumerate(zip(ranked, answers, strict=True)):
        needles = [_padded_tokens(answer) for answer in accepted]
        if any(not needle.strip() for needle in needles):
            raise InputError(f"answers[{i}] is {accepted!r}: an answer must have a letter, a digit or a symbol")
        for rank, passage in enumerate(row[: max(ks)]):
            if passage not in padded:
                if passage not in texts:
                    raise InputError(f"passage {passage!r}, ranked for question {i}, is not in the corpus")
                padded[passage] = _padded_tokens(texts[passage])
            if any(needle in padded[passage] for needle in needles):
                found[i, rank:] = True
                break
    return found[:, np.asarray(ks) - 1].astype(np.float64)


def _padded_tokens(text: str) -> str:
    """DPR's tokens with a space on either side of each: no token contains a space, so `in` finds whole tokens only."""
    return " " + " ".join(_token_pattern().findall(unicodedata.normalize("NFD", text).lower())) + " "


@functools.cache
def _token_pattern() -> Any:
    import regex  # the standard library's re has no \p{M}: it would cut "e" + combining accent in two

    return regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")


def _rankings(ids: Sequence[Sequence[Hashable]] | np.ndarray, ks: Sequence[int]) -> list[list[Hashable]]:
    # ndarray.tolist gives Python strings and integers, which hash as the corpus' own ids do.
    ranked = ids.tolist() if isinstance(ids, np.ndarray) else [list(row) for row in ids]
    if not ranked:
        raise InputError("no rankings: give one list of passage ids per question")
    if len(ks) == 0 or min(ks) < 1:
        raise InputError(f"ks is {list(ks)}: give cut-offs of at least 1")
    depth = max(len(row) for row in ranked)
    if max(ks) > depth:
        raise InputError(f"k = {max(ks)} but no ranking is longer than {depth}: retrieve more passages, or lower k")
    for i, row in enumerate(ranked):
        _check_distinct(f"the ranking of question {i}", row)
    return ranked


def _check_distinct(where: str, ranking: Iterable[Hashable]) -> None:
    ranking = list(ranking)
    if len(set(ranking)) != len(ranking):
        twice = next(passage for passage in ranking if ranking.count(passage) > 1)
        raise InputError(f"{where} has passage {twice!r} twice")


def _as_set(where: str, passages: Collection[Hashable]) -> set[Hashable]:
    if isinstance(passages, str) or len(passages) == 0:
        raise InputError(f"{where} is {passages!r}: give at least one gold passage, in a list or set")
    return set(passages)


# Intervals ----------------------------------------------------------------------------------------------------------


def bootstrap_mean(
    scores: Sequence[float] | np.ndarray, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> tuple[Any, Any, Any]:
    """Mean over questions and its 95 % percentile bootstrap interval: (value, low, high).

    (n,) gives three floats; (n, m), m scores of the same n questions, gives three arrays (m,), with every column
    resampled alike. The interval says how the mean would vary over questions drawn like these; it does not cover
    variation over training seeds. Raises InputError for fewer than 2 questions and for values that are not finite.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim not in (1, 2):
        raise InputError(f"scores have {scores.ndim} dimensions: give (n,) or (n, m)")
    n = len(scores)
    if n < 2:
        raise InputError(f"an interval over questions needs at least 2 of them, not {n}")
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).reshape(n, -1).any(axis=1).argmax())
        raise InputError(f"the score of question {bad} is not a finite number ({scores[bad]})")
    means = _resampled_means(scores.reshape(n, -1), n_resamples, seed)
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    value = scores.mean(axis=0)
    if scores.ndim == 1:
        return float(value), float(low[0]), float(high[0])
    return value, low, high


def _resampled_means(scores: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
    """Means of `n_resamples` samples of the rows with replacement: (n_resamples, m)."""
    rng = np.random.default_rng(seed)
    n = len(scores)
    # Multiples of one power of two, so small a power that every sum below is exact: the order in which BLAS adds, which
    # depends on the number of threads, can then not change a digit of a record. It moves a score by 1e-12 of the range.
    quantum = 2.0 ** (np.ceil(np.log2(n * max(np.abs(scores).max(), 1e-300))) - 52)
    scores = np.round(scores / quantum) * quantum
    chunk = max(1, 2_000_000 // n)  # resamples at a time: 16 MB of weights
    means = []
    for start in range(0, n_resamples, chunk):
        rows = min(chunk, n_resamples - start)
        # How often each question is drawn in each resample, counted in one pass: (rows, n).
        draws = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        weights = np.bincount(draws.ravel(), minlength=rows * n).reshape(rows, n)
        means.append(weights.astype(np.float64) @ scores / n)
    return np.concatenate(means)
