"""Parts of the slider panels: labelled controls, and an output area with background drawing.

Needs a live kernel; a static figure of the same content goes first in a notebook, because executed
copies keep no widget state. The panels themselves are in `panels` and `painter`.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from oasis_utils.models.drawing import SamplingOptions
from oasis_utils.models.sampler import BrainSampler, Samples
from oasis_utils.runtime import atomic
from oasis_utils.widgets.worker import Latest, Stopped, Ticket

TILE = 224  # pixels a side of one slice on the screen
PATIENCE = 0.15  # seconds before the rows of an unfinished drawing are shown, and between them
OnRow = Callable[[int, torch.Tensor], None]


def png_sheet(
    images: UInt8[np.ndarray, "n height width"], columns: int = 4, tile: int = TILE
) -> bytes:
    """A row-wise sheet of uint8 slices as PNG."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("L", (columns * tile, rows * tile))
    for i, image in enumerate(images):
        shown = Image.fromarray(image).resize((tile, tile), Image.Resampling.BICUBIC)
        sheet.paste(shown, (i % columns * tile, i // columns * tile))
    return png(sheet)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(
        buffer, format="PNG", compress_level=1
    )  # the browser is near: time matters more than size
    return buffer.getvalue()


def sheet_of(images: UInt8[np.ndarray, "n height width"]) -> bytes:
    """Up to 8 slices large, four in a row; more of them half as large, eight in a row."""
    return png_sheet(images) if len(images) <= 8 else png_sheet(images, columns=8, tile=TILE // 2)


def black_below(
    images: UInt8[np.ndarray, "n height width"], share: float
) -> UInt8[np.ndarray, "n height width"]:
    """Slices of which only the upper share, in [0, 1], is drawn yet."""
    images[:, round(images.shape[1] * share) :] = 0
    return images


# ---------------------------------------------------------------- controls

LABEL = {"description_width": "90px"}
WIDE = {"style": LABEL, "layout": widgets.Layout(width="340px"), "continuous_update": False}


def integer(label: str, value: int, low: int, high: int, **changes) -> widgets.IntSlider:
    """A labelled slider that speaks on release, or after each press of an arrow key."""
    return widgets.IntSlider(value, low, high, description=label, **{**WIDE, **changes})


def number(label: str, value: float, low: float, high: float) -> widgets.FloatSlider:
    return widgets.FloatSlider(value, min=low, max=high, step=0.05, description=label, **WIDE)


def choice(label: str, options) -> widgets.ToggleButtons:
    return widgets.ToggleButtons(
        options=options,
        description=label,
        style={**LABEL, "button_width": "100px"},
        layout=widgets.Layout(width="340px"),
    )


def column(*controls: widgets.Widget) -> widgets.VBox:
    return widgets.VBox(controls)


def side_by_side(*parts: widgets.Widget) -> widgets.HBox:
    """In one line where there is room, below one another on a narrow screen."""
    return widgets.HBox(parts, layout=widgets.Layout(flex_flow="row wrap"))


class AgeControl:
    """A tick box and a slider in years, shown only if one of the models was told ages."""

    def __init__(self, samplers: dict[str, BrainSampler]):
        config = next((s.prior.config for s in samplers.values() if s.knows_age), None)
        middle, spread = (config.age_mean, config.age_std) if config else (50, 20)
        self.said = widgets.Checkbox(False, description="say the age", indent=True, style=LABEL)
        self.years = integer(
            "age (years)",
            round(middle),
            max(0, round(middle - 2 * spread)),
            round(middle + 2 * spread),
        )
        self.widget = column(self.said, self.years)
        self.widget.layout.display = None if config else "none"

    def value(self, n: int) -> np.ndarray | None:
        """Ages of n slices; None: not said."""
        usable = self.said.value and not self.said.disabled
        return np.full(n, float(self.years.value)) if usable else None

    def allow(self, sampler: BrainSampler) -> None:
        self.said.disabled = self.years.disabled = not sampler.knows_age


class Dials:
    """Temperature, top-k and top-p, which exist for the PixelCNN only, and the age."""

    def __init__(self, samplers: dict[str, BrainSampler]):
        n_codes = next(iter(samplers.values())).vqvae.config.n_codes
        self.temperature = number("temperature", 1.0, 0.0, 1.5)
        self.top_k = integer("top-k (0: all)", 0, 0, n_codes)
        self.top_p = number("top-p", 0.95, 0.05, 1.0)
        self.age = AgeControl(samplers)
        self.controls = [self.temperature, self.top_k, self.top_p, self.age.said, self.age.years]
        self.widget = column(self.temperature, self.top_k, self.top_p, self.age.widget)

    def options(self) -> SamplingOptions:
        return SamplingOptions(self.temperature.value, self.top_k.value, self.top_p.value)

    def allow(self, sampler: BrainSampler) -> None:
        """Switch off what this prior ignores."""
        for control in (self.temperature, self.top_k, self.top_p):
            control.disabled = not sampler.prior.supports_options
        self.age.allow(sampler)


# ---------------------------------------------------------------- stage


@dataclass(frozen=True)
class Shown:
    """A finished drawing."""

    samples: Samples
    name: str  # under which it is saved
    sheet: bytes  # PNG of all slices, to be saved
    view: bytes | None = None  # PNG on the screen, where that is not the sheet


class Stage:
    """Where drawings appear: the picture, a line that says how far it is, Cancel and Save.

    `run(draw, sampler, n)` calls draw(on_row), which returns Shown, in the background; a newer call
    takes its place.
    """

    def __init__(self, folder: Path, width: str = "100%"):
        self.folder, self.latest, self.shown = folder, Latest(), None
        self.picture = widgets.Image(
            format="png",
            layout=widgets.Layout(
                max_width=width, height="auto", object_fit="contain", align_self="flex-start"
            ),
        )
        self.status = widgets.Label()
        self.cancel = widgets.Button(
            description="Cancel", icon="stop", disabled=True, tooltip="stop the drawing that runs"
        )
        self.save = widgets.Button(
            description="Save PNG + NPZ", icon="save", tooltip=f"write both into {folder}"
        )
        self.cancel.on_click(lambda _: self.latest.cancel())
        self.save.on_click(lambda _: self.write())
        self.bar = side_by_side(self.cancel, self.save, self.status)

    def run(
        self, draw: Callable[[OnRow], Shown], sampler: BrainSampler, n: int, view=slice(None)
    ) -> None:
        """n: slices it will make. view: which of them are shown while rows arrive."""
        self.latest.submit(lambda ticket: self._job(ticket, draw, sampler, n, view))

    def wait(self, timeout: float = 60.0) -> None:
        self.latest.wait(timeout)

    def show(self, shown: Shown) -> None:
        self.shown, self.picture.value = shown, shown.view or shown.sheet

    def write(self) -> None:
        """The sheet as PNG, the slices with their codes as NPZ."""
        if self.shown is None:
            return
        path = self.folder / self.shown.name
        with atomic(path.with_suffix(".png")) as partial:
            partial.write_bytes(self.shown.sheet)
        self.shown.samples.save(path.with_suffix(".npz"))
        self.status.value = f"saved {path.name}.png and .npz in {self.folder}"

    def _job(self, ticket: Ticket, draw, sampler: BrainSampler, n: int, view) -> None:
        start, shown = time.monotonic(), None
        try:
            shown = draw(self._rows(ticket, sampler, view))
            ticket.check()
            text = f"{n} slice{'s' if n > 1 else ''} in {time.monotonic() - start:.2f} s"
        except Stopped as stopped:
            if not stopped.cancelled:
                return  # the newer drawing has the stage
            shown, text = None, "cancelled"
        except Exception as error:  # the thread must live on, and the reader must know
            text = f"could not draw: {error}"
        self.cancel.disabled = True
        if shown:
            self.show(shown)
        self.status.value = text  # last: it says that all is done

    def _rows(self, ticket: Ticket, sampler: BrainSampler, view) -> OnRow:
        """Stop if no longer wanted; from time to time show the rows so far, without spending long
        on it.
        """
        last, pause = time.monotonic(), PATIENCE

        def on_row(row: int, maps: torch.Tensor) -> None:
            nonlocal last, pause
            ticket.check()
            rows, now = maps.shape[1], time.monotonic()
            if now - last < pause or row == rows - 1:
                return
            self.cancel.disabled = False
            self.status.value = f"row {row + 1} of {rows} …"
            images = sampler.decode(maps[view].cpu().numpy())
            self.picture.value = sheet_of(black_below(images, (row + 1) / rows))
            last = time.monotonic()
            pause = max(PATIENCE, 4 * (last - now))

        return on_row
