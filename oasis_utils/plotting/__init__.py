"""Figures from arrays: every function takes arrays and returns a matplotlib figure or a table."""

from oasis_utils.plotting.charts import bars, curves, histograms, lines, matrix, scatter, trends
from oasis_utils.plotting.code_figures import among, index_maps, rivals, usage, usage_overview
from oasis_utils.plotting.slice_figures import heat, overlay, reconstructions, slices, watched
from oasis_utils.plotting.style import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    ORANGE,
    STYLE,
    save_figure,
    use_style,
)
from oasis_utils.plotting.tables import settings, source, span, table

__all__ = [
    "BLUE",
    "COLOURS",
    "GREEN",
    "GREY",
    "ORANGE",
    "STYLE",
    "among",
    "bars",
    "curves",
    "heat",
    "histograms",
    "index_maps",
    "lines",
    "matrix",
    "overlay",
    "reconstructions",
    "rivals",
    "save_figure",
    "scatter",
    "settings",
    "slices",
    "source",
    "span",
    "table",
    "trends",
    "usage",
    "usage_overview",
    "use_style",
    "watched",
]
