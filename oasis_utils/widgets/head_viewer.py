"""The panel of whole heads: three linked planes, with NiiVue or with sliders.

NiiVue (Taylor et al., https://github.com/niivue/niivue) draws with WebGL 2. Where the browser has
none, sliders move through the same planes. A notebook shows `plotting.orthogonal_views` first.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import anywidget
import ipywidgets as widgets
import numpy as np
import traitlets
from jaxtyping import UInt8
from PIL import Image

from oasis_utils.data.dataset import Dataset
from oasis_utils.data.head_geometry import FOREHEAD, SAMPLE_DATA, HeadGeometry
from oasis_utils.data.head_volumes import nifti_bytes
from oasis_utils.models.checkpoints import CheckpointError, input_of, read_about
from oasis_utils.models.codes import decode_maps
from oasis_utils.models.head_priors import DCGANHeads
from oasis_utils.models.heads import NEIGHBOUR, HeadSampler, load_head_sampler
from oasis_utils.models.sampler import BrainSampler
from oasis_utils.models.samples import Samples, image_seeds
from oasis_utils.plotting import orthogonal_cuts
from oasis_utils.runtime import RunFolder
from oasis_utils.widgets.controls import (
    AgeControl,
    OutputArea,
    RenderedImages,
    choice,
    chosen,
    column,
    integer,
    png,
    side_by_side,
)
from oasis_utils.widgets.settings import SeedBox, Settings

if TYPE_CHECKING:
    from ipyniivue import NiiVue

    from oasis_utils.models.dcgan import DCGAN

ASSETS = Path(__file__).parent / "assets"
SIDE = 300  # pixels on the screen for the longest side of a head
HEIGHT = 460  # pixels of NiiVue
GAP, LINE = 8, 128  # pixels between planes; what lines add to half of a grey level

Slices = UInt8[np.ndarray, "positions height width"]

# ---------------------------------------------------------------- what draws heads


def heads_of(samplers: Mapping[str, BrainSampler], run: RunFolder) -> dict[str, HeadSampler]:
    """What draws whole heads with the models of a run.

    The PixelCNN does so if the run has the model that is told the neighbouring slice, and if that
    one belongs to this PixelCNN; the DCGAN does so always.

    Args:
        samplers: {label: sampler}, from this run.
        run: Folder with the checkpoints.

    Returns:
        {label: sampler of heads}; may be empty.
    """
    heads = {}
    for label, sampler in samplers.items():
        if label == "DCGAN":
            heads[label] = HeadSampler(sampler.vqvae, DCGANHeads(cast("DCGAN", sampler.prior)))
        elif run.checkpoint(NEIGHBOUR).exists():
            try:
                heads[label] = load_head_sampler(run, "pixelcnn", sampler.device)
            except CheckpointError as error:
                print(f"the panels draw no heads with the {label}: {error}")
    return heads


def geometry_of(run: RunFolder, dataset: Dataset | None, n_positions: int) -> HeadGeometry:
    """Where the slices lie that the models of a run draw.

    Args:
        run: Folder with the checkpoints.
        dataset: The data of the run; None: there are none.
        n_positions: Slices of a head.

    Returns:
        The geometry of the data that the VQ-VAE was trained on; assumed, if these are unknown.
    """
    about = read_about(run.checkpoint("vqvae"))
    trained_on = input_of(about, "data")
    if dataset is not None and trained_on in (None, dataset.identity):
        return HeadGeometry.of(dataset, n_positions)
    side = about["config"]["image_size"]
    return HeadGeometry.of_sample_brains(side, n_positions, trained_on == SAMPLE_DATA)


# ---------------------------------------------------------------- three planes


class WebGLProbe(anywidget.AnyWidget):
    """Asks the browser whether it has WebGL 2; shows nothing."""

    _esm = ASSETS / "webgl_probe.js"
    answer = traitlets.Unicode().tag(sync=True)  # "yes", "no", or "" until it answers


class ThreePlanes:
    """Three planes through a point of a head, and a slider for each.

    Args:
        picture: Shows the planes.
        geometry: Where the slices of heads lie.
    """

    def __init__(self, picture: widgets.Image, geometry: HeadGeometry):
        self.picture, self.geometry = picture, geometry
        self.head: Slices | None = None  # axial
        self.spacing = 1.0, 1.0, 1.0
        moving = {"continuous_update": True}
        self.axial = integer("axial", 0, 0, 0, **moving)
        self.coronal = integer("coronal", 0, 0, 0, **moving)
        self.sagittal = integer("sagittal", 0, 0, 0, **moving)
        self.sliders = self.axial, self.coronal, self.sagittal
        for slider in self.sliders:
            slider.observe(self.show, names="value")
        self.widget = column(side_by_side(*self.sliders), picture)

    def load(self, slices: Slices) -> bytes:
        """Take another head, in the middle if its size is new.

        Args:
            slices: In the order of their positions.

        Returns:
            A PNG of its planes.
        """
        head, self.spacing = self.geometry.axial(slices)
        if self.head is None or self.head.shape != head.shape:
            self.head = None  # no picture while the sliders move
            for slider, n in zip(self.sliders, head.shape, strict=True):
                slider.max, slider.value = n - 1, n // 2
        self.head = head
        return self.png()

    def show(self, _change=None) -> None:
        """Show the planes that the sliders select."""
        if self.head is not None:
            self.picture.value = self.png()

    def png(self) -> bytes:
        """The axial, coronal and sagittal plane beside each other, in true proportions."""
        assert self.head is not None
        shape, at = self.head.shape, (self.axial.value, self.coronal.value, self.sagittal.value)
        tall, deep, wide = sizes = np.array(shape) * self.spacing
        pixels = SIDE / sizes.max()
        cuts = orthogonal_cuts(self.head, at)
        top = shape[0] - 1 - at[0], shape[0]  # rows of a picture run downwards
        row, col = (at[1], shape[1]), (at[2], shape[2])
        planes = [
            _plane(cut, (round(across * pixels), round(upwards * pixels)), *lines)
            for cut, across, upwards, lines in zip(
                cuts,
                (wide, wide, deep),
                (deep, tall, tall),
                ((row, col), (top, col), (top, row)),
                strict=True,
            )
        ]
        width = sum(plane.width for plane in planes) + 2 * GAP
        sheet = Image.new("L", (width, max(plane.height for plane in planes)))
        left = 0
        for plane in planes:
            sheet.paste(plane, (left, 0))
            left += plane.width + GAP
        return png(sheet)


def _plane(
    cut: np.ndarray, size: tuple[int, int], row: tuple[int, int], col: tuple[int, int]
) -> Image.Image:
    """A cut with the lines of the two others, each given as (index, number of them)."""
    width, height = max(1, size[0]), max(1, size[1])
    pixels = np.array(
        Image.fromarray(np.ascontiguousarray(cut)).resize((width, height), Image.Resampling.BICUBIC)
    )
    y, x = (int((i + 0.5) / n * side) for (i, n), side in ((row, height), (col, width)))
    for line in (pixels[y], pixels[:, x]):
        line[:] = line // 2 + LINE
    return Image.fromarray(pixels)


# ---------------------------------------------------------------- NiiVue


def new_niivue(sides: bool) -> NiiVue:
    """An empty viewer of three linked planes and the head as a whole, the forehead at the top and
    at the left.

    Args:
        sides: Whether it names left and right, front and back, and up and down.
    """
    from ipyniivue import MultiplanarType, NiiVue, ShowRender, SliceType

    return NiiVue(
        height=HEIGHT,
        slice_type=SliceType.MULTIPLANAR,
        multiplanar_layout=MultiplanarType.GRID,
        multiplanar_show_render=ShowRender.ALWAYS,
        sagittal_nose_left=True,
        is_orientation_text_visible=sides,
        crosshair_color=(1.0, 1.0, 1.0, 1.0),
        crosshair_width=1.0,
        crosshair_width_unit="mm",
        drag_and_drop_enabled=False,
        loading_text="",
        log_level="error",
    )


class HeadView:
    """A head in NiiVue, or with sliders where the package or WebGL 2 is missing.

    It begins with sliders, and goes over to NiiVue when the browser says that it has WebGL 2.

    Args:
        picture: Shows the planes that the sliders select.
        geometry: Where the slices of heads lie.
    """

    def __init__(self, picture: widgets.Image, geometry: HeadGeometry):
        self.geometry, self.planes = geometry, ThreePlanes(picture, geometry)
        self.niivue: NiiVue | None = None
        self.slices: Slices | None = None
        self.probe, self.note = WebGLProbe(), widgets.Label()
        self.about = widgets.Label(_sides(geometry))
        self.place = column(self.planes.widget)
        self.widget = column(self.note, self.place, self.about, self.probe)
        self.probe.observe(self._answered, names="answer")

    def load(self, slices: Slices) -> bytes:
        """Show another head.

        Args:
            slices: In the order of their positions.

        Returns:
            A PNG of its three planes.
        """
        self.slices = slices
        picture = self.planes.load(slices)
        self._to_niivue()
        return picture

    def _answered(self, _change=None) -> None:
        instead = "sliders move the planes instead"
        if self.probe.answer == "no":
            self.note.value = f"NiiVue needs WebGL 2, which this browser does not offer: {instead}"
        elif importlib.util.find_spec("ipyniivue") is None:
            self.note.value = f"NiiVue is missing (pip install ipyniivue): {instead}"
        elif self.niivue is None:
            self.niivue = new_niivue(self.geometry.left)
            self.place.children = [self.niivue]
            self._to_niivue()

    def _to_niivue(self) -> None:
        if self.niivue is not None and self.slices is not None:
            from ipyniivue import Volume

            before = list(self.niivue.volumes)
            content = nifti_bytes(self.slices, self.geometry)
            volume = Volume(name="head.nii", data=content, cal_min=0.0, cal_max=255.0)
            self.niivue.load_volumes([volume])
            for old in before:
                old.close()


def _sides(geometry: HeadGeometry) -> str:
    front = " (assumed)" if FOREHEAD in geometry.assumed else ""
    left = "left is left" if geometry.left else "which side is the left one is unknown"
    return f"Front{front}: top of the axial plane, left of the sagittal one; {left}."


# ---------------------------------------------------------------- the panel


class HeadPanel:
    """A whole head of a chosen prior, age and seed, in three linked planes.

    A notebook shows `panel.widget`.

    Args:
        samplers: {label: sampler of heads}, one or more.
        folder: Where Save writes.
        geometry: Where the slices of heads lie; None: assumed.
    """

    def __init__(
        self,
        samplers: Mapping[str, HeadSampler],
        folder: Path,
        geometry: HeadGeometry | None = None,
    ):
        self.samplers, first = samplers, next(iter(samplers.values()))
        side = first.vqvae.config.image_size
        if geometry is None:
            geometry = HeadGeometry.of_sample_brains(side, first.n_positions, known=False)
        self.prior, self.seed = choice("prior", list(samplers)), SeedBox("seed", 0)
        self.age, self.output = AgeControl(samplers), OutputArea(folder)
        self.view = HeadView(self.output.picture, geometry)
        blank = np.zeros((first.n_positions, side, side), np.uint8)
        self.view.planes.load(blank)  # moves the sliders to the middle, where Reset leaves them
        controls = (self.prior, self.seed, self.age.enabled, self.age.years)
        self.settings = Settings(self.redraw, controls, also=self.view.planes.sliders)
        buttons = self.output.cancel, self.output.save, self.settings.reset
        for button in buttons:
            button.layout.width = "auto"
        self.widget = column(
            side_by_side(column(self.prior, self.seed), self.age.widget),
            side_by_side(*buttons, self.output.status),
            self.view.widget,
        )

    @classmethod
    def of_run(
        cls,
        run: RunFolder,
        samplers: Mapping[str, BrainSampler],
        dataset: Dataset | None,
        folder: Path,
    ) -> HeadPanel | None:
        """The panel for the models of a run.

        Args:
            run: Folder with the checkpoints.
            samplers: {label: sampler}, from this run.
            dataset: The data of the run; None: there are none.
            folder: Where Save writes.

        Returns:
            The panel; None if no model of the run draws heads.
        """
        heads = heads_of(samplers, run)
        if not heads:
            return None
        n_positions = next(iter(heads.values())).n_positions
        return cls(heads, folder, geometry_of(run, dataset, n_positions))

    def redraw(self, _change=None) -> None:
        """Draw with the present settings, in the background."""
        label, seed = chosen(self.prior), self.seed.value
        sampler = self.samplers[label]
        self.age.allow(sampler)
        ages, settings, n = self.age.value(1), self.settings.values(), sampler.n_positions

        def draw(on_row) -> RenderedImages:
            seeds = image_seeds(seed, 1)  # as `sample --heads` draws
            maps = sampler.draw(seeds, ages=ages, on_slices=lambda done: on_row(done, None))[0]
            images = decode_maps(sampler.vqvae, maps)
            on_row(n, None)  # a drawing that was replaced shows no head
            return RenderedImages(
                Samples(images, maps, np.arange(n)),
                f"{label.lower()}_head_seed{seed}",
                self.view.load(images),
                settings=settings,
            )

        self.output.run(draw, None, n)
