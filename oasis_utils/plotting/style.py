"""The shared figure style, and helpers for axes that all figures use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from oasis_utils.runtime import atomic, in_notebook

STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 130,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "text.parse_math": False,  # a dollar sign in the name of a folder is no formula
}
# Okabe-Ito: safe for colour-blind readers
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")


def use_style() -> None:
    """Set the shared style for all later figures, and inline display in a notebook."""
    if in_notebook():
        from IPython import get_ipython

        shell = get_ipython()
        assert shell is not None
        # MPLBACKEND of a cluster would hide them
        shell.run_line_magic("matplotlib", "inline")
    plt.style.use(STYLE)


def save_figure(figure: Figure, folder: Path, name: str) -> Path:
    """Write a PNG. A title that is wider than the figure is broken at its dots (·) first.

    A notebook shows the figure at once, not at the end of the cell below what is made later.

    Args:
        figure: Any matplotlib figure.
        folder: Created if missing; usually `RunFolder.figures`.
        name: File name without its ending.

    Returns:
        The path of the file.
    """
    _break_title(figure)
    path = folder / f"{name}.png"
    with atomic(path) as partial:
        figure.savefig(partial, format="png")
    if in_notebook() and "inline" in plt.get_backend():
        from IPython.display import display

        display(figure)
        plt.close(figure)  # else it is shown a second time
    return path


def _break_title(figure: Figure) -> None:
    title = figure.get_suptitle()
    for text in figure.texts:
        if text.get_text() == title and text.get_window_extent().width > figure.bbox.width:
            text.set_text(title.replace(" · ", "\n"))


def axes_or_new(ax: Axes | None, width: float, height: float) -> Axes:
    """The given axes, or those of a new figure of that size in inches."""
    return plt.subplots(figsize=(width, height))[1] if ax is None else ax


def figure_of(ax: Axes) -> Figure:
    """The figure that holds the axes; TypeError for axes of a subfigure, which is no figure."""
    figure = ax.get_figure()
    if not isinstance(figure, Figure):
        raise TypeError("give axes that lie in a figure itself, not in a subfigure")
    return figure


def legend_below(figure: Figure) -> None:
    """One legend for all axes of a figure, below them, each name once.

    Args:
        figure: Its axes hold labelled artists and no legends.
    """
    named = {
        text: handle
        for ax in figure.axes
        for handle, text in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(named.values()), list(named), loc="outside lower center", ncols=4, fontsize=8
    )


def grey_limit(images: np.ndarray) -> float:
    """The grey level of white: 255 for uint8, else 1."""
    return 255.0 if images.dtype == np.uint8 else 1.0


class PlainLogFormatter(LogFormatter):
    """Labels of a logarithmic axis as plain numbers: those of matplotlib are formulas."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of a tick; empty where matplotlib would leave it out."""
        return f"{x:g}" if super().__call__(x, pos) else ""


def log_y_axis(ax: Axes) -> None:
    """Make the y axis logarithmic."""
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(PlainLogFormatter())
    ax.yaxis.set_minor_formatter(PlainLogFormatter())


def hide_axes(ax: Axes) -> None:
    """Remove ticks and frame, so that only the picture is left."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def label_rows(axes: np.ndarray, labels: Sequence[str]) -> None:
    """Remove the ticks of all axes and name each row at its left."""
    for ax in axes.flat:
        hide_axes(ax)
    for ax, label in zip(axes[:, 0], labels, strict=False):
        ax.set_ylabel(label, fontsize=8)
