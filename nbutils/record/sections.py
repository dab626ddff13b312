"""What a report shows of each notebook: its headline, and one row per claim, as texts without markup."""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbutils import paths
from nbutils.errors import InputError
from nbutils.presets import SCALES
from nbutils.record import claim_files, claims, locks, storage
from nbutils.record.claim_files import ClaimsFile
from nbutils.record.wording import adjusted, interval_text, outcome_text, percent, sign_of

NOT_RUN = "not run"
SKIPPED = "skipped"
# The order in which verdicts are counted: the papers' sentences, our own, what was not decided, what was not judged.
VERDICTS = (
    *(claims.REPRODUCED, claims.NOT_REPRODUCED, claims.HOLDS, claims.FAILS, claims.OPEN),
    *(claims.REFUSED, claims.NOT_TESTED, SKIPPED, NOT_RUN),
)
_NO_FILE = ClaimsFile({}, {}, "", None, "", None)  # of a notebook without claims
_PLURALS = {claims.HOLDS: "hold", claims.FAILS: "fail"}


@dataclass(frozen=True)
class Row:
    """A claim as a reader sees it. Every field but `primary` is a text, "" where there is nothing to say."""

    id: str
    primary: bool
    sentence: str
    note: str
    paper: str  # the work, where in it, its values with their tags
    here: str  # value, interval, how many questions, subjects, fields and seeds
    holm: str  # the interval that the verdict of a primary claim rests on
    null: str  # the same on the input on which the rule must fail
    verdict: str  # one of VERDICTS
    why: str  # of a skipped or refused claim, or of one that needs a larger scale
    decides: str  # of an open claim: the effect that could have been seen, and the questions that would decide
    lock: str  # see `locks.lock_status`
    rule: str
    cell: str  # number of the cell that judged it, as Jupyter shows it


@dataclass(frozen=True)
class Section:
    """A notebook: what its claims file says about it, what its record holds, and a row per claim."""

    name: str  # the file's name without .ipynb, or its number where there is no such file
    headline: str  # with its numbers; the title where there is no headline, or no record to take numbers from
    status: str
    minutes: str
    draw: str  # the draw of questions that the claims were locked for
    record: Mapping[str, Any] | None
    notebook: str  # the notebook that was run, relative to the folder of the records; "" where it is not known
    rows: list[Row]

    def chosen(self, primary: bool) -> list[Row]:
        """The primary claims, or the exploratory ones."""
        return [row for row in self.rows if row.primary == primary]

    def counted(self) -> str:
        """How the primary claims came out, such as "4 reproduced, 1 open"."""
        counts = Counter(row.verdict for row in self.chosen(primary=True))
        words = {word: _PLURALS.get(word, word) if counts[word] > 1 else word for word in VERDICTS}
        return ", ".join(f"{counts[word]} {words[word]}" for word in VERDICTS if counts[word]) or "none yet"


def load_sections(scale: str, folder: Path) -> list[Section]:
    """A section per notebook that has a record in `folder`, `<figures or another>/<scale>/`, or a file of claims.

    Raises InputError for a record of another notebook or scale than its folder says, for a verdict that is not what
    the record's scores and the file of claims give today, and for a headline that names a metric that is not there.
    """
    records = {path.parent.name: storage.load_record(path) for path in sorted(folder.glob("*/record.json"))}
    for name, content in records.items():
        if content["notebook"] != name or content["scale"] != scale:
            raise InputError(f"the record in {scale}/{name}/ is of {content['notebook']} at {content['scale']}")
    files = {path.stem: claim_files.load_file(path) for path in sorted(paths.CLAIMS.glob("[0-9][0-9].yaml"))}
    names = {number: number for number in files}
    names |= {path.stem[:2]: path.stem for path in sorted(paths.NOTEBOOKS.glob("*.ipynb")) if path.stem[:2] in files}
    for number in {name[:2] for name in records}:
        names.pop(number, None)
    return [
        _section(name, scale, folder, records.get(name), files.get(name[:2], _NO_FILE))
        for name in sorted({*records, *names.values()})
    ]


