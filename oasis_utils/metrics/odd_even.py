"""Agreement of estimates from a head's odd slices with those from its even ones.

The split-half reliability of psychometrics (Spearman 1910, doi
10.1111/j.2044-8295.1910.tb00206.x), with slices for items: both halves of a head show one person.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer

from oasis_utils.metrics.bootstrap import bootstrap, number_groups

Halves = tuple[np.ndarray, np.ndarray]


def odd_even_means(values: Float[np.ndarray, "heads positions"]) -> Halves:
    """Means over the odd and over the even positions of each head.

    Args:
        values: One for each slice; at least 2 positions.

    Returns:
        (means of the odd positions, means of the even ones), each (heads,).
    """
    return values[:, 1::2].mean(1), values[:, ::2].mean(1)


def odd_even_gap(values: Float[np.ndarray, "heads positions"]) -> Float[np.ndarray, " heads"]:
    """Absolute difference between the means of a head's odd and even positions.

    Args:
        values: One for each slice; at least 2 positions.

    Returns:
        In the unit of the values.
    """
    odd, even = odd_even_means(values)
    return np.abs(odd - even)


def strangers_gap(
    values: Float[np.ndarray, "heads positions"], people: Integer[np.ndarray, " heads"]
) -> Float[np.ndarray, " heads"]:
    """`odd_even_gap` of each head's odd positions and another person's even ones: the reference.

    Args:
        values: One for each slice.
        people: The person of each head.

    Returns:
        In the unit of the values; nan if all heads are of one person.
    """
    odd, even = odd_even_means(values)
    gaps = np.full(len(values), np.nan)
    for row, person in enumerate(people):
        others = np.flatnonzero(people != person)
        if len(others):  # the next stranger, in a circle
            gaps[row] = abs(odd[row] - even[others[np.searchsorted(others, row) % len(others)]])
    return gaps


def odd_even_correlation(
    values: Float[np.ndarray, "heads positions"],
    people: Integer[np.ndarray, " heads"],
    rounds: int,
) -> tuple[float, tuple[float, float]]:
    """Correlation over heads of the means of the odd and of the even positions.

    Heads that all have the same value agree in it and yet say nothing; here they do not score.

    Args:
        values: One for each slice; at least 2 positions.
        people: The person of each head, resampled as a whole.
        rounds: Resamples.

    Returns:
        (correlation in [-1, 1], central 95 %); nan where the heads do not differ.

    Reference:
        Spearman 1910, doi 10.1111/j.2044-8295.1910.tb00206.x.
    """
    odd, even = odd_even_means(values)
    owner = number_groups(people)
    whole = _correlation(odd, even, np.ones(len(odd)))
    if not np.isfinite(whole):
        return whole, (float("nan"), float("nan"))
    n = int(owner.max()) + 1
    return whole, bootstrap(lambda u, _: _correlation(odd, even, u[owner]), n, 1, rounds)


def _correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    if weights.sum() == 0:
        return float("nan")
    x, y = (values - np.average(values, weights=weights) for values in (x, y))
    spread = np.sqrt((weights @ (x * x)) * (weights @ (y * y)))
    return float(weights @ (x * y) / spread) if spread > 1e-9 else float("nan")
