"""The forest plot of a notebook: each claim's effect with its interval, its null and what the paper reports."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from nbutils.errors import InputError
from nbutils.plotting.captions import clusters_text, count_text, unit_text
from nbutils.plotting.figures import legend_above
from nbutils.plotting.verdicts import LOOKS, NULL_COLOR, diamond, marker
from nbutils.record import Record
from nbutils.record.claims import rule_bounds

WIDTH = 6.8  # inches, as of DOUBLE
LABEL_CHARACTERS = 40  # of a line of a row's label, of which there are two at most
LARGEST_SHARE = 1.5  # an effect beyond it is no share of 1: FLOPs, tokens, seconds
MINUS = "\u2212"  # as wide as the plus sign

_Claims = Mapping[str, Mapping[str, Any]]


def forest(
    record: Record | Mapping[str, Any],
    claims: Sequence[str] | None = None,
    xlabel: str = "effect, as a share of 1",
) -> Any:
    """A figure with one row a claim of the record (or of the ids given): primary claims on top, then exploratory ones.

    A row has the effect with its 95 % interval, and its Holm interval as a thinner line where there is one; marker and
    color tell the verdict. Gray below it: the claim's null. A diamond above it: the paper's effect, hollow where it is
    from memory (tag M). A dashed tick: the limit of the claim's rule, if not 0. Intervals that would leave no room for
    the others are cut, with an arrow. Skipped claims, and effects beyond 1.5, which are no shares, have no row;
    `forest_caption` names them. The figure's height grows with the rows; set_style() first.
    Raises InputError when no claim is left to be drawn, for an id that the record lacks, and for an unknown verdict.
    """
    import matplotlib.pyplot as plt

    drawn = _rows(record, claims)[0]
    if not drawn:
        raise InputError("the record has no claim to draw in a forest plot: judge one by record.claim(...) first")
    places, labels, headings, line = _layout(drawn)
    n_lines = max(label.count("\n") for label in labels.values()) + 1
    n_slots = len(places) + len(headings)
    fig, ax = plt.subplots(figsize=(WIDTH, 0.9 + n_slots * (0.22 if n_lines == 1 else 0.29)))
    low, high = _limits(drawn)
    ax.set_xlim(low, high)
    ax.set_ylim(n_slots - 0.4, -0.6)
    for id_, outcome in drawn.items():
        _draw_row(ax, outcome, places[id_], low, high)
    ax.axvline(0, color="#222222", linewidth=0.8, zorder=1.2)
    if line is not None:
        ax.axhline(line, color="#bbbbbb", linewidth=0.6, zorder=1)
    ax.set_yticks([places[id_] for id_ in drawn], [labels[id_] for id_ in drawn], parse_math=False)
    for heading, place in headings.items():
        ax.annotate(
            heading,
            (0, place),
            xycoords=ax.get_yaxis_transform(),
            xytext=(-4, 0),
            textcoords="offset points",
            ha="right",
            va="center_baseline",
            fontsize=7,
            fontweight="bold",
        )
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")
    ax.set_xlabel(xlabel)
    ax.set_ylabel("claim")
    _legend_entries(ax, drawn)
    legend_above(fig)
    return fig


def forest_caption(record: Record | Mapping[str, Any], claims: Sequence[str] | None = None) -> str:
    """The caption of `forest(record, claims)`: what its marks mean, n, what the intervals are, and what is left out.

    Takes and raises what `forest` does, but for what does not concern a text.
    """
    drawn, other_unit, skipped = _rows(record, claims)
    outcomes = list(drawn.values())
    if not outcomes:
        raise InputError("the record has no claim to draw in a forest plot: judge one by record.claim(...) first")
    over = " of ".join(
        text for text in (count_text(outcomes, "n", unit_text(outcomes)), clusters_text(outcomes)) if text
    )
    if any(outcome.get("seeds") for outcome in outcomes):
        over += ", " + count_text([{"seeds": outcome.get("seeds") or 1} for outcome in outcomes], "seeds")
    parts = [f"Effects with 95 % intervals over {over}."]
    if any(outcome.get("holm") for outcome in outcomes):
        parts.append("Thin ends: adjusted for the number of primary claims (Holm), as their verdicts are.")
    if any(_null(outcome) for outcome in outcomes):
        parts.append("Gray: the null, the same effect with its cause removed.")
    papers = [outcome["paper_effect"] for outcome in outcomes if outcome.get("paper_effect")]
    if papers:
        hollow = ", hollow where it is from memory [M]" if any(paper["tag"] == "M" for paper in papers) else ""
        parts.append(f"Diamonds: the paper's effect{hollow}.")
    if any(_rule_limits(outcome) for outcome in outcomes):
        parts.append("Dashed ticks: the limit of a claim's rule where it is not 0.")
    if other_unit:
        named = "; ".join(f"{_title(id_, one)} {_number(one['value'])}" for id_, one in other_unit.items())
        parts.append(f"Not drawn, as no share of 1: {named}.")
    if skipped:
        parts.append(f"Skipped: {'; '.join(_slug_words(id_) for id_ in skipped)}.")
    return " ".join(parts)


def _rows(record: Record | Mapping[str, Any], claims: Sequence[str] | None) -> tuple[_Claims, _Claims, list[str]]:
    """The claims that are drawn, primary ones first; those of another unit; and the ids of the skipped ones."""
    judged, skipped = record["claims"], record["skipped"]
    ids = [*judged, *skipped] if claims is None else list(dict.fromkeys(claims))
    unknown = [id_ for id_ in ids if id_ not in judged and id_ not in skipped]
    if isinstance(claims, str) or unknown:
        raise InputError(f"forest plot of {claims!r}: give a list of claims that the record has judged or skipped")
    for id_ in ids:
        if id_ in judged and judged[id_]["verdict"] not in LOOKS:
            raise InputError(f"claim {id_}: a forest plot has no look for the verdict {judged[id_]['verdict']!r}")
    found = {id_: judged[id_] for id_ in ids if id_ in judged}
    found = dict(sorted(found.items(), key=lambda item: not item[1].get("primary")))
    shares = {id_: outcome for id_, outcome in found.items() if abs(outcome["value"]) <= LARGEST_SHARE}
    other_unit = {id_: outcome for id_, outcome in found.items() if id_ not in shares}
    return shares, other_unit, [id_ for id_ in ids if id_ in skipped]


def _layout(drawn: _Claims) -> tuple[dict[str, int], dict[str, str], dict[str, int], float | None]:
    """The place of each row from the top, its label in one or two lines, the headings' places, and the line's."""
    labels = {id_: _cut(_title(id_, outcome)) for id_, outcome in drawn.items()}
    n_primary = sum(bool(outcome.get("primary")) for outcome in drawn.values())
    if not 0 < n_primary < len(drawn):  # one kind: no headings
        return {id_: i for i, id_ in enumerate(drawn)}, labels, {}, None
    places = {id_: i + 1 + (i >= n_primary) for i, id_ in enumerate(drawn)}
    return places, labels, {"Primary": 0, "Exploratory": n_primary + 1}, n_primary + 0.5


def _title(id_: str, outcome: Mapping[str, Any]) -> str:
    """The claim's short label, else its sentence without the stop, else the words of its id."""
    text = outcome.get("label") or outcome.get("sentence") or _slug_words(id_)
    return " ".join(text.split()).removesuffix(".")


