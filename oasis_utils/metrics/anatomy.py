"""Anatomical measures of slices: area, asymmetry, tissues and ventricles.

Distances between image features do not see anatomy (Wu 2024, arXiv 2409.08463; WASABI, 2504.21771).
Grey levels are divided by each slice's 95th percentile in the brain; two thresholds of the training
slices (Otsu 1979, doi 10.1109/TSMC.1979.4310076) separate three tissues; ventricles are fluid deep
inside the brain.

In skull-stripped slices the brain is what is not background. With the skull on, the outline is the
head's and the brain is the consensus of the training masks of a position.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from scipy import ndimage

from oasis_utils.config import BRAIN_LEVEL
from oasis_utils.metrics.slices import LabelledSlices
from oasis_utils.runtime.symmetry import LEFT_RIGHT, Symmetry

TISSUES = ("ventricles", "fluid", "grey matter", "white matter")
HISTOGRAM_BINS = 128  # of the grey-level histogram
# ventricles lie deeper under the outline than this, in radii of a disc of the brain's area
VENTRICLE_DEPTH = 0.35
# slice positions to either side that lend their training slices to a position's range
ADJACENT_POSITIONS = 1


def outline(image: UInt8[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """The foreground (brain, or head where the skull is on) with everything that it encloses."""
    return np.asarray(ndimage.binary_fill_holes(image > BRAIN_LEVEL * 255))


def deep_inside(brain: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Pixels deeper under the outline than VENTRICLE_DEPTH radii of a disc of the brain's area."""
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(brain, 1)))[1:-1, 1:-1]
    return depth > VENTRICLE_DEPTH * np.sqrt(brain.sum() / np.pi)


def consensus(
    regions: Bool[np.ndarray, "n height width"], positions: Integer[np.ndarray, " n"]
) -> Bool[np.ndarray, "n_positions height width"]:
    """For each position the pixels in most regions of the slices there and at its neighbours, or at
    the nearest positions that have any.
    """
    result = np.empty((int(positions.max()) + 1, *regions.shape[1:]), bool)
    for position in range(len(result)):
        away = np.abs(positions - position)
        result[position] = regions[away <= max(ADJACENT_POSITIONS, away.min())].mean(0) > 0.5
    return result


def at(
    regions: Bool[np.ndarray, "n_positions height width"], positions: Integer[np.ndarray, " n"]
) -> Bool[np.ndarray, "n height width"]:
    """The region of each slice by its position; positions beyond the last have that of the last."""
    return regions[np.clip(positions, 0, len(regions) - 1)]


@dataclass(frozen=True)
class Tissues:
    """Thresholds between fluid, grey and white matter, as shares of a slice's 95th percentile in
    the brain.
    """

    grey: float
    white: float

    @classmethod
    def fit(
        cls,
        images: UInt8[np.ndarray, "n height width"],
        brains: Iterable[Bool[np.ndarray, "height width"]] | None = None,
    ) -> Tissues:
        """The two thresholds that part the training slices' grey levels best. brains: the brain of
        each slice, its outline by default.
        """
        edges = np.linspace(0, 1.2, HISTOGRAM_BINS + 1)
        brains = map(outline, images) if brains is None else brains
        counts = np.zeros(HISTOGRAM_BINS)
        for image, brain in zip(images, brains, strict=True):
            counts += np.histogram(_scaled(image, brain), edges)[0]
        low, high = _otsu(counts)
        return cls(float(edges[low]), float(edges[high]))

    def shares(
        self, image: UInt8[np.ndarray, "height width"], brain: Bool[np.ndarray, "height width"]
    ) -> tuple[float, ...]:
        """TISSUES as shares of the brain; 0 without one."""
        size = brain.sum()
        if not size:
            return (0.0,) * len(TISSUES)
        scaled = np.zeros(image.shape)
        scaled[brain] = _scaled(image, brain)
        fluid, white = brain & (scaled < self.grey), scaled >= self.white
        return (
            (fluid & deep_inside(brain)).sum() / size,
            fluid.sum() / size,
            1 - (fluid.sum() + white.sum()) / size,
            white.sum() / size,
        )


def _scaled(image: np.ndarray, brain: np.ndarray) -> Float[np.ndarray, " pixels"]:
    grey = image[brain].astype(np.float64)
    return grey / max(np.percentile(grey, 95), 1.0) if len(grey) else grey


