"""The one look of all figures, which are drawn from the record alone.

`methods` has the look of each method and `verdicts` that of each verdict, `plots` and `dots` draw on an axis, `forest`
draws the claims, `captions` says what intervals are and shows a caption, `figures` has sizes, style, legend and saving.
"""

from nbutils.plotting.captions import interval_note, values_note
from nbutils.plotting.dots import paired_dots
from nbutils.plotting.figures import DOUBLE, DPI, SINGLE, STYLE, empty_panel, legend_above, save_figure, set_style
from nbutils.plotting.forest import forest, forest_caption
from nbutils.plotting.methods import LOOKS, Look
from nbutils.plotting.plots import plot_bars, plot_curves, plot_heatmap, plot_map, plot_points

__all__ = [
    "DOUBLE",
    "DPI",
    "LOOKS",
    "SINGLE",
    "STYLE",
    "Look",
    "empty_panel",
    "forest",
    "forest_caption",
    "interval_note",
    "legend_above",
    "paired_dots",
    "plot_bars",
    "plot_curves",
    "plot_heatmap",
    "plot_map",
    "plot_points",
    "save_figure",
    "set_style",
]
