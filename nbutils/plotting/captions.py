"""What a caption says of intervals, from the record's own fields, and how a notebook shows a figure and its caption."""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nbutils.errors import InputError
from nbutils.record import INTERVAL, Record

CSS_PIXELS = 120  # of a notebook's page for an inch of the figure: 8 points then have about the size of its text


def interval_note(record: Record | Mapping[str, Any], names: Sequence[str]) -> str:
    """The sentence of a caption that says what the whiskers of these metrics are: one for all that are drawn.

    Such as "Whiskers: 95 %, clustered by 59 subjects and 48 fields." or "Whiskers: 95 %, 200 independent
    questions." Where counts differ, their range is given; where kinds of interval differ, each kind that is not
    the most frequent names its metrics. Raises InputError for no name and for a metric that is not in the record.
    """
    if isinstance(names, str) or not names:
        raise InputError(f"interval_note: {names!r} names no metrics: give a list of names")
    kinds: dict[tuple, list[str]] = {}
    for name in dict.fromkeys(names):
        if name not in record["metrics"]:
            raise InputError(f"the record has no metrics entry {name!r}: a caption is written from the record")
        kinds.setdefault(_kind(record["metrics"][name]), []).append(name)
    notes = []
    for kind, of_kind in sorted(kinds.items(), key=lambda item: -len(item[1])):
        note = _whiskers(kind[0], [record["metrics"][name] for name in of_kind])
        notes.append(f"{note} ({', '.join(of_kind)})" if notes else note)
    return f"Whiskers: {'; '.join(notes)}."


def values_note(record: Record | Mapping[str, Any], groups: Mapping[str, Mapping[str, str]]) -> str:
    """What a caption says first: the values that its figure shows, "recall@1: never 0.75, often 0.76. ", or "".

    `groups` are those of `plot_bars`: {group: {method: metric}}. Raises InputError for a metric that is not in the
    record.
    """
    rows = []
    for group, names in groups.items():
        if not names:
            continue
        missing = [name for name in names.values() if name not in record["metrics"]]
        if missing:
            raise InputError(f"values_note: the record has no metric {missing[0]!r}: add its scores first")
        values = [f"{method} {record['metrics'][name]['value']:.2f}" for method, name in names.items()]
        rows.append(f"{group}: {', '.join(values)}")
    return "; ".join(rows) + ". " if rows else ""


def _kind(metric: Mapping[str, Any]) -> tuple:
    return metric["interval"], *(bool(metric.get(what)) for what in ("subjects", "fields", "seeds"))


def _whiskers(interval: str, metrics: Sequence[Mapping[str, Any]]) -> str:
    """What the intervals of metrics of one kind are; a text that says more than "95 % ..." of its own is kept."""
    clusters, seeds = clusters_text(metrics), count_text(metrics, "seeds")
    if clusters:
        note = f"95 %, {'resampled' if 'bootstrap' in interval else 'clustered'} by {clusters}"
    elif interval == INTERVAL:
        note = f"95 %, {count_text(metrics, 'n', f'independent {unit_text(metrics)}')}"
    else:
        note = f"{interval}, n = {count_text(metrics, 'n', '')}"
    return f"{note}, {seeds}" if seeds else note


def clusters_text(entries: Sequence[Mapping[str, Any]]) -> str:
    """The groups that intervals respect, such as "59 subjects and 48 fields"; "" where entries name none."""
    return " and ".join(text for what in ("subjects", "fields") if (text := count_text(entries, what)))


def unit_text(entries: Sequence[Mapping[str, Any]]) -> str:
    """What was scored: "questions", or what the entries say in its place."""
    return " and ".join(dict.fromkeys(entry.get("unit", "questions") for entry in entries))


def count_text(entries: Sequence[Mapping[str, Any]], what: str, noun: str | None = None) -> str:
    """How many there are, "59 subjects" or "24 to 59 subjects"; "" where entries have no such number."""
    counts = sorted(entry[what] for entry in entries if entry.get(what))
    if not counts:
        return ""
    number = f"{counts[0]:,}" if counts[0] == counts[-1] else f"{counts[0]:,} to {counts[-1]:,}"
    noun = what if noun is None else noun
    return f"{number} {noun.removesuffix('s') if counts[-1] == 1 else noun}".strip()


def in_notebook() -> bool:
    """True in a Jupyter kernel or another IPython shell, where what is displayed stays below the cell."""
    import sys

    ipython = sys.modules.get("IPython")  # not imported for this: it takes half a second
    return ipython is not None and ipython.get_ipython() is not None


def show(png: bytes, inches: float, caption: str) -> None:
    """Show a picture that is `inches` wide in the notebook, and the caption below it, as plain text in Markdown."""
    from IPython.display import Image, Markdown, display

    caption = " ".join(caption.split())
    display(Image(png, format="png", width=round(inches * CSS_PIXELS)))
    display(Markdown(_as_markdown(caption)))


def _as_markdown(text: str) -> str:
    """Markdown that shows the text as it is: no markup, no link, no formula."""
    text = html.escape(text, quote=False).replace("$", "\\$")
    # As entities: a backslash before a bracket would begin a formula in Jupyter.
    return re.sub(r"[\\`*_\[\]#~|](?!\$)", lambda match: f"&#{ord(match[0])};", text)
