"""Selection of rows, balanced over slice positions or matched with others in position and age."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.optimize import linear_sum_assignment

POSITION_COST, STRANGER_COST = (
    1000.0,
    200.0,
)  # years that a slice position, and not being partners, count as in a match


def balanced(
    positions: Integer[np.ndarray, " n"], limit: int, seed: int = 0
) -> Integer[np.ndarray, " k"]:
    """At most `limit` of n rows, ascending, that cover all slice positions as evenly as the data
    allow.
    """
    order = np.random.default_rng(seed).permutation(len(positions))
    return np.sort(order[np.argsort(turns(positions[order]), kind="stable")[:limit]])


def turns(positions: Integer[np.ndarray, " n"]) -> Integer[np.ndarray, " n"]:
    """How often each row's position came before: 0 for the first round over the positions, 1 for
    the second …
    """
    order = np.argsort(positions, kind="stable")
    ordered = positions[order]
    first = np.searchsorted(ordered, ordered, side="left")
    result = np.empty(len(positions), np.int64)
    result[order] = np.arange(len(positions)) - first
    return result


def matched(
    positions: Integer[np.ndarray, " n"],
    ages: Float[np.ndarray, " n"],
    to_positions: Integer[np.ndarray, " k"],
    to_ages: Float[np.ndarray, " k"],
    stranger: Bool[np.ndarray, "n k"] | None = None,
) -> Integer[np.ndarray, " k"]:
    """Of n rows the k different ones that are nearest in position, then in age, to k others; row i
    belongs to other i.

    Ages in years, nan where unknown: such a row fits any age. stranger: pairs that are only taken
    where no other pair is as near in position. ValueError if there are fewer rows than others.
    """
    if len(positions) < len(to_positions):
        raise ValueError(
            f"{len(to_positions)} slices need as many to be matched with, got {len(positions)}: "
            "use a larger set"
        )
    cost = POSITION_COST * np.abs(positions[:, None] - to_positions) + _years_apart(ages, to_ages)
    cost += 1e-3 * np.random.default_rng(0).random(
        cost.shape
    )  # else ties all fall to the first rows: one person
    rows, others = linear_sum_assignment(
        cost if stranger is None else cost + STRANGER_COST * stranger
    )
    return rows[np.argsort(others)]


def partners(
    ages: Float[np.ndarray, " n"], to_ages: Float[np.ndarray, " k"]
) -> Integer[np.ndarray, " k"]:
    """For each of k people one of n others, as near in age as can be.

    None is taken more than ceil(k / n) times.
    """
    times = -(-len(to_ages) // len(ages))
    rows, others = linear_sum_assignment(np.repeat(_years_apart(ages, to_ages), times, axis=0))
    return (rows // times)[np.argsort(others)]


def _years_apart(
    ages: Float[np.ndarray, " n"], to_ages: Float[np.ndarray, " k"]
) -> Float[np.ndarray, "n k"]:
    return np.nan_to_num(np.abs(ages[:, None].astype(np.float64) - to_ages))
