"""Where a code is used: choose a cell of an index map, see every cell of several slices with its
code.
"""

from __future__ import annotations

import ipywidgets as widgets
import numpy as np
import traitlets
from jaxtyping import Integer, UInt8
from PIL import Image

from oasis_utils.plotting.cell_figures import highlighted
from oasis_utils.widgets.controls import (
    LABEL,
    column,
    number_box,
    png_sheet,
    side_by_side,
)
from oasis_utils.widgets.painter import PICTURE_SIDE, PictureGrid, coloured

COLUMNS, TILE = 4, 208  # highlighted slices in a row, pixels a side of each
CODE_SIDE = 96  # pixels a side of the picture of a code


class CodeFinder:
    """An index map and its slice to choose a cell from, and all cells that use the same code.

    A notebook shows `finder.widget`, after a figure from `plotting.code_cells`.

    Args:
        images: uint8 slices.
        indices: Their index maps.
        pictures: What each code decodes to, as from `painter.code_pictures`.
        counts: Uses of each code, such as in a whole split.
        titles: One text for each slice; None: their numbers.
        order: All codes in the order of their colours; None: from dark to bright pictures.

    Raises:
        ValueError: The numbers of slices, maps and titles differ, or there are none.
    """

    def __init__(
        self,
        images: UInt8[np.ndarray, "n height width"],
        indices: Integer[np.ndarray, "_ rows cols"],
        pictures: UInt8[np.ndarray, "n_codes side side"],
        counts: Integer[np.ndarray, " n_codes"],
        titles: list[str] | None = None,
        order: Integer[np.ndarray, " n_codes"] | None = None,
    ):
        self.titles = titles or [f"slice {i + 1}" for i in range(len(images))]
        if not len(images) or not len(images) == len(indices) == len(self.titles):
            raise ValueError("give one index map and one title for each slice, and at least one")
        self.images, self.indices, self.pictures, self.counts = images, indices, pictures, counts
        dark_to_bright = pictures.mean((1, 2)).argsort(kind="stable")
        self.rank = np.argsort(dark_to_bright if order is None else order)
        self._build()
        self.choose_slice()

    def _build(self) -> None:
        rows, cols = self.indices.shape[1:]
        middle = dict(rows=rows, cols=cols, row=rows // 2, col=cols // 2)
        self.slice = widgets.Dropdown(
            options=[(" ".join(text.split()), i) for i, text in enumerate(self.titles)],
            description="slice",
            style=LABEL,
            layout=widgets.Layout(width="340px"),
        )
        self.code = number_box("code", 0, len(self.counts) - 1)
        self.map = PictureGrid(label="Choose a cell of the index map", **middle)
        self.brain = PictureGrid(label="… or of the slice", **middle)
        self.drawn = widgets.Image(
            format="png", layout=widgets.Layout(width=f"{CODE_SIDE}px", height=f"{CODE_SIDE}px")
        )
        self.found = widgets.Image(
            format="png",
            layout=widgets.Layout(max_width="100%", height="auto", align_self="flex-start"),
        )
        self.text = [widgets.Label() for _ in range(4)]
        for axis in ("row", "col"):
            traitlets.link((self.map, axis), (self.brain, axis))
            self.map.observe(self.choose_cell, names=axis)
        self.slice.observe(self.choose_slice, names="value")
        self.code.observe(self.choose_code, names="value")
        about = column(widgets.Label("The code decodes to"), self.drawn, *self.text)
        self.widget = column(
            side_by_side(self.slice, self.code),
            side_by_side(self.map, self.brain, about),
            self.found,
        )

    @property
    def selected(self) -> int:
        """The row of the selected slice."""
        return self.slice.index or 0

    def choose_slice(self, _change=None) -> None:
        """Show the selected slice with its index map, and take the code of the selected cell."""
        i = self.selected
        self.map.picture = coloured(self.rank[self.indices[i]], len(self.rank))
        self.brain.picture = png_sheet(self.images[i : i + 1], tile=PICTURE_SIDE)
        self.choose_cell()

    def choose_cell(self, _change=None) -> None:
        """Take the code of the selected cell."""
        row, col = self.map.row, self.map.col
        code = int(self.indices[self.selected, row, col])
        self.map.caption = f"row {row}, column {col}: code {code}"
        if self.code.value == code:
            self.choose_code()
        self.code.value = code

    def choose_code(self, _change=None) -> None:
        """Highlight every cell that uses the code, and say how often it is used."""
        code = self.code.value
        cells = self.indices == code
        marked = highlighted(self.images, cells)
        self.found.value = png_sheet(marked, COLUMNS, TILE, Image.Resampling.NEAREST)
        self.drawn.value = png_sheet(self.pictures[code : code + 1], tile=CODE_SIDE)
        more = int((self.counts > self.counts[code]).sum())
        texts = (
            f"code {code} of 0 to {len(self.counts) - 1}",
            f"{self.counts[code] / self.counts.sum():.2%} of all cells"
            if self.counts[code]
            else "not used in any cell",
            f"{more} codes are used more often" if more else "no code is used more often",
            f"{int(cells.sum())} cells, in {int(cells.any((1, 2)).sum())} of {len(cells)} slices"
            " below",
        )
        for label, text in zip(self.text, texts, strict=True):
            label.value = text
