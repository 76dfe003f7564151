"""Variety of a set of slices: similarity of slices that share a position."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8

from oasis_utils.metrics.baselines import other_subject
from oasis_utils.metrics.features import as_floats
from oasis_utils.metrics.image_quality import ms_ssim


def pair_scores(
    images: UInt8[np.ndarray, "n height width"],
    positions: Integer[np.ndarray, " n"],
    owners: Integer[np.ndarray, " n"],
    measure: Callable = ms_ssim,
) -> Float[np.ndarray, " n"]:
    """Similarity of each slice to one at the same position with another owner; nan where no
    other owner has one.
    """
    partner = other_subject(torch.from_numpy(owners), torch.from_numpy(positions)).numpy()
    paired = np.flatnonzero(partner >= 0)
    scores = np.full(len(images), np.nan)
    if len(paired):
        scores[paired] = measure(
            as_floats(images[paired]), as_floats(images[partner[paired]])
        ).numpy()
    return scores


def pair_similarity(
    images: UInt8[np.ndarray, "n height width"],
    positions: Integer[np.ndarray, " n"],
    owners: Integer[np.ndarray, " n"],
    measure: Callable = ms_ssim,
) -> float:
    """Mean similarity of such pairs: much above real means too little variety. nan if no position
    occurs twice.
    """
    scores = pair_scores(images, positions, owners, measure)
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")
