"""Parts of a stack, its quarters and single positions, and the slices that stand for them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Integer

QUARTERS = ("first quarter", "second quarter", "third quarter", "last quarter")


def quarters(n: int) -> dict[str, Integer[np.ndarray, " _"]]:
    """The quarters of a stack.

    Args:
        n: Number of positions, or of pairs of neighbouring positions, at least 4.

    Returns:
        {one of QUARTERS: indices in [0, n)}; the first quarters are longer by one where n is not a
        multiple of 4.

    Raises:
        ValueError: For a stack that is too short to have quarters.
    """
    if n < len(QUARTERS):
        raise ValueError(
            f"a stack of {n} has no quarters, at least {len(QUARTERS)} are needed: use stacks of"
            " more positions"
        )
    return dict(zip(QUARTERS, np.array_split(np.arange(n), len(QUARTERS)), strict=True))


def single_positions(n: int) -> dict[str, Integer[np.ndarray, " 1"]]:
    """The first position of a stack, those at a quarter and in the middle, and the last one.

    Args:
        n: Number of positions, at least 1.

    Returns:
        {"position 0", …: that index}; equal ones once.
    """
    return {f"position {i}": np.array([i]) for i in sorted({0, n // 4, n // 2, n - 1})}


def spread_slices(
    heads: int, window: Integer[np.ndarray, " positions"], limit: int
) -> tuple[Integer[np.ndarray, " slices"], Integer[np.ndarray, " slices"]]:
    """Slices of a window, from as many heads and as evenly over its positions as can be.

    Slices of one head depend on each other, so a second one is taken only after the first of all
    heads.

    Args:
        heads: Number of heads.
        window: Indices of the window's positions.
        limit: Most slices to take.

    Returns:
        (head, index of the position) of each slice.
    """
    order = np.arange(heads)
    if heads > limit:
        order = np.linspace(0, heads - 1, limit).astype(int)
    rounds = len(window)
    place = np.tile(np.arange(len(order)), rounds)[:limit]  # in `order`
    turn = np.repeat(np.arange(rounds), len(order))[:limit]
    return order[place], window[(place + turn) % rounds]