def _slug_words(id_: str) -> str:
    return id_.partition(".")[2].replace("_", " ") or id_


def _cut(title: str) -> str:
    """At most two lines of about equal length, cut at a word."""
    lines = textwrap.wrap(title, LABEL_CHARACTERS, max_lines=2, placeholder=" …")
    if len(lines) == 2 and not lines[1].endswith(" …"):  # no line of a single word
        shortest = len(title) // 2
        lines = next(
            (even for width in range(shortest, LABEL_CHARACTERS) if len(even := textwrap.wrap(title, width)) == 2),
            lines,
        )
    return "\n".join(lines)


def _limits(drawn: _Claims) -> tuple[float, float]:
    """The ends of the axis: all effects, 0 and the rules' limits, and the intervals unless they are far wider."""
    core, ends, widths = [0.0], [0.0], []
    for outcome in drawn.values():
        core += [outcome["value"], *_rule_limits(outcome)]
        if outcome.get("paper_effect"):
            core.append(outcome["paper_effect"]["value"])
        both = [outcome, outcome.get("holm"), _null(outcome)]
        ends += [entry[end] for entry in both if entry for end in ("low", "high")]
        widths.append(outcome["high"] - outcome["low"])
    room = 1.5 * max(sorted(widths)[len(widths) // 2], 0.02)
    low = min(*core, max(min(ends), min(core) - room))
    high = max(*core, min(max(ends), max(core) + room))
    margin = 0.04 * (high - low) or 0.05
    return low - margin, high + margin


def _null(outcome: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The claim's null, unless it has no numbers or is of another unit."""
    null = outcome.get("null")
    return null if null and null.get("value") is not None and abs(null["value"]) <= LARGEST_SHARE else None


def _rule_limits(outcome: Mapping[str, Any]) -> list[float]:
    """The limits of the claim's rule that are worth a mark: finite ones that are not 0."""
    rule = outcome.get("rule")
    limits = rule_bounds("rule", rule)[:2] if rule else ()
    return [limit for limit in limits if math.isfinite(limit) and 0 < abs(limit) <= LARGEST_SHARE]


def _draw_row(ax: Any, outcome: Mapping[str, Any], place: float, low: float, high: float) -> None:
    look = LOOKS[outcome["verdict"]]
    if null := _null(outcome):
        _line(ax, null, place + 0.27, (low, high), color=NULL_COLOR, linewidth=1.0)
        if low <= null["value"] <= high:
            ax.plot([null["value"]], [place + 0.27], marker="o", markersize=2.2, color=NULL_COLOR, zorder=2)
    for limit in _rule_limits(outcome):
        ax.plot([limit] * 2, [place - 0.36, place + 0.36], color="#222222", linewidth=0.8, dashes=(2, 1.2), zorder=1.5)
    if outcome.get("holm"):
        _line(ax, outcome["holm"], place, (low, high), color=look.color, linewidth=0.9)
    _line(ax, outcome, place, (low, high), color=look.color, linewidth=2.2)
    ax.plot([outcome["value"]], [place], **marker(look), zorder=4)
    if paper := outcome.get("paper_effect"):
        ax.plot([paper["value"]], [place - 0.27], **diamond(paper["tag"]), zorder=5)
    ax.annotate(
        _effect(outcome),
        (1, place),
        xycoords=ax.get_yaxis_transform(),
        xytext=(5, 0),
        textcoords="offset points",
        va="center_baseline",
        fontsize=7,
        annotation_clip=False,
    )


def _line(ax: Any, entry: Mapping[str, Any], place: float, ends: tuple[float, float], **style: Any) -> None:
    """The interval of an entry; an end beyond those of the axis is an arrow just within it."""
    inset = 0.01 * (ends[1] - ends[0])
    left, right = ends[0] + inset, ends[1] - inset
    low, high = (min(max(entry[end], left), right) for end in ("low", "high"))
    ax.plot([low, high], [place, place], solid_capstyle="butt", zorder=3, **style)
    for beyond, end, arrow in ((entry["low"] < ends[0], left, "<"), (entry["high"] > ends[1], right, ">")):
        if beyond:
            ax.plot([end], [place], marker=arrow, markersize=4, color=style["color"], zorder=3)


def _legend_entries(ax: Any, drawn: _Claims) -> None:
    """Entries of the legend: the verdicts in the order of LOOKS, then what else is drawn."""
    looks = dict.fromkeys(LOOKS[outcome["verdict"]] for outcome in drawn.values())
    for look in dict.fromkeys(LOOKS.values()):
        if look in looks:
            ax.plot([], [], label=look.label, **marker(look))
    if any(_null(outcome) for outcome in drawn.values()):
        ax.plot([], [], color=NULL_COLOR, linewidth=1, marker="o", markersize=2.2, label="null")
    tags = {outcome["paper_effect"]["tag"] for outcome in drawn.values() if outcome.get("paper_effect")}
    if tags - {"M"}:
        ax.plot([], [], label="paper's effect", **diamond("S"))
    if "M" in tags:
        ax.plot([], [], label="paper's, from memory", **diamond("M"))


def _effect(outcome: Mapping[str, float]) -> str:
    """Value and interval beside a row, "+0.16 [0.12, 0.20]"; three digits where two hide the width or a side of 0."""
    hidden = any(0 < abs(outcome[end]) < 0.005 for end in ("low", "high"))
    digits = 3 if hidden or outcome["high"] - outcome["low"] < 0.02 else 2
    value, low, high = (_rounded(outcome[key], digits) for key in ("value", "low", "high"))
    sign = "" if value.startswith(MINUS) or not float(value) else "+"
    return f"{sign}{value} [{low}, {high}]"


def _number(value: float) -> str:
    """A number of another unit, "+2.1e+09" or "-12.3"."""
    return f"{value:+,.1f}" if abs(value) < 10_000 else f"{value:+.1e}"


def _rounded(value: float, digits: int) -> str:
    value = round(value, digits)
    return f"{value + 0.0:.{digits}f}".replace("-", MINUS)
