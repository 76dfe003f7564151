"""Shares of pixels in overlapping ranges of grey level: features of the small models that measure
utility.

Each range is a triangle (a linear B-spline, de Boor 1978, doi 10.1007/978-1-4612-6333-3), so that a
pixel belongs to two neighbouring ranges by shares that add up to 1. Linear models of these shares
are piecewise linear in the grey level and find thresholds between tissues by themselves. No feature
is learned from other pictures, and none is used by the metrics that judge slices.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8

from oasis_utils.config import BRAIN_LEVEL
from oasis_utils.metrics.features import as_floats

RANGES = 6  # of grey level, from 0 to a slice's 95th percentile
LARGEST_SIDE = 128  # pixels; larger slices are reduced, so that time does not grow with their size
AT_ONCE = 128  # slices


def range_shares(grey: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape ranges"]:
    """Shares by which grey levels belong to each of RANGES ranges.

    Args:
        grey: Of any shape, as `relative_greys` gives them; values outside [0, 1] count as the
            nearer end.

    Returns:
        In [0, 1]; they add up to 1 over the last axis.
    """
    steps = np.clip(grey, 0, 1)[..., None] * (RANGES - 1)
    return np.clip(1 - np.abs(steps - np.arange(RANGES, dtype=np.float32)), 0, 1)


def relative_greys(
    images: UInt8[np.ndarray, "n height width"],
) -> Iterator[Float[np.ndarray, "_ rows cols"]]:
    """Slices with grey levels over the 95th percentile of their foreground, in batches.

    Args:
        images: Slices.

    Yields:
        Batches in the order of the slices, float32, at most LARGEST_SIDE pixels a side.
    """
    for start in range(0, len(images), AT_ONCE):
        batch = as_floats(images[start : start + AT_ONCE])
        side = min(LARGEST_SIDE, *batch.shape[2:])
        small = F.interpolate(batch, size=(side, side), mode="area")[:, 0].numpy()
        scale = np.array([_scale(image) for image in small], np.float32)
        yield small / scale[:, None, None]


def _scale(image: Float[np.ndarray, "rows cols"]) -> float:
    """The 95th percentile of the foreground; 1 without one."""
    inside = image[image > BRAIN_LEVEL]
    return float(np.percentile(inside, 95)) if len(inside) else 1.0


def regional_shares(
    images: UInt8[np.ndarray, "n height width"], regions: int
) -> Float[np.ndarray, "n features"]:
    """Mean `range_shares` of the regions x regions rectangles of each slice.

    Args:
        images: Slices.
        regions: Rectangles along each axis, 1 or more.

    Returns:
        regions² RANGES features in [0, 1].
    """
    rows = [np.zeros((0, regions * regions * RANGES), np.float32)]
    for batch in relative_greys(images):
        shares = torch.from_numpy(range_shares(batch)).movedim(-1, 1)
        rows.append(F.adaptive_avg_pool2d(shares, regions).flatten(1).numpy())
    return np.concatenate(rows)
