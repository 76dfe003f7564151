"""The panels of notebook 07 and of the app: sample, stack, head, walk, complete, paint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import ipywidgets as widgets
import numpy as np
from jaxtyping import Bool, Integer, UInt8

from oasis_utils.data.dataset import Split
from oasis_utils.models.drawing import SamplingOptions
from oasis_utils.models.heads import HeadSampler
from oasis_utils.models.regions import REGIONS, region
from oasis_utils.models.sampler import BrainSampler
from oasis_utils.models.samples import Samples, image_seeds
from oasis_utils.widgets.comparison import Comparison, bar
from oasis_utils.widgets.controls import (
    LABEL,
    TILE,
    WIDE,
    OnRow,
    OutputArea,
    RenderedImages,
    SamplingControls,
    choice,
    chosen,
    column,
    integer,
    png_sheet,
    sheet_of,
    side_by_side,
)
from oasis_utils.widgets.head_viewer import HeadPanel
from oasis_utils.widgets.painter import PainterPanel
from oasis_utils.widgets.real_slices import RealSlice
from oasis_utils.widgets.settings import SeedBox, Settings

IMAGE_COUNTS = (1, 2, 4, 8, 16, 32, 64)


def darkened(
    image: UInt8[np.ndarray, "height width"], keep: Bool[np.ndarray, "rows cols"]
) -> UInt8[np.ndarray, ...]:
    """A slice with the cells that are not kept at a third of their grey level.

    Args:
        image: uint8 slice; its side is a multiple of that of `keep`.
        keep: True for the cells of the index map that are kept.

    Returns:
        A uint8 slice of the same size.
    """
    cell = len(image) // len(keep)
    return np.where(np.kron(keep, np.ones((cell, cell), bool)), image, image // 3)


class SamplingPanel:
    """Slices of one position with chosen prior, age, sampling options, seed and number of images.

    A notebook shows `panel.widget`.

    Args:
        samplers: {label: sampler}.
        folder: Where Save writes.
        real: Shown below at the same position, where there are data.
    """

    def __init__(
        self, samplers: dict[str, BrainSampler], folder: Path, real: RealSlice | None = None
    ):
        self.samplers, first = samplers, next(iter(samplers.values()))
        self.prior, self.real = choice("prior", list(samplers)), real
        self.position = integer("position", first.n_positions // 2, 0, first.n_positions - 1)
        self.seed = SeedBox("seed", 0)
        self.count = widgets.SelectionSlider(
            options=IMAGE_COUNTS, value=4, description="images", **WIDE
        )
        self.sampling, self.output = SamplingControls(samplers), OutputArea(folder)
        shown = (self.prior, self.position, self.seed, self.count)
        self.settings = Settings(self.redraw, (*shown, *self.sampling.controls))
        self.comparison = Comparison(self.output)
        self.widget = column(
            side_by_side(column(*shown), self.sampling.widget),
            bar(self.output, self.settings, self.comparison),
            self.comparison.widget,
            *([real.widget] if real else []),
        )

    def redraw(self, _change=None) -> None:
        """Draw with the present settings, in the background."""
        label, n = chosen(self.prior), self.count.value
        sampler, position, seed = self.samplers[label], self.position.value, self.seed.value
        self.sampling.allow(sampler)
        options = self.sampling.options() if sampler.prior.supports_options else None
        ages, positions = self.sampling.age.value(n), np.full(n, position)
        settings = self.settings.values()
        if self.real:
            self.real.show(position)

        def draw(on_row) -> RenderedImages:
            maps = sampler.draw(positions, image_seeds(seed, n), options, on_row=on_row, ages=ages)
            samples = Samples(sampler.decode(maps), maps, positions)
            return RenderedImages(
                samples,
                f"{label.lower()}_position{position}_seed{seed}_{n}",
                sheet_of(samples.images),
                settings=settings,
            )

        self.output.run(draw, sampler, n)


@dataclass(frozen=True)
class SeriesRequest:
    """What a `SeriesPanel` draws.

    Attributes:
        positions: (n,) slice positions.
        draw: Called with `on_row`; returns n index maps.
        name: End of the name of its files.
    """

    positions: Integer[np.ndarray, " n"]
    draw: Callable[[OnRow], np.ndarray]
    name: str


class SeriesPanel(ABC):
    """Slices in an order: drawn together, then shown one at a time with a slider, or played.

    A subclass provides its controls, and `request`.

    Args:
        samplers: {label: sampler}.
        folder: Where Save writes.
        index: Slider that selects the slice to show.
        controls: Settings that change what is drawn, beside prior and sampling options.
    """

    def __init__(
        self,
        samplers: dict[str, BrainSampler],
        folder: Path,
        index: widgets.IntSlider,
        *controls: widgets.Widget,
    ):
        self.samplers = samplers
        self.images: UInt8[np.ndarray, "n height width"] | None = None
        self.prior, self.sampling = choice("prior", list(samplers)), SamplingControls(samplers)
        self.output = OutputArea(folder, "448px")
        self.index = index
        self.play = widgets.Play(
            value=index.value, max=index.max, interval=200, repeat=True, show_repeat=False
        )
        widgets.jslink((self.play, "value"), (self.index, "value"))
        self.index.observe(self.show_slice, names="value")
        self.settings = Settings(
            self.redraw, (self.prior, *controls, *self.sampling.controls), also=(index,)
        )
        self.comparison = Comparison(self.output)
        self.widget = column(
            side_by_side(column(self.prior, *controls), self.sampling.widget),
            side_by_side(self.index, self.play),
            bar(self.output, self.settings, self.comparison),
            self.comparison.widget,
        )

    @abstractmethod
    def request(self, sampler: BrainSampler, options: SamplingOptions | None) -> SeriesRequest:
        """What to draw with the present settings."""

    def redraw(self, _change=None) -> None:
        """Draw the whole series in the background; the selected slice shows its finished rows."""
        label = chosen(self.prior)
        sampler = self.samplers[label]
        self.sampling.allow(sampler)
        request = self.request(
            sampler, self.sampling.options() if sampler.prior.supports_options else None
        )
        selected, settings = self.index.value, self.settings.values()

        def draw(on_row) -> RenderedImages:
            maps = request.draw(on_row)
            images = self.images = sampler.decode(maps)
            return RenderedImages(
                Samples(images, maps, request.positions),
                f"{label.lower()}_{request.name}",
                png_sheet(images, columns=8, tile=TILE // 2),
                self._selected(images),
                settings,
            )

        n = len(request.positions)
        self.output.run(draw, sampler, n, slice(selected, selected + 1))

    def _selected(self, images: UInt8[np.ndarray, "n height width"]) -> bytes:
        return png_sheet(images[self.index.value][None], tile=2 * TILE)

    def show_slice(self, _change=None) -> None:
        """Show the slice that the slider selects, once the series is drawn."""
        if self.images is not None:
            self.output.picture.value = self._selected(self.images)
        if self.comparison.kept is not None:
            self.comparison.picture.value = self._selected(self.comparison.kept.samples.images)


class StackPanel(SeriesPanel):
    """All slice positions of one head, or from the same noise where no model draws heads.

    Args:
        samplers: {label: sampler}.
        folder: Where Save writes.
        heads: {label: sampler of heads}, for all of the samplers, some or none.
    """

    def __init__(
        self,
        samplers: dict[str, BrainSampler],
        folder: Path,
        heads: Mapping[str, HeadSampler] | None = None,
    ):
        self.heads = heads or {}
        self.seed, last = SeedBox("seed", 0), next(iter(samplers.values())).n_positions - 1
        super().__init__(
            samplers,
            folder,
            integer("position", last // 2, 0, last, continuous_update=True),
            self.seed,
        )

    def request(self, sampler, options):
        """All positions with one seed."""
        seed, n = self.seed.value, sampler.n_positions
        positions, ages = np.arange(n), self.sampling.age.value(n)
        one, head = image_seeds(seed, 1), self.heads.get(chosen(self.prior))

        def draw(on_row) -> np.ndarray:
            if head is None:
                return sampler.draw(positions, one * n, options, on_row=on_row, ages=ages)
            age = None if ages is None else ages[:1]
            return head.draw(one, options, age, lambda done: on_row(done, None))[0]

        return SeriesRequest(positions, draw, f"stack_seed{seed}")


class WalkPanel(SeriesPanel):
    """Slices from the noise of one seed to that of another.

    Those of the DCGAN change gradually, those of the PixelCNN abruptly.

    Args:
        samplers: {label: sampler}.
        folder: Where Save writes.
    """

    steps = 17

    def __init__(self, samplers: dict[str, BrainSampler], folder: Path):
        first = next(iter(samplers.values()))
        self.position = integer("position", first.n_positions // 2, 0, first.n_positions - 1)
        self.start, self.end = SeedBox("from seed", 0), SeedBox("to seed", 1)
        super().__init__(
            dict(sorted(samplers.items(), key=lambda item: not item[1].prior.gradual)),
            folder,
            integer("step", 0, 0, self.steps - 1, continuous_update=True),
            self.position,
            self.start,
            self.end,
        )
        self.sampling.age.widget.layout.display = "none"

    def request(self, sampler, options):
        """One position with noise between two seeds."""
        position = self.position.value
        ends = tuple(image_seeds(control.value, 1)[0] for control in (self.start, self.end))
        return SeriesRequest(
            np.full(self.steps, position),
            lambda on_row: sampler.walk(position, ends, self.steps, options, on_row),
            f"walk_position{position}_seed{self.start.value}_to{self.end.value}",
        )


class CompletionPanel:
    """Part of a drawn map is kept, and the rest is sampled again several times (PixelCNN).

    Args:
        sampler: With a prior that supports completion.
        folder: Where Save writes.
    """

    def __init__(self, sampler: BrainSampler, folder: Path):
        self.sampler = sampler
        self.position = integer("position", sampler.n_positions // 2, 0, sampler.n_positions - 1)
        self.start = SeedBox("given seed", 0)
        self.keep = widgets.Dropdown(
            options=REGIONS, description="keep", style=LABEL, layout=WIDE["layout"]
        )
        self.seed, self.count = SeedBox("new seed", 1), integer("completions", 3, 1, 7)
        self.sampling, self.output = SamplingControls({"PixelCNN": sampler}), OutputArea(folder)
        shown = (self.position, self.start, self.keep, self.seed, self.count)
        self.settings = Settings(self.redraw, (*shown, *self.sampling.controls))
        self.comparison = Comparison(self.output)
        self.widget = column(
            side_by_side(column(*shown), self.sampling.widget),
            bar(self.output, self.settings, self.comparison),
            self.comparison.widget,
        )

    def redraw(self, _change=None) -> None:
        """Draw the given slice, dark where it is not kept, and its completions."""
        position, start, name = self.position.value, self.start.value, chosen(self.keep)
        seed, n = self.seed.value, self.count.value
        options, ages = self.sampling.options(), self.sampling.age.value(1)
        keep, settings = region(name, self.sampler.prior.config.grid), self.settings.values()

        def draw(on_row) -> RenderedImages:
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
            return RenderedImages(
                Samples(images[1:], maps, positions),
                f"completion_{name.replace(' ', '_')}_position{position}_seed{start}_{seed}",
                sheet,
                settings=settings,
            )

        self.output.run(draw, self.sampler, n)


Panel = SamplingPanel | SeriesPanel | HeadPanel | CompletionPanel | PainterPanel


class Explorer:
    """All panels as the tabs of one widget; a panel first draws when its tab is opened.

    A notebook shows `explorer.widget`.

    Args:
        samplers: {"PixelCNN": sampler, "DCGAN": sampler}, or one of them.
        folder: Where Save writes.
        real: Real slices, shown in the first panel; None: there are none.
        description: Of these data, as in `Dataset.description`.
        head: The panel of whole heads, whose samplers also draw the stacks; None: there is none.
    """

    def __init__(
        self,
        samplers: dict[str, BrainSampler],
        folder: Path,
        real: Split | None = None,
        description: str = "",
        head: HeadPanel | None = None,
    ):
        first = next(iter(samplers.values()))
        beside = None if real is None else RealSlice(real, first, description)
        self.panels: dict[str, Panel] = {
            "Sample": SamplingPanel(samplers, folder, beside),
            "Stack": StackPanel(samplers, folder, head.samplers if head else None),
            **({"Head": head} if head else {}),
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
        """Draw the panel of a tab, if it was never opened; None: no tab is selected."""
        if index is not None and index not in self.opened:
            self.opened.add(index)
            list(self.panels.values())[index].redraw()
