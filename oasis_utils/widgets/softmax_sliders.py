"""Sliders for the distribution of one cell: temperature, top-k and top-p as the sampler applies
them.
"""

from __future__ import annotations

import io

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets
from jaxtyping import Float, UInt8

from oasis_utils.models.drawing import AS_LEARNED, SamplingOptions, probabilities
from oasis_utils.plotting.cell_figures import code_probabilities
from oasis_utils.widgets.controls import (
    column,
    integer,
    number,
    number_box,
    png_sheet,
    side_by_side,
)
from oasis_utils.widgets.painter import PICTURE_SIDE, PictureGrid

SHOWN = 16  # codes
DARK = 110  # grey level up to which a cell of a bright slice is left out
START = SamplingOptions(temperature=0.7, top_p=0.95)


def settings_text(options: SamplingOptions) -> str:
    """Sampling options in words, such as "temperature 0.8, top-p 1"."""
    parts = [f"temperature {options.temperature:g}"]
    parts += [f"top-k {options.top_k}"] if options.top_k else []
    return ", ".join([*parts, f"top-p {options.top_p:g}"])


def cell_probabilities(
    logits: Float[np.ndarray, " n_codes"], *settings: SamplingOptions
) -> dict[str, Float[np.ndarray, " n_codes"]]:
    """Probabilities of the codes of one cell, as predicted and as the sampler changes them.

    Args:
        logits: Of one cell.
        *settings: Sampling options.

    Returns:
        {"as predicted": probabilities, "temperature 0.8, top-p 1": ...}, for
        `plotting.code_probabilities`.
    """
    one = torch.from_numpy(np.array(logits, dtype=np.float32))[None]
    named = {"as predicted": AS_LEARNED} | {settings_text(option): option for option in settings}
    return {name: probabilities(one, option)[0].numpy() for name, option in named.items()}


def uncertain_cell(
    logits: Float[np.ndarray, "n_codes rows cols"],
    image: UInt8[np.ndarray, "height width"],
    codes: float = 8.0,
) -> tuple[int, int]:
    """The cell of a map that is about as uncertain as so many equally likely codes.

    Args:
        logits: A prior's prediction of every cell of the map.
        image: The slice of the map; its sides are multiples of those of the map.
        codes: The perplexity that is looked for, 1 or more.

    Returns:
        Row and column of the cell of the nearest perplexity, in ratio; dark cells are left out.
    """
    predicted = torch.from_numpy(np.array(logits))
    entropy = -(predicted.softmax(0) * predicted.log_softmax(0)).sum(0).numpy()
    rows, cols = entropy.shape
    grey = image.reshape(rows, -1, cols, image.shape[1] // cols).mean((1, 3))
    bright = grey > min(DARK, grey.max() / 2)
    distance = np.where(bright | ~bright.any(), np.abs(entropy - np.log(codes)), np.inf)
    row, col = divmod(int(distance.argmin()), cols)
    return row, col


class SoftmaxSliders:
    """Bars of the likeliest codes of one cell, before and after temperature, top-k and top-p.

    A notebook shows `sliders.widget`, after a figure from `plotting.code_probabilities`.

    Args:
        logits: A prior's prediction of every cell of one index map.
        image: The slice of the map, to choose a cell from.
        pictures: What each code decodes to, as from `painter.code_pictures`.
        cell: Row and column at first; None: the middle.
        start: Sampling options at first.
    """

    def __init__(
        self,
        logits: Float[np.ndarray, "n_codes rows cols"],
        image: UInt8[np.ndarray, "height width"],
        pictures: UInt8[np.ndarray, "n_codes side side"],
        cell: tuple[int, int] | None = None,
        start: SamplingOptions = START,
    ):
        self.logits, self.pictures = logits, pictures
        n_codes, rows, cols = logits.shape
        row, col = cell or (rows // 2, cols // 2)
        self.temperature = number("temperature", start.temperature, 0.0, 1.5)
        self.top_k = integer("top-k (0: all)", start.top_k, 0, min(n_codes, 2 * SHOWN))
        self.top_p = number("top-p", start.top_p, 0.05, 1.0)
        self.row = number_box("row", row, rows - 1)
        self.col = number_box("column", col, cols - 1)
        self.cell = PictureGrid(
            label="Choose a cell",
            rows=rows,
            cols=cols,
            row=row,
            col=col,
            picture=png_sheet(image[None], tile=PICTURE_SIDE),
        )
        self.text = widgets.Label()
        self.bars = widgets.Image(
            format="png",
            layout=widgets.Layout(max_width="100%", height="auto", align_self="flex-start"),
        )
        for box, axis in ((self.row, "row"), (self.col, "col")):
            traitlets.link((self.cell, axis), (box, "value"))
        for control in (self.temperature, self.top_k, self.top_p, self.row, self.col):
            control.observe(self.show, names="value")
        dials = column(self.row, self.col, self.temperature, self.top_k, self.top_p, self.text)
        self.widget = column(side_by_side(self.cell, dials), self.bars)
        self.show()

    def options(self) -> SamplingOptions:
        """The sampling options that the sliders show."""
        return SamplingOptions(self.temperature.value, self.top_k.value, self.top_p.value)

    def shares(self) -> dict[str, Float[np.ndarray, " n_codes"]]:
        """Probabilities of the codes of the selected cell, before and after."""
        return cell_probabilities(self.logits[:, self.row.value, self.col.value], self.options())

    def show(self, _change=None) -> None:
        """Draw the bars, and say how many codes are left."""
        shares = self.shares()
        self.cell.caption = f"row {self.row.value}, column {self.col.value}"
        after = list(shares.values())[-1]
        self.text.value = f"codes that can be drawn: {int((after > 0).sum())} of {len(after)}"
        count = min(SHOWN, len(after))
        figure = code_probabilities(shares, self.pictures, count, f"The {count} likeliest codes")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=104)
        plt.close(figure)
        self.bars.value = buffer.getvalue()
