"""The recommendation: which system to take, by a plain rule from measured numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nbutils import metrics
from nbutils.errors import InputError
from nbutils.pilot.costs import DAYS_PER_MONTH, Cost, Prices, costs_by_system
from nbutils.pilot.systems import RAG_SYSTEMS

MARGIN = 0.1  # of accuracy: a difference that matters
N_RESAMPLES = 2_000
TOO_LITTLE_DATA = "too little data to tell"
NO_SYSTEM_LEFT = "no system meets all demands: relax one"
NO_RIGHT_ANSWER = "no system answered a question right: try a larger model, or other passages"
# What maps and panels offer
QUERIES_PER_DAY = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
UPDATES_PER_MONTH = (0, 1, 4, 30, 300)


@dataclass(frozen=True)
class Requirements:
    """What the user of a system needs and has."""

    queries_per_day: float = 1_000
    updates_per_month: float = 1
    sources: bool = False  # each answer must come with a passage that shows it
    value_per_answer: float = 0.01  # money that a right answer is worth
    months: float = 12  # in which the start is paid back

    def __post_init__(self) -> None:
        # "worth" is what the command line and the notebook call it.
        positive = {"queries_per_day": self.queries_per_day, "worth": self.value_per_answer, "months": self.months}
        for name, value in positive.items():
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} = {value}: give a number above 0")
        if not (math.isfinite(self.updates_per_month) and self.updates_per_month >= 0):
            raise InputError(f"updates_per_month = {self.updates_per_month}: give a number of at least 0")


@dataclass(frozen=True)
class Recommendation:
    """What the rule says; `system` is None where the data do not tell, and the headline says why."""

    system: str | None
    headline: str
    reasons: list[str]
    values: dict[str, tuple[float, float, float]]  # right answers less costs, in points of accuracy: mean and interval
    excluded: dict[str, str] = field(default_factory=dict)  # system -> why
    win_share: float = 0.0  # share of resamples of the questions in which the best one is the best one


def recommend(
    scores: Mapping[str, Sequence[float]],
    costs: Mapping[str, Cost],
    requirements: Requirements,
    rag_systems: Sequence[str],
    demands: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    margin: float = MARGIN,
) -> Recommendation:
    """The system whose right answers are worth most after its costs, among those that meet the demands.

    `scores` {system: (n,)} are those of the same questions; `demands` {what: {system: (m,)}} are scores of what else is
    asked for, such as a house style: a system is left out if it is measurably below the best in one (the 95 % interval
    of the paired difference lies below 0) or was not measured. Where answers need sources, systems that do not retrieve
    are left out. A question's value is its score less the month's costs of a query, over the value of a right answer.
    The best by mean value is recommended unless another might be more than `margin` better: the upper end of the
    interval of its difference. Then there is too little data to tell; where no system is ever right, there is nothing
    to recommend. Raises InputError for no system, unequal questions, and fewer than 2.
    """
    sizes = {len(values) for values in scores.values()}
    if not scores or len(sizes) != 1 or scores.keys() - costs.keys():
        raise InputError("the decision needs scores of the same questions, and a bill, for each system")
    excluded = {}
    if requirements.sources:
        excluded |= {system: "shows no source" for system in scores if system not in rag_systems}
    for what, demanded in (demands or {}).items():
        excluded = _excluded_by_demand(what, demanded, list(scores)) | excluded
    left_out = [f"{system} left out: {why}" for system, why in excluded.items()]
    eligible = [system for system in scores if system not in excluded]
    if not eligible:
        return Recommendation(None, NO_SYSTEM_LEFT, left_out, {}, excluded)
    if not any(np.any(scores[system]) for system in eligible):
        reasons = [f"{'; '.join(eligible)}: 0 of {sizes.pop()}", *left_out]
        return Recommendation(None, NO_RIGHT_ANSWER, reasons, {}, excluded)
    query_cost = {system: _cost_per_query(costs[system], requirements) for system in eligible}
    table = np.stack(  # (n, S)
        [np.asarray(scores[s], dtype=float) - query_cost[s] / requirements.value_per_answer for s in eligible], axis=1
    )
    means, low, high = metrics.bootstrap_mean(table)
    values = {s: (float(means[i]), float(low[i]), float(high[i])) for i, s in enumerate(eligible)}
    best = int(means.argmax())
    ahead, least, most = interval_of_difference(table - table[:, [best]])
    rivals = [i for i in range(len(eligible)) if i != best and most[i] > margin]
    reasons = _reasons(eligible, best, scores, query_cost, least, most) + left_out
    win_share = _win_share(table, best)
    if rivals:
        worst = max(rivals, key=lambda i: most[i])
        # The interval shrinks with the root of n, the rule of three with n: so many that they end at `margin`.
        _, _, (high,) = metrics.bootstrap_mean(table[:, [worst]] - table[:, [best]])
        spread, room = high - ahead[worst], margin - ahead[worst]
        enough = math.ceil(max(len(table) * (spread / room) ** 2, 3 * (1 - ahead[worst]) / room))
        pair = f"{eligible[best]} from {eligible[worst]}"
        reasons.insert(0, f"{TOO_LITTLE_DATA} {pair}: about {enough} test questions would do, here {len(table)}")
    winner = None if rivals else eligible[best]
    return Recommendation(winner, winner or TOO_LITTLE_DATA, reasons, values, excluded, win_share)


def interval_of_difference(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of paired differences of scores from 0 to 1, (n,) or (n, S), and the ends of their intervals.

    The 95 % bootstrap, but at least what the rule of three allows, since resamples of equal rows are all equal: a
    difference of 1 or -1 that n questions have never shown may yet be that of 3 in n.
    """
    means, low, high = metrics.bootstrap_mean(differences)
    share = min(1.0, 3 / len(differences))
    return means, np.minimum(low, means - share * (1 + means)), np.maximum(high, means + share * (1 - means))


