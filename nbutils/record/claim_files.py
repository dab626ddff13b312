"""`notebooks/claims/NN.yaml`: the claims of a notebook, and the papers' values that claims and figures name."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbutils import paths
from nbutils.errors import InputError
from nbutils.presets import SCALES
from nbutils.record.claims import rule_bounds

TAGS = ("S", "A", "X", "D", "2", "O", "M")  # where a paper's value was read; 00.yaml says what each means

_PAPER = "paper"  # the key of the papers' values; every other is the id of a claim
_TEXTS = ("paper", "where", "sentence", "paper_values", "min_scale")
_REQUIRED = (*_TEXTS, "quantity", "rule", "null")
_OPTIONAL = ("note",)
_FORMS = "{mean: score}, {difference: [score, other score]} or {trend: [three or more scores, in order]}"
_ID = re.compile(r"\d\d\.[a-z][a-z0-9_]*")


def load_claims(path: Path | None = None) -> dict[str, dict]:
    """Every claim of the files in `notebooks/claims/` (or of `path`, a folder or a file), validated: {id: claim}, in
    the order of the files' names and of each file.

    A claim has the file's keys, "id", and "note" ("" if absent). Its quantity, and its null of the same kind, is
    {mean: score}, {difference: [score, other score]} or {trend: [score at step 0, at step 1, at step 2, ...]}. A null
    that is a text in the file, `null: shuffled answers`, is the quantity with ", shuffled answers" behind each score,
    as `Record.scores` names its nulls. A name in braces in its paper_values is replaced by that value of the paper.
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
    where, content = _read(path)
    paper = _validated_paper(where, content)
    claims = {id_: _validated(where, id_, claim, paper) for id_, claim in content.items() if id_ != _PAPER}
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


# --- the papers' values -----------------------------------------------------------------------------------------------


def _validated_paper(file: str, content: Mapping[str, Any]) -> dict[str, dict]:
    paper = content.get(_PAPER, {})
    if not isinstance(paper, dict):
        raise InputError(f"{file}: {_PAPER} must map names to {{value: 44.5, tag: S, where: Table 1}}")
    for name, entry in paper.items():
        where = f"{file}: {_PAPER} value {name!r}"
        if not isinstance(name, str) or len(name.split("/", 2)) != 3 or not all(name.split("/", 2)):
            raise InputError(f"{where}: a name is figure/group/method, or table/data set/method")
        if not isinstance(entry, dict) or entry.keys() != {"value", "tag", "where"}:
            raise InputError(f"{where} must have value, tag and where, and nothing else")
        value, tag = entry["value"], str(entry["tag"])
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
            raise InputError(f"{where}: value is {value!r}: give percent, 0 to 100, as the paper prints it")
        if tag not in TAGS:
            raise InputError(f"{where}: tag is {entry['tag']!r}: use one of {', '.join(TAGS)}")
        if not isinstance(entry["where"], str) or not entry["where"].strip():
            raise InputError(f"{where}: where is {entry['where']!r}: say which table of which paper")
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
    for key in (*_TEXTS, *(key for key in _OPTIONAL if key in claim)):
        if not isinstance(claim[key], str) or not claim[key].strip():
            raise InputError(f"{where}: {key} is {claim[key]!r}: give a non-empty text")
    if claim["min_scale"] not in SCALES[1:]:
        raise InputError(f"{where}: min_scale is {claim['min_scale']!r}: use one of {', '.join(SCALES[1:])}")
    kind = _check_quantity(f"{where}: quantity", claim["quantity"])
    null = claim["null"]
    if isinstance(null, str) and null.strip():
        null = _null_of(kind, claim["quantity"][kind], null)
    if _check_quantity(f"{where}: null", null) != kind or claim["quantity"] == null:
        raise InputError(f"{where}: null must be the same kind as quantity ({kind}), over other scores")
    rule_bounds(f"{where}: rule", claim["rule"])
    text = _with_values(f"{where}: paper_values", claim["paper_values"], paper)
    return {"id": id_, "note": "", **claim, "null": null, "paper_values": text}


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
