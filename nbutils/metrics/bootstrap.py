"""Intervals over questions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nbutils.errors import InputError

N_RESAMPLES = 10_000


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
