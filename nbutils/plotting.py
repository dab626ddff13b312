"""The one look of all figures: style, sizes, a colour and marker per method, drawing from the record, and saving.

Every number drawn here is read from a record (a `Record`, or the dict of `load_record`), never from a local variable.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nbutils.errors import InputError
from nbutils.record import Record

SINGLE = (3.3, 2.3)  # inches: one column
DOUBLE = (6.8, 2.6)  # inches: two columns
DPI = 200
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "figure.dpi": 150,  # on the screen; files have DPI
    "text.usetex": False,
}
# Okabe and Ito's colours and two greys, told apart by colour-blind readers. A colour belongs to a method, in every
# notebook. A variant of a method has the method's colour, but hatched bars, dashed lines and open markers. Looks are
# few: what never stands in one figure may share one.
COLOURS = {
    "BM25": "#7f7f7f",
    "Dense": "#0072b2",
    "frozen dense": "#0072b2",
    "closed-book": "#e69f00",
    "closed-book, tuned": "#e69f00",
    "retrieved passage": "#56b4e9",
    "best single passage": "#56b4e9",
    "gold passage": "#009e73",
    "random passage": "#cc79a7",
    "RAG-Sequence": "#d55e00",
    "Thorough": "#d55e00",
    "Fast": "#d55e00",
    "RAG-Token": "#333333",
    "2015 index": "#d55e00",
    "2025 index": "#d55e00",
    "tuned on 2015": "#e69f00",
    "RAG-original": "#7f7f7f",
    "RAG-original-QA": "#0072b2",
    "RAG-end2end-QA": "#d55e00",
    "RAG-end2end-QA+R": "#009e73",
    "old index": "#7f7f7f",
    "never": "#56b4e9",
    "regularly": "#d55e00",
    "often": "#cc79a7",
    "regularly, by an actor": "#d55e00",
    "question encoder": "#0072b2",
    "passage encoder": "#e69f00",
    "both encoders": "#d55e00",
    "dropout off": "#d55e00",
    "dropout on": "#7f7f7f",
    "base": "#e69f00",
    "IT": "#e69f00",
    "R-ft": "#333333",
    "RA-IT": "#0072b2",
    "RA-DIT": "#d55e00",
    "concatenation": "#cc79a7",
    "prompting": "#7f7f7f",
    "fine-tuned": "#e69f00",
    "RAG": "#0072b2",
    "RAG, tuned retriever": "#56b4e9",
    "fine-tuned + RAG": "#d55e00",
    "never updated": "#56b4e9",
    "index refreshed": "#d55e00",
    "trained anew": "#e69f00",
    "untuned": "#7f7f7f",
}
MARKERS = {
    "BM25": "s",
    "Dense": "o",
    "frozen dense": "o",
    "closed-book": "^",
    "closed-book, tuned": "v",
    "retrieved passage": "D",
    "best single passage": "d",
    "gold passage": "P",
    "random passage": "X",
    "RAG-Sequence": ">",
    "Thorough": ">",
    "Fast": "h",
    "RAG-Token": "<",
    "2015 index": "h",
    "2025 index": ">",
    "tuned on 2015": "v",
    "RAG-original": "s",
    "RAG-original-QA": "o",
    "RAG-end2end-QA": ">",
    "RAG-end2end-QA+R": "P",
    "old index": "s",
    "never": "D",
    "regularly": ">",
    "often": "X",
    "regularly, by an actor": "h",
    "question encoder": "o",
    "passage encoder": "^",
    "both encoders": ">",
    "dropout off": ">",
    "dropout on": "s",
    "base": "^",
    "IT": "v",
    "R-ft": "*",
    "RA-IT": "p",
    "RA-DIT": ">",
    "concatenation": "8",
    "prompting": "s",
    "fine-tuned": "^",
    "RAG": "o",
    "RAG, tuned retriever": "D",
    "fine-tuned + RAG": ">",
    "never updated": "D",
    "index refreshed": ">",
    "trained anew": "^",
    "untuned": "s",
}
VARIANTS = frozenset(
    (
        "closed-book, tuned",
        "best single passage",
        "Fast",
        "2015 index",
        "tuned on 2015",
        "regularly, by an actor",
        "IT",
        "R-ft",
        "RA-IT",
        "concatenation",
    )
)


def set_style() -> None:
    """Apply STYLE to all figures made from now on."""
    import matplotlib as mpl

    mpl.rcParams.update(STYLE)


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
    which its label says. Raises InputError for a method without a colour, a series that is not in the record, and one
    that does not fit within `limits`.
    """
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, ScalarFormatter

    xs: set[float] = set()
    for method, name in curves.items():
        series = _entry(record, "series", name)
        line = _line(method)
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

    A method has one colour and one place in each group; a group may lack a method. `paper`, {group: {method: value}},
    marks by a diamond what the paper reports; it may lack groups and methods. Raises InputError for a method without a
    colour, a metric that is not in the record, an interval or a paper's value that does not fit between 0 and `top`,
    and a paper's value without a bar.
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
    marks = []
    for i, method in enumerate(methods):
        places, metrics = [], []
        for place, (group, names) in enumerate(bars.items()):
            if method not in names:
                continue
            places.append(place if alone else place + (i - (len(methods) - 1) / 2) * width)
            metrics.append(_fitting(record, names[method], f"group {group!r}", top))
            if method in paper.get(group, {}):
                marks.append((places[-1], paper[group][method]))
        ax.bar(
            places,
            [metric["value"] for metric in metrics],
            width * 0.9,
            color=_colour(method),
            label=method,
            hatch="/////" if method in VARIANTS else None,
            edgecolor="white",
            linewidth=0,
        )
        _error_bars(ax, places, metrics)
    if marks:
        # White with a dark edge: no method looks like that.
        ax.plot(
            *zip(*marks, strict=True), linestyle="", marker="D", label="paper", color="white", markeredgecolor="#222222"
        )
    ax.set_xticks(range(len(bars)), list(bars), parse_math=False)
    ax.tick_params(axis="x", length=0)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.set_ylim(0, top)
    ax.grid(axis="y")