def _section(name: str, scale: str, folder: Path, content: Mapping[str, Any] | None, file: ClaimsFile) -> Section:
    notebook = _notebook_file(name, folder, content)
    cells = _cells(notebook) if notebook else []
    return Section(
        name=name,
        headline=_headline(name, content, file, cells),
        status=file.status,
        minutes=f"{file.minutes:g}" if file.minutes else "",
        draw=str(file.lock["draw"]) if file.lock else "",
        record=content,
        notebook=Path(os.path.relpath(notebook, folder)).as_posix() if notebook else "",
        rows=_rows(name, scale, content, file, cells),
    )


def _notebook_file(name: str, folder: Path, content: Mapping[str, Any] | None) -> Path | None:
    """The executed notebook: beside its record, or in notebooks/ where that is what was run, or would be."""
    beside, committed = folder / name / f"{name}.ipynb", paths.NOTEBOOKS / f"{name}.ipynb"
    if content and beside.is_file():
        return beside
    # From any other folder a link to notebooks/ would lead through the folders of this machine.
    return committed if folder.parent == paths.FIGURES and committed.is_file() else None


def _cells(notebook: Path) -> list[dict]:
    try:
        return json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError) as error:
        raise InputError(f"{notebook.name} is not a notebook: run {notebook.stem} again") from error


def _headline(
    name: str, content: Mapping[str, Any] | None, file: ClaimsFile, cells: Sequence[Mapping[str, Any]]
) -> str:
    """The headline with its metrics as whole percent, or as a format says, {loss|.2f}; the notebook's title where that
    cannot be had.
    """
    if not file.headline or not content:
        return _title(cells) or name
    named = re.findall(r"\{([^{}|]*)[^{}]*\}", file.headline)
    missing = [metric for metric in named if metric not in content["metrics"]]
    if missing and content["skipped"]:  # other data, which has no such questions
        return _title(cells) or name
    if missing:
        raise InputError(f"the headline of claims/{name[:2]}.yaml names {missing[0]!r}: {name} has no such metric")

    def written(found: re.Match) -> str:
        metric, _, form = found[1].partition("|")
        value = content["metrics"][metric]["value"]
        return format(value, form) if form else percent(value)

    return re.sub(r"\{([^{}]*)\}", written, file.headline)


def _title(cells: Sequence[Mapping[str, Any]]) -> str:
    """The first heading, without its number: "# 01 · RAG" is "RAG"."""
    for cell in cells:
        found = re.search(r"^# +(?:\d\d · )?(.+)$", "".join(cell["source"]), re.MULTILINE)
        if cell["cell_type"] == "markdown" and found:
            return found[1].strip()
    return ""


