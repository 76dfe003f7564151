"""Regions of an index map that a completion keeps."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from oasis_utils.runtime.symmetry import Symmetry

REGIONS = ("upper half", "lower half", "left half", "right half", "all but a hole")


def region(name: str, grid: int) -> Bool[np.ndarray, "grid grid"]:
    """The cells of a map that a completion keeps.

    Args:
        name: one of `REGIONS`; the hole is a square of half the map's side in its middle.
        grid: cells a side.

    Returns:
        True where a cell is kept.
    """
    keep, half, quarter = np.zeros((grid, grid), bool), grid // 2, grid // 4
    where = {
        "upper half": np.s_[:half],
        "lower half": np.s_[half:],
        "left half": np.s_[:, :half],
        "right half": np.s_[:, half:],
        "all but a hole": np.s_[quarter : quarter + half, quarter : quarter + half],
    }
    keep[where[name]] = True
    return ~keep if name == "all but a hole" else keep


def hemisphere(symmetry: Symmetry) -> str:
    """Name of the region on one side of the mid-line.

    Args:
        symmetry: of the slices.

    Returns:
        One of `REGIONS`.

    Raises:
        ValueError: the slices have no mid-line.
    """
    if not symmetry:
        raise ValueError(
            "these slices have no mid-line, so they show no hemispheres: ask `if symmetry` first"
        )
    return "right half" if symmetry.axis == -1 else "lower half"