def plot_heatmap(ax: Any, record: Record | Mapping[str, Any], name: str, xlabel: str, ylabel: str, label: str) -> None:
    """Draw a matrix of the record, values in [0, 1], as shades: rows from the top, with a colour bar called `label`.

    Column labels, such as tokens, are shown without the spaces around them; a line break is written "\\n", and a label
    of nothing but spaces "\u2423".
    Raises InputError for a matrix that is not in the record and for a value outside [0, 1].
    """
    matrix = _entry(record, "matrices", name)
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
        y, x = _fitting(record, y_name, f"method {method!r}", top), _entry(record, "metrics", x_name)
        if not x["low"] > 0:
            raise InputError(f"metric {x_name!r} of method {method!r} is not above 0: its axis is logarithmic")
        ends = [max(0.0, x["value"] - x["low"])], [max(0.0, x["high"] - x["value"])]
        ax.errorbar(x["value"], y["value"], xerr=ends, fmt="none", ecolor="#222222", elinewidth=0.8, zorder=3)
        _error_bars(ax, [x["value"]], [y])
        # Hollow, since two systems may lie on one point; and whole where a system is never right.
        look = {**_line(method), "linestyle": "", "markersize": 7, "fillstyle": "none", "markeredgewidth": 1.6}
        ax.plot([x["value"]], [y["value"]], label=method, zorder=4, clip_on=False, **look)
    ax.set_xscale("log")
    values = [_entry(record, "metrics", x_name)["value"] for x_name, _ in points.values()]
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

    matrix, shares = _entry(record, "matrices", winners), _entry(record, "matrices", sure)
    places, certainty = np.array(matrix["values"], dtype=int), np.array(shares["values"], dtype=float)
    if places.shape != certainty.shape or places.min() < -1 or places.max() >= len(methods):
        raise InputError(f"matrix {winners!r} must hold places in {list(methods)} or -1, and {sure!r} a share for each")
    colours = np.array([to_rgb(_colour(method)) for method in methods] + [to_rgb("#ffffff")])[places]
    strength = np.clip(certainty, 0.25, 1)[..., None]
    ax.imshow(colours * strength + 1 - strength, aspect="auto", interpolation="nearest")
    for row, column in np.ndindex(places.shape):
        text = "?" if places[row, column] < 0 else f"{certainty[row, column]:.2f}"
        dark = (colours * strength + 1 - strength)[row, column] @ (0.3, 0.59, 0.11) < 0.5
        ax.text(column, row, text, ha="center", va="center", fontsize=6, color="white" if dark else "#222222")
    ax.set_xticks(range(places.shape[1]), matrix["columns"])
    ax.set_yticks(range(places.shape[0]), matrix["rows"])
    ax.tick_params(which="both", length=0)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    for place in np.unique(places[places >= 0]):
        ax.plot([], [], linestyle="", marker="s", color=_colour(methods[place]), label=methods[place])


