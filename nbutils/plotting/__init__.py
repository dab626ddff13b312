"""The one look of all figures, which are drawn from the record alone.

`methods` has the look of each method, `plots` draws on an axis, `figures` has sizes, style, legend and saving.
"""

from nbutils.plotting.figures import DOUBLE, DPI, SINGLE, STYLE, legend_above, save_figure, set_style
from nbutils.plotting.methods import LOOKS, Look
from nbutils.plotting.plots import plot_bars, plot_curves, plot_heatmap, plot_map, plot_points

__all__ = [
    "DOUBLE",
    "DPI",
    "LOOKS",
    "SINGLE",
    "STYLE",
    "Look",
    "legend_above",
    "plot_bars",
    "plot_curves",
    "plot_heatmap",
    "plot_map",
    "plot_points",
    "save_figure",
    "set_style",
]
