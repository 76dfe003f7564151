"""Smoothness of a head along its stack: curves over the positions, and their second differences.

In a real head an area changes gradually from slice to slice; in a pile of slices it jumps.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer, UInt8

from oasis_utils.config import BRAIN_LEVEL
from oasis_utils.metrics.bootstrap import bootstrap, number_groups


def roughness(curves: Float[np.ndarray, "heads positions"]) -> Float[np.ndarray, " heads"]:
    """Mean absolute second difference of each curve: 0 for a straight line.

    Args:
        curves: A value for each position of each head.

    Returns:
        In the unit of the curve; nan for fewer than 3 positions.
    """
    if curves.shape[1] < 3:
        return np.full(len(curves), np.nan)
    return np.abs(np.diff(curves, n=2, axis=1)).mean(1)


def foreground_area(
    heads: UInt8[np.ndarray, "heads positions height width"],
) -> Float[np.ndarray, "heads positions"]:
    """Share of each slice that is not background: brain, or head with skull and scalp.

    Args:
        heads: Slices in order of position.

    Returns:
        In [0, 1].
    """
    return np.array([(head > BRAIN_LEVEL * 255).mean((1, 2)) for head in heads]).reshape(
        heads.shape[:2]
    )


def grey_roughness(
    heads: UInt8[np.ndarray, "heads positions height width"],
) -> Float[np.ndarray, " heads"]:
    """Mean absolute second difference of the grey levels of a pixel along the stack.

    Only pixels count that are foreground in one of the three slices.

    Args:
        heads: Slices in order of position.

    Returns:
        In grey levels of 255; nan for a head without foreground or of fewer than 3 positions.
    """
    return np.array([_grey_roughness(head) for head in heads])


def _grey_roughness(head: UInt8[np.ndarray, "positions height width"]) -> float:
    if len(head) < 3:
        return float("nan")
    inside = head > BRAIN_LEVEL * 255
    any_of_three = inside[:-2] | inside[1:-1] | inside[2:]
    second = np.abs(np.diff(head.astype(np.int16), n=2, axis=0))
    return float(second[any_of_three].mean()) if any_of_three.any() else float("nan")


def mean_ratio(
    a: Float[np.ndarray, " n"],
    b: Float[np.ndarray, " m"],
    groups_a: Integer[np.ndarray, " n"],
    groups_b: Integer[np.ndarray, " m"],
    rounds: int,
) -> tuple[float, tuple[float, float]]:
    """Mean of a over mean of b, and its interval.

    Args:
        a: Values of the one set, finite.
        b: Values of the other.
        groups_a: People, resampled as wholes.
        groups_b: The same of the other set.
        rounds: Resamples.

    Returns:
        (ratio, central 95 % over resamples of the groups of both sets); nan where b has mean 0.
    """
    whole = float(b.mean()) if len(b) else 0.0
    if not len(a) or whole == 0:
        return float("nan"), (float("nan"), float("nan"))
    sums = [
        (np.bincount(numbers, values), np.bincount(numbers))
        for values, numbers in ((a, number_groups(groups_a)), (b, number_groups(groups_b)))
    ]
    (total_a, size_a), (total_b, size_b) = sums

    def ratio(u: np.ndarray, v: np.ndarray) -> float:
        below = (v @ total_b) / (v @ size_b)
        return float((u @ total_a) / (u @ size_a) / below) if below else float("nan")

    return float(a.mean()) / whole, bootstrap(ratio, len(size_a), len(size_b), rounds)
