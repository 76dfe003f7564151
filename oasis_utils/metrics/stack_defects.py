"""Defects planted into heads, to show that what judges heads sees them.

Each function returns damaged copies of a block of heads, (heads, positions, height, width); those
that only move slices also take blocks of index maps.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Integer, UInt8

from oasis_utils.metrics.stack_windows import quarters
from oasis_utils.runtime.symmetry import LEFT_RIGHT, Symmetry


def mixed(
    heads: Integer[np.ndarray, "heads positions height width"], seed: int = 0
) -> Integer[np.ndarray, "heads positions height width"]:
    """Heads whose slices are of other heads, drawn anew at each position without repetition.

    The heads are not independent, for they share people: a classifier of single slices may know
    these again. Whole heads can be told from real ones of other people by their changes.

    Args:
        heads: Slices or index maps; the same seed moves both alike.
        seed: Of the order.

    Returns:
        As many heads, with the same slices at each position.
    """
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(heads)) for _ in range(heads.shape[1])]
    return np.stack([heads[order, i] for i, order in enumerate(orders)], axis=1)


def reversed_quarter(
    heads: Integer[np.ndarray, "heads positions height width"], quarter: str = "second quarter"
) -> Integer[np.ndarray, "heads positions height width"]:
    """Heads whose slices within one quarter are in reverse order.

    Args:
        heads: Slices or index maps.
        quarter: One of `stack_windows.QUARTERS`.

    Returns:
        Changed copies.
    """
    result, part = heads.copy(), quarters(heads.shape[1])[quarter]
    result[:, part] = heads[:, part[::-1]]
    return result


def emptied(
    heads: UInt8[np.ndarray, "heads positions height width"], position: int
) -> UInt8[np.ndarray, "heads positions height width"]:
    """Heads with one black slice.

    Args:
        heads: Slices.
        position: Index of the slice.

    Returns:
        Changed copies.
    """
    result = heads.copy()
    result[:, position] = 0
    return result


def halved(
    heads: UInt8[np.ndarray, "heads positions height width"], symmetry: Symmetry = LEFT_RIGHT
) -> UInt8[np.ndarray, "heads positions height width"]:
    """Heads of which one half of the frame is black.

    Args:
        heads: Slices with the mid-line in the middle of the frame.
        symmetry: Whether it is vertical or horizontal; without one the left half goes.

    Returns:
        Changed copies.
    """
    result = heads.copy()
    upright = symmetry.upright(result)  # a view
    upright[..., : upright.shape[-1] // 2] = 0
    return result


def hollowed(
    heads: UInt8[np.ndarray, "heads positions height width"],
) -> UInt8[np.ndarray, "heads positions height width"]:
    """Heads of which the middle half of the frame, along both axes, is black.

    Args:
        heads: Slices.

    Returns:
        Changed copies.
    """
    height, width = heads.shape[2:]
    result = heads.copy()
    result[:, :, height // 4 : -(height // 4), width // 4 : -(width // 4)] = 0
    return result