def cell_numbers(cells: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """{claim id: number of the first cell that prints it}: ids are often put together, so that sources lack them."""
    found: dict[str, str] = {}
    for cell in cells:
        printed = "\n".join("".join(output.get("text", "")) for output in cell.get("outputs", []))
        for id_ in re.findall(r"\b\d\d\.[a-z][a-z0-9_]*", printed):
            if cell.get("execution_count"):
                found.setdefault(id_, str(cell["execution_count"]))
    return found


# --- claims -----------------------------------------------------------------------------------------------------------


def _rows(
    name: str, scale: str, content: Mapping[str, Any] | None, file: ClaimsFile, cells: Sequence[Mapping[str, Any]]
) -> list[Row]:
    """The primary claims, then the exploratory ones, each kind in the order of the file."""
    known = file.claims
    outcomes = content["claims"] if content else {}
    skipped = content["skipped"] if content else {}
    if unknown := skipped.keys() - known.keys():
        raise InputError(f"{name} skipped claim {min(unknown)}, which is no longer one: run {name} again")
    _check_outcomes(name, scale, content, known)
    numbers = cell_numbers(cells)
    rows = []
    for id_, claim in sorted(known.items(), key=lambda item: not item[1]["primary"]):
        outcome = outcomes.get(id_)
        verdict = outcome["verdict"] if outcome else SKIPPED if id_ in skipped else NOT_RUN
        needed = "" if SCALES.index(scale) >= SCALES.index(claim["min_scale"]) else f"needs scale {claim['min_scale']}"
        sign = sign_of(claim)
        judged = bool(outcome) and not needed
        rows.append(
            Row(
                id=id_,
                primary=claim["primary"],
                sentence=claim["sentence"],
                note=claim["note"],
                paper=_paper_text(claim, outcome),
                here=_here_text(outcome, sign) if outcome else "",
                holm=_holm_text(outcome, sign) if judged else "",
                null=f"{interval_text(outcome['null'], sign)}, {outcome['null']['verdict']}" if judged else "",
                verdict=verdict,
                why=skipped.get(id_) or (outcome or {}).get("why") or needed,
                decides=_decides_text(outcome) if verdict == claims.OPEN else "",
                lock=locks.lock_status(file, id_, outcome),
                rule=_rule_text(claim),
                cell=numbers.get(id_, ""),
            )
        )
    return rows


def _check_outcomes(
    name: str, scale: str, content: Mapping[str, Any] | None, known: Mapping[str, Mapping[str, Any]]
) -> None:
    """Raise InputError where the record's scores give another outcome today: a rule changed after the run, or a number
    changed by hand, must not keep the old verdict.
    """
    recorded = content["claims"] if content else {}
    still = {id_: known[id_] for id_ in recorded if id_ in known}
    fresh = claims.judge_all(still, content["scores"], scale) if still else {}
    for id_, outcome in recorded.items():
        if id_ not in fresh or not same_outcome(fresh[id_], outcome):
            raise InputError(f"claim {id_} of {name} is no longer judged as in its record: run {name} again")


def same_outcome(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Equal verdicts, and numbers equal but for what another processor may round differently."""
    for key in ("value", "low", "high", "n", "p", "alpha"):
        if (key in one) != (key in other):
            return False
        if key in one and not math.isclose(one[key], other[key], rel_tol=1e-9, abs_tol=1e-9):
            return False
    parts = [(one.get(key), other.get(key)) for key in ("null", "holm")]
    return one.get("verdict") == other.get("verdict") and all(
        same_outcome(left, right) if left and right else left == right for left, right in parts
    )


# --- texts ------------------------------------------------------------------------------------------------------------


def _paper_text(claim: Mapping[str, Any], outcome: Mapping[str, Any] | None) -> str:
    """Work, place and values: "Lewis et al. 2020, Table 6, NQ dev EM: 41.2 to 44.0 [S]; effect +0.028 [S]"."""
    source = ", ".join(claim[key] for key in ("paper", "where") if claim[key] != "-")
    text = source if claim["paper_values"] == "-" else f"{source}: {claim['paper_values']}"
    effect = (outcome or {}).get("paper_effect")
    return f"{text}; effect {effect['value']:+.3f} [{effect['tag']}]" if effect else text


def _here_text(outcome: Mapping[str, Any], sign: str) -> str:
    text = outcome_text(outcome, sign)
    return f"{text}; permutation test: p = {outcome['permutation_p']:.3f}" if "permutation_p" in outcome else text


def _holm_text(outcome: Mapping[str, Any], sign: str) -> str:
    """The adjusted interval of a primary claim, and its level: "+0.12 [0.03, 0.21] at 98.75 %"."""
    if not (holm := outcome.get("holm")):
        return ""
    return f"{interval_text(adjusted(outcome), sign)} at {100 * (1 - holm['alpha']):.4g} %"


def _decides_text(outcome: Mapping[str, Any]) -> str:
    """What an open claim could have shown, and what would decide it."""
    parts = [f"minimum detectable effect ±{_number(outcome['mde'])}"] if outcome.get("mde") else []
    if outcome.get("n_needed"):
        parts.append(f"about {outcome['n_needed']:,} {outcome.get('unit', 'questions')} would decide")
    return "; ".join(parts)


def _number(value: float) -> str:
    return f"{value:.2e}" if abs(value) >= 10_000 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


def _rule_text(claim: Mapping[str, Any]) -> str:
    """What is compared with what: "recall_at_1/Dense/fact - recall_at_1/BM25/fact > 0"."""
    (kind, names), rule = next(iter(claim["quantity"].items())), claim["rule"]
    left = names if kind == "mean" else " - ".join(names) if kind == "difference" else f"trend of {', '.join(names)}"
    return f"{left} {rule['ordering']}" if "ordering" in rule else f"{left} within {rule['interval']}"
