"""Several rankings of the same questions fused into one: by rank, or by scores brought to [0, 1]."""

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from nbutils.errors import InputError
from nbutils.retrieval.bm25 import NOTHING

METHODS = ("rrf", "minmax")


def fuse(
    rankings: Sequence[tuple[np.ndarray, np.ndarray]],
    method: str = "rrf",
    k: float = 60,
    weights: Sequence[float] | None = None,
    n_docs: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """One ranking a question, made of several: ids (B, K) and scores (B, K) float32, as `search` returns them.

    `rankings` are what `search` returned for the same questions: ids (B, K_r), best first, and scores (B, K_r). A place
    "" (`NOTHING`) or with score -inf is nothing found: it has no rank. `weights` has one w_r a ranking, each 1 where it
    is left out; a ranking of weight 0 is left out itself.

    - "rrf" (Cormack et al. 2009; Microsoft 2023): score(d) = sum over r of w_r / (k + rank_r(d)), with ranks from 1.
    - "minmax": score(d) = sum over r of w_r (s_r(d) - min_r) / (max_r - min_r), with the least and the greatest score
      of what r found for that question. Equal scores, or a single one, are 1 each: what was found is not worth the
      same as what was not.

    A ranking without d adds nothing in both. Equal scores (in float32) stand by the best rank that one of the rankings
    gives them, then by the first ranking that gives it, never by id. K is `n_docs`, or less: the most passages that
    were found for a question, but no less than the widest of the rankings. Places left are as `search` leaves them.
    Raises InputError for no rankings, rankings of different numbers of questions, a passage twice in one of them, a
    score that is not a number, `n_docs` < 1, and as `require_fusion`.
    """
    require_fusion(len(rankings), method, k, weights)
    if n_docs is not None and n_docs < 1:
        raise InputError(f"n_docs = {n_docs}: ask for at least 1 passage")
    rankings = [_checked(number, *ranking) for number, ranking in enumerate(rankings, start=1)]
    n_questions = {len(ids) for ids, _ in rankings}
    if len(n_questions) > 1:
        counts = ", ".join(str(len(ids)) for ids, _ in rankings)
        raise InputError(f"rankings of {counts} questions: fuse what was found for the same ones")
    codes, names = _as_numbers(rankings)
    for number, passages in enumerate(codes, start=1):
        _require_once(number, passages, names)
    places, values = [], []
    for r, weight in enumerate([1.0] * len(rankings) if weights is None else weights):
        if weight == 0:
            codes[r] = np.zeros_like(codes[r])
        ranks = np.cumsum(codes[r] > 0, axis=1)
        terms = 1 / (k + np.maximum(ranks, 1)) if method == "rrf" else _to_unit_interval(rankings[r][1], codes[r] > 0)
        places.append(ranks * len(rankings) + r)
        values.append(weight * terms)
    passages, scores = _summed(*(np.concatenate(parts, axis=1) for parts in (codes, places, values)))
    width = max(int((passages > 0).sum(axis=1).max(initial=0)), *(ids.shape[1] for ids, _ in rankings))
    width = width if n_docs is None else min(width, n_docs)
    ids = names[passages[:, :width]]
    return ids, mark_missing(ids, scores[:, :width])


def require_fusion(n_rankings: int, method: str, k: float, weights: Sequence[float] | None) -> None:
    """InputError, before any search, for no ranking, an unknown method, a negative k, and weights that cannot be used.

    Those are negative, not finite, all 0, or not one a ranking.
    """
    if n_rankings == 0:
        raise InputError("nothing to fuse: give at least one ranking")
    if method not in METHODS:
        raise InputError(f"fusion method {method!r} is unknown: use {' or '.join(METHODS)}")
    if not (k >= 0 and math.isfinite(k)):
        raise InputError(f"k = {k}: give a number of at least 0, such as 60")
    if weights is None:
        return
    if len(weights) != n_rankings:
        raise InputError(f"{len(weights)} weights for {n_rankings} rankings: give one to each")
    if not all(weight >= 0 and math.isfinite(weight) for weight in weights) or not any(weights):
        raise InputError(f"weights {tuple(weights)}: give numbers of at least 0, and not 0 to all")


def mark_missing(ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Scores (B, K) float32 in which places without a passage are as `search` leaves them, to serve as logits.

    -inf, so that they have no part in p(z|x); where nothing was found, 0: no place is better than another.
    """
    found = ids != NOTHING
    none = ~found.any(axis=1, keepdims=True)
    return np.where(found, scores, np.where(none, 0, -np.inf)).astype(np.float32)


def _checked(number: int, ids, scores) -> tuple[np.ndarray, np.ndarray]:
    """Ids (B, K) and scores (B, K) float64."""
    try:
        ids, scores = np.asarray(ids, dtype=str), np.asarray(scores, dtype=np.float64)
    except ValueError as error:  # lists of different lengths
        raise InputError(f"ranking {number} has rows of different lengths: fill them up with ''") from error
    if ids.ndim != 2 or ids.shape != scores.shape:
        raise InputError(f"ranking {number}: ids {ids.shape} and scores {scores.shape}, give both as (B, K)")
    if np.isnan(scores).any() or np.isposinf(scores).any():
        raise InputError(f"ranking {number} has a score that is not a number: fuse what `search` returns")
    return ids, scores


def _as_numbers(rankings: list[tuple[np.ndarray, np.ndarray]]) -> tuple[list[np.ndarray], np.ndarray]:
    """The ids of each ranking as numbers (B, K_r), 0 for what was not found, and the ids that the numbers stand for."""
    numbers, codes = defaultdict(itertools.count(1).__next__, {NOTHING: 0}), []
    for ids, scores in rankings:
        of_ids = np.fromiter(map(numbers.__getitem__, ids.ravel().tolist()), dtype=np.int64, count=ids.size)
        codes.append(np.where(np.isneginf(scores), 0, of_ids.reshape(ids.shape)))
    return codes, np.array(list(numbers))


def _require_once(number: int, passages: np.ndarray, names: np.ndarray) -> None:
    ordered = np.sort(passages, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] > 0)
    if twice.any():
        row, column = np.argwhere(twice)[0]
        passage = str(names[ordered[row, column]])
        raise InputError(f"ranking {number} has passage {passage!r} twice for question {row}: give each passage once")


def _to_unit_interval(scores: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(s - min) / (max - min) of what was found for each question, (B, K); 1 where there is nothing to stretch."""
    least = np.min(scores, axis=1, keepdims=True, where=found, initial=np.inf)
    greatest = np.max(scores, axis=1, keepdims=True, where=found, initial=-np.inf)
    stretch = greatest > least  # False too where nothing was found
    shifted = np.subtract(scores, least, out=np.ones_like(scores), where=found & stretch)
    return np.divide(shifted, greatest - least, out=shifted, where=found & stretch)


def _summed(passages: np.ndarray, places: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The passages of each row, each once, best first, and the sums of their values; 0 and -inf fill up.

    All of them (B, W). `places` are distinct within a row and say in which order equal sums stand.
    """
    shape = passages.shape
    if passages.size == 0:
        return passages, values
    # Equal passages side by side, each one's best place first: terms are added in one order, and equal sums are equal.
    order = np.argsort(passages * (places.max() + 1) + places, axis=1)
    passages, places, values = (np.take_along_axis(array, order, axis=1) for array in (passages, places, values))
    first = np.ones(shape, dtype=bool)
    first[:, 1:] = passages[:, 1:] != passages[:, :-1]
    scores = np.full(shape, -np.inf, dtype=np.float32)
    scores[first] = np.add.reduceat(values.ravel(), np.flatnonzero(first))
    passages = np.where(first, passages, 0)
    scores[passages == 0] = -np.inf
    order = np.lexsort((places, -scores), axis=1)
    return np.take_along_axis(passages, order, axis=1), np.take_along_axis(scores, order, axis=1)
