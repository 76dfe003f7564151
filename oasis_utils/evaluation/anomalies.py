"""Detection of anomalies: a score for every cell of a map, and its AUROC on planted anomalies.

After Marimont and Tarroni 2021 (arXiv 2012.06765), who score slices by a VQ-VAE's prior. A slice is
described in two parts, codes and what the codes cannot express, so both are scored: how much more a
code surprises the prior than the prior expected, and how far the decoded cell is from the slice.
Both are compared with held-out normal slices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from scipy import ndimage

from oasis_utils.data.grey_levels import FOREGROUND
from oasis_utils.evaluation.planting import Planted, covered, pooled
from oasis_utils.metrics.ranking import auroc
from oasis_utils.models.codes import encode_images
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime.symmetry import LEFT_RIGHT, Symmetry

MAPS_AT_ONCE = 64
NEAR_POSITIONS = 2  # slice positions to either side that count as the same one
BLUR_CELLS = 0.6  # cells, standard deviation: an anomaly is larger than a cell


@dataclass(frozen=True)
class AnomalyScores:
    """The parts of an anomaly score of each cell of a map.

    Attributes:
        surprisal: Nats of the code, -log p.
        excess: Nats above the entropy of the prediction.
        residual: Mean |slice - decoded slice| in grey levels of [0, 1].
    """

    surprisal: Float[np.ndarray, "n rows cols"]
    excess: Float[np.ndarray, "n rows cols"]
    residual: Float[np.ndarray, "n rows cols"]


@torch.inference_mode()
def anomaly_scores(
    vqvae: VQVAE,
    prior: PixelCNN,
    images: UInt8[np.ndarray, "n height width"],
    positions: Integer[np.ndarray, " n"],
    ages: Float[np.ndarray, " n"] | None = None,
    symmetry: Symmetry = LEFT_RIGHT,
) -> AnomalyScores:
    """The parts of the anomaly score of every cell of the slices.

    They are means over the slices as they are and mirrored, so that every cell is also predicted
    from its other side; without symmetry they are those of the slices as they are.

    Args:
        vqvae: Encodes the slices.
        prior: Predicts their codes.
        images: uint8 (n, height, width).
        positions: Slice positions.
        ages: Years, nan where unknown; None for a prior that is not conditioned on age.
        symmetry: Where the mid-line is.

    Returns:
        Surprisal, excess and residual of each cell.
    """
    sides = [_one_side(vqvae, prior, images, positions, ages)]
    if symmetry:
        mirrored = np.ascontiguousarray(symmetry.mirror(images))
        sides.append(
            [symmetry.mirror(part) for part in _one_side(vqvae, prior, mirrored, positions, ages)]
        )
    return AnomalyScores(*(np.mean(pair, axis=0) for pair in zip(*sides, strict=True)))


def _one_side(vqvae, prior, images, positions, ages) -> list[np.ndarray]:
    device = prior.cell_bias.device
    codes = torch.from_numpy(encode_images(vqvae, images, device).astype(np.int64)).to(device)
    where = torch.from_numpy(np.asarray(positions, np.int64)).to(device)
    years = None if ages is None else torch.from_numpy(np.asarray(ages, np.float32)).to(device)
    parts = []
    for rows in torch.arange(len(codes), device=device).split(MAPS_AT_ONCE):
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
class NormalStatistics:
    """Mean and spread of the scores of held-out normal slices, for every cell and slice position.

    Attributes:
        mean: {"excess", "residual"}: mean of each cell at each position.
        spread: {"excess", "residual"}: standard deviation, where it is small raised towards the
            common one.
    """

    mean: dict[str, Float[np.ndarray, "positions rows cols"]]
    spread: dict[str, Float[np.ndarray, "positions rows cols"]]

    @classmethod
    def of(
        cls, found: AnomalyScores, positions: Integer[np.ndarray, " n"], n_positions: int
    ) -> NormalStatistics:
        """Mean and spread of normal slices.

        Args:
            found: Scores of slices of healthy subjects that no model was trained on.
            positions: Their slice positions.
            n_positions: Number of positions of the data set.

        Returns:
            The normal values; each position takes slices up to NEAR_POSITIONS away, and each cell
            is averaged with its eight neighbours.
        """
        mean, spread = {}, {}
        for name in ("excess", "residual"):
            values = getattr(found, name)
            near = [values[np.abs(positions - p) <= NEAR_POSITIONS] for p in range(n_positions)]
            near = [part if len(part) > 1 else values for part in near]
            means, deviations = (
                ndimage.uniform_filter(np.stack(values), 3, axes=(1, 2))
                for values in ([x.mean(0) for x in near], [x.std(0) for x in near])
            )
            mean[name] = means
            spread[name] = deviations + 0.3 * deviations.mean() + 1e-9
        return cls(mean, spread)

    def score(
        self, found: AnomalyScores, positions: Integer[np.ndarray, " n"]
    ) -> Float[np.ndarray, "n rows cols"]:
        """Standard deviations above normal of excess surprisal and of residual, added, slightly
        blurred.
        """
        total = sum(
            (getattr(found, name) - self.mean[name][positions]) / self.spread[name][positions]
            for name in self.mean
        )
        return ndimage.gaussian_filter(total, (0, BLUR_CELLS, BLUR_CELLS))


@dataclass(frozen=True)
class Detector:
    """Scores slices of fixed positions and ages by two models and their scores of normal slices.

    Attributes:
        vqvae: Encodes the slices.
        prior: Predicts their codes.
        normal: Mean and spread of the scores of normal slices.
        positions: Slice position of each slice to come.
        ages: Their ages in years; None for a prior that is not conditioned on age.
        symmetry: Where the mid-line is.
    """

    vqvae: VQVAE
    prior: PixelCNN
    normal: NormalStatistics
    positions: Integer[np.ndarray, " n"]
    ages: Float[np.ndarray, " n"] | None
    symmetry: Symmetry = LEFT_RIGHT

    def anomaly_scores(self, images: UInt8[np.ndarray, "n height width"]) -> AnomalyScores:
        """The parts of the score, of one slice for each of `positions`."""
        return anomaly_scores(
            self.vqvae, self.prior, images, self.positions, self.ages, self.symmetry
        )

    def score(
        self, images: UInt8[np.ndarray, "n height width"]
    ) -> Float[np.ndarray, "n rows cols"]:
        """Standard deviations above normal, see `NormalStatistics.score`."""
        return self.normal.score(self.anomaly_scores(images), self.positions)

    def surprisal(
        self, images: UInt8[np.ndarray, "n height width"]
    ) -> Float[np.ndarray, "n rows cols"]:
        """Nats of the codes alone."""
        return self.anomaly_scores(images).surprisal


def best_example(
    score: Callable[[np.ndarray], np.ndarray],
    images: UInt8[np.ndarray, "n height width"],
    planted: dict[str, Planted],
) -> int:
    """The slice in which every kind of anomaly raises the score clearly.

    Args:
        score: Slices to cell scores.
        images: The untouched slices.
        planted: Anomalies of each kind in the same slices.

    Returns:
        Index of the slice where the smallest mean rise of the score, over the kinds, is largest.
    """
    untouched, gains = score(images), []
    for change in planted.values():
        where = covered(change.mask, untouched.shape[1])
        gain = np.where(where, score(change.images) - untouched, 0).sum((1, 2))
        gains.append(gain / np.maximum(where.sum((1, 2)), 1))
    return int(np.min(gains, axis=0).argmax())


def auroc_by_kind(
    score: Callable[[UInt8[np.ndarray, "n height width"]], Float[np.ndarray, "n rows cols"]],
    images: UInt8[np.ndarray, "n height width"],
    planted: dict[str, Planted],
    region: Bool[np.ndarray, "n height width"] | None = None,
    region_name: str = "brain",
) -> dict[str, dict[str, float]]:
    """AUROC of a cell score on planted anomalies.

    Args:
        score: Slices to cell scores.
        images: The untouched slices.
        planted: Anomalies of each kind in the same slices.
        region: Pixels of the brain; None takes the foreground.
        region_name: Name of the region in the keys, see `Split.region_name`.

    Returns:
        {kind: AUROC of the changed cells against {"same cells", "all cells in the brain"} of the
        untouched slices}.
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
