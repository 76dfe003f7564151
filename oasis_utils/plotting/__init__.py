"""Figures from arrays: every function takes arrays and returns a matplotlib figure or a table."""

from oasis_utils.plotting import diagrams
from oasis_utils.plotting.animations import animation, save_animation
from oasis_utils.plotting.cell_figures import code_cells, code_patches, code_probabilities
from oasis_utils.plotting.charts import (
    bars,
    curves,
    forest,
    histograms,
    lines,
    matrix,
    scatter,
    trends,
)
from oasis_utils.plotting.code_figures import (
    code_pairs,
    compare_codebooks,
    compare_usage,
    index_maps,
    nearest_regions,
    usage,
)
from oasis_utils.plotting.head_figures import orthogonal_cuts, orthogonal_views, stack_rows
from oasis_utils.plotting.slice_figures import (
    heat,
    mark_sides,
    overlay,
    point_out,
    reconstructions,
    reconstructions_over_training,
    slices,
)
from oasis_utils.plotting.style import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    ORANGE,
    STYLE,
    legend_below,
    save_figure,
    use_style,
)
from oasis_utils.plotting.tables import outcome, settings, source, span, table

__all__ = [
    "BLUE",
    "COLOURS",
    "GREEN",
    "GREY",
    "ORANGE",
    "STYLE",
    "animation",
    "bars",
    "code_cells",
    "code_pairs",
    "code_patches",
    "code_probabilities",
    "compare_codebooks",
    "compare_usage",
    "curves",
    "diagrams",
    "forest",
    "heat",
    "histograms",
    "index_maps",
    "legend_below",
    "lines",
    "mark_sides",
    "matrix",
    "nearest_regions",
    "orthogonal_cuts",
    "orthogonal_views",
    "outcome",
    "overlay",
    "point_out",
    "reconstructions",
    "reconstructions_over_training",
    "save_animation",
    "save_figure",
    "scatter",
    "settings",
    "slices",
    "source",
    "span",
    "stack_rows",
    "table",
    "trends",
    "usage",
    "use_style",
]
