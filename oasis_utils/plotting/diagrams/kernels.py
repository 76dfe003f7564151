"""Which weights of a masked convolution are used, and which cells a prediction sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from oasis_utils.plotting.diagrams.canvas import Canvas
from oasis_utils.plotting.diagrams.rows import spread
from oasis_utils.plotting.style import BLUE, GREEN, ORANGE

UNUSED, PANELS = "#E4E4E4", 6
LIGHT = "#9CC8E3"


def masked_kernels(
    kernels: Mapping[str, tuple[np.ndarray, np.ndarray]],
    fields: np.ndarray,
    cell: tuple[int, int],
    title: str = "",
) -> Figure:
    """Kernels of the vertical and of the horizontal stack, and the receptive field after each
    block.

    Alt text: Small squares show the weights that a kernel of either stack has, in the first block
    and in later ones, with a colour for each stack. Maps below show the cells that a prediction
    depends on after some of the blocks; those that are new are darker.

    Args:
        kernels: {blocks: (vertical, horizontal)}, each (width, width), true where a weight is; the
            middle is the cell itself. As from `models.receptive_field.kernel_cells`.
        fields: (blocks, rows, cols), true where a cell is seen after so many blocks; as from
            `models.receptive_field.fields_by_block`. At most six are shown.
        cell: (row, col) of the predicted cell.
        title: Above the figure.

    Returns:
        A new figure.
    """
    canvas = Canvas(9.6, 4.15, title)
    places = spread(1.2, 8.4, 2 * len(kernels))
    step = 1.25 / max(len(kernel) for pair in kernels.values() for kernel in pair)
    for i, (name, pair) in enumerate(kernels.items()):
        for j, (stack, kernel) in enumerate(zip(("vertical", "horizontal"), pair, strict=True)):
            _kernel(canvas, places[2 * i + j], kernel, step, (BLUE, GREEN)[j])
            words = f"{name}, {stack}\n{_extent(kernel)}"
            canvas.text((places[2 * i + j], 3.65), words, va="bottom")
    _fields(canvas, fields, cell)
    _legend(canvas)
    return canvas.figure


def _extent(kernel: np.ndarray) -> str:
    rows, cols = kernel.any(1).sum(), kernel.any(0).sum()
    return f"{rows}×{cols} weights"


def _kernel(canvas: Canvas, x: float, kernel: np.ndarray, step: float, colour: str) -> None:
    """Cells of one size in all kernels; the cell itself has an outline."""
    y, side = 2.95, step * len(kernel)
    canvas.classes((x, y), side, kernel, (UNUSED, colour))
    canvas.grid((x - side / 2, y - side / 2), (side, side), len(kernel))
    canvas.outline((x, y), step, ORANGE)


def _fields(canvas: Canvas, fields: np.ndarray, cell: tuple[int, int]) -> None:
    """The cells seen after some of the blocks, first and last among them."""
    count = min(len(fields), PANELS)
    chosen = np.unique(np.linspace(0, len(fields) - 1, count).round().astype(int))
    before = np.zeros_like(fields[0], dtype=bool)
    for x, number in zip(spread(0.95, 8.65, count), chosen, strict=True):
        seen = fields[number]
        classes = np.where(seen & ~before, 2, np.where(seen, 1, 0))
        classes[cell] = 3
        canvas.classes((x, 1.15), 1.35, classes, (UNUSED, LIGHT, BLUE, ORANGE))
        canvas.text((x, 1.88), f"after block {number + 1}", va="bottom")
        canvas.text((x, 0.42), f"{seen.sum()} cell{'' if seen.sum() == 1 else 's'}", va="top")
        before = before | seen


def _legend(canvas: Canvas) -> None:
    entries: Sequence[tuple[str, str]] = (
        (ORANGE, "the predicted cell"),
        (BLUE, "vertical stack; below: new with this block"),
        (GREEN, "horizontal stack"),
        (LIGHT, "seen before"),
        (UNUSED, "not seen"),
    )
    for x, (colour, words) in zip((0.3, 2.0, 5.2, 6.8, 8.1), entries, strict=True):
        canvas.classes((x, 0.13), 0.13, np.zeros((1, 1)), (colour,))
        canvas.text((x + 0.13, 0.13), words, ha="left")
