"""Figures of whole heads: three planes through a point, and sheets of their slices."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oasis_utils.plotting.slice_figures import slices
from oasis_utils.plotting.style import COLOURS, label_rows

CUTS = ("axial", "coronal", "sagittal")
# of a head (positions, rows, columns): the axis across each cut, upwards and to the right in it
ACROSS, UP, RIGHT = (0, 1, 2), (1, 0, 0), (2, 2, 1)
LARGEST_SIDE = 1.9  # inches

Head = UInt8[np.ndarray, "positions height width"]


def orthogonal_cuts(
    head: Head, at: tuple[int, int, int] | None = None
) -> tuple[UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "h2 w2"], UInt8[np.ndarray, "h3 w3"]]:
    """The axial, coronal and sagittal cut through a point of a head, with row 0 at the top.

    Args:
        head: Axial slices from the lowest to the highest, each with the forehead up.
        at: Position, row and column of the point; None: the middle.

    Returns:
        The three cuts; the forehead is up in the first and at the left in the third.

    Raises:
        ValueError: The point lies outside the head.
    """
    position, row, column = _point(head.shape, at)
    return head[position], head[::-1, row], head[::-1, :, column]


def orthogonal_views(
    heads: UInt8[np.ndarray, "heads positions height width"],
    names: Sequence[str],
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    title: str = "",
    at: tuple[int, int, int] | None = None,
    front: bool = False,
    left: bool = False,
) -> Figure:
    """An axial, a coronal and a sagittal cut through each head, all in the same proportions.

    White lines show where the other two cuts lie.

    Args:
        heads: Axial slices from the lowest to the highest, each with the forehead up.
        names: One text for each head, at the left of its row.
        spacing: mm from one position, row and column to the next.
        title: Above the figure.
        at: Position, row and column of the point that all cuts contain; None: the middle.
        front: Whether the data tell that the forehead is up; then it is labelled.
        left: Whether the person's left is known to be at the left; then it is labelled.

    Returns:
        A new figure, a row for each head.

    Raises:
        ValueError: The point lies outside the heads.
    """
    point, sizes = _point(heads.shape[1:], at), np.array(heads.shape[1:]) * np.array(spacing)
    widths, height = sizes[list(RIGHT)], sizes[list(UP)].max()
    inches = LARGEST_SIDE / sizes.max()
    figure, axes = plt.subplots(
        len(heads),
        3,
        squeeze=False,
        width_ratios=widths.tolist(),
        figsize=(widths.sum() * inches + 0.7, len(heads) * (height * inches + 0.1) + 0.6),
    )
    for row, head in zip(axes, heads, strict=True):
        for ax, cut, across, up, right in zip(
            row, orthogonal_cuts(head, point), ACROSS, UP, RIGHT, strict=True
        ):
            ax.imshow(cut, cmap="gray", vmin=0, vmax=255, aspect=spacing[up] / spacing[right])
            # positions run upwards, rows of a picture downwards
            ax.axhline(len(cut) - 1 - point[up] if across else point[up], **_LINE)
            ax.axvline(point[right], **_LINE)
            ax.set_anchor("N")
    for ax, text in zip(axes[0], CUTS, strict=True):
        ax.set_title(text, fontsize=8)
    label_rows(axes, names)
    for axial, coronal, sagittal in axes:
        _write_sides(axial, "front" if front else "", "left" if left else "")
        _write_sides(coronal, "", "left" if left else "")
        _write_sides(sagittal, "", "front" if front else "")
    figure.suptitle(title)
    return figure


def stack_rows(
    heads: UInt8[np.ndarray, "heads positions height width"],
    names: Sequence[str],
    positions: Sequence[int],
    title: str = "",
    size: float = 1.25,
) -> Figure:
    """Slices of heads at some positions: a row for each head, a column for each position.

    Args:
        heads: Slices from the lowest to the highest position.
        names: One text for each head, at the left of its row.
        positions: Which slices to show, counted from 0.
        title: Above the figure.
        size: Inches a side of one slice.

    Returns:
        A new figure.
    """
    shown = heads[:, list(positions)]
    return slices(
        shown.reshape(-1, *shown.shape[2:]),
        [f"position {position}" for position in positions],
        columns=len(positions),
        row_labels=names,
        title=title,
        size=size,
    )


_LINE = {"color": "white", "lw": 0.6, "alpha": 0.6}


def _point(shape: tuple[int, ...], at: tuple[int, int, int] | None) -> tuple[int, int, int]:
    position, row, column = at or (shape[0] // 2, shape[1] // 2, shape[2] // 2)
    if not all(0 <= i < n for i, n in zip((position, row, column), shape, strict=True)):
        raise ValueError(
            f"{(position, row, column)} lies outside a head of {shape[0]} positions, {shape[1]}"
            f" rows and {shape[2]} columns: count each from 0"
        )
    return position, row, column


def _write_sides(ax: Axes, above: str, beside: str) -> None:
    style = {"color": COLOURS[4], "va": "center", "fontsize": 7, "transform": ax.transAxes}
    ax.text(0.5, 0.96, above, ha="center", **style)
    ax.text(0.04, 0.5, beside, ha="center", rotation=90, **style)
