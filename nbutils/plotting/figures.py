"""Figures as a whole: sizes, style, the legend above all panels, and saving, which refuses what shows nothing."""

import io
from pathlib import Path
from typing import Any

from nbutils.errors import InputError
from nbutils.plotting.captions import in_notebook, show
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
    # Dark on opaque white, also where an editor in dark mode has set Matplotlib's own colors to suit itself.
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.transparent": False,
    "text.color": "black",
    "axes.edgecolor": "black",
    "axes.labelcolor": "black",
    "xtick.color": "black",
    "ytick.color": "black",
    "figure.dpi": 150,  # on the screen; files have DPI
    "text.usetex": False,
}


def set_style() -> None:
    """Apply STYLE to all figures made from now on."""
    import matplotlib as mpl

    mpl.rcParams.update(STYLE)


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


def empty_panel(ax: Any, why: str) -> None:
    """A panel without data, which says why: "questions that name no gold passages"."""
    ax.text(0.5, 0.5, why, ha="center", va="center", wrap=True, parse_math=False)
    ax.axis("off")


def save_figure(fig: Any, name: str, record: Record, caption: str) -> Path:
    """The path of the figure: `<name>.png` in the record's folder, where `record.save()` puts it. The only way to save.

    The figure and its caption are noted in the record; the caption says what is plotted, n, and what the interval is.
    In a notebook both are shown, the caption below the figure, and the figure is closed: no cell repeats either.
    PNG, 200 dpi, opaque white behind everything, the same bytes in every process.
    Raises InputError when the name is taken in this record, the caption is empty, an axis shows no data, an axis (or
    the one it shares its scale with) has no label, or a text or legend is cut off at the edge.
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
    fig.savefig(
        buffer,
        format="png",
        dpi=DPI,
        facecolor="white",
        edgecolor="none",
        transparent=False,
        metadata={"Software": None},
    )
    target = record.figure(name, buffer.getvalue(), caption)
    if in_notebook():
        import matplotlib.pyplot as plt

        show(buffer.getvalue(), fig.get_figwidth(), caption)
        plt.close(fig)  # or the cell would show it again at its end
    return target


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