def legend_above(fig: Any) -> None:
    """One legend for all panels, above them, in as few rows as fit; an entry that several panels share occurs once.

    Without entries, as of a map on which nobody wins, there is none.
    """
    entries: dict[str, Any] = {}
    for ax in fig.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if not entries:
        return
    if "paper" in entries:  # matplotlib lists lines before bars
        entries["paper"] = entries.pop("paper")
    for columns in range(len(entries), 0, -1):
        legend = fig.legend(
            list(entries.values()), list(entries), loc="outside upper center", ncols=columns, columnspacing=1.2
        )
        if legend.get_window_extent().width <= fig.bbox.width:
            return
        legend.remove()
    raise InputError("the legend does not fit above the figure: shorten its labels or widen the figure")


def save_figure(fig: Any, name: str, record: Record, caption: str) -> Path:
    """The path of the figure: `<name>.png` in the record's folder, where `record.save()` puts it. The only way to save.

    The figure and its caption are noted in the record; the caption says what is plotted, n, and what the interval is.
    PNG, 200 dpi, the same bytes in every process. Raises InputError when the name is taken in this record, the caption
    is empty, an axis shows no data, an axis (or the one it shares its scale with) has no label, or a text or legend is
    cut off at the edge.
    """
    if not fig.axes:
        raise InputError(f"figure {name!r} has no axes")
    fig.draw_without_rendering()  # lays the figure out: positions are final only now
    for i, ax in enumerate(fig.axes):
        _check_axis(fig, ax, f"figure {name!r}, axis {i}" + (f" ({ax.get_title()!r})" if ax.get_title() else ""))
    used, whole = fig.get_tightbbox(), fig.bbox_inches
    if min(used.x0, used.y0, whole.x1 - used.x1, whole.y1 - used.y1) < -0.02:  # inches
        raise InputError(f"figure {name!r} is cut off at its edge: call set_style() first, or shorten a text")
    buffer = io.BytesIO()
    # matplotlib would write its version into the file: equal pictures should be equal bytes.
    fig.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return record.figure(name, buffer.getvalue(), caption)


def _check_axis(fig: Any, ax: Any, where: str) -> None:
    if not ax.get_visible():
        return
    if not ax.axison:  # a panel for a legend, a table or text, switched off by ax.axis("off")
        if not (ax.texts or ax.tables or ax.get_legend() or ax.images or ax.lines or ax.collections or ax.patches):
            raise InputError(f"{where} is empty: draw something in it, or leave it out of the figure")
        return
    if not any(_shows_data(artist, ax) for artist in (*ax.lines, *ax.collections, *ax.patches, *ax.images)):
        raise InputError(f"{where} shows no data: every value is missing or outside the limits of the axis")
    if ax.get_label() == "<colorbar>":
        return
    for which, siblings in (("x", ax.get_shared_x_axes()), ("y", ax.get_shared_y_axes())):
        shared = [ax, *siblings.get_siblings(ax)]
        labels = [getattr(one, f"get_{which}label")() for one in shared]
        labels.append(getattr(fig, f"get_sup{which}label")())
        if not any(label.strip() for label in labels):
            raise InputError(f"{where} has no {which} label: name the quantity and its unit")


