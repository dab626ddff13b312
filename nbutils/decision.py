"""The decision: which system to take, by a plain rule from measured numbers, and when an update is due."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nbutils import metrics
from nbutils.costs import DAYS, Bill
from nbutils.errors import InputError

MARGIN = 0.1  # of accuracy: a difference that matters
N_RESAMPLES = 2_000
TOO_LITTLE = "too little data to tell"
NOTHING = "no system meets all demands: relax one"
NONE_RIGHT = "no system answered a question right: try a larger model, or other passages"


@dataclass(frozen=True)
class Needs:
    """What the reader needs and has."""

    queries_per_day: float = 1_000
    updates_per_month: float = 1
    sources: bool = False  # each answer must come with a passage that shows it
    worth: float = 0.01  # money that a right answer is worth
    months: float = 12  # in which the start is paid back

    def __post_init__(self) -> None:
        for name in ("queries_per_day", "worth", "months"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError(f"{name} = {getattr(self, name)}: give a number above 0")
        if not (math.isfinite(self.updates_per_month) and self.updates_per_month >= 0):
            raise InputError(f"updates_per_month = {self.updates_per_month}: give a number of at least 0")


@dataclass(frozen=True)
class Advice:
    """What the rule says; `system` is None where the data do not tell, and the headline says why."""

    system: str | None
    headline: str
    reasons: list[str]
    values: dict[str, tuple[float, float, float]]  # right answers less costs, in points of accuracy: mean and interval
    excluded: dict[str, str] = field(default_factory=dict)  # system -> why
    sure: float = 0.0  # share of resamples of the questions in which the best one is the best one


def recommend(
    right: Mapping[str, Sequence[float]],
    bills: Mapping[str, Bill],
    needs: Needs,
    retrieving: Sequence[str],
    demands: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    margin: float = MARGIN,
) -> Advice:
    """The system whose right answers are worth most after its costs, among those that meet the demands.

    `right` {system: (n,)} are scores of the same questions; `demands` {what: {system: (m,)}} are scores of what else is
    asked for, such as a house style: a system is left out if it is measurably below the best in one (the 95 % interval
    of the paired difference lies below 0) or was not measured. Where answers need sources, systems that do not retrieve
    are left out. A question's value is its score less the month's costs of a query, over the worth of a right answer.
    The best by mean value is recommended unless another might be more than `margin` better: the upper end of the
    interval of its difference. Then there is too little data to tell; where no system is ever right, there is nothing
    to recommend. Raises InputError for no system, unequal questions, and fewer than 2.
    """
    sizes = {len(scores) for scores in right.values()}
    if not right or len(sizes) != 1 or right.keys() - bills.keys():
        raise InputError("the decision needs scores of the same questions, and a bill, for each system")
    excluded = {}
    if needs.sources:
        excluded |= {system: "shows no source" for system in right if system not in retrieving}
    for what, scores in (demands or {}).items():
        excluded = _below(what, scores, list(right)) | excluded
    left_out = [f"{system} left out: {why}" for system, why in excluded.items()]
    eligible = [system for system in right if system not in excluded]
    if not eligible:
        return Advice(None, NOTHING, left_out, {}, excluded)
    if not any(np.any(right[system]) for system in eligible):
        return Advice(None, NONE_RIGHT, [f"{'; '.join(eligible)}: 0 of {sizes.pop()}", *left_out], {}, excluded)
    cost = {system: _a_query(bills[system], needs) for system in eligible}
    table = np.stack([np.asarray(right[s], dtype=float) - cost[s] / needs.worth for s in eligible], axis=1)  # (n, S)
    means, low, high = metrics.bootstrap_mean(table)
    values = {s: (float(means[i]), float(low[i]), float(high[i])) for i, s in enumerate(eligible)}
    best = int(means.argmax())
    ahead, least, most = interval_of_difference(table - table[:, [best]])
    rivals = [i for i in range(len(eligible)) if i != best and most[i] > margin]
    reasons = _reasons(eligible, best, right, cost, least, most) + left_out
    sure = _share_won(table, best)
    if rivals:
        worst = max(rivals, key=lambda i: most[i])
        # The interval shrinks with the root of n, the rule of three with n: so many that they end at `margin`.
        _, _, (high,) = metrics.bootstrap_mean(table[:, [worst]] - table[:, [best]])
        spread, room = high - ahead[worst], margin - ahead[worst]
        enough = math.ceil(max(len(table) * (spread / room) ** 2, 3 * (1 - ahead[worst]) / room))
        pair = f"{eligible[best]} from {eligible[worst]}"
        reasons.insert(0, f"{TOO_LITTLE} {pair}: about {enough} test questions would do, here {len(table)}")
    winner = None if rivals else eligible[best]
    return Advice(winner, winner or TOO_LITTLE, reasons, values, excluded, sure)


def interval_of_difference(differences: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of paired differences of scores from 0 to 1, (n,) or (n, S), and the ends of their intervals.

    The 95 % bootstrap, but at least what the rule of three allows, since resamples of equal rows are all equal: a
    difference of 1 or -1 that n questions have never shown may yet be that of 3 in n.
    """
    means, low, high = metrics.bootstrap_mean(differences)
    share = min(1.0, 3 / len(differences))
    return means, np.minimum(low, means - share * (1 + means)), np.maximum(high, means + share * (1 - means))


