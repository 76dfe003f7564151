"""Chooses the pairs of a reader study: a held-out slice and a generated one of its position.

A slice is shown once: a real slice that came twice would be recognised as real. The test people
come equally often, as far as the samples of the run allow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Integer

from oasis_utils.data.dataset import Split
from oasis_utils.metrics.bootstrap import number_groups
from oasis_utils.metrics.matching import matched
from oasis_utils.models.samples import Samples
from oasis_utils.runtime import DataError


@dataclass(frozen=True)
class Pair:
    """Which two slices are shown together.

    Attributes:
        prior: Which prior generated one of them.
        sample: Its number in the samples of that prior.
        row: Number of the real slice in the test split.
    """

    prior: str
    sample: int
    row: int


def chosen_pairs(
    test: Split, samples: dict[str, Samples], n: int, rng: np.random.Generator
) -> list[Pair]:
    """n pairs of each prior, in random order.

    Args:
        test: The real slices.
        samples: {prior: its slices}.
        n: Pairs of each prior.
        rng: Decides the choice where several slices fit, and the order.

    Returns:
        Pairs of one slice position each, of the nearest ages among the slices chosen.

    Raises:
        DataError: The real slices, or the samples of their positions, are too few.
    """
    pairs = []
    for prior, rows in chosen_rows(test, samples, n, rng).items():
        drawn = samples[prior]
        assert drawn.ages is not None  # set when samples are made
        numbers = matched(drawn.positions, drawn.ages, test.positions[rows], test.ages[rows])
        pairs += [
            Pair(prior, int(number), int(row)) for number, row in zip(numbers, rows, strict=True)
        ]
    return [pairs[i] for i in rng.permutation(len(pairs))]


def chosen_rows(
    test: Split, samples: dict[str, Samples], n: int, rng: np.random.Generator
) -> dict[str, Integer[np.ndarray, " n"]]:
    """n different real slices for each prior; a prior has at least as many samples of each
    position.

    The priors take turns. Each takes a slice of the person shown least so far, of the position that
    it has shown least.
    """
    order = rng.permutation(len(test))  # so that ties are broken at random
    people, positions = number_groups(test.subjects)[order], test.positions[order]
    shown, free = np.zeros(people.max() + 1, np.int64), np.ones(len(order), bool)
    highest = max(positions.max(), *(s.positions.max() for s in samples.values()))
    left = {name: np.bincount(s.positions, minlength=highest + 1) for name, s in samples.items()}
    seen = {name: np.zeros(highest + 1, np.int64) for name in samples}
    chosen: dict[str, list[int]] = {name: [] for name in samples}
    for turn in range(n):
        for name, rows in chosen.items():
            fits = np.flatnonzero(free & (left[name][positions] > 0))
            if not len(fits):
                raise DataError(_too_few(turn, name))
            at = fits[np.lexsort((seen[name][positions[fits]], shown[people[fits]]))[0]]
            rows.append(int(order[at]))
            free[at] = False
            shown[people[at]] += 1
            left[name][positions[at]] -= 1
            seen[name][positions[at]] += 1
    return {name: np.array(rows) for name, rows in chosen.items()}


def _too_few(possible: int, prior: str) -> str:
    if not possible:
        return (
            f"the samples of {prior} have no slice position of the test slices: run notebook"
            " 07_generation again"
        )
    return (
        f"each slice is shown once, and the test slices and the samples of {prior} are enough for"
        f" {possible} pairs of each prior: ask for --n {possible}, or fewer"
    )
