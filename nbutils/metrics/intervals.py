"""Intervals of a mean over questions that share subjects and fields, in closed form, and what follows from them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nbutils.errors import InputError

ROUNDING = 1e-12  # differences this small beside the values are those of the order of a sum


@dataclass(frozen=True)
class Interval:
    """A mean and how sure it is: `low` and `high` are a quantile of t with `df` degrees of freedom times `se` away."""

    value: float
    low: float
    high: float
    se: float
    df: float


def cluster_interval(
    values: Sequence[float] | np.ndarray,
    subjects: Sequence[Any] | np.ndarray | None = None,
    fields: Sequence[Any] | np.ndarray | None = None,
    seed_means: Sequence[float] | np.ndarray | None = None,
    level: float = 0.95,
) -> Interval:
    """Mean of `values` (n,) and its interval, where questions of one subject, or of one field, resemble each other.

    The two-way cluster-robust variance of Cameron, Gelbach and Miller (2011): V = V_subject + V_field - V_cell, where
    a cell is one field of one subject, e are the residuals of the mean and V_g = G/(G-1) sum over G clusters of
    (sum of e)^2 / n^2. V is never below the largest of V_subject, V_field and that of independent questions. The
    quantiles are those of t with min(G_subject, G_field) - 1 degrees of freedom. Without `fields` subjects count
    alone, without both the questions are independent (n - 1). A dimension of one cluster says nothing about how
    clusters vary: it is left out, and where none is left the interval is refused.

    `seed_means` (k,): the mean of each training seed, where `values` are averaged over k seeds. Their s^2/k is added
    to V, with degrees of freedom by Welch and Satterthwaite. One seed adds nothing: it says nothing about others.

    Equal values have se 0 and an interval without width, which does not mean that others would be equal too: widen
    it by `rule_of_three` of the number of clusters. Raises InputError for fewer than 2 values, for what is not
    finite, for labels of another length than the values, and for one cluster in all.
    """
    values = finite(values, "values", dimensions=1)
    if seed_means is not None:
        seed_means = finite(seed_means, "seed_means", dimensions=1)[:, None]
    return cluster_intervals(values[:, None], subjects, fields, seed_means, level)[0]


def cluster_intervals(
    values: Sequence[Sequence[float]] | np.ndarray,
    subjects: Sequence[Any] | np.ndarray | None = None,
    fields: Sequence[Any] | np.ndarray | None = None,
    seed_means: Sequence[Sequence[float]] | np.ndarray | None = None,
    level: float = 0.95,
) -> list[Interval]:
    """`cluster_interval` of every column of `values` (n, m), e.g. of a curve: m of them.

    `seed_means` is (k, m). Each interval is that of its own column: the curve as a whole lies within them less often.
    """
    values = finite(values, "values", dimensions=2)
    check_share(level, "level")
    clusters = clusters_of(len(values), subjects, fields)
    means, residuals = _residuals(values)
    variances = _variances_of_means(residuals, clusters)
    freedom = np.full(len(means), float(min(codes.max() for codes in clusters)))  # codes count from 0: G - 1
    if seed_means is not None:
        variances, freedom = _with_seeds(variances, freedom, finite(seed_means, "seed_means", dimensions=2))
    errors = np.sqrt(variances)
    margins = _t_quantile((1 + level) / 2, freedom) * errors
    columns = (means, means - margins, means + margins, errors, freedom)
    return [Interval(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _residuals(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of the columns (m,) and what is left of (n, m); exactly 0 where all are equal but for rounding."""
    equal = np.ptp(values, axis=0) <= ROUNDING * np.abs(values).max(axis=0)
    means = np.where(equal, values[0], values.mean(axis=0))
    return means, np.where(equal, 0.0, values - means)