def _shows_data(artist: Any, ax: Any) -> bool:
    """True for a visible artist in data coordinates, some of which is finite and within the limits of the axis."""
    import numpy as np
    from matplotlib.collections import Collection
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D

    if not artist.get_visible() or artist.get_alpha() == 0:
        return False
    if isinstance(artist, AxesImage):
        return artist.get_array() is not None and np.isfinite(np.ma.filled(artist.get_array(), np.nan)).any()
    if isinstance(artist, Line2D):
        points = artist.get_xydata()
    elif isinstance(artist, Collection):
        points = artist.get_datalim(ax.transData).get_points()
    else:
        points = artist.get_patch_transform().transform(artist.get_path().vertices)
    # Reference lines and spans (axhline, axvspan) have one direction in axes coordinates: they are no data.
    if not isinstance(artist, Collection) and not artist.get_transform().contains_branch(ax.transData):
        return False
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) == 0:
        return False
    (x_low, x_high), (y_low, y_high) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    low, high = points.min(axis=0), points.max(axis=0)
    return bool(low[0] <= x_high and high[0] >= x_low and low[1] <= y_high and high[1] >= y_low)


def _entry(record: Record | Mapping[str, Any], section: str, name: str) -> Mapping[str, Any]:
    if name not in record[section]:
        raise InputError(f"the record has no {section} entry {name!r}: figures are drawn from the record")
    return record[section][name]


def _fitting(record: Record | Mapping[str, Any], name: str, where: str, top: float) -> Mapping[str, Any]:
    metric = _entry(record, "metrics", name)
    if min(metric["value"], metric["low"]) < 0 or max(metric["value"], metric["high"]) > top:
        raise InputError(f"metric {name!r} of {where} does not fit between 0 and {top}")
    return metric


def _error_bars(ax: Any, xs: Sequence[float], metrics: Sequence[Mapping[str, Any]]) -> None:
    """The intervals of the metrics, dark within a white rim: they must be seen on a dark bar too."""
    values = [metric["value"] for metric in metrics]
    # A mean of equal scores may lie 1e-17 outside its interval; an error bar must not be negative.
    below = [max(0.0, metric["value"] - metric["low"]) for metric in metrics]
    above = [max(0.0, metric["high"] - metric["value"]) for metric in metrics]
    for colour, thickness in (("white", 2.0), ("#222222", 0.8)):
        ax.errorbar(
            xs,
            values,
            yerr=(below, above),
            fmt="none",
            ecolor=colour,
            elinewidth=thickness,
            capsize=1.5,
            capthick=thickness,
        )


def _line(method: str) -> dict[str, Any]:
    """How a method's line and markers are drawn."""
    colour = _colour(method)
    look = {"color": colour, "marker": MARKERS[method]}
    return {**look, "linestyle": (0, (4, 1.5)), "markerfacecolor": "white"} if method in VARIANTS else look


def _colour(method: str) -> str:
    if method not in COLOURS:
        raise InputError(f"no colour for {method!r}: add it to COLOURS and MARKERS in nbutils.plotting")
    return COLOURS[method]


def _spread(xs: Sequence[float], n: int, log: bool) -> list[int]:
    """Positions of about `n` of the points, evenly apart on the axis."""
    import numpy as np

    if len(xs) <= n:
        return list(range(len(xs)))
    axis = np.log(xs) if log else np.asarray(xs, dtype=float)
    targets = np.linspace(axis[0], axis[-1], n)
    return sorted({int(np.abs(axis - target).argmin()) for target in targets})
