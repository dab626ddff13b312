"""How a claim is judged against per-question scores; the claims themselves are read by `claim_files`.

Intervals are cluster-robust over subjects and fields, with the training seeds' variance (`metrics.cluster_interval`).
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from nbutils import metrics
from nbutils.errors import InputError
from nbutils.metrics import Interval
from nbutils.presets import SCALES
from nbutils.record.values import clusters

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
HOLDS = "holds"
FAILS = "fails"
OPEN = "open"
REFUSED = "refused"
NOT_TESTED = "not tested at this scale"
OWN = "this project"  # the `paper` of a sentence of ours
EXCHANGED = "exchanged labels"  # the null that exchanges the names of the two systems, subject by subject
# Questions off the rule's limit that decide a claim: of 5, all fall on one side by chance in 2/2**5 = 6 %.
MIN_DIFFERING = 6
FEW_CLUSTERS = 40  # with fewer the t interval is beside a permutation test
ROUNDING = 1e-12  # values that lie closer than this (and than this share of them) are equal

_ORDERING = re.compile(r"(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)")


def words(claim: Mapping[str, Any]) -> tuple[str, str]:
    """The verdicts of a claim whose rule holds and of one whose rule does not: papers are reproduced, our own hold."""
    return (HOLDS, FAILS) if claim["paper"] == OWN else (REPRODUCED, NOT_REPRODUCED)


def digest(claim: Mapping[str, Any]) -> str:
    """Twelve hex digits of what a lock fixes: the claim's quantity, rule and null."""
    fixed = json.dumps([claim[key] for key in ("quantity", "rule", "null")], sort_keys=True)
    return hashlib.sha256(fixed.encode()).hexdigest()[:12]


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


def verdict(claim: Mapping[str, Any], low: float, high: float) -> str:
    """The verdict word: the claim's rule holds on all of [low, high], the interval lies beyond its limit, or neither.

    What ends at the limit is not beyond it. Raises InputError for a malformed rule and for an interval that is not
    finite or not in order.
    """
    lowest, highest, lowest_allowed, highest_allowed = rule_bounds("rule", claim["rule"])
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise InputError(f"cannot judge the interval [{low}, {high}]")
    yes, no = words(claim)
    above = low >= lowest if lowest_allowed else low > lowest
    below = high <= highest if highest_allowed else high < highest
    if above and below:
        return yes
    return no if high < lowest or low > highest else OPEN


def judge(claim: Mapping[str, Any], scores: Mapping[str, Mapping[str, Any]], scale: str) -> dict:
    """What a claim comes to by itself; `judge_all` adjusts primary claims for their number.

    `claim` is one of load_claims; `scores` maps a score's name to {"ids", "values"} and, where known, {"subjects",
    "fields", "seed_means"}. The value is a mean over questions with its 95 % interval: of the score, of the difference
    of two scores, or of the trend over three or more, paired by question id. The trend is the slope of the
    least-squares line through a question's scores at steps 0, 1, 2, ...: a linear contrast, the change per step.

    The outcome has "verdict", "value", "low", "high", "se", "df", "n", the numbers of "subjects", "fields" and "seeds"
    where there are any, "p" (two-sided, against the rule's nearer limit), with fewer than FEW_CLUSTERS clusters
    "permutation_p", for open verdicts "mde" (the effect that such a run finds in four of five cases) and "n_needed"
    (the questions that would decide the difference seen; None where none would), both at the level of the verdict, and
    "null", the same for the null input: {"verdict", "value", "low", "high"}. A claim whose rule holds on its null too,
    or whose null has the same value for every question, cannot fail: its verdict is "refused", and "why" says so. Fewer
    than MIN_DIFFERING questions off the rule's limit decide nothing. Rules with a margin take the rule of three: no
    question seen beyond 0 in n clusters may still be 3 in n. Below the claim's min_scale (and so always at smoke) the
    numbers are computed, but the verdict is "not tested at this scale".
    Raises InputError when a score is missing, and when scores to be paired have other questions or numbers of seeds.
    """
    if scale not in SCALES:
        raise InputError(f"no scale {scale!r}: use one of {', '.join(SCALES)}")
    tested = SCALES.index(scale) >= SCALES.index(claim["min_scale"])
    sample = _sample(f"claim {claim['id']}: quantity", claim["quantity"], scores)
    interval = _margin_interval(sample, claim["rule"])
    outcome = {
        "verdict": verdict(claim, interval.low, interval.high) if tested else NOT_TESTED,
        **_numbers(sample, interval, claim["rule"]),
        "primary": claim.get("primary", False),
        "digest": digest(claim),
    }
    if tested and n_differing(sample["values"], claim["rule"]) < MIN_DIFFERING:
        outcome["verdict"] = OPEN
    null, constant = _null(claim, sample, scores)
    null["verdict"] = verdict(claim, null["low"], null["high"]) if tested else NOT_TESTED
    if tested and constant:
        outcome |= {"verdict": REFUSED, "why": "its null input has one value for every question: the check cannot fail"}
    elif null["verdict"] == words(claim)[0]:
        outcome |= {"verdict": REFUSED, "why": "its rule holds on the null input too: the check cannot fail"}
    if outcome["verdict"] == OPEN:
        outcome |= _power(interval, outcome["n"], claim["rule"])
        if outcome["n_needed"] is not None:
            outcome["n_needed"] = max(outcome["n_needed"], _n_for_rule_of_three(sample, claim["rule"]))
    return {**outcome, "null": null}