def _below(what: str, scores: Mapping[str, Sequence[float]], systems: Sequence[str]) -> dict[str, str]:
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


def _a_query(bill: Bill, needs: Needs) -> float:
    """All costs of a month over its queries."""
    total = bill.month(needs.queries_per_day, needs.updates_per_month, needs.months)
    return total / (needs.queries_per_day * DAYS)


def _reasons(eligible, best, right, cost, least, most) -> list[str]:
    name = eligible[best]
    n, price = len(right[name]), cost[name]
    reasons = [f"{name}: {np.mean(right[name]):.2f} right (n = {n}), {price:.2g} a query with updates and start"]
    for i, system in enumerate(eligible):
        if i != best:
            words = "costs no more" if cost[system] <= cost[name] else "costs more"
            interval = f"[{least[i]:+.2f}, {most[i]:+.2f}]"
            reasons.append(f"{system}: {np.mean(right[system]):.2f} right, {words}; net of costs {interval} against it")
    return reasons


def _share_won(table: np.ndarray, best: int) -> float:
    """Share of resamples of the rows in which column `best` has the largest mean."""
    n = len(table)
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), N_RESAMPLES)
    means = weights @ table
    return float((means[:, best] >= means.max(1) - 1e-9).mean())


# Monitoring


def first_alarm(hits: Sequence[float], expected: float, drop: float, patience: float) -> int | None:
    """The place of the answer at which a fall of accuracy is reported, or None: a CUSUM of right and wrong answers.

    Page 1954: S_t = max(0, S_(t-1) + log p1(y_t)/p0(y_t)), with p0 = `expected` accuracy and p1 = `expected` - `drop`;
    alarm when S_t >= log `patience`. Without a fall an alarm comes after `patience` answers or more on average (Lorden
    1971, theorem 2). Raises InputError where p0, p1 are no probabilities strictly between 0 and 1, or patience <= 1.
    """
    fallen = expected - drop
    if not 0 < fallen < expected < 1 or not patience > 1:
        raise InputError(
            f"expected {expected}, drop {drop}, patience {patience}: accuracies within (0, 1), patience > 1"
        )
    up, down = math.log(fallen / expected), math.log((1 - fallen) / (1 - expected))
    total = 0.0
    for place, hit in enumerate(hits):
        total = max(0.0, total + (up if hit else down))
        if total >= math.log(patience):
            return place
    return None


@dataclass(frozen=True)
class Stream:
    """Questions about facts that change, week by week."""

    asked: np.ndarray  # (W, questions a week) the fact that is asked for
    scores: np.ndarray  # (W, questions a week) the answer's score
    updates: list[int]  # weeks at whose end all facts were brought up to date


def drift(
    changes: Sequence[float],
    hits: np.ndarray,
    n_weeks: int,
    a_week: int,
    seed: int,
    alarm: tuple[float, float, float] | None = None,
) -> Stream:
    """A stream of questions about facts that change.

    Fact o has a new value from week `changes[o]` on (infinity: never). `hits[i, t, o]` is the score of the answer of a
    system with the old (i = 0) or new (i = 1) value while the old (t = 0) or new (t = 1) one is true. Each week
    `a_week` facts, drawn by `seed`, are asked for. `alarm` are expected accuracy, drop and patience of `first_alarm`:
    when it rings, at the end of a week, all values are brought up to date and the count starts anew. None: never.
    """
    changes, rng = np.asarray(changes, dtype=float), np.random.default_rng(seed)
    if hits.shape != (2, 2, len(changes)) or n_weeks < 1 or a_week < 1:
        raise InputError(
            f"hits {hits.shape} of {len(changes)} facts: give (2, 2, facts), and at least a week and question"
        )
    updated, since, facts, rows, updates = -1, [], [], [], []
    for week in range(n_weeks):
        asked = rng.integers(len(changes), size=a_week)
        scores = hits[(changes[asked] <= updated).astype(int), (changes[asked] <= week).astype(int), asked]
        facts.append(asked)
        rows.append(scores)
        since += (scores >= 0.5).tolist()
        if alarm is not None and first_alarm(since, *alarm) is not None:
            updated, since = week, []
            updates.append(week)
    return Stream(np.array(facts), np.array(rows), updates)