def _variances_of_means(residuals: np.ndarray, clusters: list[np.ndarray]) -> np.ndarray:
    """The variance of each column's mean, by the clusters of one or of two dimensions: (m,)."""
    one_way = [_one_way(residuals, codes) for codes in clusters]
    floor = np.maximum.reduce([_one_way(residuals, np.arange(len(residuals))), *one_way])
    if len(clusters) == 1:
        return floor
    cells = _codes(list(zip(*(codes.tolist() for codes in clusters), strict=True)))
    return np.maximum(floor, one_way[0] + one_way[1] - _one_way(residuals, cells))


def _one_way(residuals: np.ndarray, codes: np.ndarray) -> np.ndarray:
    order = np.argsort(codes, kind="stable")
    n_clusters = int(codes.max()) + 1
    sums = np.add.reduceat(residuals[order], np.searchsorted(codes[order], np.arange(n_clusters)), axis=0)
    return n_clusters / (n_clusters - 1) * (sums**2).sum(axis=0) / len(residuals) ** 2


def _with_seeds(variances: np.ndarray, freedom: np.ndarray, seed_means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n_seeds = len(seed_means)
    if n_seeds == 0 or seed_means.shape[1] != len(variances):
        raise InputError(f"seed_means have shape {seed_means.shape}: give one row a seed and one column a score")
    if n_seeds == 1:
        return variances, freedom
    of_seeds = (_residuals(seed_means)[1] ** 2).sum(axis=0) / (n_seeds - 1) / n_seeds
    total = variances + of_seeds
    share = np.divide(of_seeds, total, out=np.zeros_like(total), where=total > 0)
    return total, 1 / ((1 - share) ** 2 / freedom + share**2 / (n_seeds - 1))


# From intervals to verdicts


def rule_of_three(n: float) -> float:
    """The share that an event may well have (95 %, one side) that never happened in `n` independent cases: 3/n.

    Where cases come in clusters, `n` is the number of clusters. Raises InputError for no case.
    """
    if not n >= 1:
        raise InputError(f"the rule of three needs at least 1 case, not {n}")
    return 3 / n


def widened(interval: Interval, alpha: float) -> Interval:
    """The same mean with the interval of level 1 - `alpha`, e.g. with what `holm` leaves to a hypothesis."""
    check_share(alpha, "alpha")
    margin = float(_t_quantile(1 - alpha / 2, interval.df)) * interval.se
    return replace(interval, low=interval.value - margin, high=interval.value + margin)


def p_value(interval: Interval, limit: float) -> float:
    """Two-sided p of the mean against `limit`, by its se and df; with se 0 it is 1.0 at the limit and 0.0 elsewhere.

    It is below 1 - level exactly where the limit lies outside the interval of that level.
    """
    if _is_at(interval, limit):
        return 1.0
    if interval.se == 0:
        return 0.0
    from scipy.special import stdtr

    return float(2 * stdtr(interval.df, -abs(interval.value - limit) / interval.se))


def minimum_detectable_effect(interval: Interval, power: float = 0.8, level: float = 0.95) -> float:
    """How far from its limit a true mean must lie to be told from it with `power`: (t_(1-alpha/2) + t_power) se.

    In the unit of the values, by the spread that was observed; where none was (se 0) it is 0 and says nothing.
    """
    check_share(power, "power")
    check_share(level, "level")
    return float(_t_quantile((1 + level) / 2, interval.df) + _t_quantile(power, interval.df)) * interval.se


def n_to_decide(interval: Interval, n: int, limit: float, power: float = 0.8, level: float = 0.95) -> int | None:
    """How many questions would tell the observed mean, were it the true one, from `limit` with `power`.

    `interval` is of `n` questions. Clusters (and seeds) are taken to grow with the questions, so that se falls with
    the root of n and the degrees of freedom grow. Where no spread was observed (se 0) it is what the rule of three
    asks for. None where the mean is the limit: no number would do.
    """
    if _is_at(interval, limit):
        return None
    distance, n_clusters = abs(interval.value - limit), interval.df + 1
    if interval.se == 0:
        return math.ceil(rule_of_three(n_clusters) / distance * n)

    def decides(more: int) -> bool:
        freedom = max(1.0, n_clusters * more / n - 1)
        scaled = replace(interval, se=interval.se * math.sqrt(n / more), df=freedom)
        return minimum_detectable_effect(scaled, power, level) <= distance

    low, high = 1, 2
    while not decides(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def holm(p_values: Mapping[str, float], level: float = 0.95) -> dict[str, float]:
    """What each of m hypotheses may spend in Holm's (1979) step-down procedure: {name: alpha}, in the order given.

    From the smallest p on, the j-th may spend alpha/(m - j + 1) while those before it are rejected; the first that is
    not rejected and all after it keep that step's. A hypothesis is rejected exactly where the `widened` interval of
    its alpha leaves out the limit that p was computed against. Raises InputError for what is no probability.
    """
    check_share(level, "level")
    for name, p in p_values.items():
        if not 0 <= p <= 1:
            raise InputError(f"the p of {name!r} is {p}: give a number from 0 to 1")
    alphas, left = {}, len(p_values)
    for name in sorted(p_values, key=p_values.__getitem__):
        alphas[name] = (1 - level) / left
        if p_values[name] <= alphas[name]:
            left -= 1
        # Otherwise `left` stands still: all that follow have a larger p, and are tested at the same alpha in vain.
    return {name: alphas[name] for name in p_values}


def _is_at(interval: Interval, limit: float) -> bool:
    return math.isclose(interval.value, limit, rel_tol=ROUNDING, abs_tol=ROUNDING)


def _t_quantile(probability: float, freedom: float | np.ndarray) -> np.ndarray:
    from scipy.special import stdtrit  # what scipy.stats.t.ppf calls, at a third of the time to import

    return stdtrit(freedom, probability)


# What is asked of the input


def finite(values: Any, name: str, dimensions: int) -> np.ndarray:
    """`values` as floats, with this number of dimensions; raises InputError where one is not finite."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != dimensions:
        raise InputError(f"{name} have {values.ndim} dimensions: give {dimensions}")
    if not np.isfinite(values).all():
        bad = np.argwhere(~np.isfinite(values))[0].tolist()
        raise InputError(f"{name}{bad} is not a finite number ({values[tuple(bad)]})")
    return values


def check_share(number: float, name: str) -> None:
    """Raise InputError unless `number` lies between 0 and 1."""
    if not 0 < number < 1:
        raise InputError(f"{name} is {number}: give a share between 0 and 1, as 0.95")


def clusters_of(n: int, subjects: Any = None, fields: Any = None) -> list[np.ndarray]:
    """The numbers, from 0, of each question's clusters in the dimensions that have more than one: one or two of (n,).

    Without labels each question is its own cluster. Raises InputError for fewer than 2 questions, for labels of
    another length than `n`, for a label that is missing, and where there is but one cluster.
    """
    if n < 2:
        raise InputError(f"an interval over questions needs at least 2 of them, not {n}")
    given = {name: labels for name, labels in (("subjects", subjects), ("fields", fields)) if labels is not None}
    if not given:
        return [np.arange(n)]
    for name, labels in given.items():
        if len(labels) != n:
            raise InputError(f"{name} are {len(labels)} for {n} values: give one for each")
        missing = next((i for i, label in enumerate(labels) if label is None), None)
        if missing is not None:
            raise InputError(f"{name}[{missing}] is missing: give one for each value, or none at all")
    clusters = [codes for labels in given.values() if (codes := _codes(labels)).max(initial=0) > 0]
    if not clusters:
        raise InputError(f"all {n} values have the same {' and '.join(given)}: an interval needs at least 2 clusters")
    return clusters


def _codes(labels: Sequence[Any] | np.ndarray) -> np.ndarray:
    """The labels as whole numbers from 0, in order of appearance."""
    codes: dict[Any, int] = {}
    return np.array([codes.setdefault(label, len(codes)) for label in labels], dtype=np.int64)
