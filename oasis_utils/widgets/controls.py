"""Parts of the slider panels: labelled controls, and an output area that draws in the background.

They need a live kernel. Executed copies of a notebook keep no widget state, so a notebook shows a
static figure of the same content first. The panels are in `panels` and `painter`.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from oasis_utils.models.drawing import SamplingOptions
from oasis_utils.models.heads import HeadSampler
from oasis_utils.models.sampler import BrainSampler
from oasis_utils.models.samples import Samples
from oasis_utils.runtime import atomic
from oasis_utils.widgets.worker import BackgroundWorker, Stopped, StopToken

TILE = 224  # pixels a side of one slice on the screen
PREVIEW_INTERVAL = 0.15  # least seconds between two views of an unfinished drawing
# rows drawn and the maps so far; or slices drawn so far and None
OnRow = Callable[[int, torch.Tensor | None], None]


def png_sheet(
    images: UInt8[np.ndarray, "n height width"] | UInt8[np.ndarray, "n height width 3"],
    columns: int = 4,
    tile: int = TILE,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
) -> bytes:
    """A sheet of slices, row by row.

    Args:
        images: uint8 slices, grey or in colour.
        columns: Slices in a row.
        tile: Pixels a side of each slice on the sheet.
        resample: How slices are enlarged.

    Returns:
        The bytes of a PNG file.
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    mode = "L" if images.ndim == 3 else "RGB"
    sheet = Image.new(mode, (columns * tile, rows * tile))
    for i, image in enumerate(images):
        shown = Image.fromarray(image).resize((tile, tile), resample)
        sheet.paste(shown, (i % columns * tile, i // columns * tile))
    return png(sheet)


def png(image: Image.Image) -> bytes:
    """The image as the bytes of a PNG file."""
    buffer = io.BytesIO()
    # the browser runs on this machine: time matters more than size
    image.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def sheet_of(images: UInt8[np.ndarray, "n height width"]) -> bytes:
    """Up to 8 slices large, four in a row; more of them half as large, eight in a row."""
    return png_sheet(images) if len(images) <= 8 else png_sheet(images, columns=8, tile=TILE // 2)


def black_below(
    images: UInt8[np.ndarray, "n height width"], share: float
) -> UInt8[np.ndarray, "n height width"]:
    """The slices themselves, black below their upper share in [0, 1], which is finished."""
    images[:, round(images.shape[1] * share) :] = 0
    return images


# ---------------------------------------------------------------- controls

LABEL = {"description_width": "90px"}
WIDE = {"style": LABEL, "layout": widgets.Layout(width="340px"), "continuous_update": False}


def integer(label: str, value: int, low: int, high: int, **changes) -> widgets.IntSlider:
    """A labelled slider that reports its value on release, or after each press of an arrow key."""
    return widgets.IntSlider(value, low, high, description=label, **{**WIDE, **changes})


def number(label: str, value: float, low: float, high: float) -> widgets.FloatSlider:
    """A labelled slider in steps of 0.05 that reports its value on release."""
    return widgets.FloatSlider(value, min=low, max=high, step=0.05, description=label, **WIDE)


def number_box(label: str, value: int, high: int) -> widgets.BoundedIntText:
    """A labelled box for a whole number from 0 to `high`; arrow keys change it by 1."""
    return widgets.BoundedIntText(
        value, min=0, max=high, description=label, style=LABEL, layout=widgets.Layout(width="190px")
    )


def choice(label: str, options: list[str]) -> widgets.ToggleButtons:
    """A labelled row of buttons, one of which is chosen."""
    buttons = widgets.ToggleButtons(
        options=options,
        description=label,
        style={**LABEL, "button_width": "100px"},
        layout=widgets.Layout(width="340px"),
    )
    for name in ("jupyter-widgets", "widget-inline-hbox"):  # else the label is a line of its own
        buttons.add_class(name)
    return buttons


def chosen(control: widgets.ToggleButtons | widgets.Dropdown) -> str:
    """The option that is chosen; TypeError if there is none."""
    if not isinstance(control.value, str):
        raise TypeError(f"nothing is chosen as {control.description}")
    return control.value


def column(*controls: widgets.Widget) -> widgets.VBox:
    """The controls below one another."""
    return widgets.VBox(controls)


def side_by_side(*parts: widgets.Widget) -> widgets.HBox:
    """The parts in one line, or below one another on a narrow screen."""
    return widgets.HBox(parts, layout=widgets.Layout(flex_flow="row wrap"))


class AgeControl:
    """A tick box and a slider in years, shown only if a model is conditioned on age.

    Args:
        samplers: {label: sampler}, of slices or of heads.
    """

    def __init__(self, samplers: Mapping[str, BrainSampler | HeadSampler]):
        config = next((s.prior.config for s in samplers.values() if s.knows_age), None)
        middle, spread = (config.age_mean, config.age_std) if config else (50, 20)
        self.enabled = widgets.Checkbox(False, description="use age", indent=True, style=LABEL)
        self.years = integer(
            "age (years)",
            round(middle),
            max(0, round(middle - 2 * spread)),
            round(middle + 2 * spread),
        )
        self.enabled.observe(lambda _: self._switch(), names="value")
        self._switch()
        self.widget = column(self.enabled, self.years)
        self.widget.layout.display = None if config else "none"

    def value(self, n: int) -> np.ndarray | None:
        """Ages of n slices in years; None if no age is chosen."""
        usable = self.enabled.value and not self.enabled.disabled
        return np.full(n, float(self.years.value)) if usable else None

    def allow(self, sampler: BrainSampler | HeadSampler) -> None:
        """Disable the controls for a model that is not conditioned on age."""
        self.enabled.disabled = not sampler.knows_age
        self._switch()

    def _switch(self) -> None:
        self.years.disabled = self.enabled.disabled or not self.enabled.value


class SamplingControls:
    """Temperature, top-k and top-p, which only the PixelCNN has, and the age.

    Args:
        samplers: {label: sampler}.
    """

    def __init__(self, samplers: dict[str, BrainSampler]):
        n_codes = next(iter(samplers.values())).vqvae.config.n_codes
        self.temperature = number("temperature", 1.0, 0.0, 1.5)
        self.top_k = integer("top-k (0: all)", 0, 0, n_codes)
        self.top_p = number("top-p", 0.95, 0.05, 1.0)
        self.age = AgeControl(samplers)
        self.controls = [self.temperature, self.top_k, self.top_p, self.age.enabled, self.age.years]
        self.widget = column(self.temperature, self.top_k, self.top_p, self.age.widget)

    def options(self) -> SamplingOptions:
        """The sampling options that the sliders show."""
        return SamplingOptions(self.temperature.value, self.top_k.value, self.top_p.value)

    def allow(self, sampler: BrainSampler) -> None:
        """Disable the controls that this prior ignores."""
        for control in (self.temperature, self.top_k, self.top_p):
            control.disabled = not sampler.prior.supports_options
        self.age.allow(sampler)


# ---------------------------------------------------------------- output area


@dataclass(frozen=True)
class RenderedImages:
    """A finished drawing.

    Attributes:
        samples: Slices with their index maps.
        name: Name of its files, without ending.
        sheet: PNG of all slices, to be saved.
        view: PNG on the screen; None: the sheet.
        settings: {label: value} that it was drawn with.
    """

    samples: Samples
    name: str
    sheet: bytes
    view: bytes | None = None
    settings: dict[str, str] = field(default_factory=dict)


class OutputArea:
    """Output area of a panel: the picture, a line of progress, Cancel and Save.

    Args:
        folder: Where Save writes.
        width: Largest width of the picture, in CSS.
    """

    def __init__(self, folder: Path, width: str = "100%"):
        self.folder, self.worker = folder, BackgroundWorker()
        self.drawing: RenderedImages | None = None
        self.listeners: list[Callable[[], None]] = []  # called when a drawing is shown
        self.picture = widgets.Image(
            format="png",
            layout=widgets.Layout(
                max_width=width, height="auto", object_fit="contain", align_self="flex-start"
            ),
        )
        self.status = widgets.Label()
        self.cancel = widgets.Button(
            description="Cancel", icon="stop", disabled=True, tooltip="stop the running drawing"
        )
        self.save = widgets.Button(
            description="Save PNG + NPZ", icon="save", tooltip=f"write both into {folder}"
        )
        self.cancel.on_click(lambda _: self.worker.cancel())
        self.save.on_click(lambda _: self.write())

    def run(
        self,
        draw: Callable[[OnRow], RenderedImages],
        sampler: BrainSampler | None,
        n: int,
        view=slice(None),
    ) -> None:
        """Draw in the background; a newer call replaces this one.

        Args:
            draw: Called with `on_row`, which it calls after each row of codes, or after each slice.
            sampler: Decodes unfinished maps; None: only finished slices are shown.
            n: Number of slices that `draw` makes.
            view: Which of them are shown before the drawing is finished.
        """
        self.worker.submit(lambda token: self._job(token, draw, sampler, n, view))

    def wait(self, timeout: float = 60.0) -> None:
        """Block until no drawing runs, at most `timeout` seconds."""
        self.worker.wait(timeout)

    def show(self, drawing: RenderedImages) -> None:
        """Put a drawing on the screen; Save will write it."""
        self.drawing, self.picture.value = drawing, drawing.view or drawing.sheet
        for listener in self.listeners:
            listener()

    def write(self) -> None:
        """Save the sheet as PNG and the slices with their codes as NPZ."""
        if self.drawing is None:
            return
        path = self.folder / self.drawing.name
        with atomic(path.with_suffix(".png")) as partial:
            partial.write_bytes(self.drawing.sheet)
        self.drawing.samples.save(path.with_suffix(".npz"))
        self.status.value = f"saved {path.name}.png and .npz in {self.folder}"

    def _job(self, token: StopToken, draw, sampler: BrainSampler | None, n: int, view) -> None:
        start, drawing = time.monotonic(), None
        try:
            drawing = draw(self._rows(token, sampler, n, view))
            token.check()
            text = f"{n} slice{'s' if n > 1 else ''} in {time.monotonic() - start:.2f} s"
        except Stopped as stopped:
            if not stopped.cancelled:
                return  # the newer drawing uses the output area
            drawing, text = None, "cancelled"
        except Exception as error:  # the thread must go on, and the user must see the error
            text = f"could not draw: {error}"
        self.cancel.disabled = True
        if drawing:
            self.show(drawing)
        self.status.value = text  # last: it reports the end

    def _rows(self, token: StopToken, sampler: BrainSampler | None, n: int, view) -> OnRow:
        """A callback that stops an unwanted drawing and shows finished parts now and then.

        At most a fifth of the time is spent on showing them.
        """
        last, pause = time.monotonic(), PREVIEW_INTERVAL

        def on_row(row: int, maps: torch.Tensor | None) -> None:
            nonlocal last, pause
            token.check()
            now = time.monotonic()
            if now - last < pause:
                return
            if maps is None or sampler is None:
                self.cancel.disabled, last = False, now
                self.status.value = f"slice {row} of {n} …"
                return
            rows = maps.shape[1]
            if row == rows - 1:
                return
            self.cancel.disabled = False
            self.status.value = f"row {row + 1} of {rows} …"
            images = sampler.decode(maps[view].cpu().numpy())
            self.picture.value = sheet_of(black_below(images, (row + 1) / rows))
            last = time.monotonic()
            pause = max(PREVIEW_INTERVAL, 4 * (last - now))

        return on_row
