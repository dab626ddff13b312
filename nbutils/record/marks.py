"""Numbers in a notebook's Markdown, written between marks that a run fills from its record: none is typed.

A mark is an HTML comment, which JupyterLab does not show. In the text of a Markdown cell,

    RAG answers <!--=exact_match/RAG/held out-->53 %<!--/--> of the questions,
    <!--=08.external_knowledge-->+0.26 [0.16, 0.35]<!--/--> more than the fine-tuned model.
    <!--=verdicts-->...<!--/-->

what stands between the two comments is replaced: by the value of a metric, a share in whole percent, or written as a
format says, `<!--=loss|.2f-->`; by the effect of a claim with its interval; by the table of the primary claims.
"""

import re
from collections.abc import Mapping
from typing import Any

from nbutils.errors import InputError
from nbutils.record.wording import adjusted, interval_text, percent, sign_of

VERDICTS = "verdicts"
_MARK = re.compile(r"(<!--=(?P<name>[^<>]+?)-->)(?P<old>.*?)(?P<end><!--/-->)", re.DOTALL)
OPENED, _CLOSED = "<!--=", "<!--/-->"


def fill(text: str, record: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of a Markdown cell with what stands between its marks taken from `record`; `known`: the claims by id.

    Where the data at hand had no such number (`record["skipped"]`), a dash stands for it. Raises InputError for a
    mark that is not closed, and for a name that is neither a metric nor a claim of the record.
    """
    if text.count(OPENED) != len(_MARK.findall(text)) or text.count(_CLOSED) != text.count(OPENED):
        raise InputError(f"a mark is not closed: write <!--=name-->...{_CLOSED} in the cell {text[:60]!r}")
    return _MARK.sub(lambda found: found[1] + _value(found["name"], record, known) + found["end"], text)


def _value(name: str, record: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> str:
    if name == VERDICTS:
        return _verdicts(record, known)
    metric, _, form = name.partition("|")
    if metric in record["metrics"]:
        return _number(name, record["metrics"][metric]["value"], form)
    if name in record["claims"]:
        return interval_text(adjusted(record["claims"][name]), sign_of(known[name]))
    if record["skipped"]:
        return "-"
    raise InputError(f"the mark {name!r} names neither a metric nor a claim of the record")


def _number(name: str, value: float, form: str) -> str:
    if not form:
        if not 0 <= value <= 1:
            raise InputError(f"the mark {name!r} is {value:g}, no share: say how it is written, as in {name}|.2f")
        return percent(value)
    try:
        return format(value, form)
    except ValueError as error:
        raise InputError(f"the mark {name!r}: {form!r} is no format of a number, such as .2f") from error


def _verdicts(record: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> str:
    """A line per primary claim, in a table: what it compares, the effect with its interval, the verdict."""
    rows = []
    for id_, claim in known.items():
        if not claim["primary"]:
            continue
        outcome = record["claims"].get(id_)
        label = claim["label"] or claim["sentence"]
        effect = interval_text(adjusted(outcome), sign_of(claim)) if outcome else "-"
        verdict = outcome["verdict"] if outcome else record["skipped"].get(id_, "not run")
        rows.append(f"| {label} | {effect} | **{verdict}** |")
    return "\n".join(["\n\n| primary claim | effect | verdict |", "|---|---|---|", *rows, "\n"])
