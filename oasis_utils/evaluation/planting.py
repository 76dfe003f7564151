"""Anomalies planted into real slices, and the cells of a map that they cover."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from scipy import ndimage

from oasis_utils.data.dataset import Dataset, Split
from oasis_utils.data.grey_levels import FOREGROUND
from oasis_utils.runtime.symmetry import LEFT_RIGHT, Symmetry

DISC_MM = 14.0  # mm, diameter of planted discs
BAND_MM = 32.0  # mm, height of the band whose halves are exchanged
MAX_SLICES = 96  # slices that anomalies are planted into


@dataclass(frozen=True)
class Planted:
    """Slices with an anomaly each.

    Attributes:
        images: The changed slices.
        mask: Pixels that were changed.
    """

    images: UInt8[np.ndarray, "n height width"]
    mask: Bool[np.ndarray, "n height width"]


def pixel_size(dataset: Dataset) -> float:
    """Size of a pixel in mm.

    Args:
        dataset: Its source's pixels count as 1 mm, which holds for the sample brains and OASIS.

    Returns:
        Millimetres per pixel of the resized slices.
    """
    return dataset.manifest["crop"]["side"] / dataset.manifest["config"]["image_size"]


def disc_centres(
    region: Bool[np.ndarray, "n height width"],
    radius: float,
    seed: int = 0,
    symmetry: Symmetry = LEFT_RIGHT,
) -> Integer[np.ndarray, "n 2"]:
    """A random centre (row, column) in each slice for a disc that lies in the region.

    With symmetry its mirror image lies in the region too, apart from it; -1 where the region is too
    small. Holes of the region count as filled.
    """
    rng, centres = np.random.default_rng(seed), np.full((len(region), 2), -1)
    for i, inside in enumerate(symmetry.upright(region)):
        filled = np.asarray(ndimage.binary_fill_holes(inside))
        room = np.asarray(ndimage.distance_transform_edt(filled)) > radius + 1
        if symmetry:
            middle = (inside.shape[1] - 1) / 2
            room = room & room[:, ::-1] & (np.abs(np.arange(inside.shape[1]) - middle) > radius + 1)
        possible = np.argwhere(room)
        if len(possible):
            centres[i] = possible[rng.integers(len(possible))]
    return _upright_centres(centres, symmetry)


def _upright_centres(
    centres: Integer[np.ndarray, "n 2"], symmetry: Symmetry
) -> Integer[np.ndarray, "n 2"]:
    """Centres in the slices as centres in the upright slices, and the reverse."""
    return centres[:, ::-1] if symmetry.axis == -2 else centres


def plant(
    images: UInt8[np.ndarray, "n height width"],
    centres: Integer[np.ndarray, "n 2"],
    millimetres: float,
    region: Bool[np.ndarray, "n height width"] | None = None,
    symmetry: Symmetry = LEFT_RIGHT,
) -> dict[str, Planted]:
    """The same slices with each kind of anomaly around the same centres.

    bright disc: 14 mm at the largest grey level, above white matter, as of a bleeding. missing
    patch: 14 mm of black. halves exchanged: in a band of 32 mm, left and right are exchanged
    without being mirrored. displaced patch: a disc of 14 mm and the one opposite are exchanged
    without being mirrored. white patch: 14 mm of white matter's grey, the 90th percentile of the
    region. The last two are hard on purpose: most of what they change is tissue that could well be
    there. Without symmetry nothing is exchanged.

    Args:
        images: Real slices.
        centres: Row and column of each slice's disc, see `disc_centres`.
        millimetres: Size of a pixel.
        region: Pixels of the brain; None takes the foreground.
        symmetry: Where the mid-line is.

    Returns:
        {kind: the changed slices}.
    """
    white = np.percentile(images[images > FOREGROUND if region is None else region], 90).astype(
        np.uint8
    )
    images, centres = symmetry.upright(images), _upright_centres(centres, symmetry)
    disc = _discs(images.shape, centres, DISC_MM / 2 / millimetres)
    planted = {
        "bright disc": Planted(np.where(disc, np.uint8(255), images), disc),
        "missing patch": Planted(np.where(disc, np.uint8(0), images), disc),
    }
    if symmetry:
        planted |= {
            "halves exchanged": _exchange_halves(images, centres[:, 0], BAND_MM / 2 / millimetres),
            "displaced patch": _displace(images, centres[:, 1], disc),
        }
    planted |= {"white patch": Planted(np.where(disc, white, images), disc)}
    return {
        kind: Planted(symmetry.upright(change.images), symmetry.upright(change.mask))
        for kind, change in planted.items()
    }


def _discs(
    shape: tuple[int, ...], centres: np.ndarray, radius: float
) -> Bool[np.ndarray, "n height width"]:
    rows, cols = np.mgrid[: shape[1], : shape[2]]
    return (rows - centres[:, :1, None]) ** 2 + (cols - centres[:, 1:, None]) ** 2 <= radius**2


def _exchange_halves(images: np.ndarray, middle: np.ndarray, reach: float) -> Planted:
    """Left and right exchanged in the rows that lie within reach of the middle."""
    _, height, width = images.shape
    band = (np.abs(np.arange(height) - middle[:, None]) <= reach)[:, :, None]
    halves = np.roll(images, width // 2, axis=2)
    seen = (images > FOREGROUND) | (halves > FOREGROUND)  # exchanged background is no anomaly
    return Planted(np.where(band, halves, images), band & seen)


def _displace(images: np.ndarray, columns: np.ndarray, disc: np.ndarray) -> Planted:
    """Discs around these columns exchanged with those opposite."""
    displaced, opposite = np.array(images), disc[:, :, ::-1]
    for i, shift in enumerate(images.shape[2] - 1 - 2 * columns):
        displaced[i][disc[i]] = np.roll(images[i], -shift, axis=1)[disc[i]]
        displaced[i][opposite[i]] = np.roll(images[i], shift, axis=1)[opposite[i]]
    return Planted(displaced, disc | opposite)


def planted_slices(split: Split, millimetres: float, seed: int = 0) -> tuple[np.ndarray, dict]:
    """Slices of a split with one anomaly of each kind.

    Args:
        split: Real slices.
        millimetres: Size of a pixel, see `pixel_size`.
        seed: Of the positions of the discs.

    Returns:
        Rows of the split, at most MAX_SLICES of those with room for a disc, evenly; and
        {kind: the changed slices}, see `plant`.

    Raises:
        ValueError: If no slice has room for a disc.
    """
    region = split.region()
    centres = disc_centres(region, DISC_MM / 2 / millimetres, seed, split.symmetry)
    rows = np.flatnonzero(centres[:, 0] >= 0)
    if len(rows) == 0:
        raise ValueError(
            f"no {split.name} slice has room for discs of {DISC_MM:.0f} mm:"
            f" its {split.region_name}s are too small"
        )
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MAX_SLICES)).astype(int)]
    return rows, plant(split.images[rows], centres[rows], millimetres, region[rows], split.symmetry)


def covered(mask: Bool[np.ndarray, "n height width"], grid: int) -> Bool[np.ndarray, "n grid grid"]:
    """The cells of which more than half the pixels are marked.

    Args:
        mask: Marked pixels; the side is a multiple of grid.
        grid: Cells of a side.

    Returns:
        Whether each cell is covered.
    """
    return pooled(mask, grid) > 0.5


def pooled(images: np.ndarray, grid: int) -> Float[np.ndarray, "n grid grid"]:
    """Mean of each cell.

    Args:
        images: Slices or maps of any numbers (n, side, side); the side is a multiple of grid.
        grid: Cells of a side.

    Returns:
        One number for each cell.
    """
    n, cell = len(images), images.shape[1] // grid
    return images.reshape(n, grid, cell, grid, cell).mean(axis=(2, 4))
