"""Is it a brain of this slice position? Area, symmetry, ventricles, tissue fractions, and the position read back.

Texture distances do not see anatomy (Wu 2024, arXiv 2409.08463; WASABI, 2504.21771), so a few volumes are measured
and compared. The method is small: grey levels are divided by each slice's own 95th percentile in the brain, and two
thresholds, chosen once on training slices (Otsu's criterion for three classes, doi 10.1109/TSMC.1979.4310076), part
fluid, grey and white matter. Ventricles are fluid deep inside the outline. The slices are skull-stripped T1; with the
skull on, the figures speak of the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer, UInt8
from scipy import ndimage, stats

from oasis_utils.features import Standard, as_floats
from oasis_utils.metrics import BRAIN_LEVEL

MEASURES = ("brain area", "asymmetry", "ventricles", "fluid", "grey matter", "white matter")
BINS = 128  # of the grey-level histogram
DEPTH = 0.35  # ventricles lie deeper under the outline than this, in radii of a disc of the brain's area
NEIGHBOURS = 1  # slice positions to either side that lend their training slices to a position's range
MARGIN = 0.5  # by which a range is widened, in real deviations


@dataclass(frozen=True)
class Tissues:
    """Thresholds between fluid, grey and white matter, as shares of a slice's 95th percentile in the brain."""

    grey: float
    white: float

    @classmethod
    def fit(cls, images: UInt8[np.ndarray, "n height width"]) -> Tissues:
        """The two thresholds that part the training slices' grey levels best."""
        edges = np.linspace(0, 1.2, BINS + 1)
        counts = sum(np.histogram(_scaled(x, outline(x)), edges)[0] for x in images)
        low, high = _otsu(counts.astype(np.float64))
        return cls(float(edges[low]), float(edges[high]))


