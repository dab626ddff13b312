"""Curves, bars, heat maps, points and maps, drawn on an axis from the record.

Every number drawn here is read from a record (a `Record`, or the dict of `load_record`), never from a local variable.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nbutils.errors import InputError
from nbutils.plotting.methods import line_style, look_of
from nbutils.record import Record


def plot_curves(
    ax: Any,
    record: Record | Mapping[str, Any],
    curves: Mapping[str, str],
    xlabel: str,
    ylabel: str,
    log_x: bool = False,
    limits: tuple[float, float] = (0.0, 1.0),
) -> None:
    """Draw curves of the record with their interval bands: `curves` is {method: name of the series}.

    `limits` are those of the y axis, the same in every panel that is compared. With `log_x` the axis is logarithmic,
    which its label says. Raises InputError for a method without a color, a series that is not in the record, and one
    that does not fit within `limits`.
    """
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, ScalarFormatter

    xs: set[float] = set()
    for method, name in curves.items():
        series = entry(record, "series", name)
        line = line_style(method)
        if min(*series["low"], *series["y"]) < limits[0] or max(*series["high"], *series["y"]) > limits[1]:
            raise InputError(f"series {name!r} does not fit between {limits[0]} and {limits[1]}")
        ax.fill_between(series["x"], series["low"], series["high"], color=line["color"], alpha=0.2, linewidth=0)
        # Markers at some points only: on a curve of 100 points they would hide the line.
        shown = _spread(series["x"], 8, log_x)
        # Not clipped: a marker at the limit is drawn whole, and nothing lies beyond (see above).
        ax.plot(series["x"], series["y"], label=method, markevery=shown, clip_on=False, zorder=3, **line)
        xs.update(series["x"])
    if log_x:
        ax.set_xscale("log")
        decades = [x for x in (1, 10, 100, 1_000, 10_000, 100_000) if min(xs) <= x <= max(xs)]
        ax.xaxis.set_major_locator(FixedLocator(decades))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(ScalarFormatter())
        xlabel = f"{xlabel} (log scale)" if xlabel else xlabel
    if len(xs) <= 5:
        ax.xaxis.set_major_locator(FixedLocator(sorted(xs)))
    elif not log_x and all(float(x).is_integer() for x in xs):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))  # no half steps and no half passages
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.set_ylim(*limits)
    ax.grid(axis="y")


def plot_bars(
    ax: Any,
    record: Record | Mapping[str, Any],
    bars: Mapping[str, Mapping[str, str]],
    xlabel: str,
    ylabel: str,
    top: float = 1.0,
    paper: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """Draw grouped bars from 0 to `top` with 95 % intervals: `bars` is {group: {method: name of the metric}}.

    What may be negative, such as a score less that of chance, goes below 0, and the axis with it.

    A method has one color and one place in each group; a group may lack a method. `paper`, {group: {method: value}},
    marks by a diamond what the paper reports; it may lack groups and methods. Raises InputError for a method without a
    color, a metric that is not in the record, an interval or a paper's value that does not fit below `top`, and a
    paper's value without a bar.
    """
    paper = paper or {}
    for group, values in paper.items():
        for method, value in values.items():
            if method not in bars.get(group, {}):
                raise InputError(f"the paper's value of {method!r} in group {group!r} has no bar: add the bar")
            if not 0 <= value <= top:
                raise InputError(f"the paper's {value} of {method!r} in group {group!r} is not between 0 and {top}")
    methods = list(dict.fromkeys(method for group in bars.values() for method in group))
    alone = all(len(names) == 1 for names in bars.values())  # then each bar stands in the middle of its group
    width = 0.8 if alone else 0.8 / len(methods)
    marks, lowest = [], 0.0
    for i, method in enumerate(methods):
        places, metrics = [], []
        for place, (group, names) in enumerate(bars.items()):
            if method not in names:
                continue
            places.append(place if alone else place + (i - (len(methods) - 1) / 2) * width)
            metrics.append(_fitting(record, names[method], f"group {group!r}", top, bottom=-math.inf))
            if method in paper.get(group, {}):
                marks.append((places[-1], paper[group][method]))
        lowest = min([lowest, *(metric["low"] for metric in metrics)])
        look = look_of(method)
        ax.bar(
            places,
            [metric["value"] for metric in metrics],
            width * 0.9,
            color=look.color,
            label=method,
            hatch="/////" if look.variant else None,
            edgecolor="white",
            linewidth=0,
        )
        error_bars(ax, places, metrics)
    if marks:
        # White with a dark edge: no method looks like that.
        ax.plot(
            *zip(*marks, strict=True), linestyle="", marker="D", label="paper", color="white", markeredgecolor="#222222"
        )
    ax.set_xticks(range(len(bars)), list(bars), parse_math=False)
    ax.tick_params(axis="x", length=0)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.set_ylim(1.05 * lowest, top)
    ax.grid(axis="y")


def plot_heatmap(ax: Any, record: Record | Mapping[str, Any], name: str, xlabel: str, ylabel: str, label: str) -> None:
    """Draw a matrix of the record, values in [0, 1], as shades: rows from the top, with a color bar called `label`.

    Column labels, such as tokens, are shown without the spaces around them; a line break is written "\\n", and a label
    of nothing but spaces "\u2423".
    Raises InputError for a matrix that is not in the record and for a value outside [0, 1].
    """
    matrix = entry(record, "matrices", name)
    if not all(-1e-6 <= value <= 1 + 1e-6 for row in matrix["values"] for value in row):  # single precision
        raise InputError(f"matrix {name!r} has values outside [0, 1]: a heat map shows probabilities")
    image = ax.imshow(matrix["values"], cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    columns = [token.strip(" ").replace("\n", "\\n") or "\u2423" for token in matrix["columns"]]
    ax.set_xticks(range(len(columns)), columns, parse_math=False, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(matrix["rows"])), matrix["rows"], parse_math=False)
    # White lines between the cells.
    ax.set_xticks([i + 0.5 for i in range(len(columns) - 1)], minor=True)
    ax.set_yticks([i + 0.5 for i in range(len(matrix["rows"]) - 1)], minor=True)
    ax.grid(which="minor", color="white", linewidth=1)
    ax.tick_params(which="both", length=0)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.figure.colorbar(image, ax=ax, label=label)


def plot_points(
    ax: Any,
    record: Record | Mapping[str, Any],
    points: Mapping[str, tuple[str, str]],
    xlabel: str,
    ylabel: str,
    top: float = 1.0,
) -> None:
    """Draw methods as points, `points` {method: (metric on x, metric on y)}: x logarithmic, y from 0 to `top`.

    Intervals are drawn in both directions. Raises InputError as `plot_bars`, and for a value on x that is not above 0.
    """
    from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullLocator

    for method, (x_name, y_name) in points.items():
        y, x = _fitting(record, y_name, f"method {method!r}", top), entry(record, "metrics", x_name)
        if not x["low"] > 0:
            raise InputError(f"metric {x_name!r} of method {method!r} is not above 0: its axis is logarithmic")
        ends = [max(0.0, x["value"] - x["low"])], [max(0.0, x["high"] - x["value"])]
        ax.errorbar(x["value"], y["value"], xerr=ends, fmt="none", ecolor="#222222", elinewidth=0.8, zorder=3)
        error_bars(ax, [x["value"]], [y])
        # Hollow, since two systems may lie on one point; and whole where a system is never right.
        look = {**line_style(method), "linestyle": "", "markersize": 7, "fillstyle": "none", "markeredgewidth": 1.6}
        ax.plot([x["value"]], [y["value"]], label=method, zorder=4, clip_on=False, **look)
    ax.set_xscale("log")
    values = [entry(record, "metrics", x_name)["value"] for x_name, _ in points.values()]
    within_two_decades = max(values) < 100 * min(values)  # powers of ten alone would be one tick or two
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if within_two_decades else (1,), numticks=12))
    ax.xaxis.set_major_formatter(LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(9, 9)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.margins(x=0.2)
    ax.set_xlabel(f"{xlabel} (log scale)")
    ax.set_ylabel(ylabel)
    ax.set_ylim(0, top)
    ax.grid(axis="y")


def plot_map(
    ax: Any,
    record: Record | Mapping[str, Any],
    winners: str,
    sure: str,
    methods: Sequence[str],
    xlabel: str,
    ylabel: str,
) -> None:
    """Draw which method wins where: the matrix `winners` of places in `methods` (-1: nobody), paler where less sure.

    The matrix `sure` has shares in [0, 1], which are written into the cells. Rows go from the top. Raises InputError
    for matrices that are not in the record, of unequal shapes, or with other values.
    """
    import numpy as np
    from matplotlib.colors import to_rgb

    matrix, shares = entry(record, "matrices", winners), entry(record, "matrices", sure)
    places, certainty = np.array(matrix["values"], dtype=int), np.array(shares["values"], dtype=float)
    if places.shape != certainty.shape or places.min() < -1 or places.max() >= len(methods):
        raise InputError(f"matrix {winners!r} must hold places in {list(methods)} or -1, and {sure!r} a share for each")
    colors = np.array([to_rgb(look_of(method).color) for method in methods] + [to_rgb("#ffffff")])[places]
    strength = np.clip(certainty, 0.25, 1)[..., None]
    ax.imshow(colors * strength + 1 - strength, aspect="auto", interpolation="nearest")
    for row, column in np.ndindex(places.shape):
        text = "?" if places[row, column] < 0 else f"{certainty[row, column]:.2f}"
        dark = (colors * strength + 1 - strength)[row, column] @ (0.3, 0.59, 0.11) < 0.5
        ax.text(column, row, text, ha="center", va="center", fontsize=6, color="white" if dark else "#222222")
    ax.set_xticks(range(places.shape[1]), matrix["columns"])
    ax.set_yticks(range(places.shape[0]), matrix["rows"])
    ax.tick_params(which="both", length=0)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    for place in np.unique(places[places >= 0]):
        ax.plot([], [], linestyle="", marker="s", color=look_of(methods[place]).color, label=methods[place])


def entry(record: Record | Mapping[str, Any], section: str, name: str) -> Mapping[str, Any]:
    """The entry of a section of the record, such as "metrics". Raises InputError when it is not there."""
    if name not in record[section]:
        raise InputError(f"the record has no {section} entry {name!r}: figures are drawn from the record")
    return record[section][name]


def _fitting(
    record: Record | Mapping[str, Any], name: str, where: str, top: float, bottom: float = 0.0
) -> Mapping[str, Any]:
    metric = entry(record, "metrics", name)
    if min(metric["value"], metric["low"]) < bottom or max(metric["value"], metric["high"]) > top:
        raise InputError(f"metric {name!r} of {where} does not fit between {max(bottom, 0)} and {top}")
    return metric


def error_bars(ax: Any, xs: Sequence[float], metrics: Sequence[Mapping[str, Any]]) -> None:
    """The intervals of the metrics, dark within a white rim: they must be seen on a dark bar too."""
    values = [metric["value"] for metric in metrics]
    # A mean of equal scores may lie 1e-17 outside its interval; an error bar must not be negative.
    below = [max(0.0, metric["value"] - metric["low"]) for metric in metrics]
    above = [max(0.0, metric["high"] - metric["value"]) for metric in metrics]
    for color, thickness in (("white", 2.0), ("#222222", 0.8)):
        ax.errorbar(
            xs,
            values,
            yerr=(below, above),
            fmt="none",
            ecolor=color,
            elinewidth=thickness,
            capsize=1.5,
            capthick=thickness,
        )


def _spread(xs: Sequence[float], n: int, log: bool) -> list[int]:
    """Positions of about `n` of the points, evenly apart on the axis."""
    import numpy as np

    if len(xs) <= n:
        return list(range(len(xs)))
    axis = np.log(xs) if log else np.asarray(xs, dtype=float)
    targets = np.linspace(axis[0], axis[-1], n)
    return sorted({int(np.abs(axis - target).argmin()) for target in targets})
