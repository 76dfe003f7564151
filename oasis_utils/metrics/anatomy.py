"""Anatomical measures of slices: area, asymmetry, tissues, ventricles, position read back.

Texture distances do not see anatomy (Wu 2024, arXiv 2409.08463; WASABI, 2504.21771). Grey levels
are divided by each slice's 95th percentile in the brain; two thresholds of the training slices
(Otsu, doi 10.1109/TSMC.1979.4310076) part three tissues; ventricles are fluid deep inside.

In skull-stripped slices the brain is what is not background. With the skull on, the outline is the
head's and the brain is the consensus of the training masks of a position.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer, UInt8
from scipy import ndimage, stats

from oasis_utils.config import BRAIN_LEVEL
from oasis_utils.metrics.features import Standardizer, as_floats, balanced
from oasis_utils.metrics.slices import LabelledSlices
from oasis_utils.runtime.symmetry import LEFT_RIGHT, Symmetry

TISSUES = ("ventricles", "fluid", "grey matter", "white matter")
BINS = 128  # of the grey-level histogram
# ventricles lie deeper under the outline than this, in radii of a disc of the brain's area
DEPTH = 0.35
NEIGHBOURS = (
    1  # slice positions to either side that lend their training slices to a position's range
)
MARGIN = 0.5  # by which a range is widened, in real deviations
FIT_ROWS = 1024  # training slices that fix where the middle of the brain is
DARK = 0.3  # of white, below which a pixel of the middle of the brain is dark: mostly fluid


# ---------------------------------------------------------------- where the brain is


def outline(image: UInt8[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """The foreground (brain, or head where the skull is on) with everything that it encloses."""
    return ndimage.binary_fill_holes(image > BRAIN_LEVEL * 255)


def consensus(
    regions: Bool[np.ndarray, "n height width"], positions: Integer[np.ndarray, " n"]
) -> Bool[np.ndarray, "n_positions height width"]:
    """For each position the pixels in most regions of the slices there and at its neighbours, or at
    the nearest positions that have any.
    """
    result = np.empty((int(positions.max()) + 1, *regions.shape[1:]), bool)
    for position in range(len(result)):
        away = np.abs(positions - position)
        result[position] = regions[away <= max(NEIGHBOURS, away.min())].mean(0) > 0.5
    return result


def at(
    regions: Bool[np.ndarray, "n_positions height width"], positions: Integer[np.ndarray, " n"]
) -> Bool[np.ndarray, "n height width"]:
    """The region of each slice by its position; positions beyond the last have that of the last."""
    return regions[np.clip(positions, 0, len(regions) - 1)]


# ---------------------------------------------------------------- measures


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
        edges = np.linspace(0, 1.2, BINS + 1)
        brains = map(outline, images) if brains is None else brains
        counts = sum(
            np.histogram(_scaled(x, brain), edges)[0]
            for x, brain in zip(images, brains, strict=True)
        )
        low, high = _otsu(counts.astype(np.float64))
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
        deep = ndimage.distance_transform_edt(np.pad(brain, 1))[1:-1, 1:-1] > DEPTH * np.sqrt(
            size / np.pi
        )
        return (
            (fluid & deep).sum() / size,
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


# ---------------------------------------------------------------- ageing


@dataclass(frozen=True)
class DarkMiddle:
    """Share of dark pixels in the middle of the brain (of the head): mostly ventricles, which widen
    with age.

    The middle is the middle half of the bounding box of the training slices' brains, position by
    position; dark is below DARK of white, the 95th percentile of grey levels there. The scalp of
    whole heads lies outside.
    """

    boxes: Integer[np.ndarray, "n_positions 4"]  # top, bottom, left, right of the middle, in pixels
    level: float  # of 255

    @classmethod
    def fit(cls, train: LabelledSlices) -> DarkMiddle:
        """ValueError if no training slice shows anything."""
        rows = balanced(train.positions, FIT_ROWS)
        positions = train.positions[rows]
        boxes = np.array([_middle(region) for region in consensus(train.region(rows), positions)])
        grey = np.concatenate(
            [
                train.images[row, top:bottom, left:right].ravel()
                for row, (top, bottom, left, right) in zip(rows, boxes[positions], strict=True)
            ]
        )
        if not len(grey):
            raise ValueError(f"no brain in the {train.name} slices: check that they are not black")
        return cls(boxes, DARK * float(np.percentile(grey, 95)))

    def share(
        self,
        images: UInt8[np.ndarray, "n height width"],
        positions: Integer[np.ndarray, " n"] | int,
    ) -> Float[np.ndarray, " n"]:
        """Of each slice, in [0, 1]; 0 at positions that show no brain."""
        places = np.clip(np.broadcast_to(positions, len(images)), 0, len(self.boxes) - 1)
        return np.array(
            [
                (image[top:bottom, left:right] < self.level).sum()
                / max((bottom - top) * (right - left), 1)
                for image, (top, bottom, left, right) in zip(
                    images, self.boxes[places], strict=True
                )
            ]
        )

    def darkest_position(
        self, images: UInt8[np.ndarray, "n height width"], positions: Integer[np.ndarray, " n"]
    ) -> int:
        """The slice position with the darkest middle on average, where ageing shows best."""
        shares, places = self.share(images, positions), np.unique(positions)
        return int(places[np.argmax([shares[positions == place].mean() for place in places])])

    def age_correlation(
        self,
        images: UInt8[np.ndarray, "n height width"],
        positions: Integer[np.ndarray, " n"] | int,
        ages: Float[np.ndarray, " n"],
    ) -> float:
        """Correlation of the share with age in years, over the slices of known age; nan where
        either is constant.
        """
        known = np.isfinite(ages)
        shares, years = self.share(images, positions)[known], ages[known]
        if len(years) < 2 or np.ptp(shares) == 0 or np.ptp(years) == 0:
            return float("nan")
        return float(np.corrcoef(years, shares)[0, 1])


def _middle(region: Bool[np.ndarray, "height width"]) -> list[int]:
    """Top, bottom, left and right of the middle half of a region's bounding box; zeros for an empty
    one.
    """
    bounds = []
    for axis in (1, 0):
        inside = np.flatnonzero(region.any(axis))
        if not len(inside):
            return [0] * 4
        first, last = int(inside[0]), int(inside[-1]) + 1
        quarter = (last - first) // 4
        bounds += [first + quarter, last - quarter]
    return bounds


# ---------------------------------------------------------------- real ranges


@dataclass(frozen=True)
class Atlas:
    """What the training slices of each position measure; neighbouring positions lend theirs."""

    mean: Float[np.ndarray, "positions measures"]
    deviation: Float[np.ndarray, "positions measures"]
    low: Float[np.ndarray, "positions measures"]  # 1st percentile less the margin
    high: Float[np.ndarray, "positions measures"]  # 99th percentile and the margin

    @classmethod
    def fit(
        cls,
        values: Float[np.ndarray, "n measures"],
        positions: Integer[np.ndarray, " n"],
        n_positions: int,
    ) -> Atlas:
        """Positions without any training slice near them stay nan: nothing is known about them."""
        shape = (n_positions, values.shape[1])
        mean, deviation, low, high = (np.full(shape, np.nan) for _ in range(4))
        least = 0.05 * values.std(0) + 1e-9  # a handful of slices may agree by chance
        for position in range(n_positions):
            near = values[np.abs(positions - position) <= NEIGHBOURS]
            if len(near) > 1:
                mean[position], deviation[position] = near.mean(0), np.maximum(near.std(0), least)
                low[position], high[position] = np.percentile(near, [1, 99], axis=0)
        return cls(mean, deviation, low - MARGIN * deviation, high + MARGIN * deviation)

    def scaled(
        self, values: Float[np.ndarray, "n measures"], positions: Integer[np.ndarray, " n"]
    ) -> Float[np.ndarray, "n measures"]:
        """Distance from the mean of the position, in real deviations."""
        return (values - self.mean[positions]) / self.deviation[positions]

    def outside(
        self, values: Float[np.ndarray, "n measures"], positions: Integer[np.ndarray, " n"]
    ) -> Bool[np.ndarray, "n measures"]:
        """Which measures leave the real range of their position."""
        return (values < self.low[positions]) | (values > self.high[positions])


def compare_measures(
    a: Float[np.ndarray, "n measures"], b: Float[np.ndarray, "m measures"], names: tuple[str, ...]
) -> dict[str, float]:
    """Wasserstein distance of each measure between two sets of scaled values: in real
    deviations.
    """
    return {
        name: float(stats.wasserstein_distance(a[:, i], b[:, i])) for i, name in enumerate(names)
    }


# ---------------------------------------------------------------- position read back


@dataclass(frozen=True)
class PositionReader:
    """Ridge regression from a slice's 16 x 16 thumbnail to its position: too coarse for decoder
    blur to matter.
    """

    standard: Standardizer
    weights: Float[np.ndarray, " dim"]
    mean: float

    @classmethod
    def fit(
        cls,
        images: UInt8[np.ndarray, "n height width"],
        positions: Integer[np.ndarray, " n"],
        ridge: float = 300.0,
    ) -> PositionReader:
        rows = _thumbnails(images)
        standard, mean = Standardizer.fit(rows), float(positions.mean())
        x = standard(rows)
        weights = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ (positions - mean))
        return cls(standard, weights, mean)

    def read(self, images: UInt8[np.ndarray, "n height width"]) -> Float[np.ndarray, " n"]:
        """The position of each slice, in slices, not rounded."""
        return self.standard(_thumbnails(images)) @ self.weights + self.mean


def _thumbnails(images: UInt8[np.ndarray, "n height width"]) -> Float[np.ndarray, "n 256"]:
    return F.interpolate(as_floats(images), size=(16, 16), mode="area").flatten(1).double().numpy()