def outline(image: UInt8[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """The brain with everything that it encloses."""
    return ndimage.binary_fill_holes(image > BRAIN_LEVEL * 255)


def _scaled(image: np.ndarray, brain: np.ndarray) -> Float[np.ndarray, " pixels"]:
    grey = image[brain].astype(np.float64)
    return grey / max(np.percentile(grey, 95), 1.0) if len(grey) else grey


def _otsu(counts: Float[np.ndarray, " bins"]) -> tuple[int, int]:
    """Edges (i, j) for which classes [0, i), [i, j), [j, bins) differ most in their means."""
    n, first = (np.concatenate([[0], np.cumsum(x)]) for x in (counts, counts * np.arange(len(counts))))

    def between(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        size = n[j] - n[i]
        return np.square(first[j] - first[i]) / np.where(size > 0, size, 1)

    i, j = np.triu_indices(len(counts), 1)
    i, j = i[i > 0], j[i > 0]
    best = np.argmax(between(np.zeros_like(i), i) + between(i, j) + between(j, np.full_like(j, len(counts))))
    return int(i[best]), int(j[best])


def measure(images: UInt8[np.ndarray, "n height width"], tissues: Tissues) -> Float[np.ndarray, "n measures"]:
    """MEASURES of each slice: area as a share of the frame, asymmetry in [0, 2], the others as shares of the brain."""
    return np.array([_measure(np.asarray(image), tissues) for image in images])


def _measure(image: np.ndarray, tissues: Tissues) -> tuple[float, ...]:
    brain = outline(image)
    size = brain.sum()
    if not size:
        return (0.0,) * len(MEASURES)
    scaled = np.zeros(image.shape)
    scaled[brain] = _scaled(image, brain)
    column = int(round(np.average(np.arange(image.shape[1]), weights=brain.sum(0))))
    mirror = np.clip(2 * column - np.arange(image.shape[1]), 0, image.shape[1] - 1)
    asymmetry = np.abs(scaled - scaled[:, mirror]).sum() / max(scaled.sum(), 1e-9)
    fluid, white = brain & (scaled < tissues.grey), scaled >= tissues.white
    deep = ndimage.distance_transform_edt(np.pad(brain, 1))[1:-1, 1:-1] > DEPTH * np.sqrt(size / np.pi)
    return (size / brain.size, asymmetry, (fluid & deep).sum() / size, fluid.sum() / size,
            1 - (fluid.sum() + white.sum()) / size, white.sum() / size)


def dark_middle(images: UInt8[np.ndarray, "n height width"]) -> Float[np.ndarray, " n"]:
    """Share of pixels below a quarter of white in the middle third of the frame: mostly ventricles, which widen
    with age."""
    third = images.shape[1] // 3
    return (images[:, third:-third, third:-third] < 64).mean(axis=(1, 2))


def darkest_position(images: UInt8[np.ndarray, "n height width"], positions: Integer[np.ndarray, " n"]) -> int:
    """The slice position with the darkest middle on average, where ageing shows best."""
    shares, places = dark_middle(images), np.unique(positions)
    return int(places[np.argmax([shares[positions == place].mean() for place in places])])


def age_correlation(images: UInt8[np.ndarray, "n height width"], ages: Float[np.ndarray, " n"]) -> float:
    """Correlation of `dark_middle` with age in years, over the slices of known age; nan where either is constant."""
    known = np.isfinite(ages)
    shares, years = dark_middle(images[known]), ages[known]
    if len(years) < 2 or np.ptp(shares) == 0 or np.ptp(years) == 0:
        return float("nan")
    return float(np.corrcoef(years, shares)[0, 1])


# ---------------------------------------------------------------- real ranges


@dataclass(frozen=True)
class Atlas:
    """What the training slices of each position measure; neighbouring positions lend theirs."""

    mean: Float[np.ndarray, "positions measures"]
    deviation: Float[np.ndarray, "positions measures"]
    low: Float[np.ndarray, "positions measures"]  # 1st percentile less the margin
    high: Float[np.ndarray, "positions measures"]  # 99th percentile and the margin

    @classmethod
    def fit(cls, values: Float[np.ndarray, "n measures"], positions: Integer[np.ndarray, " n"],
            n_positions: int) -> Atlas:
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

    def scaled(self, values: Float[np.ndarray, "n measures"],
               positions: Integer[np.ndarray, " n"]) -> Float[np.ndarray, "n measures"]:
        """Distance from the mean of the position, in real deviations."""
        return (values - self.mean[positions]) / self.deviation[positions]

    def outside(self, values: Float[np.ndarray, "n measures"],
                positions: Integer[np.ndarray, " n"]) -> Bool[np.ndarray, "n measures"]:
        """Which measures leave the real range of their position."""
        return (values < self.low[positions]) | (values > self.high[positions])


def compare_measures(a: Float[np.ndarray, "n measures"],
                     b: Float[np.ndarray, "m measures"]) -> dict[str, float]:
    """Wasserstein distance of each measure between two sets of scaled values: in real deviations."""
    return {name: float(stats.wasserstein_distance(a[:, i], b[:, i])) for i, name in enumerate(MEASURES)}


# ---------------------------------------------------------------- position read back


@dataclass(frozen=True)
class PositionReader:
    """Ridge regression from a slice's 16 x 16 thumbnail to its position: too coarse for decoder blur to matter."""

    standard: Standard
    weights: Float[np.ndarray, " dim"]
    mean: float

    @classmethod
    def fit(cls, images: UInt8[np.ndarray, "n height width"], positions: Integer[np.ndarray, " n"],
            ridge: float = 300.0) -> PositionReader:
        rows = _thumbnails(images)
        standard, mean = Standard.fit(rows), float(positions.mean())
        x = standard(rows)
        weights = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ (positions - mean))
        return cls(standard, weights, mean)

    def read(self, images: UInt8[np.ndarray, "n height width"]) -> Float[np.ndarray, " n"]:
        """The position of each slice, in slices, not rounded."""
        return self.standard(_thumbnails(images)) @ self.weights + self.mean


def _thumbnails(images: UInt8[np.ndarray, "n height width"]) -> Float[np.ndarray, "n 256"]:
    return F.interpolate(as_floats(images), size=(16, 16), mode="area").flatten(1).double().numpy()
