"""The painting panel: select a cell of an index map, give it a code, see the decoded slice.

`PictureGrid` is one clickable picture: ipywidgets has none, and 256 buttons are slow.
"""

from __future__ import annotations

from pathlib import Path

import anywidget
import ipywidgets as widgets
import matplotlib
import numpy as np
import traitlets
from jaxtyping import Integer, UInt8
from PIL import Image

from oasis_utils.models.codes import decode_maps
from oasis_utils.models.sampler import BrainSampler
from oasis_utils.models.samples import Samples, image_seeds
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.widgets.controls import (
    OutputArea,
    RenderedImages,
    choice,
    chosen,
    column,
    integer,
    png,
    png_sheet,
    side_by_side,
)
from oasis_utils.widgets.settings import SeedBox, Settings

ASSETS = Path(__file__).parent / "assets"
PICTURE_SIDE = 256  # pixels a side of each of the three pictures
CODE_TILE = 16  # pixels a side of a code's picture


class PictureGrid(anywidget.AnyWidget):
    """A picture of rows x cols cells.

    A click or the arrow keys select a cell; a click, Enter or space choose it.
    """

    _esm = ASSETS / "picture_grid.js"
    _css = ASSETS / "picture_grid.css"
    picture = traitlets.Bytes().tag(sync=True)  # PNG
    rows = traitlets.Int(1).tag(sync=True)
    cols = traitlets.Int(1).tag(sync=True)
    row = traitlets.Int(0).tag(sync=True)
    col = traitlets.Int(0).tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)  # counts the choices
    label = traitlets.Unicode().tag(sync=True)  # title, also for screen readers
    caption = traitlets.Unicode().tag(sync=True)  # the selected cell, as text
    width = traitlets.Int(PICTURE_SIDE).tag(sync=True)  # pixels on the screen


def code_pictures(vqvae: VQVAE) -> UInt8[np.ndarray, "n_codes side side"]:
    """A picture of each code: an inner cell of a small decoded map that holds this code only.

    Args:
        vqvae: The model whose codes are shown.

    Returns:
        uint8 pictures in the order of the codes; their side is `config.downsampling` pixels.
    """
    codes = np.arange(vqvae.config.n_codes)[:, None, None]
    images = decode_maps(vqvae, np.tile(codes, (1, 4, 4)))
    cell = vqvae.config.downsampling
    return images[:, cell : 2 * cell, cell : 2 * cell]


def code_ranks(vqvae: VQVAE) -> Integer[np.ndarray, " n_codes"]:
    """The place of each code among all codes from dark to bright pictures, from 0 on."""
    return code_pictures(vqvae).mean((1, 2)).argsort(kind="stable").argsort()


