"""Distances of two sets of anatomical measures: all measures together, and the shift of each one.

Together: the squared 2-Wasserstein distance of normal approximations (Dowson and Landau 1982, doi
10.1016/0047-259X(82)90077-X), as WASABI takes of volumes (arXiv 2504.21771); so correlations of the
measures count. Each one: the standardised mean difference (Cohen 1988, Statistical power analysis,
section 2.2), as Peng 2023 takes of volumes (arXiv 2310.04630). Intervals draw whole people with
replacement.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer

from oasis_utils.metrics.bootstrap import bootstrap, number_groups
from oasis_utils.metrics.frechet import corrected_frechet, frechet_interval
from oasis_utils.metrics.slices import MIN_IMAGES

NO_SPREAD = 1e-9  # pooled deviation below which two sets count as constant


def joint_distance(
    a: Float[np.ndarray, "n measures"],
    b: Float[np.ndarray, "m measures"],
    groups_a: Integer[np.ndarray, " n"],
    groups_b: Integer[np.ndarray, " m"],
    rounds: int,
) -> tuple[float, tuple[float, float]] | None:
    """Squared 2-Wasserstein distance of normal approximations of two sets.

    Args:
        a: Measures of the one set, nan where unknown; such rows are left out.
        b: Measures of the other.
        groups_a: Person of each row of a; an independent draw is its own person.
        groups_b: Person of each row of b.
        rounds: Resamples behind the interval.

    Returns:
        (distance, its 95 % interval), in squared units of the measures; the bias of few people is
        subtracted, so 0 is expected for one distribution and the distance may be negative. None
        for fewer than MIN_IMAGES known rows or 2 people on a side.
    """
    known_a, known_b = np.isfinite(a).all(1), np.isfinite(b).all(1)
    sides = a[known_a], b[known_b], groups_a[known_a], groups_b[known_b]
    few_rows = min(len(sides[0]), len(sides[1])) < MIN_IMAGES
    if few_rows or min(len(np.unique(groups)) for groups in sides[2:]) < 2:
        return None
    return corrected_frechet(*sides), frechet_interval(*sides, rounds)


def standardised_difference(
    a: Float[np.ndarray, " n"],
    b: Float[np.ndarray, " m"],
    groups_a: Integer[np.ndarray, " n"],
    groups_b: Integer[np.ndarray, " m"],
    rounds: int,
) -> tuple[float, tuple[float, float] | None]:
    """Mean of the one set minus mean of the other, in pooled standard deviations (Cohen's d).

    Args:
        a: One measure of the one set, nan where unknown; such rows are left out.
        b: The same measure of the other.
        groups_a: Person of each row of a; an independent draw is its own person.
        groups_b: Person of each row of b.
        rounds: Resamples behind the interval.

    Returns:
        (difference, its 95 % interval); (nan, None) where no two values differ or a side is empty.
    """
    known_a, known_b = np.isfinite(a), np.isfinite(b)
    one, other = (
        _sums(values[known], groups[known])
        for values, known, groups in ((a, known_a, groups_a), (b, known_b, groups_b))
    )
    if not (known_a.any() and known_b.any()):
        return float("nan"), None

    def difference(u: np.ndarray, v: np.ndarray) -> float:
        return _difference(u @ one, v @ other)

    people = len(one), len(other)
    value = difference(*(np.ones(n) for n in people))
    if not np.isfinite(value):
        return float("nan"), None
    return value, bootstrap(difference, *people, rounds)


def _sums(values: np.ndarray, groups: np.ndarray) -> Float[np.ndarray, "people 3"]:
    """Count, sum and sum of squares of each person's values."""
    if not len(values):
        return np.zeros((0, 3))
    number, exact = number_groups(groups), values.astype(np.float64)
    return np.stack([np.bincount(number, power) for power in (exact**0, exact, exact**2)], axis=1)


def _difference(a: Float[np.ndarray, " 3"], b: Float[np.ndarray, " 3"]) -> float:
    """Cohen's d from counts, sums and sums of squares."""
    (n, total_a, squares_a), (m, total_b, squares_b) = a, b
    within = squares_a - total_a**2 / n + squares_b - total_b**2 / m
    deviation = np.sqrt(max(within, 0.0) / max(n + m - 2, 1))
    return float((total_a / n - total_b / m) / deviation) if deviation > NO_SPREAD else float("nan")
