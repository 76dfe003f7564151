"""Sliders bound to sampling: each change draws and decodes new slices. Needs a live kernel; a static figure of the same
content goes first in a notebook, because executed copies keep no widget state."""

from __future__ import annotations

import io
import time

import ipywidgets as widgets
import numpy as np
from PIL import Image

from oasis_utils.pixelcnn import PixelCNN, SamplingOptions
from oasis_utils.sampling import BrainSampler, image_seeds

TILE = 224  # pixels a side of one slice on the screen


def png_sheet(images: np.ndarray, columns: int = 4, tile: int = TILE) -> bytes:
    """A row-wise sheet of uint8 slices as PNG."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("L", (columns * tile, rows * tile))
    for i, image in enumerate(images):
        shown = Image.fromarray(image).resize((tile, tile), Image.Resampling.BICUBIC)
        sheet.paste(shown, (i % columns * tile, i // columns * tile))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    return buffer.getvalue()


class SamplingPanel:
    """Prior, slice position, temperature, top-k, top-p, seed and number of images; one picture that follows them.

    samplers: {label: BrainSampler}. `panel.widget` is what a notebook shows.
    """

    def __init__(self, samplers: dict[str, BrainSampler]):
        self.samplers = samplers
        first = next(iter(samplers.values()))
        n_codes = first.vqvae.config.n_codes
        wide = {"style": {"description_width": "90px"}, "layout": widgets.Layout(width="340px"),
                "continuous_update": False}
        self.prior = widgets.ToggleButtons(options=list(samplers), description="prior",
                                           style={"description_width": "90px", "button_width": "110px"})
        self.position = widgets.IntSlider(first.n_positions // 2, 0, first.n_positions - 1, description="position",
                                          **wide)
        self.temperature = widgets.FloatSlider(1.0, min=0.0, max=1.5, step=0.05, description="temperature", **wide)
        self.top_k = widgets.IntSlider(0, 0, n_codes, description="top-k (0: all)", **wide)
        self.top_p = widgets.FloatSlider(0.95, min=0.05, max=1.0, step=0.05, description="top-p", **wide)
        self.seed = widgets.IntSlider(0, 0, 999, description="seed", **wide)
        self.count = widgets.IntSlider(4, 1, 8, description="images", **wide)
        self.picture = widgets.Image(format="png", layout=widgets.Layout(
            max_width="100%", height="auto", object_fit="contain", align_self="flex-start"))
        self.status = widgets.Label()
        self.controls = [self.prior, self.position, self.temperature, self.top_k, self.top_p, self.seed, self.count]
        for control in self.controls:
            control.observe(self.redraw, names="value")
        what = widgets.VBox([self.prior, self.position, self.seed, self.count])
        how = widgets.VBox([self.temperature, self.top_k, self.top_p, self.status])
        self.widget = widgets.VBox([widgets.HBox([what, how], layout=widgets.Layout(flex_flow="row wrap")),
                                    self.picture])
        self.redraw()

    def options(self) -> SamplingOptions:
        return SamplingOptions(self.temperature.value, self.top_k.value, self.top_p.value)

    def redraw(self, _change=None) -> None:
        """Sample, decode and show; the sliders that a DCGAN ignores are switched off."""
        sampler, start = self.samplers[self.prior.value], time.monotonic()
        autoregressive = isinstance(sampler.prior, PixelCNN)
        for control in (self.temperature, self.top_k, self.top_p):
            control.disabled = not autoregressive
        n = self.count.value
        samples = sampler.sample(np.full(n, self.position.value), image_seeds(self.seed.value, n),
                                 self.options() if autoregressive else None)
        self.picture.value = png_sheet(samples.images)
        self.status.value = f"{n} slices in {time.monotonic() - start:.2f} s"
