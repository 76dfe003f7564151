"""Where the slices of a stack lie in space, and what of it the data tell.

Axes run to the right, forwards and upwards (RAS+), in millimetres. Volumes and sample brains are on
a grid of 1 mm; of PNG slices sizes and sides are assumed, and named as such.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from oasis_utils.config import from_dict
from oasis_utils.data.dataset import Dataset
from oasis_utils.data.manifest import AGAIN
from oasis_utils.data.orientation import AUTO, oriented, turned_back
from oasis_utils.data.picture_marks import PictureMarks
from oasis_utils.data.synthetic import HEAD_CENTRE_Y, IMAGE_SIZE
from oasis_utils.data.volumes import PLANES, SliceOptions
from oasis_utils.runtime import DataError

# what is assumed where the data do not tell, in mm
FRAME, LEAST_FRAME = 256.0, 160.0  # widest and narrowest picture of a head
SAMPLE_CROP = 24, 27, 202  # top, left and side of the frame of `SAMPLE_DATA`
PIXEL = SPACING = 1.0
# of the brain, or of a whole head, along the axis on which slices of each plane lie
EXTENTS = {
    "brain": {"axial": 140.0, "coronal": 170.0, "sagittal": 140.0},
    "head": {"axial": 200.0, "coronal": 200.0, "sagittal": 160.0},
}
# identity of the sample brains that the models in checkpoints/ were trained on, whose frame is in
# benchmarks/results/demo_2_cpu_cores.json
SAMPLE_DATA = "ff2ee1193f04"
LOWEST_Z = 1.0  # MNI z of the lowest slice of a sample brain, see `synthetic._place_head`
MNI = "about the MNI coordinates of the Colin27 template, from which sample brains are made"
CENTRED = "0, 0, 0 is the middle of the stack"
PIXEL_SIZE, DISTANCE = "the size of a pixel", "the distance between slices"
FOREHEAD, UPWARDS = "that the forehead is up", "that slices are axial and run upwards"

Slices = UInt8[np.ndarray, "positions height width"]
Volume = UInt8[np.ndarray, "x y z"]


@dataclass(frozen=True)
class HeadGeometry:
    """Where the slices of a stack lie in space.

    Attributes:
        pixel: mm, side of a pixel.
        spacing: mm from one slice to the next.
        plane: axial (slices run upwards), coronal (forwards) or sagittal (to the right).
        turn: how slices were turned from the upright picture, see `orientation.oriented`.
        centre: mm to the right, forwards and upwards, where the middle of the stack lies.
        space: what the coordinates mean, in words.
        left: whether the person's left is known; else either side may be the left one.
        assumed: what the data do not tell, in words.
    """

    pixel: float
    spacing: float
    plane: str = "axial"
    turn: str = "as-is"
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    space: str = CENTRED
    left: bool = False
    assumed: tuple[str, ...] = ()

    @classmethod
    def of(cls, dataset: Dataset, n_positions: int) -> HeadGeometry:
        """The geometry of the slices of a data set, and so of those generated from it.

        Volumes are cut on a grid of 1 mm. Sample brains are on the same grid. PNG files tell
        neither the size of a pixel nor the distance between slices.

        Args:
            dataset: an open cache.
            n_positions: slices of a stack.

        Returns:
            The geometry; `assumed` names what the data set does not tell.

        Raises:
            DataError: the manifest is damaged.
        """
        marks, manifest = PictureMarks.of(dataset), dataset.manifest
        options, synthetic = _slice_options(dataset), dataset.synthetic
        uncut = marks.millimetres is not None  # not resized before they were read
        volumes = uncut and not synthetic
        spacing = SPACING if synthetic else _spacing(options) if volumes else None
        assumed = {
            PIXEL_SIZE: not uncut,
            DISTANCE: spacing is None,
            FOREHEAD: not (volumes or marks.front),
            UPWARDS: not (volumes or synthetic),
        }
        geometry = cls(
            marks.millimetres or _assumed_pixel(dataset),
            spacing or _assumed_spacing(dataset, options.plane, n_positions),
            options.plane,
            # volumes are upright before a turn that was asked for; others are so after it
            dataset.orient if volumes and options.orient != AUTO else "as-is",
            # training mirrors symmetric slices; sagittal ones run from left to right all the same
            left=(marks.left and not dataset.symmetry) or (volumes and options.plane == "sagittal"),
            assumed=tuple(what for what, is_assumed in assumed.items() if is_assumed),
        )
        crop = tuple(manifest["crop"][key] for key in ("top", "left", "side"))
        placed = synthetic and uncut and marks.front
        return _placed(geometry, crop, n_positions) if placed else geometry

    @classmethod
    def of_sample_brains(cls, image_size: int, n_positions: int, known: bool) -> HeadGeometry:
        """The geometry of the sample brains that the models in checkpoints/ were trained on.

        Args:
            image_size: pixels of a side.
            n_positions: slices of a stack.
            known: whether the slices are such sample brains; else all of it is assumed.

        Returns:
            The geometry; pixels are 202 mm / image_size, slices 1 mm apart.
        """
        pixel = SAMPLE_CROP[2] / image_size
        if known:
            return _placed(cls(pixel, SPACING), SAMPLE_CROP, n_positions)
        assumed = (PIXEL_SIZE, DISTANCE, FOREHEAD, UPWARDS)
        return cls(pixel, min(SPACING, FRAME / n_positions), assumed=assumed)

    def voxels(self, slices: Slices) -> Volume:
        """Slices as a volume whose axes run to the right, forwards and upwards.

        Args:
            slices: those of one head, in the order of their positions.

        Returns:
            The same grey levels.
        """
        upright = turned_back(slices, self.turn)[:, ::-1]  # row 0 is the front, or the top
        return np.ascontiguousarray(upright.transpose(np.argsort(PLANES[self.plane])))

    def slices(self, voxels: Volume) -> Slices:
        """The inverse of `voxels`.

        Args:
            voxels: axes to the right, forwards and upwards.

        Returns:
            The slices in the order of their positions.
        """
        return oriented(voxels.transpose(PLANES[self.plane])[:, ::-1], self.turn)

    def axial(self, slices: Slices) -> tuple[Slices, tuple[float, float, float]]:
        """A head cut into axial slices with the forehead up, whatever its own slices are.

        Args:
            slices: those of one head, in the order of their positions.

        Returns:
            Slices from the lowest to the highest, and the mm from one position, row and column to
            the next.
        """
        right, forwards, upwards = (float(size) for size in self._sizes())
        voxels = self.voxels(slices)
        return voxels.transpose(2, 1, 0)[:, ::-1], (upwards, forwards, right)

    def affine(self, shape: tuple[int, ...]) -> Float[np.ndarray, "4 4"]:
        """Voxel to mm.

        Args:
            shape: of the volume.

        Returns:
            A diagonal matrix with a shift: RAS+.
        """
        sizes = self._sizes()
        affine = np.diag([*sizes, 1.0])
        affine[:3, 3] = np.array(self.centre) - sizes * (np.array(shape) - 1) / 2
        return affine

    def _sizes(self) -> np.ndarray:
        sizes = np.full(3, self.pixel)
        sizes[PLANES[self.plane][0]] = self.spacing
        return sizes

    def about(self, n_positions: int) -> dict[str, Any]:
        """What the sidecar of a head says about its geometry.

        Args:
            n_positions: slices of a stack.

        Returns:
            {name: JSON value}.
        """
        return {
            "Plane": self.plane,
            "Turn": self.turn,
            "Slices": n_positions,
            "MillimetresPerPixel": self.pixel,
            "MillimetresBetweenSlices": self.spacing,
            "MillimetresCovered": n_positions * self.spacing,
            "Coordinates": self.space,
            "LeftAndRight": "as in the data" if self.left else "unknown: either side may be left",
            "Assumed": list(self.assumed),
        }


# ---------------------------------------------------------------- what data tell


def _slice_options(dataset: Dataset) -> SliceOptions:
    """How the slices of volumes were cut; of other sources the defaults."""
    given = dataset.manifest["options"]["slices"]
    try:
        span = given.get("span") and tuple(given["span"])  # JSON has no tuples
        return from_dict(SliceOptions, {**given, "span": span})
    except (ValueError, TypeError) as error:
        raise DataError(f"the manifest in {dataset.folder} is damaged ({error}): {AGAIN}") from None


def _spacing(options: SliceOptions) -> float | None:
    """mm between slices; None where it follows the height of each head."""
    if options.every is not None:
        return float(options.every)
    return None if options.span is None else (options.span[1] - options.span[0]) / options.count


def _assumed_pixel(dataset: Dataset) -> float:
    """mm: 1 in the source; in pictures too wide or too small for that, a likely width by pixels."""
    manifest, source = dataset.manifest, dataset.manifest["source_size"]
    resized = manifest["kind"] in ("synthetic", "oasis", "nifti")  # cut to the head before
    small = resized or source < LEAST_FRAME
    pixel = SAMPLE_CROP[2] / source if small else min(PIXEL, FRAME / source)
    return pixel * manifest["crop"]["side"] / manifest["config"]["image_size"]


def _assumed_spacing(dataset: Dataset, plane: str, n_positions: int) -> float:
    """mm: the whole head of volumes divided by its slices, else 1, or less for very many slices."""
    if dataset.manifest["kind"] in ("oasis", "nifti"):
        return EXTENTS[dataset.content][plane] / n_positions
    return min(SPACING, FRAME / n_positions)


def _placed(geometry: HeadGeometry, crop: tuple[int, ...], n_positions: int) -> HeadGeometry:
    """The geometry of sample brains, whose pictures have 1 mm and a known middle."""
    (top, left, side), middle = crop, (IMAGE_SIZE - 1) / 2
    centre = (
        left + (side - 1) / 2 - middle,
        HEAD_CENTRE_Y - (top + (side - 1) / 2 - middle),
        LOWEST_Z + geometry.spacing * (n_positions - 1) / 2,
    )
    return HeadGeometry(
        geometry.pixel, geometry.spacing, centre=centre, space=MNI, assumed=geometry.assumed
    )
