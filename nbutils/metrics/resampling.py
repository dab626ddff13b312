"""What is drawn rather than computed: labels of two systems exchanged, subjects and fields resampled."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nbutils.errors import InputError
from nbutils.metrics.intervals import ROUNDING, check_share, clusters_of, finite

EXACT_CLUSTERS = 13  # up to here all exchanges are counted: 2^13 = 8,192 are fewer than the draws
N_DRAWS = 10_000

# Two systems, their labels exchanged


def permutation_p(
    values: Sequence[float] | np.ndarray,
    subjects: Sequence[Any] | np.ndarray | None = None,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> float:
    """Two-sided p of the paired differences `values` (n,): how often exchanged labels differ as much as the true ones.

    Were two systems alike, all differences of a subject could as well have the other sign: it is flipped at random per
    subject, or per question without subjects. Up to 13 subjects all exchanges are counted, and p is at least
    2/2^subjects; above that it is (1 + those as large)/(1 + draws). Raises InputError for fewer than 2 values, for
    what is not finite, for labels of another length, and for one subject in all.
    """
    observed, means, is_exact = _exchanged(values, subjects, n_draws, seed)
    as_large = int((means >= observed - ROUNDING * means.max()).sum())  # ties are ties, whatever the order of the sum
    return as_large / len(means) if is_exact else (1 + as_large) / (1 + len(means))


def exchanged_range(
    values: Sequence[float] | np.ndarray,
    subjects: Sequence[Any] | np.ndarray | None = None,
    level: float = 0.95,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """Where the mean of the paired differences (n,) lies, with probability `level`, if labels are exchanged at random.

    (low, high), symmetric around 0, from the exchanges of `permutation_p`: a mean outside has a p of at most
    1 - level. Raises InputError as it does.
    """
    check_share(level, "level")
    _, means, _ = _exchanged(values, subjects, n_draws, seed)
    # The observed mean is one of these: rounding may not put it outside of itself.
    high = float(np.quantile(means, level, method="inverted_cdf")) * (1 + ROUNDING)
    return -high, high


def _exchanged(values: Any, subjects: Any, n_draws: int, seed: int) -> tuple[float, np.ndarray, bool]:
    """The observed mean and those of the exchanges, without their signs, and whether these are all there are."""
    values = finite(values, "values", dimensions=1)
    (codes,) = clusters_of(len(values), subjects)
    sums = np.bincount(codes, weights=values)
    n_clusters = len(sums)
    is_exact = n_clusters <= EXACT_CLUSTERS
    if is_exact:
        flips = np.arange(2**n_clusters)[:, None] >> np.arange(n_clusters) & 1
        means = ((1 - 2 * flips) * sums).sum(axis=1)
    else:
        rng = np.random.default_rng(seed)
        chunk = max(1, 2_000_000 // n_clusters)  # draws at a time: 16 MB
        means = np.empty(n_draws)
        for start in range(0, n_draws, chunk):
            flips = rng.integers(2, size=(min(chunk, n_draws - start), n_clusters), dtype=np.int8)
            means[start : start + chunk] = ((1 - 2 * flips) * sums).sum(axis=1)
    return abs(sums.sum()) / len(values), np.abs(means) / len(values), is_exact


# Statistics that are no means


def pigeonhole_bootstrap(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    values: Sequence[Any] | np.ndarray,
    subjects: Sequence[Any] | np.ndarray | None,
    fields: Sequence[Any] | np.ndarray | None = None,
    n_resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """A statistic of weighted questions and its percentile interval: (value, low, high).

    For what is no mean: a slope, an area, a ratio. `statistic(values, weights)` gets `values` (n, ...) as they are and
    weights (n,): all 1 for the value; in a resample subjects and fields are drawn with replacement, independently
    (Owen 2007), and a question weighs the product of how often its two clusters are drawn. Without fields subjects
    count alone, without both every question is its own cluster, and a dimension of one cluster is left out.

    It errs on the wide side: drawn twice, a question's own noise counts three times in the variance. For a mean,
    `cluster_interval` is sharper. A resample that leaves nothing, or whose statistic is not finite, is drawn again.
    Raises InputError for fewer than 2 values, labels of another length, one cluster in all, a statistic that is not
    finite on the values themselves, or is so on fewer than half of the resamples.
    """
    check_share(level, "level")
    values = np.asarray(values)
    n = len(values)
    clusters = clusters_of(n, subjects, fields)
    value = float(statistic(values, np.ones(n)))
    if not np.isfinite(value):
        raise InputError(f"the statistic of all {n} values is {value}: an interval needs a finite one")
    rng = np.random.default_rng(seed)
    resampled: list[float] = []
    for _ in range(2 * n_resamples):
        weights = np.ones(n)
        for codes in clusters:
            n_clusters = int(codes.max()) + 1
            weights *= np.bincount(rng.integers(n_clusters, size=n_clusters), minlength=n_clusters)[codes]
        one = float(statistic(values, weights)) if weights.any() else np.nan
        if np.isfinite(one):
            resampled.append(one)
        if len(resampled) == n_resamples:
            low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2]).tolist()
            return value, low, high
    raise InputError(
        f"the statistic is finite on {len(resampled)} of {2 * n_resamples} resamples of {n} values: give more clusters"
    )
