"""How a claim is judged against per-question scores; the claims themselves are read by `claim_files`."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from nbutils import metrics
from nbutils.errors import InputError
from nbutils.presets import SCALES

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
INCONCLUSIVE = "inconclusive"
NOT_TESTED = "not tested at this scale"
# Questions off the rule's limit that decide a claim: of 5, all fall on one side by chance in 2/2**5 = 6 %.
MIN_DIFFERING = 6

_ORDERING = re.compile(r"(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)")


def rule_bounds(where: str, rule: Any) -> tuple[float, float, bool, bool]:
    """The values that a rule allows: (lowest, highest, lowest itself allowed, highest itself allowed)."""
    form = f'{where} is {rule!r}: give {{ordering: "> 0"}} (or >=, <, <=) or {{interval: [low, high]}}'
    if not isinstance(rule, dict) or len(rule) != 1:
        raise InputError(form)
    kind, value = next(iter(rule.items()))
    if kind == "ordering" and isinstance(value, str) and (match := _ORDERING.fullmatch(value.strip())):
        sign, limit = match[1], float(match[2])
        if sign.startswith(">"):
            return limit, math.inf, sign == ">=", False
        return -math.inf, limit, False, sign == "<="
    if kind == "interval" and isinstance(value, list) and len(value) == 2:
        numbers = all(isinstance(limit, int | float) and not isinstance(limit, bool) for limit in value)
        if numbers and all(math.isfinite(limit) for limit in value) and value[0] < value[1]:
            return float(value[0]), float(value[1]), True, True
    raise InputError(form)


def verdict(value: float, low: float, high: float, rule: Mapping[str, Any]) -> str:
    """The verdict word: `rule` holds on all of [low, high] (reproduced), the interval lies beyond its limit (not
    reproduced), or neither (inconclusive).

    `rule` is {"ordering": "> 0"} (or >=, <, <=) or {"interval": [lowest, highest]}, both ends included. What ends at
    the limit is not beyond it: where few questions differ, resamples of equal ones alone put the end there.
    `value` is the estimate within its 95 % interval [low, high]; it decides nothing, but must be a number.
    Raises InputError for a malformed rule and for an interval that is not finite or not in order.
    """
    lowest, highest, lowest_allowed, highest_allowed = rule_bounds("rule", rule)
    if not (math.isfinite(value) and math.isfinite(low) and math.isfinite(high) and low <= high):
        raise InputError(f"cannot judge the value {value} with the interval [{low}, {high}]")
    above = low >= lowest if lowest_allowed else low > lowest
    below = high <= highest if highest_allowed else high < highest
    if above and below:
        return REPRODUCED
    return NOT_REPRODUCED if high < lowest or low > highest else INCONCLUSIVE


def judge(claim: Mapping[str, Any], scores: Mapping[str, Mapping[str, Any]], scale: str) -> dict:
    """What a claim comes to: {"verdict", "value", "low", "high", "n", "null": {"verdict", "value", "low", "high"}}.

    `claim` is one of load_claims; `scores` maps a score's name to {"ids", "values"}, one value per question. The value
    is a mean over questions with its 95 % bootstrap interval: of the score, of the difference of two scores, or of the
    trend over three or more, paired by question id. The trend is the slope of the least-squares line through a
    question's scores at steps 0, 1, 2, ..., whatever K stands at each: a linear contrast, the change per step. Scores
    that do not differ at all have trend 0, so that "> 0" is the rule that can fail; ">= 0" holds on their null too.
    A bootstrap sees no difference that is rarer than its sample, so that fewer than MIN_DIFFERING questions whose value
    is not the rule's limit itself decide nothing (the sign test's least number): the verdict is "inconclusive".
    Below the claim's min_scale (and so always at smoke) the value is computed, but the verdict is "not tested at this
    scale".
    Raises InputError when a score is missing, when the scores to be paired have different questions, and when
    the rule also comes out "reproduced" on the claim's null input: a check that cannot fail is no check.
    """
    if scale not in SCALES:
        raise InputError(f"no scale {scale!r}: use one of {', '.join(SCALES)}")
    tested = SCALES.index(scale) >= SCALES.index(claim["min_scale"])
    outcomes = []
    for key in ("quantity", "null"):
        values = _values(f"claim {claim['id']}: {key}", claim[key], scores)
        value, low, high = metrics.bootstrap_mean(values)
        word = verdict(value, low, high, claim["rule"]) if tested else NOT_TESTED
        if key == "quantity" and tested and n_differing(values, claim["rule"]) < MIN_DIFFERING:
            word = INCONCLUSIVE
        outcomes.append({"verdict": word, "value": value, "low": low, "high": high, "n": len(values)})
    outcome, null = outcomes
    if null["verdict"] == REPRODUCED:
        raise InputError(
            f"claim {claim['id']} also holds on its null input {claim['null']} "
            f"({interval_text(null)}): the check cannot fail"
        )
    del null["n"]
    return {**outcome, "null": null}


def interval_text(outcome: Mapping[str, float], sign: str = "+") -> str:
    """Value and interval for people, such as "+0.120 [0.053, 0.190]"; large numbers, of FLOPs, in powers of ten."""
    value, low, high = (outcome[key] for key in ("value", "low", "high"))
    form = ".3f" if max(abs(value), abs(low), abs(high)) < 10_000 else ".3e"
    return f"{value:{sign}{form}} [{low:{form}}, {high:{form}}]"


def n_differing(values: np.ndarray, rule: Mapping[str, Any]) -> int:
    """How many questions do not lie on the limit of the rule (of two limits the one on which more lie)."""
    limits = [limit for limit in rule_bounds("rule", rule)[:2] if math.isfinite(limit)]
    return min(int(np.count_nonzero(values != limit)) for limit in limits)


def _values(where: str, quantity: Mapping[str, Any], scores: Mapping[str, Mapping[str, Any]]) -> np.ndarray:
    """The quantity of each question, (n,)."""
    kind, names = next(iter(quantity.items()))
    names = [names] if kind == "mean" else names
    for name in names:
        if name not in scores:
            raise InputError(f"{where}: the record has no score {name!r}: add it by record.scores before the claim")
    ids = scores[names[0]]["ids"]
    rows = [dict(zip(scores[name]["ids"], scores[name]["values"], strict=True)) for name in names]
    for name, row in zip(names, rows, strict=True):
        if row.keys() != rows[0].keys():
            raise InputError(f"{where}: {names[0]!r} and {name!r} are scores of different questions")
    values = np.array([[row[question] for row in rows] for question in ids])
    return _per_question(kind, values)


def _per_question(kind: str, values: np.ndarray) -> np.ndarray:
    """The quantity of each question, of which the mean is taken: (n_questions, n_scores) -> (n_questions,)."""
    if kind == "mean":
        return values[:, 0]
    if kind == "difference":
        return values[:, 0] - values[:, 1]
    # sum of step x score over sum of step^2, as later less earlier score, from the outermost pair inwards: a question
    # whose scores are all equal then gives exactly 0, and the reversed order exactly the negative.
    n = values.shape[1]
    steps = np.arange(n) - (n - 1) / 2
    rises = (values[:, ::-1] - values)[:, : n // 2]
    return (rises * -steps[: n // 2]).sum(axis=1) / (steps**2).sum()
