"""The panels of notebook 06 and of the app: sample, walk through a stack, walk between seeds,
complete, paint.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import ipywidgets as widgets
import numpy as np
from jaxtyping import Bool, UInt8

from oasis_utils.models.drawing import SamplingOptions
from oasis_utils.models.sampler import REGIONS, BrainSampler, Samples, image_seeds, region
from oasis_utils.widgets.controls import (
    TILE,
    Dials,
    Shown,
    Stage,
    choice,
    column,
    integer,
    png_sheet,
    sheet_of,
    side_by_side,
)
from oasis_utils.widgets.painter import PainterPanel

COUNTS = (1, 2, 4, 8, 16, 32, 64)


def darkened(
    image: UInt8[np.ndarray, "height width"], keep: Bool[np.ndarray, "rows cols"]
) -> UInt8[np.ndarray, ...]:
    """A slice whose cells that are not kept are shown at a third of their grey."""
    cell = len(image) // len(keep)
    return np.where(np.kron(keep, np.ones((cell, cell), bool)), image, image // 3)


class SamplingPanel:
    """Prior, slice position, age, temperature, top-k, top-p, seed and number of images; one picture
    follows them.

    samplers: {label: BrainSampler}. folder: where Save writes. `panel.widget` is what a notebook
    shows.
    """

    def __init__(self, samplers: dict[str, BrainSampler], folder: Path):
        self.samplers, first = samplers, next(iter(samplers.values()))
        self.prior = choice("prior", list(samplers))
        self.position = integer("position", first.n_positions // 2, 0, first.n_positions - 1)
        self.seed = integer("seed", 0, 0, 999)
        self.count = widgets.SelectionSlider(
            options=COUNTS,
            value=4,
            description="images",
            style=self.seed.style,
            layout=self.seed.layout,
            continuous_update=False,
        )
        self.dials, self.stage = Dials(samplers), Stage(folder)
        for control in (self.prior, self.position, self.seed, self.count, *self.dials.controls):
            control.observe(self.redraw, names="value")
        self.widget = column(
            side_by_side(
                column(self.prior, self.position, self.seed, self.count), self.dials.widget
            ),
            self.stage.bar,
            self.stage.picture,
        )

    def redraw(self, _change=None) -> None:
        """Draw with the present settings, in the background."""
        label, n = self.prior.value, self.count.value
        sampler, position, seed = self.samplers[label], self.position.value, self.seed.value
        self.dials.allow(sampler)
        options = self.dials.options() if sampler.prior.supports_options else None
        ages, positions = self.dials.age.value(n), np.full(n, position)

        def draw(on_row) -> Shown:
            maps = sampler.draw(positions, image_seeds(seed, n), options, on_row=on_row, ages=ages)
            samples = Samples(sampler.decode(maps), maps, positions)
            return Shown(
                samples,
                f"{label.lower()}_position{position}_seed{seed}_{n}",
                sheet_of(samples.images),
            )

        self.stage.run(draw, sampler, n)


class SeriesPanel(ABC):
    """Slices that belong in a row: drawn at once, then leafed through with a slider, or played.

    A subclass names its controls and says in `wish` what is drawn.
    """

    def __init__(
        self,
        samplers: dict[str, BrainSampler],
        folder: Path,
        place: widgets.IntSlider,
        *controls: widgets.Widget,
    ):
        self.samplers, self.images = samplers, None
        self.prior, self.dials = choice("prior", list(samplers)), Dials(samplers)
        self.stage = Stage(folder, "448px")
        self.place = place  # leafs through
        self.play = widgets.Play(
            value=place.value, max=place.max, interval=200, repeat=True, show_repeat=False
        )
        widgets.jslink((self.play, "value"), (self.place, "value"))
        self.place.observe(self.turn, names="value")
        for control in (self.prior, *controls, *self.dials.controls):
            control.observe(self.redraw, names="value")
        self.widget = column(
            side_by_side(column(self.prior, *controls), self.dials.widget),
            side_by_side(self.place, self.play),
            self.stage.bar,
            self.stage.picture,
        )

    @abstractmethod
    def wish(self, sampler: BrainSampler, options: SamplingOptions | None) -> tuple:
        """(positions, draw(on_row) -> maps, file name) with the present settings."""

    def redraw(self, _change=None) -> None:
        """Draw the whole series in the background; the slice in view is shown as its rows come."""
        label = self.prior.value
        sampler = self.samplers[label]
        self.dials.allow(sampler)
        positions, make, name = self.wish(
            sampler, self.dials.options() if sampler.prior.supports_options else None
        )
        here = self.place.value

        def draw(on_row) -> Shown:
            maps = make(on_row)
            self.images = sampler.decode(maps)
            return Shown(
                Samples(self.images, maps, positions),
                f"{label.lower()}_{name}",
                png_sheet(self.images, columns=8, tile=TILE // 2),
                self.leaf(),
            )

        self.stage.run(draw, sampler, len(positions), slice(here, here + 1))

    def leaf(self) -> bytes:
        """The slice that the slider points at."""
        return png_sheet(self.images[self.place.value][None], tile=2 * TILE)

    def turn(self, _change=None) -> None:
        if self.images is not None:
            self.stage.picture.value = self.leaf()


class StackPanel(SeriesPanel):
    """All slice positions from the same noise: as near to one subject as priors of single slices
    come.
    """

    def __init__(self, samplers: dict[str, BrainSampler], folder: Path):
        self.seed, last = integer("seed", 0, 0, 999), next(iter(samplers.values())).n_positions - 1
        super().__init__(
            samplers,
            folder,
            integer("position", last // 2, 0, last, continuous_update=True),
            self.seed,
        )

    def wish(self, sampler, options):
        seed, n = self.seed.value, sampler.n_positions
        positions, ages = np.arange(n), self.dials.age.value(n)
        return (
            positions,
            lambda on_row: sampler.draw(
                positions, image_seeds(seed, 1) * n, options, on_row=on_row, ages=ages
            ),
            f"stack_seed{seed}",
        )


class WalkPanel(SeriesPanel):
    """From the noise of one seed to that of another. The DCGAN changes gradually, the PixelCNN
    jumps.
    """

    steps = 17

    def __init__(self, samplers: dict[str, BrainSampler], folder: Path):
        first = next(iter(samplers.values()))
        self.position = integer("position", first.n_positions // 2, 0, first.n_positions - 1)
        self.start, self.end = integer("from seed", 0, 0, 999), integer("to seed", 1, 0, 999)
        super().__init__(
            dict(sorted(samplers.items(), key=lambda item: not item[1].prior.gradual)),
            folder,
            integer("step", 0, 0, self.steps - 1, continuous_update=True),
            self.position,
            self.start,
            self.end,
        )
        self.dials.age.widget.layout.display = "none"

    def wish(self, sampler, options):
        position = self.position.value
        ends = tuple(image_seeds(control.value, 1)[0] for control in (self.start, self.end))
        return (
            np.full(self.steps, position),
            lambda on_row: sampler.walk(position, ends, self.steps, options, on_row),
            f"walk_position{position}_seed{self.start.value}_to{self.end.value}",
        )


class CompletionPanel:
    """Part of a drawn map is kept, the rest imagined anew in several ways (PixelCNN)."""

    def __init__(self, sampler: BrainSampler, folder: Path):
        self.sampler, self.given = sampler, {}
        self.position = integer("position", sampler.n_positions // 2, 0, sampler.n_positions - 1)
        self.start = integer("given seed", 0, 0, 999)
        self.keep = widgets.Dropdown(
            options=REGIONS, description="keep", style=self.start.style, layout=self.start.layout
        )
        self.seed, self.answers = integer("answer seed", 1, 0, 999), integer("answers", 3, 1, 7)
        self.dials, self.stage = Dials({"PixelCNN": sampler}), Stage(folder)
        for control in (
            self.position,
            self.start,
            self.keep,
            self.seed,
            self.answers,
            *self.dials.controls,
        ):
            control.observe(self.redraw, names="value")
        self.widget = column(
            side_by_side(
                column(self.position, self.start, self.keep, self.seed, self.answers),
                self.dials.widget,
            ),
            self.stage.bar,
            self.stage.picture,
        )

    def redraw(self, _change=None) -> None:
        """The given slice, dark where it is not kept, and the answers, in the background."""
        position, start, name = self.position.value, self.start.value, self.keep.value
        seed, n, options, ages = (
            self.seed.value,
            self.answers.value,
            self.dials.options(),
            self.dials.age.value(1),
        )
        keep = region(name, self.sampler.prior.config.grid)

        def draw(on_row) -> Shown:
            given = self.sampler.draw(
                np.array([position]), image_seeds(start, 1), SamplingOptions(top_p=0.95)
            )
            positions = np.full(n, position)
            maps = self.sampler.complete(
                positions,
                image_seeds(seed, n),
                np.repeat(given, n, 0),
                np.repeat(keep[None], n, 0),
                options,
                None if ages is None else np.repeat(ages, n),
                particles=1 if name == "upper half" else 16,
                on_row=on_row,
            )
            images = self.sampler.decode(np.concatenate([given, maps]))
            sheet = sheet_of(np.concatenate([darkened(images[0], keep)[None], images[1:]]))
            return Shown(
                Samples(images[1:], maps, positions),
                f"completion_{name.replace(' ', '_')}_position{position}_seed{start}_{seed}",
                sheet,
            )

        self.stage.run(draw, self.sampler, n)


class Explorer:
    """All panels as the tabs of one widget; a panel draws for the first time when its tab is
    opened.

    samplers: {"PixelCNN": BrainSampler, "DCGAN": BrainSampler}, one is enough. folder: where Save
    writes.
    """

    def __init__(self, samplers: dict[str, BrainSampler], folder: Path):
        self.panels = {
            "Sample": SamplingPanel(samplers, folder),
            "Stack": StackPanel(samplers, folder),
            "Walk": WalkPanel(samplers, folder),
        }
        for sampler in samplers.values():
            if sampler.prior.supports_completion:
                self.panels["Complete"] = CompletionPanel(sampler, folder)
        self.panels["Paint"] = PainterPanel(samplers, folder)
        self.opened: set[int] = set()
        self.widget = widgets.Tab(
            [panel.widget for panel in self.panels.values()], titles=list(self.panels)
        )
        self.widget.observe(lambda change: self.open(change["new"]), names="selected_index")
        self.widget.selected_index = 0
        self.open(0)

    def open(self, index: int | None) -> None:
        if index is not None and index not in self.opened:
            self.opened.add(index)
            list(self.panels.values())[index].redraw()
