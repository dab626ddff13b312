"""Methods compared on the same questions: dots joined by a line, with the interval of each."""

from collections.abc import Mapping
from typing import Any

from nbutils.errors import InputError
from nbutils.plotting.methods import line_style
from nbutils.plotting.plots import entry, error_bars
from nbutils.record import Record


def paired_dots(
    ax: Any,
    record: Record | Mapping[str, Any],
    dots: Mapping[str, Mapping[str, str]],
    xlabel: str,
    ylabel: str,
    limits: tuple[float, float] | None = None,
) -> None:
    """Draw means with 95 % intervals as dots, those of one group joined: `dots` is {group: {method: metric's name}}.

    Takes what `plot_bars` takes, for differences that bars from 0 would hide. Each group needs two methods or more; a
    method has one look and one place in each group. `limits` are those of the y axis (default: what the intervals
    need). Raises InputError for a group of fewer methods, a method without a color, a metric that is not in the
    record, and an interval that does not fit within `limits`.
    """
    for group, names in dots.items():
        if len(names) < 2:
            raise InputError(f"group {group!r} has {len(names)} methods: paired dots compare two or more")
    if not dots:
        raise InputError("no groups: give {group: {method: name of the metric}}")
    methods = list(dict.fromkeys(method for group in dots.values() for method in group))
    # Side by side, so that intervals do not lie on one another, and closer to each other than to the next group.
    offset = {method: (i - (len(methods) - 1) / 2) * 0.5 / len(methods) for i, method in enumerate(methods)}
    drawn: dict[str, list[tuple[float, Mapping[str, Any]]]] = {method: [] for method in methods}
    for place, names in enumerate(dots.values()):
        metrics = [(method, entry(record, "metrics", names[method])) for method in methods if method in names]
        for method, metric in metrics:
            if limits and not limits[0] <= metric["low"] <= metric["high"] <= limits[1]:
                raise InputError(f"metric {names[method]!r} does not fit between {limits[0]} and {limits[1]}")
            drawn[method].append((place + offset[method], metric))
        xs, ys = [place + offset[method] for method, _ in metrics], [metric["value"] for _, metric in metrics]
        ax.plot(xs, ys, color="#bbbbbb", linewidth=1, zorder=1.5)
    for method, points in drawn.items():
        xs, metrics = [x for x, _ in points], [metric for _, metric in points]
        error_bars(ax, xs, metrics)
        look = {**line_style(method), "linestyle": "", "markersize": 5.5}
        ax.plot(xs, [metric["value"] for metric in metrics], label=method, zorder=4, clip_on=False, **look)
    ax.set_xticks(range(len(dots)), list(dots), parse_math=False)
    ax.tick_params(axis="x", length=0)
    ax.set_xlim(-0.5, len(dots) - 0.5)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if limits:
        ax.set_ylim(*limits)
    ax.grid(axis="y")