def judge_all(claims: Mapping[str, Mapping[str, Any]], scores: Mapping[str, Any], scale: str) -> dict[str, dict]:
    """The outcomes of a notebook's claims; primary ones adjusted for their number by Holm's step-down procedure.

    A primary claim that was tested has "holm": {"alpha", "low", "high"}, the interval at its own level, and the verdict
    of that interval. The 95 % interval stays beside it.
    """
    return adjust(claims, {id_: judge(claim, scores, scale) for id_, claim in claims.items()})


def adjust(claims: Mapping[str, Mapping[str, Any]], outcomes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict]:
    """The outcomes with those of the primary claims adjusted, see `judge_all`."""
    outcomes = {id_: dict(outcome) for id_, outcome in outcomes.items()}
    primary = {id_: o for id_, o in outcomes.items() if o["primary"] and o["verdict"] != NOT_TESTED}
    # What is open whatever its p, by the rule of three or for too few questions that differ, is not rejected: it must
    # not make way for others. Nor must a refused claim, whose null is known only after the run.
    alphas = metrics.holm({id_: 1.0 if o["verdict"] in (OPEN, REFUSED) else o["p"] for id_, o in primary.items()})
    for id_, outcome in primary.items():
        if outcome["verdict"] == REFUSED:
            continue
        interval = Interval(*(outcome[key] for key in ("value", "low", "high", "se", "df")))
        wider = metrics.widened(interval, alphas[id_])
        low, high = min(outcome["low"], wider.low), max(outcome["high"], wider.high)
        outcome["holm"] = {"alpha": alphas[id_], "low": low, "high": high}
        if outcome["verdict"] != OPEN:
            outcome["verdict"] = verdict(claims[id_], low, high)
        if outcome["verdict"] == OPEN:
            power = _power(interval, outcome["n"], claims[id_]["rule"], level=1 - alphas[id_])
            if power["n_needed"] is not None:
                power["n_needed"] = max(power["n_needed"], outcome.get("n_needed", 0))
            outcome |= power
    return outcomes


def n_differing(values: np.ndarray, rule: Mapping[str, Any]) -> int:
    """How many questions do not lie on the limit of the rule (of two limits the one on which more lie)."""
    return min(int(np.count_nonzero(~_equal(values, limit))) for limit in _limits(rule))


def _equal(values: np.ndarray, to: float) -> np.ndarray:
    """Which values are `to`, but for what the order of a sum over seeds may round away."""
    return np.isclose(values, to, rtol=ROUNDING, atol=ROUNDING)


def _limits(rule: Mapping[str, Any]) -> list[float]:
    return [limit for limit in rule_bounds("rule", rule)[:2] if math.isfinite(limit)]


def _nearer_limit(rule: Mapping[str, Any], value: float) -> float:
    return min(_limits(rule), key=lambda limit: abs(value - limit))


def _numbers(sample: Mapping[str, Any], interval: Interval, rule: Mapping[str, Any]) -> dict:
    """The numbers of an outcome."""
    found = {key: float(getattr(interval, key)) for key in ("value", "low", "high", "se", "df")}
    found["n"] = len(sample["values"])
    found |= {label: len(set(sample[label])) for label in ("subjects", "fields") if sample[label] is not None}
    if sample["seed_means"] is not None:
        found["seeds"] = len(sample["seed_means"])
    if "unit" in sample:
        found["unit"] = sample["unit"]
    found["p"] = float(metrics.p_value(interval, _nearer_limit(rule, interval.value)))
    if found.get("subjects", found["n"]) < FEW_CLUSTERS:
        off_limit = sample["values"] - _nearer_limit(rule, interval.value)
        found["permutation_p"] = float(metrics.permutation_p(off_limit, sample["subjects"]))
    return found


