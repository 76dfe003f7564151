"""Detection of planted anomalies, a score for every cell of a map, and
its AUROC.

After Marimont and Tarroni 2021 (arXiv 2012.06765), who score slices by a VQ-VAE's prior. A slice is
described in two parts, codes and what the codes cannot say, so both are scored: how much more a
code surprises the prior than the prior expected, and how far the decoded cell is from the slice.
Either is compared with held-out normal slices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from scipy import ndimage
from scipy.stats import rankdata

from oasis_utils.data.dataset import Dataset, Split
from oasis_utils.data.grey_levels import FOREGROUND
from oasis_utils.models.codes import encode_images
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime.symmetry import LEFT_RIGHT, Symmetry

BATCH = 64
DISC = 14.0  # mm, diameter of planted discs
BAND = 32.0  # mm, height of the band whose halves are exchanged
NEIGHBOURS = 2  # slice positions either side that count as the same place
LIMIT = 96  # slices that anomalies are planted into
BLUR = 0.6  # cells, standard deviation: an anomaly is larger than a cell

# ---------------------------------------------------------------- planting


@dataclass(frozen=True)
class Planted:
    """Slices with an anomaly each."""

    images: UInt8[np.ndarray, "n height width"]
    mask: Bool[np.ndarray, "n height width"]  # pixels that were changed


def pixel_size(dataset: Dataset) -> float:
    """Mm a pixel, taking the source's pixels as 1 mm, as the sample brains' and OASIS's are."""
    return dataset.manifest["crop"]["side"] / dataset.manifest["config"]["image_size"]


def disc_centres(
    region: Bool[np.ndarray, "n height width"],
    radius: float,
    seed: int = 0,
    symmetry: Symmetry = LEFT_RIGHT,
) -> Integer[np.ndarray, "n 2"]:
    """A random place (row, column) in each slice where a disc lies in the region and, with
    symmetry, its mirror image too, apart from it; -1 where the region is too small. Holes of the
    region count as filled.
    """
    rng, centres = np.random.default_rng(seed), np.full((len(region), 2), -1)
    for i, inside in enumerate(symmetry.upright(region)):
        room = ndimage.distance_transform_edt(ndimage.binary_fill_holes(inside)) > radius + 1
        if symmetry:
            middle = (inside.shape[1] - 1) / 2
            room = room & room[:, ::-1] & (np.abs(np.arange(inside.shape[1]) - middle) > radius + 1)
        places = np.argwhere(room)
        if len(places):
            centres[i] = places[rng.integers(len(places))]
    return _upright_places(centres, symmetry)


def _upright_places(
    centres: Integer[np.ndarray, "n 2"], symmetry: Symmetry
) -> Integer[np.ndarray, "n 2"]:
    """Places in the slices as places in the upright slices, and the reverse."""
    return centres[:, ::-1] if symmetry.axis == -2 else centres


