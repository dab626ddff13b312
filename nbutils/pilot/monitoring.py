"""Monitoring: when a fall of accuracy is reported, and what an update on that alarm does where facts change."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nbutils.errors import InputError


def cusum_alarm(hits: Sequence[float], expected: float, drop: float, patience: float) -> int | None:
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

    facts: np.ndarray  # (W, questions a week) the fact that is asked for
    scores: np.ndarray  # (W, questions a week) the answer's score
    updates: list[int]  # weeks at whose end all facts were brought up to date


def simulate_drift(
    changes: Sequence[float],
    hits: np.ndarray,
    n_weeks: int,
    questions_per_week: int,
    seed: int,
    alarm: tuple[float, float, float] | None = None,
) -> Stream:
    """A stream of questions about facts that change.

    Fact o has a new value from week `changes[o]` on (infinity: never). `hits[i, t, o]` is the score of the answer of a
    system with the old (i = 0) or new (i = 1) value while the old (t = 0) or new (t = 1) one is true. Each week
    `questions_per_week` facts, drawn by `seed`, are asked for. `alarm` are expected accuracy, drop and patience of
    `cusum_alarm`: when it rings, at the end of a week, all values are brought up to date and the count starts anew.
    None: never.
    """
    changes, rng = np.asarray(changes, dtype=float), np.random.default_rng(seed)
    if hits.shape != (2, 2, len(changes)) or n_weeks < 1 or questions_per_week < 1:
        raise InputError(
            f"hits {hits.shape} of {len(changes)} facts: give (2, 2, facts), and at least a week and question"
        )
    updated, since_update = -1, []
    facts, rows, updates = [], [], []
    for week in range(n_weeks):
        drawn = rng.integers(len(changes), size=questions_per_week)
        scores = hits[(changes[drawn] <= updated).astype(int), (changes[drawn] <= week).astype(int), drawn]
        facts.append(drawn)
        rows.append(scores)
        since_update += (scores >= 0.5).tolist()
        if alarm is not None and cusum_alarm(since_update, *alarm) is not None:
            updated, since_update = week, []
            updates.append(week)
    return Stream(np.array(facts), np.array(rows), updates)
