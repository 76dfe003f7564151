"""Assigns subjects to splits that are balanced in age, sex and CDR, reproducibly from a seed.

Systematic sampling along the order of ages, then rerandomisation (Morgan & Rubin 2012, doi
10.1214/12-AOS1008): of many random assignments that are balanced in age, the one with the most
similar splits is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from oasis_utils.config import SPLITS, digest
from oasis_utils.data.people import Person
from oasis_utils.runtime import DataError

RANDOM_DEALS = 300  # of which the most even one is taken
# of age, distance to the mean age, sex, CDR above 0, and whether age, sex and CDR are known
TRAIT_WEIGHTS = (4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def assign_splits(
    people: Mapping[str, Person],
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> dict[str, str]:
    """Assign each subject to train, validate or test by `balanced_splits`.

    Args:
        people: by name; their order does not matter.
        shares: of train, validate and test, positive, in any unit. Counts are the shares rounded
            to whole subjects (largest remainder), at least one a split.
        seed: of the random assignments.

    Returns:
        The split of each name.

    Raises:
        DataError: shares that are not three positive numbers, or fewer than 3 subjects.
    """
    if len(shares) != 3 or not all(math.isfinite(share) and share > 0 for share in shares):
        raise DataError(f"a split is three positive shares such as 0.8,0.1,0.1, not {shares}")
    n = len(people)
    if n < 3:
        raise DataError(
            f"{n} subjects cannot be split into {', '.join(SPLITS)}: at least 3 are needed"
        )
    exact = [share / sum(shares) * n for share in shares]
    counts = [max(math.floor(count), 1) for count in exact]
    while sum(counts) != n:
        step = 1 if sum(counts) < n else -1
        able = [i for i in range(3) if counts[i] + step >= 1]
        counts[max(able, key=lambda i: step * (exact[i] - counts[i]))] += step
    return balanced_splits(people, dict(zip(SPLITS, counts, strict=True)), seed)


def balanced_splits(
    people: Mapping[str, Person], counts: Mapping[str, int], seed: int = 0
) -> dict[str, str]:
    """Assign subjects to balanced splits.

    Names are ordered by age (unknown ages last) and cut into as many blocks as the smallest split
    has members; each split takes its share of every block. Within blocks the assignment is random.
    Of many such assignments, the one is taken in which mean age, its spread, and the shares of
    women, of CDR above 0 and of unknown values differ least between the splits.

    Args:
        people: by name; their order does not matter.
        counts: number of subjects in each split.
        seed: of the random assignments.

    Returns:
        The split of each name.

    Raises:
        ValueError: there are no people, or the counts do not sum to their number.

    Reference:
        Morgan & Rubin 2012, "Rerandomization to improve covariate balance in experiments", Annals
        of Statistics 40(2), doi 10.1214/12-AOS1008.
    """
    if not people:
        raise ValueError("no subjects to assign to splits: give at least one")
    if sum(counts.values()) != len(people):
        raise ValueError(
            f"{len(people)} subjects cannot be assigned to splits of {dict(counts)}: the counts"
            " must sum to the number of subjects"
        )
    names = sorted(people, key=lambda name: (_age(people[name]), digest([seed, name]), name))
    slots = _slots(list(counts.values()))
    blocks = _blocks(len(names), [n for n in counts.values() if n])
    traits = _traits([people[name] for name in names])
    rng = np.random.default_rng(int(digest([seed, sorted(people)]), 16))
    best, least = slots, math.inf
    for _ in range(RANDOM_DEALS):
        order = np.lexsort((rng.random(len(names)), blocks))  # permutes within blocks
        # rounded: the same choice on every machine
        found = round(_imbalance(slots[order], traits), 9)
        if found < least:
            best, least = slots[order], found
    splits = list(counts)
    return {name: splits[number] for name, number in zip(names, best.tolist(), strict=True)}


def balance(entries: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int | float | str]]:
    """Statistics that show how alike splits are.

    Args:
        entries: a manifest's "subjects": one a session, with subject, split, age (years), sex and
            cdr, None where unknown. A subject's first session counts.

    Returns:
        By split: number of "subjects", "mean age", "youngest", "oldest" (years), "women" and
        "CDR > 0" (shares, 0 to 1, of the subjects of whom it is known); "unknown" where it is known
        of none. What no split knows is left out.
    """
    people: dict[str, dict[Any, Mapping[str, Any]]] = {}
    for entry in entries:
        people.setdefault(entry["split"], {}).setdefault(entry["subject"], entry)
    found = {split: _summary(list(some.values())) for split, some in people.items()}
    known = {name for row in found.values() for name in row if row[name] != "unknown"}
    return {split: {k: v for k, v in row.items() if k in known} for split, row in found.items()}


def _summary(entries: Sequence[Mapping[str, Any]]) -> dict[str, int | float | str]:
    ages, sexes, ratings = (
        [e[key] for e in entries if e[key] is not None] for key in ("age", "sex", "cdr")
    )
    known = {
        "mean age": (np.mean, ages),
        "youngest": (np.min, ages),
        "oldest": (np.max, ages),
        "women": (np.mean, [sex == "F" for sex in sexes]),
        "CDR > 0": (np.mean, [cdr > 0 for cdr in ratings]),
    }
    return {"subjects": len(entries)} | {
        name: float(statistic(values)) if values else "unknown"
        for name, (statistic, values) in known.items()
    }


def _age(person: Person) -> float:
    return math.inf if person.age is None else person.age


def _slots(counts: Sequence[int]) -> Int[np.ndarray, " n"]:
    """The number of the split that each rank of age belongs to: member k of a split of c is at (k +
    0.5) / c.
    """
    slots = [
        ((k + 0.5) / count, number * (-1) ** k, number)
        for number, count in enumerate(counts)
        for k in range(count)
    ]
    return np.array([number for _, _, number in sorted(slots)], dtype=np.int64)


def _blocks(n: int, counts: Sequence[int]) -> Int[np.ndarray, " n"]:
    """The block of each rank: as many blocks as the smallest split has members."""
    return np.arange(n) * min(counts, default=1) // max(n, 1)


def _traits(people: Sequence[Person]) -> Float[np.ndarray, "n traits"]:
    """Age, distance to the mean age, woman, CDR > 0, and whether each is known, scaled to
    deviation 1.
    """
    ages, women, ill = (
        np.array(column, dtype=float)
        for column in (
            [math.nan if p.age is None else p.age for p in people],
            [math.nan if p.sex is None else p.sex == "F" for p in people],
            [math.nan if p.cdr is None else p.cdr > 0 for p in people],
        )
    )
    known = np.array(
        [[value is not None for value in (p.age, p.sex, p.cdr)] for p in people], dtype=float
    ).reshape(-1, 3)
    spread = np.abs(ages - np.nanmean(ages)) if known[:, 0].any() else ages
    traits = np.stack([ages, spread, women, ill], axis=1)
    for column in traits.T:
        some = np.isfinite(column)
        column[~some] = column[some].mean() if some.any() else 0
    traits = np.concatenate([traits, known], axis=1)
    return (traits - traits.mean(0)) / np.maximum(traits.std(0), 1e-9)


def _imbalance(slots: Int[np.ndarray, " n"], traits: Float[np.ndarray, "n traits"]) -> float:
    """Sum over splits and traits of the squared mean, in deviations of the whole; the age counts
    most.
    """
    counts = np.bincount(slots)
    sums = np.stack([np.bincount(slots, weights=column) for column in traits.T], axis=1)
    means = sums[counts > 0] / counts[counts > 0][:, None]
    return float((np.array(TRAIT_WEIGHTS) * means**2).sum())