def _otsu(counts: Float[np.ndarray, " bins"]) -> tuple[int, int]:
    """Edges (i, j) for which classes [0, i), [i, j), [j, bins) differ most in their means."""
    n, first = (
        np.concatenate([[0], np.cumsum(x)]) for x in (counts, counts * np.arange(len(counts)))
    )

    def between(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        size = n[j] - n[i]
        return np.square(first[j] - first[i]) / np.where(size > 0, size, 1)

    i, j = np.triu_indices(len(counts), 1)
    i, j = i[i > 0], j[i > 0]
    best = np.argmax(
        between(np.zeros_like(i), i) + between(i, j) + between(j, np.full_like(j, len(counts)))
    )
    return int(i[best]), int(j[best])


@dataclass(frozen=True)
class Anatomist:
    """What can be measured in the slices of a data set, and how: fixed by training slices.

    The area of the foreground always; its asymmetry where there is a mid-line; tissues where it is
    known which pixels are brain: in skull-stripped slices, and in whole heads whose training slices
    have masks.
    """

    symmetry: Symmetry = LEFT_RIGHT
    content: str = "brain"  # or "head", as in `Split`
    tissues: Tissues | None = None
    regions: Bool[np.ndarray, "n_positions height width"] | None = (
        None  # the brain in whole heads, at each position
    )

    @classmethod
    def fit(
        cls, train: LabelledSlices, rows: Integer[np.ndarray, " k"] | slice = slice(None)
    ) -> Anatomist:
        """From these rows of the training split."""
        images, positions = np.array(train.images[rows]), train.positions[rows]
        if train.content == "brain":
            return cls(train.symmetry, train.content, Tissues.fit(images))
        if train.masks is None:
            return cls(train.symmetry, train.content)
        regions = consensus(train.region(rows), positions)
        return cls(
            train.symmetry, train.content, Tissues.fit(images, at(regions, positions)), regions
        )

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of what is measured."""
        return (
            f"{self.content} area",
            *(("asymmetry",) if self.symmetry else ()),
            *(TISSUES if self.tissues else ()),
        )

    def brains(
        self, images: UInt8[np.ndarray, "n height width"], positions: Integer[np.ndarray, " n"]
    ) -> Bool[np.ndarray, "n height width"]:
        """Where the brain of each slice is (the head, where `tissues` is None)."""
        return _outlines(images) if self.regions is None else at(self.regions, positions)

    def measure(
        self, images: UInt8[np.ndarray, "n height width"], positions: Integer[np.ndarray, " n"]
    ) -> Float[np.ndarray, "n measures"]:
        """`measures` of each slice: area as a share of the frame, asymmetry in [0, 2], tissues as
        shares of the brain.
        """
        images = np.asarray(images)
        shapes = _outlines(images)
        brains = shapes if self.regions is None else at(self.regions, positions)
        rows = [self._measure(*parts) for parts in zip(images, shapes, brains, strict=True)]
        return np.array(rows, np.float64).reshape(len(images), len(self.measures))

    def _measure(
        self, image: np.ndarray, shape: np.ndarray, brain: np.ndarray
    ) -> tuple[float, ...]:
        asymmetry = (
            (_asymmetry(*map(self.symmetry.upright, (image, shape))),) if self.symmetry else ()
        )
        return (
            shape.mean(),
            *asymmetry,
            *(self.tissues.shares(image, brain) if self.tissues else ()),
        )


def _outlines(images: UInt8[np.ndarray, "n height width"]) -> Bool[np.ndarray, "n height width"]:
    return np.array([outline(image) for image in np.asarray(images)], bool).reshape(images.shape)


def _asymmetry(image: np.ndarray, shape: np.ndarray) -> float:
    """Mean difference between an upright slice and its mirror image across the outline's centre,
    over the mean.
    """
    if not shape.any():
        return 0.0
    scaled = np.where(shape, image, 0).astype(np.float64)
    column = round(np.average(np.arange(image.shape[1]), weights=shape.sum(0)))
    mirror = np.clip(2 * column - np.arange(image.shape[1]), 0, image.shape[1] - 1)
    return np.abs(scaled - scaled[:, mirror]).sum() / max(scaled.sum(), 1e-9)
