"""A slider over sets of slices: those after each epoch, at each position, at each age."""

from __future__ import annotations

import io
from collections.abc import Mapping

import ipywidgets as widgets
import matplotlib
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from oasis_utils.plotting.slice_figures import LARGEST_ERROR
from oasis_utils.widgets.controls import LABEL, column, png, png_sheet, side_by_side

LARGEST_TILE, SHEET_WIDTH = 192, 880  # pixels on the screen


class SliceSlider:
    """One set of slices at a time, beside the originals and the errors, if there are any.

    A notebook shows `slider.widget`, after a figure of a few sets.

    Args:
        snapshots: {epoch, slice position or age: uint8 slices (n, height, width)}, such as those of
            `training.Snapshots.arrays`; index maps are decoded first.
        originals: uint8 slices of the same shape; None: there are none.
        unit: What the sets are counted in, such as "epoch", "position" or "years".
        notes: {epoch, position or age: text beside the slider}, such as a score.
        play: Whether there is a button that shows all sets in turn.

    Raises:
        ValueError: There are no snapshots, or their shape is not that of the originals.
    """

    def __init__(
        self,
        snapshots: Mapping[int, UInt8[np.ndarray, "n height width"]],
        originals: UInt8[np.ndarray, "_ _ _"] | None = None,
        unit: str = "epoch",
        notes: Mapping[int, str] | None = None,
        play: bool = True,
    ):
        if not snapshots:
            raise ValueError("there are no slices to show: a training keeps some after each epoch")
        if originals is not None and any(s.shape != originals.shape for s in snapshots.values()):
            raise ValueError("snapshots and originals differ in shape: give the same slices")
        self.snapshots, self.originals = dict(sorted(snapshots.items())), originals
        self.notes = notes or {}
        moments = list(self.snapshots)
        self.choice = widgets.SelectionSlider(
            options=[(str(moment), moment) for moment in moments],
            value=moments[0],
            description=unit,
            style=LABEL,
            layout=widgets.Layout(width="440px"),
        )
        self.note, self.now, self.error = widgets.Label(), _picture(), _picture()
        self.choice.observe(self.show, names="value")
        self.widget = column(self._controls(play), *self._rows())
        self.show()

    def _controls(self, play: bool) -> widgets.HBox:
        self.play = widgets.Play(
            value=0,
            max=len(self.snapshots) - 1,
            interval=600,
            show_repeat=False,
        )
        widgets.link((self.play, "value"), (self.choice, "index"))
        return side_by_side(self.choice, *([self.play] if play else []), self.note)

    def _rows(self) -> list[widgets.Widget]:
        if self.originals is None:
            return [self.now]
        first = _picture(self._sheet(self.originals))
        scale = f"|error|, black: 0, brightest: {LARGEST_ERROR:g} or more of the grey range"
        return [
            *(widgets.Label("original"), first),
            *(widgets.Label("reconstruction"), self.now),
            *(widgets.Label(scale), self.error),
        ]

    def _sheet(self, images: UInt8[np.ndarray, "n height width"]) -> bytes:
        columns = min(len(images), 8)
        tile = min(LARGEST_TILE, SHEET_WIDTH // columns)
        return png_sheet(images, columns, tile)

    def errors(self) -> UInt8[np.ndarray, "n height width"]:
        """Absolute error of the shown slices; 255 stands for `LARGEST_ERROR` and more."""
        if self.originals is None:
            raise ValueError("generated slices have no original: there is no error to show")
        shown = self.snapshots[self.choice.value].astype(int)
        share = np.abs(shown - self.originals) / (255 * LARGEST_ERROR)
        return (255 * share.clip(0, 1)).round().astype(np.uint8)

    def show(self, _change=None) -> None:
        """Show the selected set."""
        self.now.value = self._sheet(self.snapshots[self.choice.value])
        self.note.value = self.notes.get(self.choice.value, "")
        if self.originals is not None:
            self.error.value = coloured_sheet(self._sheet(self.errors()))


def coloured_sheet(sheet: bytes) -> bytes:
    """A grey PNG in the colours of the error figures."""
    with Image.open(io.BytesIO(sheet)) as grey:
        values = np.asarray(grey)
    return png(Image.fromarray(matplotlib.colormaps["magma"](values, bytes=True)[..., :3]))


def _picture(value: bytes = b"") -> widgets.Image:
    return widgets.Image(
        value=value,
        format="png",
        layout=widgets.Layout(
            max_width="100%", height="auto", object_fit="contain", align_self="flex-start"
        ),
    )
