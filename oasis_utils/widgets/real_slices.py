"""Real slices beside those that a model draws: slice, index map and what the map decodes to."""

from __future__ import annotations

import io

import ipywidgets as widgets
import numpy as np
from PIL import Image

from oasis_utils.data.dataset import Split
from oasis_utils.models.sampler import BrainSampler
from oasis_utils.widgets.controls import TILE, column, number_box, png, png_sheet
from oasis_utils.widgets.painter import code_ranks, coloured


class RealSlice:
    """A real slice at the position of a panel, its index map, and the slice decoded from it.

    Args:
        split: Slices to choose from, usually the test split.
        sampler: Its VQ-VAE encodes and decodes.
        description: Of the data, as in `Dataset.description`.
    """

    def __init__(self, split: Split, sampler: BrainSampler, description: str = ""):
        self.split, self.sampler = split, sampler
        self.position: int | None = None
        self.subjects = np.unique(split.subjects)
        self.ranks = code_ranks(sampler.vqvae)
        self.person = number_box("real subject", 0, len(self.subjects) - 1)
        self.text = widgets.Label()
        self.note = widgets.Label(f"Real slices: {split.name} split, {description}".rstrip(", "))
        self.picture = widgets.Image(
            format="png",
            layout=widgets.Layout(max_width="100%", height="auto", align_self="flex-start"),
        )
        self.person.observe(lambda _: self.draw(), names="value")
        self.widget = column(self.note, self.person, self.text, self.picture)

    def show(self, position: int) -> None:
        """Show the slice of the chosen subject that is nearest to a position."""
        if position != self.position:
            self.position = position
            self.draw()

    def draw(self) -> None:
        """Encode and decode the slice, and show it."""
        rows = np.flatnonzero(self.split.subjects == self.subjects[self.person.value])
        row = rows[np.abs(self.split.positions[rows] - (self.position or 0)).argmin()]
        image = np.array(self.split.images[row : row + 1])
        maps = self.sampler.encode(image)
        first, last = (png_sheet(one, tile=TILE) for one in (image, self.sampler.decode(maps)))
        middle = coloured(self.ranks[maps[0]], len(self.ranks))
        self.picture.value = _in_a_row(first, middle, last)
        self.text.value = (
            f"subject {self.split.subjects[row]}, position {self.split.positions[row]}: slice, its"
            " index map, and the slice decoded from the map"
        )


def _in_a_row(*pictures: bytes) -> bytes:
    """PNG files beside each other as one."""
    sheet = Image.new("RGB", (len(pictures) * TILE, TILE))
    for i, picture in enumerate(pictures):
        with Image.open(io.BytesIO(picture)) as opened:
            shown = opened.convert("RGB").resize((TILE, TILE), Image.Resampling.NEAREST)
        sheet.paste(shown, (i * TILE, 0))
    return png(sheet)
