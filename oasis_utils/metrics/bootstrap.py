"""Bootstrap intervals over groups of dependent rows, such as the slices of one subject.

Whole groups are drawn with replacement (cluster bootstrap: Davison and Hinkley 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Integer

MIN_GROUPS = 4  # groups below which an interval would be too narrow to show
Weights = Integer[np.ndarray, " _"]  # how often each group of one side is drawn


def number_groups(groups: Integer[np.ndarray, " n"]) -> Integer[np.ndarray, " n"]:
    """Group labels as 0, 1, 2 …"""
    return np.unique(groups, return_inverse=True)[1]


def draw_weights(
    n_groups: int, rounds: int, rng: np.random.Generator
) -> Integer[np.ndarray, "rounds groups"]:
    """How often each group comes in each bootstrap resample."""
    return rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=rounds)


def central(values: Float[np.ndarray, " rounds"]) -> tuple[float, float]:
    """The central 95 %."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def bootstrap(
    statistic: Callable[[Weights, Weights], float],
    groups_a: int,
    groups_b: int,
    rounds: int,
    seed: int = 0,
    centre: float | None = None,
) -> tuple[float, float]:
    """Central 95 % of a statistic of two sets over resamples of the groups of both.

    centre: shift the mean of the resamples there, for a statistic whose bias grows when rows
    repeat.
    """
    rng = np.random.default_rng(seed)
    draws = zip(
        draw_weights(groups_a, rounds, rng), draw_weights(groups_b, rounds, rng), strict=True
    )
    values = np.array([statistic(a, b) for a, b in draws])
    values = values[np.isfinite(values)]
    return central(values if centre is None else values + centre - values.mean())


def mean_interval(
    values: Float[np.ndarray, " n"], groups: Integer[np.ndarray, " n"], rounds: int
) -> tuple[float, float]:
    """Central 95 % of a mean over resamples of whole groups."""
    groups = number_groups(groups)
    totals, sizes = np.bincount(groups, values), np.bincount(groups)
    weights = draw_weights(len(sizes), rounds, np.random.default_rng(0))
    return central((weights @ totals) / (weights @ sizes))
