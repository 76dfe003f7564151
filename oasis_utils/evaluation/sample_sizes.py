"""How many slices an evaluation needs: the kernel distance of growing parts of two sets.

The distance is unbiased at every size (Binkowski 2018, arXiv 1801.01401); its interval narrows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from oasis_utils.evaluation.measured_sets import Estimate, MeasuredSet, estimate
from oasis_utils.metrics.kernel_distance import kid, kid_interval
from oasis_utils.metrics.matching import balanced

FEWEST = 32  # slices of the smallest part; each further part is twice as large


def kid_by_size(drawn: MeasuredSet, real: MeasuredSet, rounds: int) -> dict[int, Estimate]:
    """Kernel distance of n generated slices to n real ones, in the learned features.

    Every part contains the smaller ones and covers the positions of the real set evenly.

    Args:
        drawn: Generated slices; row i was drawn for row i of the real set.
        real: Real slices, or decoded ones, as many.
        rounds: Resamples of people behind the intervals.

    Returns:
        {n: {"value", "interval"}} for n = FEWEST, twice as many … up to all slices; a part whose
        real slices are all of one person is left out.
    """
    found = {}
    for n in _sizes(len(real.images)):
        rows = balanced(real.positions, n)
        sides = drawn.learned[rows], real.learned[rows], drawn.groups[rows], real.groups[rows]
        if len(np.unique(sides[3])) > 1:
            found[n] = estimate(kid(*sides), kid_interval(*sides, rounds))
    return found


def _sizes(n: int) -> list[int]:
    """FEWEST, 2 FEWEST, 4 FEWEST … below n, and n."""
    doublings = FEWEST * 2 ** np.arange(max(n // FEWEST, 1).bit_length())
    return [*doublings[doublings < n].tolist(), n]


def enough_slices(sizes: Mapping[Any, Estimate], half_width: float) -> int | None:
    """The smallest number of slices that is enough for an accuracy.

    Args:
        sizes: {number of slices: {"value", "interval"}}, see `kid_by_size`, or the same as a report
            holds it, with numbers as text.
        half_width: Wanted half width of the interval, above 0.

    Returns:
        The smallest number whose interval is narrower, and those of all larger numbers too; None
        if not even that of all slices is.

    Raises:
        ValueError: half_width is not above 0.
    """
    if not half_width > 0:
        raise ValueError(f"half_width must be above 0, not {half_width}: ask for a wider interval")
    enough = None
    for n in sorted(sizes, key=int, reverse=True):
        ends = sizes[n]["interval"]
        if ends is None or (ends[1] - ends[0]) / 2 >= half_width:
            break
        enough = int(n)
    return enough
