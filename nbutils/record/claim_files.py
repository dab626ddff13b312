"""`notebooks/claims/NN.yaml`: the claims of a notebook, and the papers' values that claims and figures name."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbutils import paths
from nbutils.errors import InputError
from nbutils.presets import SCALES
from nbutils.record.claims import EXCHANGED, rule_bounds

TAGS = ("S", "A", "X", "D", "2", "O", "M")  # where a paper's value was read; 00.yaml says what each means

MAX_PRIMARY = 6  # claims a notebook is judged by

_PAPER = "paper"  # the papers' values
_HEADER = (_PAPER, "headline", "minutes", "status", "lock")  # keys of a file; every other is the id of a claim
_TEXTS = ("paper", "where", "sentence", "paper_values", "min_scale")
_REQUIRED = (*_TEXTS, "quantity", "rule", "null")
_OPTIONAL = ("note", "label", "primary", "paper_effect")
_FORMS = "{mean: score}, {difference: [score, other score]} or {trend: [three or more scores, in order]}"
_ID = re.compile(r"\d\d\.[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class ClaimsFile:
    """What `notebooks/claims/NN.yaml` says of a notebook."""

    claims: dict[str, dict]  # see load_claims
    paper: dict[str, dict]  # see load_paper
    headline: str  # what the notebook shows, with names of metrics in braces; "" if it does not say
    minutes: float | None  # of a run at tiny from empty caches, on 2 cores
    status: str  # what a reader must know of its results, such as "on the former split"; ""
    lock: dict | None  # {"draw": 0, "claims": {id: digest}}, see `locks`


def claims_path(notebook: str) -> Path:
    """The claims file of a notebook, named "08" or "08_rag_or_finetune"."""
    return paths.CLAIMS / f"{notebook[:2]}.yaml"


def load_file(path: Path) -> ClaimsFile:
    """One claims file, validated. Raises InputError as load_claims does."""
    where, content = _read(path)
    paper = _validated_paper(where, content)
    claims = _claims_of(where, path.stem, content, paper)
    return ClaimsFile(claims, paper, *_validated_header(where, content, claims))


def load_claims(path: Path | None = None) -> dict[str, dict]:
    """Every claim of the files in `notebooks/claims/` (or of `path`, a folder or a file), validated: {id: claim}, in
    the order of the files' names and of each file.

    A claim has the file's keys, "id", "note" and "label" ("" if absent), "primary" (a notebook is judged by its
    MAX_PRIMARY primary claims at most), and "paper_effect", None or {"value", "tag"}: the first of two of the paper's
    values less the second, as a share of 1. Its quantity, and its null of the same kind, is {mean: score}, {difference:
    [score, other score]} or {trend: [score at step 0, at step 1, at step 2, ...]}. A null that is a text in the file,
    `null: shuffled answers`, is the quantity with ", shuffled answers" behind each score, as `Record.scores` names its
    nulls; `null: exchanged labels` stays as it is: the two systems of a difference exchanged at random, subject by
    subject. A name in braces in its paper_values is replaced by that value of the paper.
    Raises InputError, naming the file and the claim, for an unknown or missing key (a missing null too), a malformed
    id, quantity or rule, an unknown scale, an id that occurs twice, one whose number is not the file's name, a paper's
    value that is not there, and tags that are not those of the values that the claim names.
    """
    path = path or paths.CLAIMS
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        file = "NN.yaml" if not files else path.name
        folder = path if not files else path.parent
        raise InputError(f"no claims file {file} in {folder.name}/: it lists every claim and its rule")
    return {id_: claim for file in files for id_, claim in _read_claims(file).items()}


def load_paper(path: Path) -> dict[str, dict]:
    """The papers' values of one file: {"figure/group/method": {"value": 44.5, "tag": "S", "where": "Table 1"}}.

    Values are as the paper prints them, in percent. Raises InputError for what is malformed.
    """
    where, content = _read(path)
    return _validated_paper(where, content)


def paper_values(notebook: str, figure: str) -> dict[str, dict[str, float]]:
    """What the papers report, for the bars of a figure: {group: {method: share}}, as shares of 1.

    They are the entries "figure/group/method" of `notebooks/claims/NN.yaml`. Raises InputError when there are none.
    """
    file = paths.CLAIMS / f"{notebook[:2]}.yaml"
    found: dict[str, dict[str, float]] = {}
    for name, entry in load_paper(file).items():
        of_figure, group, method = name.split("/", 2)
        if of_figure == figure:
            found.setdefault(group, {})[method] = round(entry["value"] / 100, 6)  # 0.288, not 0.28800000000000003
    if not found:
        raise InputError(f"claims/{file.name} has no paper's value {figure}/...: name one of its figures")
    return found


def _read(path: Path) -> tuple[str, dict]:
    """The name of a claims file for messages, and its content."""
    import yaml

    where = f"{path.parent.name}/{path.name}"
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except FileNotFoundError as error:
        raise InputError(f"no claims file {path.name} in {path.parent.name}/: it lists every claim") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{where} is not YAML in UTF-8: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise InputError(f"{where} must map claim ids to claims")
    _check_distinct_keys(where, tree)
    return where, content


def _read_claims(path: Path) -> dict[str, dict]:
    """The claims of one file, `NN.yaml`."""
    return load_file(path).claims


def _claims_of(where: str, stem: str, content: Mapping[str, Any], paper: Mapping[str, Any]) -> dict[str, dict]:
    claims = {id_: _validated(where, id_, claim, paper) for id_, claim in content.items() if id_ not in _HEADER}
    for id_ in claims:
        if id_.partition(".")[0] != stem:
            raise InputError(f"{where}: claim {id_} is one of another notebook: move it to {id_[:2]}.yaml")
    n_primary = sum(claim["primary"] for claim in claims.values())
    if n_primary > MAX_PRIMARY:
        raise InputError(f"{where} has {n_primary} primary claims: choose the {MAX_PRIMARY} that the notebook is about")
    return claims


def _validated_header(where: str, content: Mapping[str, Any], claims: Mapping[str, Any]) -> tuple:
    """(headline, minutes, status, lock)."""
    headline, minutes, status = content.get("headline", ""), content.get("minutes"), content.get("status", "")
    for key, text in (("headline", headline), ("status", status)):
        if not isinstance(text, str) or (key in content and not text.strip()):
            raise InputError(f"{where}: {key} is {text!r}: give a non-empty text, or leave it out")
    is_number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
    if minutes is not None and not (is_number and 0 < minutes < math.inf):
        raise InputError(f"{where}: minutes is {minutes!r}: give the minutes of a run at tiny from empty caches")
    lock = content.get("lock")
    if lock is not None:
        right = isinstance(lock, dict) and lock.keys() == {"draw", "claims"} and isinstance(lock["claims"], dict)
        # A digest of digits alone is a number where its quotation marks are missing.
        texts = right and all(isinstance(part, str) for entry in lock["claims"].items() for part in entry)
        if not texts or type(lock["draw"]) is not int:
            raise InputError(f"{where}: lock is malformed: take it out, and write it by python -m nbutils claims lock")
        if unknown := lock["claims"].keys() - claims.keys():
            raise InputError(f"{where}: the lock names {min(unknown)}, which is no claim of this file: lock it again")
    return headline, minutes, status, lock


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


# --- the papers' values -----------------------------------------------------------------------------------------------


def _validated_paper(file: str, content: Mapping[str, Any]) -> dict[str, dict]:
    paper = content.get(_PAPER, {})
    if not isinstance(paper, dict):
        raise InputError(f"{file}: {_PAPER} must map names to {{value: 44.5, tag: S, where: Table 1}}")
    for name, entry in paper.items():
        where = f"{file}: {_PAPER} value {name!r}"
        if not isinstance(name, str) or len(name.split("/", 2)) != 3 or not all(name.split("/", 2)):
            raise InputError(f"{where}: a name is figure/group/method, or table/data set/method")
        if not isinstance(entry, dict) or entry.keys() - {"quote"} != {"value", "tag", "where"}:
            raise InputError(f"{where} must have value, tag and where, may have quote, and nothing else")
        value, tag = entry["value"], str(entry["tag"])
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
            raise InputError(f"{where}: value is {value!r}: give percent, 0 to 100, as the paper prints it")
        if tag not in TAGS:
            raise InputError(f"{where}: tag is {entry['tag']!r}: use one of {', '.join(TAGS)}")
        if not isinstance(entry["where"], str) or not entry["where"].strip():
            raise InputError(f"{where}: where is {entry['where']!r}: say which table of which paper")
        if not isinstance(entry.get("quote", "-"), str) or not entry.get("quote", "-").strip():
            raise InputError(f"{where}: quote is {entry['quote']!r}: give the words by which a reader finds the value")
    return {name: {**entry, "tag": str(entry["tag"])} for name, entry in paper.items()}


def _with_values(where: str, text: str, paper: Mapping[str, Mapping[str, Any]]) -> str:
    """The text with the papers' values in place of their names in braces."""
    names = re.findall(r"\{([^{}]*)\}", text)
    for name in names:
        if name not in paper:
            raise InputError(f"{where}: there is no {_PAPER} value {name!r} in this file")
    tags = sorted({paper[name]["tag"] for name in names})
    if names and sorted(set(re.findall(r"\[(\w)\]", text))) != tags:
        raise InputError(f"{where} is {text!r}: show the tags of its values, [{'], ['.join(tags)}]")
    return re.sub(r"\{([^{}]*)\}", lambda match: str(paper[match[1]]["value"]), text)


