"""Sheets of slices: plain, with reconstructions, over a training, with labels, as maps."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from oasis_utils.plotting.style import COLOURS, grey_limit, hide_axes, label_rows

LARGEST_ERROR = 0.15  # grey level (from 0 to 1) of the brightest colour in maps of errors


def slices(
    images: np.ndarray,
    titles: Sequence[str] | None = None,
    columns: int = 8,
    row_labels: Sequence[str] | None = None,
    title: str = "",
    size: float = 1.25,
) -> Figure:
    """A sheet of grey slices on a fixed grey range.

    Args:
        images: (n, height, width), uint8 or float in [0, 1].
        titles: One text for each slice, or for the first ones only.
        columns: Slices in a row.
        row_labels: One text for each row.
        title: Above the sheet.
        size: Inches a side of one slice.

    Returns:
        A new figure.
    """
    rows, titled = -(-len(images) // columns), -(-len(titles or ()) // columns)
    figure, axes = plt.subplots(
        rows, columns, squeeze=False, figsize=(columns * size, rows * size + titled * 0.2 + 0.35)
    )
    for i in range(len(images)):
        axes.flat[i].imshow(images[i], cmap="gray", vmin=0, vmax=grey_limit(images))
    for ax, text in zip(axes.flat, titles or (), strict=False):
        ax.set_title(text, fontsize=8)
    label_rows(axes, row_labels or [])
    figure.suptitle(title)
    return figure


def reconstructions(
    originals: np.ndarray,
    outputs: np.ndarray,
    titles: Sequence[str],
    title: str = "",
    labels: Sequence[str] = ("original", "reconstruction", "|error|"),
    largest: float = LARGEST_ERROR,
) -> Figure:
    """Original, reconstruction and absolute error, one column for each slice.

    Args:
        originals: (n, height, width), uint8 or float in [0, 1].
        outputs: Reconstructions of the same shape and type.
        titles: One text for each slice.
        title: Above the figure.
        labels: Names of the three rows.
        largest: Error that has the brightest colour, as have those above it.

    Returns:
        A new figure.
    """
    scale = grey_limit(originals)
    a, b = originals / scale, outputs / scale
    figure, axes = plt.subplots(3, len(a), figsize=(1.5 * len(a) + 0.8, 5), squeeze=False)
    for i in range(len(a)):
        axes[0, i].imshow(a[i], cmap="gray", vmin=0, vmax=1)
        axes[1, i].imshow(b[i], cmap="gray", vmin=0, vmax=1)
        axes[2, i].imshow(np.abs(a[i] - b[i]), cmap="magma", vmin=0, vmax=largest)
        axes[0, i].set_title(titles[i], fontsize=8)
    label_rows(axes, labels)
    _error_bar(figure, axes[2], 0.8, largest)
    figure.suptitle(title)
    return figure


def _error_bar(figure: Figure, axes: np.ndarray, shrink: float, largest: float) -> None:
    """The colour bar of maps of errors beside their axes; its arrow stands for larger ones."""
    bar = figure.colorbar(
        axes.flat[-1].images[0],
        ax=axes,
        shrink=shrink,
        extend="max",
        ticks=np.linspace(0, largest, 4),
    )
    bar.set_label("error (grey from 0 to 1)", fontsize=8)


def reconstructions_over_training(
    originals: np.ndarray, stages: dict[str, np.ndarray], title: str = ""
) -> Figure:
    """Reconstructions after several epochs, and their absolute errors below.

    Args:
        originals: (n, height, width), uint8 or float in [0, 1].
        stages: {column title: reconstructions of the same shape and type}, such as by epoch.
        title: Above the figure.

    Returns:
        A new figure; the first column shows the originals.
    """
    scale, n = grey_limit(originals), len(originals)
    figure, axes = plt.subplots(
        2 * n,
        len(stages) + 1,
        figsize=(1.45 * (len(stages) + 1) + 0.8, 2.75 * n + 0.5),
        squeeze=False,
    )
    for i, original in enumerate(originals):
        axes[2 * i, 0].imshow(original / scale, cmap="gray", vmin=0, vmax=1)
        for column, outputs in enumerate(stages.values(), start=1):
            axes[2 * i, column].imshow(outputs[i] / scale, cmap="gray", vmin=0, vmax=1)
            axes[2 * i + 1, column].imshow(
                np.abs(original / scale - outputs[i] / scale),
                cmap="magma",
                vmin=0,
                vmax=LARGEST_ERROR,
            )
    for ax, text in zip(axes[0], ("original", *stages), strict=True):
        ax.set_title(text, fontsize=8)
    label_rows(axes, ("slice", "|error|") * n)
    _error_bar(figure, axes[1::2], 0.6, LARGEST_ERROR)
    figure.suptitle(title)
    return figure


def overlay(
    images: np.ndarray,
    labels: np.ndarray,
    levels: dict[str, int],
    titles: Sequence[str],
    title: str = "",
) -> Figure:
    """Slices above, and below them the same slices tinted by label.

    Args:
        images: (n, height, width), uint8 or float in [0, 1].
        labels: (n, height, width) integers.
        levels: {name in the legend: value in `labels`}.
        titles: One text for each slice.
        title: Above the figure.

    Returns:
        A new figure.
    """
    figure, axes = plt.subplots(
        2, len(images), figsize=(1.6 * len(images) + 0.4, 4.1), squeeze=False
    )
    for above, below, image, label, text in zip(*axes, images, labels, titles, strict=True):
        for ax in (above, below):
            ax.imshow(image, cmap="gray", vmin=0, vmax=grey_limit(images))
        for colour, value in zip(COLOURS, levels.values(), strict=False):
            below.imshow(
                np.where(label == value, 1.0, np.nan), cmap=ListedColormap([colour]), alpha=0.45
            )
        above.set_title(text, fontsize=8)
    label_rows(axes, ("slice", "with mask"))
    figure.legend(
        handles=[
            Patch(color=colour, label=name) for colour, name in zip(COLOURS, levels, strict=False)
        ],
        loc="outside lower center",
        ncols=len(levels),
        fontsize=8,
    )
    figure.suptitle(title)
    return figure


def heat(
    maps: np.ndarray,
    titles: Sequence[str],
    label: str,
    columns: int = 8,
    cmap: str = "magma",
    limits: tuple[float, float] | None = None,
    title: str = "",
    levels: Sequence[str] = (),
) -> Figure:
    """Maps on one colour scale with its bar.

    Args:
        maps: (n, rows, cols).
        titles: One text for each map.
        label: Of the colour bar, with the unit.
        columns: Maps in a row.
        cmap: A matplotlib colour map.
        limits: Ends of the scale; None: smallest and largest value.
        title: Above the figure.
        levels: Names of the classes 0, 1, 2 ... if the maps hold classes.

    Returns:
        A new figure.
    """
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.5 * columns + 0.9, 1.75 * rows + 0.3), squeeze=False
    )
    colours: str | Colormap = cmap
    low, high = limits or (float(np.min(maps)), float(np.max(maps)))
    if levels:
        colours, low, high = plt.get_cmap(cmap, len(levels)), -0.5, len(levels) - 0.5
    for ax in axes.flat:
        hide_axes(ax)
    for ax, values, text in zip(axes.flat, maps, titles, strict=False):
        ax.imshow(values, cmap=colours, vmin=low, vmax=high)
        ax.set_title(text, fontsize=8)
    below, above = np.nanmin(maps) < low, np.nanmax(maps) > high
    extend = "both" if below and above else "min" if below else "max" if above else "neither"
    bar = figure.colorbar(axes.flat[0].images[0], ax=axes, shrink=0.8, label=label, extend=extend)
    if levels:
        bar.set_ticks(range(len(levels)), labels=levels)
        bar.minorticks_off()
    figure.suptitle(title)
    return figure


def mark_sides(axes: Axes, front: bool, left: bool, millimetres: float | None) -> None:
    """Write front, left and a bar of 50 mm on a slice, as far as they are known.

    Args:
        axes: Of one slice whose forehead is up, with one unit a pixel.
        front: Whether to write the front.
        left: Whether to write the left, at the left.
        millimetres: Size of a pixel; None: no bar.
    """
    side, style = axes.get_xlim()[1], {"color": COLOURS[4], "va": "center", "fontsize": 8}
    if front:
        axes.text(side / 2, 0.03 * side, "front", ha="center", **style)
    if left:
        axes.text(0.03 * side, side / 2, "left", rotation=90, **style)
    if millimetres:
        axes.plot(
            [0.03 * side, 0.03 * side + 50 / millimetres], [0.96 * side] * 2, color="white", lw=2
        )
        axes.text(0.03 * side, 0.92 * side, "50 mm", color="white", fontsize=8)


def point_out(axes: Axes, places: dict[str, tuple[int, int]]) -> None:
    """Names in the dark corners of a slice, each with a thin line to its place.

    Args:
        axes: Of one slice, with one unit a pixel.
        places: {name: (row, column)}; any number, none included.
    """
    side = axes.get_xlim()[1]
    for right in (False, True):
        half = [place for place in places.items() if (place[1][1] >= side / 2) == right]
        half.sort(key=lambda place: abs(place[1][1] - side / 2))  # so that lines do not cross
        for i, (name, (row, col)) in enumerate(half):
            low = right and row > 0.45 * side  # at the lower left is the scale
            corner = side * (0.98 if right else 0.02), side * (0.95 if low else 0.05 + 0.07 * i)
            axes.annotate(
                name,
                xy=(col, row),
                xytext=corner,
                fontsize=8,
                color="white",
                ha="right" if right else "left",
                va="center",
                arrowprops={"arrowstyle": "-", "color": COLOURS[4], "lw": 0.8, "shrinkB": 0},
            )
