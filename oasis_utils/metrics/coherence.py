"""How well the slices of a stack belong together: a head, or only a pile of slices?

Stacks are compared slice by slice, in order of position; blocks of complete heads also plane by
plane after reslicing across the stack. The similarity is SSIM (Wang 2004, doi
10.1109/TIP.2003.819861).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer, UInt8

from oasis_utils.metrics.features import as_floats
from oasis_utils.metrics.image_quality import WINDOW, ssim
from oasis_utils.runtime.symmetry import LEFT_RIGHT, Symmetry

PLANES = ("sagittal", "coronal")  # across a stack of axial slices

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


# ---------------------------------------------------------------- blocks of complete heads
def neighbour_ssim(
    heads: UInt8[np.ndarray, "heads positions height width"],
) -> Float[np.ndarray, "heads pairs"]:
    """SSIM of each slice of a head and the next one.

    Args:
        heads: Slices in order of position, at least 11 pixels a side.

    Returns:
        In [-1, 1], one value less than there are positions.
    """
    return np.array([_ssim_of_next(head) for head in heads]).reshape(len(heads), -1)


def neighbour_same_code(
    maps: Integer[np.ndarray, "heads positions rows cols"],
) -> Float[np.ndarray, "heads pairs"]:
    """Share of the cells that have the same code in a slice of a head and in the next one.

    Args:
        maps: Index maps in order of position.

    Returns:
        In [0, 1], one value less than there are positions.
    """
    return (maps[:, 1:] == maps[:, :-1]).mean((2, 3))


def plane_ssim(
    heads: UInt8[np.ndarray, "heads positions height width"],
    plane: str,
    symmetry: Symmetry = LEFT_RIGHT,
) -> Float[np.ndarray, " heads"]:
    """Mean SSIM of neighbouring planes across the stack.

    Planes in which a head shows nothing count neither alone nor as a neighbour. The value says
    whether planes are as alike as those of real heads, not whether slices belong together: a slice
    of another person changes two neighbouring planes in the same way.

    Args:
        heads: Slices in order of position.
        plane: "sagittal" (one column of each upright slice) or "coronal" (one row); so named for
            axial slices.
        symmetry: Where the mid-line of the slices is; without one they count as upright.

    Returns:
        In [-1, 1], one value for each head; nan for a head without two neighbouring planes and
        where there are fewer than 11 positions, too few for SSIM.

    Raises:
        ValueError: For another plane.
    """
    if plane not in PLANES:
        raise ValueError(f"unknown plane {plane!r}: choose one of {', '.join(PLANES)}")
    axis = 3 if plane == "sagittal" else 2
    planes = np.moveaxis(symmetry.upright(heads), axis, 1)
    if min(planes.shape[2:]) < WINDOW:
        return np.full(len(heads), np.nan)
    return np.array([_shown_ssim(head) for head in planes])


def _shown_ssim(planes: UInt8[np.ndarray, "planes rows cols"]) -> float:
    shown = np.asarray(planes.any((1, 2)))
    both = shown[1:] & shown[:-1]
    return float(_ssim_of_next(planes)[both].mean()) if both.any() else float("nan")


def _ssim_of_next(
    slices: UInt8[np.ndarray, "slices height width"],
) -> Float[np.ndarray, " pairs"]:
    images = as_floats(slices)
    return ssim(images[:-1], images[1:]).double().numpy()