def _power(interval: Interval, n: int, rule: Mapping[str, Any], level: float = 0.95) -> dict:
    """What an open verdict would have taken."""
    limit = _nearer_limit(rule, interval.value)
    return {
        "mde": float(metrics.minimum_detectable_effect(interval, level=level)),
        "n_needed": metrics.n_to_decide(interval, n, limit, level=level),
    }


def _margin_interval(sample: Mapping[str, Any], rule: Mapping[str, Any]) -> Interval:
    """The interval of a sample, with the rule of three where nothing was seen on the side that a margin guards."""
    interval, three = _interval(sample), _three(sample)
    low, high = interval.low, interval.high
    if _all_equal(sample["values"]):
        low, high = min(low, interval.value - three), max(high, interval.value + three)
    for margin in _unseen_margins(sample["values"], rule):
        low, high = (min(low, -three), high) if margin < 0 else (low, max(high, three))
    return Interval(interval.value, low, high, interval.se, interval.df)


def _three(sample: Mapping[str, Any]) -> float:
    return metrics.rule_of_three(len(set(sample["subjects"] or range(len(sample["values"])))))


def _all_equal(values: np.ndarray) -> bool:
    return bool(_equal(values, values[0]).all())


def _unseen_margins(values: np.ndarray, rule: Mapping[str, Any]) -> list[float]:
    """The limits of the rule that are margins, the lower below 0, the upper above, on whose side of 0 no value lies."""
    seen = set(np.sign(values[~_equal(values, 0)]).tolist())
    lowest, highest, *_ = rule_bounds("rule", rule)
    return [limit for limit, side in ((lowest, -1), (highest, 1)) if 0 < side * limit < math.inf and side not in seen]


def _n_for_rule_of_three(sample: Mapping[str, Any], rule: Mapping[str, Any]) -> int:
    """How many questions bring its 3/n within the distances that it widens an interval by; 0 where there are none."""
    values = sample["values"]
    distances = [abs(margin) for margin in _unseen_margins(values, rule)]
    if _all_equal(values):
        distances += [abs(values[0] - limit) for limit in _limits(rule) if not _equal(values[0], limit)]
    return max((math.ceil(len(values) * _three(sample) / distance) for distance in distances), default=0)


def _interval(sample: Mapping[str, Any]) -> Interval:
    return metrics.cluster_interval(sample["values"], sample["subjects"], sample["fields"], sample["seed_means"])


def _null(claim: Mapping[str, Any], sample: Mapping[str, Any], scores: Mapping[str, Any]) -> tuple[dict, bool]:
    """({"value", "low", "high"} of the null input, whether it is the same for every question)."""
    if claim["null"] == EXCHANGED:
        low, high = metrics.exchanged_range(sample["values"], sample["subjects"])
        return {"value": 0.0, "low": float(low), "high": float(high)}, bool(low == high)
    null = _sample(f"claim {claim['id']}: null", claim["null"], scores)
    interval = _interval(null)
    numbers = {key: float(getattr(interval, key)) for key in ("value", "low", "high")}
    return numbers, _all_equal(null["values"])


def _sample(where: str, quantity: Mapping[str, Any], scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The quantity of each question and what it is clustered by: "values" (n,), "subjects" and "fields" (n,) or None,
    "seed_means" (k,) or None, and "unit" where they are no questions.
    """
    kind, names = next(iter(quantity.items()))
    names = [names] if kind == "mean" else names
    for name in names:
        if name not in scores:
            raise InputError(f"{where}: the record has no score {name!r}: add it by record.scores before the claim")
    first = scores[names[0]]
    rows = [dict(zip(scores[name]["ids"], scores[name]["values"], strict=True)) for name in names]
    for name, row in zip(names, rows, strict=True):
        if row.keys() != rows[0].keys():
            raise InputError(f"{where}: {names[0]!r} and {name!r} are scores of different questions")
    values = np.array([[row[question] for row in rows] for question in first["ids"]])
    per_seed = {name: scores[name]["seed_means"] for name in names if scores[name].get("seed_means")}
    n_seeds = {len(means) for means in per_seed.values() if len(means) > 1}
    if len(n_seeds) > 1:
        raise InputError(f"{where}: scores of {' and '.join(map(str, sorted(n_seeds)))} seeds cannot be paired")
    seed_means = None
    if per_seed:
        columns = [per_seed.get(name, [values[:, i].mean()]) for i, name in enumerate(names)]
        k = max(n_seeds, default=1)
        table = np.stack([np.broadcast_to(np.asarray(column, dtype=float), k) for column in columns], axis=1)
        seed_means = _per_question(kind, table)
    subjects, fields = clusters(first)
    sample = {"values": _per_question(kind, values), "subjects": subjects, "fields": fields, "seed_means": seed_means}
    return sample | ({"unit": first["unit"]} if "unit" in first else {})


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