# --- one claim --------------------------------------------------------------------------------------------------------


def _validated(file: str, id_: Any, claim: Any, paper: Mapping[str, Mapping[str, Any]]) -> dict:
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
    for key in (*_TEXTS, *(key for key in ("note", "label") if key in claim)):
        if not isinstance(claim[key], str) or not claim[key].strip():
            raise InputError(f"{where}: {key} is {claim[key]!r}: give a non-empty text")
    if claim["min_scale"] not in SCALES[1:]:
        raise InputError(f"{where}: min_scale is {claim['min_scale']!r}: use one of {', '.join(SCALES[1:])}")
    kind = _check_quantity(f"{where}: quantity", claim["quantity"])
    null = claim["null"]
    if null == EXCHANGED and kind != "difference":
        raise InputError(f"{where}: null is {EXCHANGED!r}, which needs a difference of two systems, not a {kind}")
    if isinstance(null, str) and null.strip() and null != EXCHANGED:
        null = _null_of(kind, claim["quantity"][kind], null)
    if null != EXCHANGED and (_check_quantity(f"{where}: null", null) != kind or claim["quantity"] == null):
        raise InputError(f"{where}: null must be the same kind as quantity ({kind}), over other scores")
    rule_bounds(f"{where}: rule", claim["rule"])
    if not isinstance(claim.get("primary", False), bool):
        raise InputError(f"{where}: primary is {claim['primary']!r}: give true, or leave it out")
    text = _with_values(f"{where}: paper_values", claim["paper_values"], paper)
    effect = _paper_effect(f"{where}: paper_effect", claim.get("paper_effect"), paper)
    filled = {"null": null, "paper_values": text, "paper_effect": effect}
    return {"id": id_, "note": "", "label": "", "primary": False, **claim, **filled}


def _paper_effect(where: str, names: Any, paper: Mapping[str, Mapping[str, Any]]) -> dict | None:
    """{"value", "tag"} of the first value less the second, as a share of 1."""
    if names is None:
        return None
    if not isinstance(names, list) or len(names) != 2 or not all(isinstance(name, str) for name in names):
        raise InputError(f"{where} is {names!r}: give [name, other name] of two of the paper's values")
    if missing := [name for name in names if name not in paper]:
        raise InputError(f"{where}: there is no {_PAPER} value {missing[0]!r} in this file")
    one, other = (paper[name] for name in names)
    tag = "M" if "M" in (one["tag"], other["tag"]) else one["tag"]
    return {"value": round((one["value"] - other["value"]) / 100, 6), "tag": tag}


def _null_of(kind: str, scores: str | list[str], null: str) -> dict[str, str | list[str]]:
    """The quantity whose scores are the nulls of that name."""
    return {kind: f"{scores}, {null}" if isinstance(scores, str) else [f"{score}, {null}" for score in scores]}


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
