"""Features of whole heads for a two-sample test by person: what is where, and how it changes.

A row describes a whole head, so that a classifier (`two_sample.logistic`) sees what no single slice
shows: slices that do not belong together, or in the wrong order.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

LEVELS = 8  # parts of a stack, each averaged
CONTENT_SIDE = 4  # regions along each axis of a slice
CHANGES_SIDE = 2
GRID = 32  # pixels a side of the pictures whose differences are taken
JUMPS = 8  # largest jumps of a head


@torch.inference_mode()
def content_features(
    heads: UInt8[np.ndarray, "heads positions height width"],
) -> Float[np.ndarray, "heads features"]:
    """Mean grey levels of 8 x 4 x 4 blocks of a head.

    Args:
        heads: Slices in order of position.

    Returns:
        In [0, 1].
    """
    rows = [_blocks(_floats(head), CONTENT_SIDE) for head in heads]
    return torch.stack(rows).double().numpy()


@torch.inference_mode()
def change_features(
    heads: UInt8[np.ndarray, "heads positions height width"],
) -> Float[np.ndarray, "heads features"]:
    """How grey levels change along the stack of a head.

    First and second absolute differences from slice to slice of 32 x 32 pictures, averaged in
    8 x 2 x 2 blocks, and the logarithms of the 8 largest second differences of whole slices: a
    single jump does not drown in a mean.

    Args:
        heads: Slices in order of position, at least 3.

    Returns:
        Features of each head; fewer where there are fewer than 10 positions.

    Raises:
        ValueError: For fewer than 3 positions.
    """
    if heads.shape[1] < 3:
        raise ValueError(
            f"changes along a stack need at least 3 positions, not {heads.shape[1]}: use stacks of"
            " more slices"
        )
    return torch.stack([_changes(_floats(head)) for head in heads]).double().numpy()


def _changes(head: Float[Tensor, "positions height width"]) -> Float[Tensor, " features"]:
    small = F.adaptive_avg_pool2d(head[:, None], GRID)[:, 0]
    first, second = (torch.diff(small, n=order, dim=0).abs() for order in (1, 2))
    jumps = second.mean((1, 2)).sort(descending=True).values[:JUMPS]
    return torch.cat(
        [_blocks(first, CHANGES_SIDE), _blocks(second, CHANGES_SIDE), (jumps + 1e-4).log()]
    )


def _floats(
    head: UInt8[np.ndarray, "positions height width"],
) -> Float[Tensor, "positions height width"]:
    return torch.from_numpy(np.array(head)).float() / 255


def _blocks(
    values: Float[Tensor, "positions height width"], side: int
) -> Float[Tensor, " features"]:
    size = (min(LEVELS, len(values)), side, side)
    return F.adaptive_avg_pool3d(values[None], size).flatten()
