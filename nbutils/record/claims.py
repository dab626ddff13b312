"""Claims of papers as data (`notebooks/claims/NN.yaml`), and how a claim is judged against per-question scores."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nbutils import metrics, paths
from nbutils.errors import InputError
from nbutils.presets import SCALES

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
INCONCLUSIVE = "inconclusive"
NOT_TESTED = "not tested at this scale"
# Questions off the rule's limit that decide a claim: of 5, all fall on one side by chance in 2/2**5 = 6 %.
MIN_DIFFERING = 6

_TEXTS = ("paper", "where", "sentence", "paper_values", "min_scale")
_REQUIRED = (*_TEXTS, "quantity", "rule", "null")
_OPTIONAL = ("note",)
_FORMS = "{mean: score}, {difference: [score, other score]} or {trend: [three or more scores, in order]}"
_ID = re.compile(r"\d\d\.[a-z][a-z0-9_]*")
_ORDERING = re.compile(r"(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)")


def load_claims(path: Path | None = None) -> dict[str, dict]:
    """Every claim of the files in `notebooks/claims/` (or of `path`, a folder or a file), validated: {id: claim}, in
    the order of the files' names and of each file.

    A claim has the file's keys, "id", and "note" ("" if absent). Its quantity, and its null of the same kind, is
    {mean: score}, {difference: [score, other score]} or {trend: [score at step 0, at step 1, at step 2, ...]}.
    Raises InputError, naming the file and the claim, for an unknown or missing key (a missing null too), a malformed
    id, quantity or rule, an unknown scale, an id that occurs twice, and one whose number is not the file's name.
    """
    path = path or paths.CLAIMS
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        file = "NN.yaml" if not files else path.name
        folder = path if not files else path.parent
        raise InputError(f"no claims file {file} in {folder.name}/: it lists every claim and its rule")
    return {id_: claim for file in files for id_, claim in _read_claims(file).items()}


def _read_claims(path: Path) -> dict[str, dict]:
    """The claims of one file, `NN.yaml`."""
    import yaml

    where = f"{path.parent.name}/{path.name}"
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{where} is not YAML in UTF-8: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise InputError(f"{where} must map claim ids to claims")
    _check_distinct_keys(where, tree)
    claims = {id_: _validated(where, id_, claim) for id_, claim in content.items()}
    for id_ in claims:
        if id_.partition(".")[0] != path.stem:
            raise InputError(f"{where}: claim {id_} is one of another notebook: move it to {id_[:2]}.yaml")
    return claims


def _check_distinct_keys(where: str, node: Any) -> None:
    """YAML readers keep the last of two equal keys in silence: a claim pasted twice would vanish."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return
    seen = set()
    for key, value in node.value:
        if key.value in seen:
            raise InputError(f"{where}: {key.value!r} occurs twice: give each claim and each key once")
        seen.add(key.value)
        _check_distinct_keys(f"{where}: {key.value}", value)


def _validated(file: str, id_: Any, claim: Any) -> dict:
    where = f"{file}: claim {id_}"
    if not isinstance(id_, str) or not _ID.fullmatch(id_):
        raise InputError(f"{where}: an id is two digits of the notebook, a dot and a slug, such as 00.dense_over_bm25")
    if not isinstance(claim, dict):
        raise InputError(f"{where} must be a mapping with {', '.join(_REQUIRED)}")
    # YAML reads the unquoted key `null` as its null value.
    claim = {"null" if key is None else key: value for key, value in claim.items()}
    unknown = sorted(str(key) for key in claim.keys() - {*_REQUIRED, *_OPTIONAL})
    if unknown:
        raise InputError(f"{where} has unknown key {unknown[0]!r}: known are {', '.join((*_REQUIRED, *_OPTIONAL))}")
    missing = [key for key in _REQUIRED if key not in claim]
    if missing:
        raise InputError(f"{where} lacks {missing[0]!r}")
    for key in (*_TEXTS, *(key for key in _OPTIONAL if key in claim)):
        if not isinstance(claim[key], str) or not claim[key].strip():
            raise InputError(f"{where}: {key} is {claim[key]!r}: give a non-empty text")
    if claim["min_scale"] not in SCALES[1:]:
        raise InputError(f"{where}: min_scale is {claim['min_scale']!r}: use one of {', '.join(SCALES[1:])}")
    kinds = [_check_quantity(f"{where}: {key}", claim[key]) for key in ("quantity", "null")]
    if kinds[0] != kinds[1] or claim["quantity"] == claim["null"]:
        raise InputError(f"{where}: null must be the same kind as quantity ({kinds[0]}), over other scores")
    _bounds(f"{where}: rule", claim["rule"])
    return {"id": id_, "note": "", **claim}


def _check_quantity(where: str, quantity: Any) -> str:
    """The kind of a quantity, "mean", "difference" or "trend", once its shape is right."""
    if not isinstance(quantity, dict) or len(quantity) != 1:
        raise InputError(f"{where} is {quantity!r}: give {_FORMS}")
    kind, scores = next(iter(quantity.items()))
    names = scores if isinstance(scores, list) else [scores]
    if not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{where} is {quantity!r}: score names are non-empty texts")
    n = len(names) if isinstance(scores, list) and len(set(names)) == len(names) else 0
    right = {"mean": isinstance(scores, str), "difference": n == 2, "trend": n >= 3}
    if not right.get(kind, False):
        raise InputError(f"{where} is {quantity!r}: give {_FORMS}")
    return kind


def _bounds(where: str, rule: Any) -> tuple[float, float, bool, bool]:
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
    lowest, highest, lowest_allowed, highest_allowed = _bounds("rule", rule)
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
    limits = [limit for limit in _bounds("rule", rule)[:2] if math.isfinite(limit)]
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
