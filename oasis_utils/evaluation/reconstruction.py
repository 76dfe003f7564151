"""Reconstructions of a split by a VQ-VAE, and their scores beside trivial baselines."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from oasis_utils.data.dataset import Split
from oasis_utils.metrics import baselines, image_quality
from oasis_utils.metrics.bootstrap import mean_interval
from oasis_utils.metrics.features import as_floats
from oasis_utils.models.codes import decode_maps, encode_images
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime.report import ReconstructionResults

INTERVAL_ROUNDS = 1000  # resamples behind the intervals of a reconstruction's scores


@torch.inference_mode()
def reconstruct_split(
    vqvae: VQVAE, split: Split, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Pass a split through a VQ-VAE.

    Args:
        vqvae: The model.
        split: Its slices are encoded in batches.
        device: Where the model runs.

    Returns:
        Reconstructions, uint8 (n, height, width), and index maps (n, rows, cols).
    """
    indices = encode_images(vqvae, split.images, device).astype(np.int64)
    return decode_maps(vqvae, indices), indices


def score_reconstruction(
    split: Split,
    reconstructions: UInt8[np.ndarray, "n height width"],
    train_mean: Float[Tensor, "1 height width"],
) -> ReconstructionResults:
    """Scores of reconstructions beside those of trivial baselines.

    Args:
        split: The real slices.
        reconstructions: Their reconstructions, in the same order.
        train_mean: Mean slice of the training split, in [0, 1].

    Returns:
        Means over slices; intervals are the central 95 % over resamples of whole people.
    """
    real, region = split.floats(), split.inside()
    values = {
        name: x.numpy()
        for name, x in image_quality.slice_scores(real, as_floats(reconstructions), region).items()
    }
    scores = {name: float(np.nanmean(x)) for name, x in values.items()}
    intervals = {name: _interval(x, split.subjects) for name, x in values.items()}
    trivial = baselines.trivial_baselines(
        real,
        train_mean,
        torch.from_numpy(split.subjects),
        torch.from_numpy(split.positions),
        region,
    )
    by_metric = {
        name: {answer: values[name] for answer, values in trivial.items()} for name in scores
    }
    return ReconstructionResults(
        **scores,
        intervals=intervals,
        trivial_baselines=by_metric,
        split=split.name,
        region=split.region_name,
        images=len(split),
        subjects=len(np.unique(split.subjects)),
    )


def _interval(
    values: Float[np.ndarray, " n"], subjects: Integer[np.ndarray, " n"]
) -> tuple[float, float]:
    """Central 95 % of the mean of the finite values over resamples of subjects; nan without any."""
    known = np.isfinite(values)
    if not known.any():
        return float("nan"), float("nan")
    return mean_interval(values[known], subjects[known], INTERVAL_ROUNDS)


def mean_image(split: Split) -> Float[Tensor, "1 height width"]:
    """Mean slice of a split, summed in chunks so that the array may be larger than memory.

    Args:
        split: The slices.

    Returns:
        The mean in [0, 1].
    """
    total = sum(
        split.images[i : i + 512].sum(0, dtype=np.float64) for i in range(0, len(split), 512)
    )
    return torch.from_numpy(total / len(split) / 255).float()[None]


def position_means(split: Split, n_positions: int) -> Float[Tensor, "n_positions 1 height width"]:
    """Mean slice of each position.

    Args:
        split: The slices.
        n_positions: Number of positions of the data set.

    Returns:
        Means in [0, 1]; a position that the split lacks gets the mean of all slices.
    """
    means = mean_image(split).repeat(n_positions, 1, 1)
    for position in np.unique(split.positions):
        means[position] = torch.from_numpy(split.images[split.positions == position].mean(0) / 255)
    return means[:, None]