def _excluded_by_demand(what: str, scores: Mapping[str, Sequence[float]], systems: Sequence[str]) -> dict[str, str]:
    """{system: why it does not meet the demand}."""
    measured = [system for system in systems if system in scores]
    why = {system: f"{what}: not measured" for system in systems if system not in scores}
    if not measured:
        return why
    table = np.stack([np.asarray(scores[system], dtype=float) for system in measured], axis=1)
    best = int(table.mean(0).argmax())
    means, _, high = interval_of_difference(table - table[:, [best]])
    for i, system in enumerate(measured):
        if i != best and high[i] < 0:
            why[system] = f"{what}: {-means[i]:.2f} below {measured[best]}"
    return why


def _cost_per_query(cost: Cost, requirements: Requirements) -> float:
    """All costs of a month over its queries."""
    total = cost.per_month(requirements.queries_per_day, requirements.updates_per_month, requirements.months)
    return total / (requirements.queries_per_day * DAYS_PER_MONTH)


def _reasons(eligible, best, scores, query_cost, least, most) -> list[str]:
    name = eligible[best]
    n, price = len(scores[name]), query_cost[name]
    reasons = [f"{name}: {np.mean(scores[name]):.2f} right (n = {n}), {price:.2g} a query with updates and start"]
    for i, system in enumerate(eligible):
        if i != best:
            words = "costs no more" if query_cost[system] <= price else "costs more"
            interval = f"[{least[i]:+.2f}, {most[i]:+.2f}]"
            reasons.append(
                f"{system}: {np.mean(scores[system]):.2f} right, {words}; net of costs {interval} against it"
            )
    return reasons


def _win_share(table: np.ndarray, best: int) -> float:
    """Share of resamples of the rows in which column `best` has the largest mean."""
    n = len(table)
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), N_RESAMPLES)
    means = weights @ table
    return float((means[:, best] >= means.max(1) - 1e-9).mean())


@dataclass(frozen=True)
class Evidence:
    """What was measured of the five systems, as the recommendation needs it."""

    scores: dict[int, dict[str, Sequence[float]]]  # training examples -> system -> score of each question
    query_flops: dict[str, float]  # system -> FLOPs of a mean query
    training_flops: dict[str, float]  # system -> FLOPs of its training; absent: none
    index_update_flops: float
    index_bytes: float
    style_scores: dict[str, Sequence[float]]  # system -> 1 where an answer kept the house style; {}: not measured
    update_scores: dict[str, Sequence[float]]  # system -> score of changed facts after its own update; {}: not measured


def recommend_from_evidence(
    evidence: Evidence, requirements: Requirements, prices: Prices, n_examples: int, style: bool = False
) -> Recommendation:
    """What `recommend` says to one who has `n_examples`: the largest measured number not above it counts.

    Systems that cannot be had with so few are left out there. Where facts change, what a system says of changed facts
    after its own update is a demand; and the house style, if it is asked for.
    """
    level = max((n for n in evidence.scores if n <= n_examples), default=min(evidence.scores))
    demands = {}
    if style:
        demands["house style"] = evidence.style_scores
    if requirements.updates_per_month and evidence.update_scores:
        demands["changed facts"] = evidence.update_scores
    costs = costs_by_system(
        evidence.query_flops, evidence.training_flops, evidence.index_update_flops, evidence.index_bytes, level, prices
    )
    recommendation = recommend(evidence.scores[level], costs, requirements, RAG_SYSTEMS, demands)
    most = max(evidence.scores)
    if demands and level < most:
        recommendation.reasons.append(
            f"{' and '.join(demands)}: as measured with {most} training examples, not with {level}"
        )
    return recommendation