def plant(
    images: UInt8[np.ndarray, "n height width"],
    centres: Integer[np.ndarray, "n 2"],
    millimetres: float,
    region: Bool[np.ndarray, "n height width"] | None = None,
    symmetry: Symmetry = LEFT_RIGHT,
) -> dict[str, Planted]:
    """The same slices with each kind of anomaly around the same places. millimetres: size of a
    pixel. region: the pixels of the brain, the foreground by default.

    bright disc: 14 mm at the largest grey level, above white matter, as of a bleeding. missing
    patch: 14 mm of black. halves exchanged: in a band of 32 mm, left and right change places
    without being mirrored. displaced patch: a disc of 14 mm and the one opposite change places
    without being mirrored. white patch: 14 mm of white matter's grey, the 90th percentile of the
    region. The last two are hard on purpose: most of what they change is tissue that could well be
    there. Without symmetry nothing changes places.
    """
    white = np.percentile(images[images > FOREGROUND if region is None else region], 90).astype(
        np.uint8
    )
    images, centres = symmetry.upright(images), _upright_places(centres, symmetry)
    disc = _discs(images.shape, centres, DISC / 2 / millimetres)
    planted = {
        "bright disc": Planted(np.where(disc, np.uint8(255), images), disc),
        "missing patch": Planted(np.where(disc, np.uint8(0), images), disc),
    }
    if symmetry:
        planted |= {
            "halves exchanged": _exchange_halves(images, centres[:, 0], BAND / 2 / millimetres),
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


def clearest(
    score: Callable[[np.ndarray], np.ndarray],
    images: UInt8[np.ndarray, "n height width"],
    planted: dict[str, Planted],
) -> int:
    """The slice to show: where the anomaly that raises the score of its cells least raises it
    most.
    """
    untouched, gains = score(images), []
    for change in planted.values():
        where = covered(change.mask, untouched.shape[1])
        gain = np.where(where, score(change.images) - untouched, 0).sum((1, 2))
        gains.append(gain / np.maximum(where.sum((1, 2)), 1))
    return int(np.min(gains, axis=0).argmax())


def covered(mask: Bool[np.ndarray, "n height width"], grid: int) -> Bool[np.ndarray, "n grid grid"]:
    """The cells of which more than half the pixels are marked."""
    return pooled(mask, grid) > 0.5


def pooled(images: np.ndarray, grid: int) -> Float[np.ndarray, "n grid grid"]:
    """Mean of each cell."""
    n, cell = len(images), images.shape[1] // grid
    return images.reshape(n, grid, cell, grid, cell).mean(axis=(2, 4))


# ---------------------------------------------------------------- scoring


@dataclass(frozen=True)
class Evidence:
    """What speaks for an anomaly in each cell."""

    surprise: Float[np.ndarray, "n rows cols"]  # nats of the code, -log p
    excess: Float[np.ndarray, "n rows cols"]  # nats above the entropy of the prediction
    residual: Float[np.ndarray, "n rows cols"]  # mean |slice - decoded| in grey levels, 0 to 1


@torch.inference_mode()
def evidence(
    vqvae: VQVAE,
    prior: PixelCNN,
    images: UInt8[np.ndarray, "n height width"],
    positions: Integer[np.ndarray, " n"],
    ages: Float[np.ndarray, " n"] | None = None,
    symmetry: Symmetry = LEFT_RIGHT,
) -> Evidence:
    """Means over the slices as they are and mirrored, so that every cell is also seen from its
    other side; without symmetry the slices as they are.
    """
    sides = [_one_side(vqvae, prior, images, positions, ages)]
    if symmetry:
        mirrored = np.ascontiguousarray(symmetry.mirror(images))
        sides.append(
            [symmetry.mirror(part) for part in _one_side(vqvae, prior, mirrored, positions, ages)]
        )
    return Evidence(*(np.mean(pair, axis=0) for pair in zip(*sides, strict=True)))


def _one_side(vqvae, prior, images, positions, ages) -> list[np.ndarray]:
    device = prior.cell_bias.device
    codes = torch.from_numpy(encode_images(vqvae, images, device).astype(np.int64)).to(device)
    where = torch.from_numpy(np.asarray(positions, np.int64)).to(device)
    years = None if ages is None else torch.from_numpy(np.asarray(ages, np.float32)).to(device)
    parts = []
    for rows in torch.arange(len(codes), device=device).split(BATCH):
        logp = prior(codes[rows], where[rows], None if years is None else years[rows]).log_softmax(
            1
        )
        nats = -logp.gather(1, codes[rows][:, None])[:, 0]
        entropy = -(logp.exp() * logp).sum(1)
        decoded = vqvae.decode_indices(codes[rows])[:, 0].clamp(0, 1).cpu().numpy()
        error = np.abs(images[rows.cpu().numpy()] / np.float32(255) - decoded)
        parts.append(
            (nats.cpu().numpy(), (nats - entropy).cpu().numpy(), pooled(error, codes.shape[1]))
        )
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Normal:
    """Mean and spread of the evidence in held-out normal slices, for every cell and slice
    position.
    """

    mean: dict[str, Float[np.ndarray, "positions rows cols"]]
    spread: dict[str, Float[np.ndarray, "positions rows cols"]]

    @classmethod
    def of(cls, found: Evidence, positions: Integer[np.ndarray, " n"], n_positions: int) -> Normal:
        """From slices of healthy subjects that no model was trained on; positions and cells borrow
        from neighbours, and a spread far below the common one is lifted.
        """
        mean, spread = {}, {}
        for name in ("excess", "residual"):
            values = getattr(found, name)
            near = [values[np.abs(positions - p) <= NEIGHBOURS] for p in range(n_positions)]
            near = [part if len(part) > 1 else values for part in near]
            mean[name] = ndimage.uniform_filter(
                np.stack([part.mean(0) for part in near]), (0, 3, 3)
            )
            deviations = ndimage.uniform_filter(np.stack([part.std(0) for part in near]), (0, 3, 3))
            spread[name] = deviations + 0.3 * deviations.mean() + 1e-9
        return cls(mean, spread)

    def score(
        self, found: Evidence, positions: Integer[np.ndarray, " n"]
    ) -> Float[np.ndarray, "n rows cols"]:
        """Standard deviations above normal of excess surprise and of residual, added, slightly
        blurred.
        """
        total = sum(
            (getattr(found, name) - self.mean[name][positions]) / self.spread[name][positions]
            for name in self.mean
        )
        return ndimage.gaussian_filter(total, (0, BLUR, BLUR))


def auroc(anomalous: Float[np.ndarray, " n"], normal: Float[np.ndarray, " m"]) -> float:
    """Probability that an anomalous cell scores above a normal one, ties counted half
    (Mann-Whitney); nan if either set is empty.
    """
    n, m = len(anomalous), len(normal)
    if min(n, m) == 0:
        return float("nan")
    ranks = rankdata(np.concatenate([anomalous, normal]))[:n]
    return float((ranks.sum() - n * (n + 1) / 2) / (n * m))


@dataclass(frozen=True)
class Detector:
    """Scores slices of fixed positions and ages by two models and what is normal to them."""

    vqvae: VQVAE
    prior: PixelCNN
    normal: Normal
    positions: Integer[np.ndarray, " n"]
    ages: Float[np.ndarray, " n"] | None
    symmetry: Symmetry = LEFT_RIGHT

    def evidence(self, images: UInt8[np.ndarray, "n height width"]) -> Evidence:
        return evidence(self.vqvae, self.prior, images, self.positions, self.ages, self.symmetry)

    def score(
        self, images: UInt8[np.ndarray, "n height width"]
    ) -> Float[np.ndarray, "n rows cols"]:
        """Standard deviations above normal, see `Normal.score`."""
        return self.normal.score(self.evidence(images), self.positions)

    def surprise(
        self, images: UInt8[np.ndarray, "n height width"]
    ) -> Float[np.ndarray, "n rows cols"]:
        """Nats of the codes alone."""
        return self.evidence(images).surprise


def judge(
    score: Callable[[UInt8[np.ndarray, "n height width"]], Float[np.ndarray, "n rows cols"]],
    images: UInt8[np.ndarray, "n height width"],
    planted: dict[str, Planted],
    region: Bool[np.ndarray, "n height width"] | None = None,
    region_name: str = "brain",
) -> dict[str, dict[str, float]]:
    """{kind: AUROC of the changed cells against "same cells" of the untouched slices, and against
    "all cells in the brain" (head, see `Split.region_name`) of the untouched slices}. score: slices
    to cell scores. region: the pixels of the brain, the foreground by default.
    """
    untouched = score(images)
    inside = covered(images > FOREGROUND if region is None else region, untouched.shape[1])
    result = {}
    for kind, changed in planted.items():
        where = covered(changed.mask, untouched.shape[1])
        found = score(changed.images)[where]
        result[kind] = {
            "same cells": auroc(found, untouched[where]),
            f"all cells in the {region_name}": auroc(found, untouched[inside]),
        }
    return result


def planted_slices(split: Split, millimetres: float, seed: int = 0) -> tuple[np.ndarray, dict]:
    """(rows of a split, planted anomalies in them): at most LIMIT slices, evenly, of those with
    room for a disc.
    """
    region = split.region()
    centres = disc_centres(region, DISC / 2 / millimetres, seed, split.symmetry)
    rows = np.flatnonzero(centres[:, 0] >= 0)
    if len(rows) == 0:
        raise ValueError(
            f"no {split.name} slice has room for discs of {DISC:.0f} mm: its {split.region_name}s"
            " are too small"
        )
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), LIMIT)).astype(int)]
    return rows, plant(split.images[rows], centres[rows], millimetres, region[rows], split.symmetry)
