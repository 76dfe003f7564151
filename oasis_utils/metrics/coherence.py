"""How well the slices of a stack belong together: a head, or only a pile of slices?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer, UInt8

from oasis_utils.metrics.features import as_floats
from oasis_utils.metrics.image_quality import ssim

Pairs = Integer[np.ndarray, "pairs 2"]


@dataclass(frozen=True)
class Coherence:
    """How alike slices of neighbouring positions are, one value for each stack.

    Attributes:
        ssim: mean SSIM of a slice and the next one, in [-1, 1].
        same_code: share of the cells that have the same code in both, in [0, 1].
    """

    ssim: Float[np.ndarray, " stacks"]
    same_code: Float[np.ndarray, " stacks"]


def next_slices(
    stacks: Integer[np.ndarray, " n"], positions: Integer[np.ndarray, " n"], further: int = 0
) -> Pairs:
    """Rows of slices whose positions follow each other.

    Args:
        stacks: number of the stack that each slice belongs to, such as the session of a person.
        positions: of the slices.
        further: the next slice is that of the stack so many further on, in order of their numbers,
            in a circle; 0: of the same stack.

    Returns:
        (row, row of the next position) of each pair; positions that a stack lacks have none.
    """
    numbers, own = np.unique(stacks, return_inverse=True)
    rows = {
        pair: row for row, pair in enumerate(zip(own.tolist(), positions.tolist(), strict=True))
    }
    pairs = [
        (row, rows[after])
        for (stack, position), row in rows.items()
        if (after := ((stack + further) % len(numbers), position + 1)) in rows
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def stack_coherence(
    images: UInt8[np.ndarray, "n height width"],
    maps: Integer[np.ndarray, "n rows cols"],
    stacks: Integer[np.ndarray, " n"],
    positions: Integer[np.ndarray, " n"],
    further: int = 0,
) -> Coherence:
    """How alike the slices of each stack are from one position to the next.

    High values alone do not make a head good: slices that are all the same, or all bad in the same
    way, have the highest.

    Args:
        images: slices of all stacks.
        maps: their index maps.
        stacks: number of the stack that each slice belongs to.
        positions: of the slices.
        further: see `next_slices`; with 1 the next slice is that of another stack, as if slices
            knew nothing of each other.

    Returns:
        A value for each stack that has two slices of neighbouring positions; none if no stack has.
    """
    first, second = next_slices(stacks, positions, further).T
    if not len(first):
        return Coherence(np.empty(0), np.empty(0))
    alike = ssim(as_floats(images[first]), as_floats(images[second])).numpy()
    same = (maps[first] == maps[second]).mean((1, 2))
    owner = stacks[first]
    of_stack = [owner == number for number in np.unique(owner)]
    return Coherence(
        np.array([alike[mine].mean() for mine in of_stack], dtype=np.float64),
        np.array([same[mine].mean() for mine in of_stack]),
    )
