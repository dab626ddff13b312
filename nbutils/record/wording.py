"""Numbers of a record as people read them: effects with their intervals, samples, shares."""

import math
from collections.abc import Mapping
from typing import Any


def interval_text(outcome: Mapping[str, float], sign: str = "+") -> str:
    """Value and interval for people, such as "+0.12 [0.05, 0.19]"; large numbers, of FLOPs, in powers of ten."""
    value, low, high = (outcome[key] for key in ("value", "low", "high"))
    largest = max(abs(value), abs(low), abs(high))
    form = ".2e" if largest >= 10_000 else ".2f" if largest >= 0.1 else ".3f"
    return f"{value:{sign}{form}} [{low:{form}}, {high:{form}}]"


def sample_text(outcome: Mapping[str, Any]) -> str:
    """Of how many questions or other units, clusters, seeds: "200 questions of 59 subjects and 48 fields, 5 seeds"."""
    clusters = [f"{outcome[key]} {key}" for key in ("subjects", "fields") if key in outcome]
    seeds = outcome.get("seeds")
    text = f"{outcome['n']} {outcome.get('unit', 'questions')}" + (f" of {' and '.join(clusters)}" if clusters else "")
    return text + (f", {seeds} seed{'s' if seeds > 1 else ''}" if seeds else "")


def outcome_text(outcome: Mapping[str, Any], sign: str = "+") -> str:
    """An outcome for people: "+0.12 [0.05, 0.19], 200 questions of 59 subjects and 48 fields, 5 seeds"."""
    return f"{interval_text(outcome, sign)}, {sample_text(outcome)}"


def adjusted(outcome: Mapping[str, Any]) -> Mapping[str, Any]:
    """An outcome with the interval that its verdict rests on: adjusted for the number of claims where it is primary."""
    return {**outcome, **outcome.get("holm", {})}


def sign_of(claim: Mapping[str, Any]) -> str:
    """ "+" for a difference, "" for a mean."""
    return "" if "mean" in claim["quantity"] else "+"


def percent(share: float) -> str:
    """In whole percent, halves up: Python would round 12.5 down and 13.5 up."""
    return f"{math.floor(100 * share + 0.5 + 1e-9)} %"
