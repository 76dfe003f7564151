"""Deals subjects to splits that are alike in age, sex and CDR; the result depends on seed, names
and people alone.

Systematic sampling along the order of ages, then rerandomisation (Morgan & Rubin 2012, doi
10.1214/12-AOS1008): of many random deals that are even in age, the one with the most similar splits
is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from oasis_utils.config import digest

Person = tuple[
    float | None, str | None, float | None
]  # age in years, sex F or M, CDR; None: unknown
TRIES = 300  # random deals that are compared


def deal(people: Mapping[str, Person], counts: Mapping[str, int], seed: int = 0) -> dict[str, str]:
    """The split of each name: {name: split}, with counts[split] names in each split.

    Names are ordered by age (unknown ages last). Each split takes every so-manieth of them, the
    smallest split one of each block. Within blocks the deal is random, and the deal is chosen in
    which mean age, its spread, and the shares of women, of CDR above 0 and of unknown values differ
    least between the splits. ValueError without people, or where the counts do not sum to their
    number.
    """
    if not people:
        raise ValueError("no subjects to deal to splits: give at least one")
    if sum(counts.values()) != len(people):
        raise ValueError(
            f"{len(people)} subjects cannot be dealt to splits of {dict(counts)}: the counts must"
            " sum to the number of subjects"
        )
    names = sorted(people, key=lambda name: (_age(people[name]), digest([seed, name]), name))
    slots, blocks = (
        _slots(list(counts.values())),
        _blocks(len(names), [n for n in counts.values() if n]),
    )
    traits = _traits([people[name] for name in names])
    rng = np.random.default_rng(int(digest([seed, sorted(people)]), 16))
    best, least = slots, math.inf
    for _ in range(TRIES):
        order = np.lexsort(
            (rng.random(len(names)), blocks)
        )  # slots change places within their block
        found = round(
            _imbalance(slots[order], traits), 9
        )  # rounded: the same choice on every machine
        if found < least:
            best, least = slots[order], found
    splits = list(counts)
    return {name: splits[number] for name, number in zip(names, best.tolist(), strict=True)}


def balance(entries: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int | float | str]]:
    """How alike splits are: {split: {"subjects", "mean age", "youngest", "oldest", "women", "CDR >
    0"}}.

    entries: of a manifest's "subjects", with subject, split, age (years), sex and cdr; a subject's
    first session counts. Ages in years, the other two as shares of the subjects of whom it is
    known; "unknown" where there is none.
    """
    people: dict[str, dict[Any, Mapping[str, Any]]] = {}
    for entry in entries:
        people.setdefault(entry["split"], {}).setdefault(entry["subject"], entry)
    return {split: _summary(list(some.values())) for split, some in people.items()}


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
    return math.inf if person[0] is None else person[0]


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
    """Age, distance to the middle age, woman, CDR > 0, and whether each is known, scaled to
    deviation 1.
    """
    known = np.array(
        [[value is not None for value in person] for person in people], dtype=float
    ).reshape(-1, 3)
    ages, women, ill = (
        np.array(column, dtype=float)
        for column in (
            [math.nan if age is None else age for age, _, _ in people],
            [math.nan if sex is None else sex == "F" for _, sex, _ in people],
            [math.nan if cdr is None else cdr > 0 for _, _, cdr in people],
        )
    )
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
    weights = np.array([4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    return float((weights * means**2).sum())