def coloured(rank: Integer[np.ndarray, "rows cols"], n_codes: int) -> bytes:
    """Ranks as a PNG in the colours of the index maps of notebook 03, one square for each cell."""
    colours = matplotlib.colormaps["viridis"](rank / max(1, n_codes - 1), bytes=True)[..., :3]
    return png(
        Image.fromarray(colours).resize((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.NEAREST)
    )


class PainterPanel:
    """An index map to paint on, the slice it decodes to, and all codes from dark to bright.

    Args:
        samplers: {label: sampler}, with one VQ-VAE.
        folder: Where Save writes.
    """

    def __init__(self, samplers: dict[str, BrainSampler], folder: Path):
        self.samplers = samplers
        self.history: list[tuple[tuple[int, int, int], int]] = []  # (cell, its code before)
        first = next(iter(samplers.values()))
        self.patches = code_pictures(first.vqvae)
        self.order = self.patches.mean((1, 2)).argsort(kind="stable")
        self.rank = np.empty_like(self.order)
        self.rank[self.order] = np.arange(len(self.order))
        self.maps = np.zeros((1, first.prior.config.grid, first.prior.config.grid), np.int64)
        grid, side = self.maps.shape[1], int(np.ceil(np.sqrt(len(self.order))))
        middle = dict(rows=grid, cols=grid, row=grid // 2, col=grid // 2)
        self.map = PictureGrid(label="1. Select a cell of the map", **middle)
        self.brain = PictureGrid(label="… or of the decoded slice", **middle)
        self.palette = PictureGrid(
            label="2. Choose a code, dark to bright",
            rows=-(-len(self.order) // side),
            cols=side,
            picture=png_sheet(self.patches[self.order], columns=side, tile=CODE_TILE),
        )
        self._build_controls(first, folder)
        for axis in ("row", "col"):
            traitlets.link((self.map, axis), (self.brain, axis))
            self.map.observe(self.point, names=axis)
        self.palette.observe(self.paint, names="chosen")
        self.palette.observe(self.describe, names=["row", "col"])

    def _build_controls(self, first: BrainSampler, folder: Path) -> None:
        self.prior, self.seed = choice("prior", list(self.samplers)), SeedBox("seed", 0)
        self.position = integer("position", first.n_positions // 2, 0, first.n_positions - 1)
        self.undo = widgets.Button(
            description="Undo", icon="undo", tooltip="undo the last painted cell"
        )
        self.clear = widgets.Button(
            description="Clear paint", icon="eraser", tooltip="undo all painted cells"
        )
        self.undo.on_click(lambda _: self.take_back(1))
        self.clear.on_click(lambda _: self.take_back(len(self.history)))
        self.output = OutputArea(folder)
        self.settings = Settings(self.redraw, (self.prior, self.position, self.seed))
        self.widget = column(
            side_by_side(self.prior, column(self.position, self.seed)),
            side_by_side(self.map, self.brain, self.palette),
            side_by_side(
                self.undo, self.clear, self.settings.reset, self.output.save, self.output.status
            ),
        )

    @property
    def cell(self) -> tuple[int, int, int]:
        """The selected cell, as an index of `maps`."""
        return 0, self.map.row, self.map.col

    def redraw(self, _change=None) -> None:
        """Draw a new map to paint on."""
        label, seed, position = chosen(self.prior), self.seed.value, self.position.value
        sampler = self.samplers[label]

        def draw(on_row) -> RenderedImages:
            self.maps = sampler.draw(
                np.array([position]), image_seeds(seed, 1), on_row=on_row
            ).copy()
            self.history.clear()
            self.point()
            return self.decoded()

        self.output.run(draw, sampler, 1)

    def decoded(self) -> RenderedImages:
        """Show the map and its decoded slice as they are now."""
        images = self.samplers[chosen(self.prior)].decode(self.maps)
        sheet = png_sheet(images, tile=PICTURE_SIDE)
        self.map.picture = coloured(self.rank[self.maps[0]], len(self.rank))
        self.brain.picture = sheet
        return RenderedImages(
            Samples(images, self.maps.copy(), np.array([self.position.value])),
            f"painted_position{self.position.value}_seed{self.seed.value}_{len(self.history)}",
            sheet,
        )

    def point(self, _change=None) -> None:
        """Select the code of the selected cell among all codes."""
        rank = int(self.rank[self.maps[self.cell]])
        self.palette.row, self.palette.col = divmod(rank, self.palette.cols)
        self.map.caption = f"row {self.map.row}, column {self.map.col}: code {self.maps[self.cell]}"
        self.describe()

    def selected_code(self) -> int | None:
        """The code selected among all codes; None in the empty end of their last row."""
        rank = self.palette.row * self.palette.cols + self.palette.col
        return int(self.order[rank]) if rank < len(self.order) else None

    def describe(self, _change=None) -> None:
        """Write the number of the selected code below all codes."""
        code = self.selected_code()
        self.palette.caption = "no code here" if code is None else f"code {code}"

    def paint(self, _change=None) -> None:
        """Give the selected cell the selected code."""
        code = self.selected_code()
        if code is None:
            return
        self.history.append((self.cell, int(self.maps[self.cell])))
        self.maps[self.cell] = code
        self.after_change()

    def take_back(self, steps: int) -> None:
        """Undo the last painted cells, at most all of them."""
        for _ in range(min(steps, len(self.history))):
            cell, code = self.history.pop()
            self.maps[cell] = code
        self.after_change()

    def after_change(self) -> None:
        """Show the changed map and the number of painted cells."""
        self.output.show(self.decoded())
        self.point()
        self.output.status.value = f"cells painted: {len(self.history)}"
