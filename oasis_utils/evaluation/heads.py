"""Evaluation of whole heads: do the slices of a generated stack make one head?

Generated heads stand beside decoded heads of test people, which passed through the same VQ-VAE. The
reference of every comparison is that of one half of these people with the other. Heads of one
person are resampled together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8

from oasis_utils.data.dataset import Split
from oasis_utils.metrics import odd_even, smoothness
from oasis_utils.metrics.bootstrap import MIN_GROUPS, mean_interval
from oasis_utils.metrics.head_blocks import Heads, complete_rows
from oasis_utils.metrics.kernel_distance import kid, kid_interval
from oasis_utils.metrics.measured_heads import HeadReaders, MeasuredHeads, Window
from oasis_utils.metrics.slices import MIN_IMAGES
from oasis_utils.metrics.stack_windows import quarters, single_positions
from oasis_utils.metrics.two_sample import (
    FOLDS,
    Scorer,
    logistic,
    network,
    split_groups,
    two_sample,
)
from oasis_utils.runtime.report import (
    EstimateResults,
    HeadComparisonResults,
    HeadResults,
    HeadSetResults,
)
from oasis_utils.runtime.report.heads import WHOLE, Estimates

SPLITS = 3  # random halves of the test people behind a reference: a single one may be uneven


def complete_stacks(
    split: Split,
    images: UInt8[np.ndarray, "n height width"] | None = None,
    maps: Integer[np.ndarray, "n rows cols"] | None = None,
    positions: Integer[np.ndarray, " positions"] | None = None,
) -> Heads:
    """The sessions of a split that have all positions, as heads.

    Args:
        split: Slices of people; two sessions of one person are two heads.
        images: Others in place of the slices, such as the decoded ones; None: the slices.
        maps: Index maps of the slices; None without.
        positions: Positions that a head must have; None: all that at least half of the sessions
            have.

    Returns:
        The heads; none if no session is complete.
    """
    assert split.series is not None  # `__post_init__` sets it
    if positions is None:
        once = np.unique(np.stack([split.series, split.positions]), axis=1)
        known, sessions = np.unique(once[1], return_counts=True)
        positions = known[2 * sessions >= len(np.unique(split.series))]
    rows = complete_rows(split.series, split.positions, positions)
    lowest = rows[:, :1].ravel()
    source = split.images if images is None else images
    return Heads(
        np.array(source[rows.ravel()]).reshape(*rows.shape, *source.shape[1:]),
        positions,
        split.subjects[lowest],
        split.ages[lowest].astype(np.float64),
        None if maps is None else maps[rows.ravel()].reshape(*rows.shape, *maps.shape[1:]),
    )


# ---------------------------------------------------------------- one set
def _estimate(value: float, ends: tuple[float, float] | None = None) -> EstimateResults:
    known = ends is not None and np.isfinite(ends).all()
    return EstimateResults(
        float(value) if np.isfinite(value) else None,
        (float(ends[0]), float(ends[1])) if ends is not None and known else None,
    )


def _mean(values: np.ndarray, people: np.ndarray, rounds: int) -> EstimateResults:
    """Mean of a value for each head; those that have none are left out."""
    known = np.isfinite(values)
    values, people = values[known].astype(np.float64), people[known]
    if not len(values):
        return _estimate(float("nan"))
    enough = len(np.unique(people)) >= MIN_GROUPS
    return _estimate(
        float(values.mean()), mean_interval(values, people, rounds) if enough else None
    )


def _spread(values: Float[np.ndarray, " heads"]) -> EstimateResults:
    known = values[np.isfinite(values)]
    return _estimate(float(known.std()) if len(known) else float("nan"))


def set_results(measured: MeasuredHeads, rounds: int) -> HeadSetResults:
    """Means of what was measured on heads.

    Args:
        measured: The heads.
        rounds: Resamples of people behind an interval.

    Returns:
        Plain numbers.
    """
    people = measured.heads.people

    def means(values: Mapping[str, np.ndarray]) -> Estimates:
        return {name: _mean(x, people, rounds) for name, x in values.items()}

    similar = {
        name: means(_by_part(x, quarters(x.shape[1]))) | {"spread": _spread(x.mean(1))}
        for name, x in measured.similar.items()
    }
    planes = {
        f"{name} SSIM": {WHOLE: _mean(x, people, rounds), "spread": _spread(x)}
        for name, x in measured.planes.items()
    }
    n = len(measured.heads.positions)
    errors = np.abs(measured.read_positions - measured.heads.positions)
    return HeadSetResults(
        len(people),
        len(np.unique(people)),
        similar | planes,
        means(measured.rough),
        means(_by_part(errors, quarters(n) | single_positions(n))),
        _odd_even(measured, rounds),
        _broken(measured, rounds),
    )


def _by_part(
    values: Float[np.ndarray, "heads _"], parts: Mapping[str, np.ndarray]
) -> dict[str, Float[np.ndarray, " heads"]]:
    return {WHOLE: values.mean(1)} | {name: values[:, x].mean(1) for name, x in parts.items()}


def _broken(measured: MeasuredHeads, rounds: int) -> Estimates:
    people = measured.heads.people
    any_kind = np.any(list(measured.broken.values()), axis=0)
    found = {}
    for name, broken in {**measured.broken, "any": any_kind}.items():
        # resamples of people without a broken slice have none either: that is no interval
        found[name] = _mean(broken.mean(1), people, rounds) if broken.any() else _estimate(0.0)
    return found | {"heads": _share_of_people(any_kind.any(1), people)}


def _share_of_people(
    broken: Bool[np.ndarray, " heads"], people: Integer[np.ndarray, " heads"]
) -> EstimateResults:
    """With the exact binomial interval, which also holds where none is broken."""
    from scipy.stats import binomtest  # slow to import

    count, n = len(np.unique(people[broken])), len(np.unique(people))
    low, high = binomtest(count, n).proportion_ci(0.95, method="exact")
    return _estimate(count / n, (float(low), float(high)))


def _odd_even(measured: MeasuredHeads, rounds: int) -> Estimates:
    heads, ages = measured.heads, measured.read_ages
    shift = measured.read_positions - heads.positions
    values = {"position, slices": odd_even.odd_even_gap(shift)}
    if ages is None:
        return {name: _mean(x, heads.people, rounds) for name, x in values.items()}
    values["age, years"] = odd_even.odd_even_gap(ages)
    values["age of different people, years"] = odd_even.strangers_gap(ages, heads.people)
    values["error of age, years"] = np.abs(ages.mean(1) - heads.ages)
    found = {name: _mean(x, heads.people, rounds) for name, x in values.items()}
    return found | {
        "age, correlation": _estimate(*odd_even.odd_even_correlation(ages, heads.people, rounds))
    }


# ---------------------------------------------------------------- two sets
def compare_heads(a: MeasuredHeads, b: MeasuredHeads, rounds: int) -> HeadComparisonResults:
    """Distances of two sets of heads; people are never on both sides of a split of a test.

    Args:
        a: The one set.
        b: The other.
        rounds: Resamples of people behind an interval.

    Returns:
        The distances.
    """
    people = a.heads.people, b.heads.people
    parts = {name: (x, b.windows[name]) for name, x in a.windows.items()}
    features = {name: (x, b.features[name]) for name, x in a.features.items()}
    features["content and changes"] = _both(a), _both(b)
    return HeadComparisonResults(
        {name: _ratio(x, b.rough[name], *people, rounds) for name, x in a.rough.items()},
        {name: _kid(*sides, *people, rounds) for name, sides in parts.items()},
        {
            name: _auc(one.pictures, other.pictures, _owners(one, other, *people), network, rounds)
            for name, (one, other) in parts.items()
        },
        {name: _auc(*sides, people, logistic, rounds) for name, sides in features.items()},
    )


def _both(measured: MeasuredHeads) -> Float[np.ndarray, "heads features"]:
    return np.hstack(list(measured.features.values()))


def _owners(
    one: Window, other: Window, people: np.ndarray, others: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The person of each slice."""
    return people[one.owners], others[other.owners]


def _enough(*sides: np.ndarray) -> bool:
    return all(len(np.unique(groups)) >= MIN_GROUPS for groups in sides)


def _ratio(
    a: np.ndarray, b: np.ndarray, people_a: np.ndarray, people_b: np.ndarray, rounds: int
) -> EstimateResults:
    known_a, known_b = np.isfinite(a), np.isfinite(b)
    owners = people_a[known_a], people_b[known_b]
    value, ends = smoothness.mean_ratio(a[known_a], b[known_b], *owners, rounds)
    return _estimate(value, ends if _enough(*owners) else None)


def _kid(
    one: Window, other: Window, people: np.ndarray, others: np.ndarray, rounds: int
) -> EstimateResults:
    owners = _owners(one, other, people, others)
    if min(map(len, owners)) < MIN_IMAGES or not _enough(*owners):
        return _estimate(float("nan"))
    sides = one.learned, other.learned, *owners
    return _estimate(kid(*sides), kid_interval(*sides, rounds))


def _auc(
    a: np.ndarray,
    b: np.ndarray,
    owners: tuple[np.ndarray, np.ndarray],
    scorer: Scorer,
    rounds: int,
) -> EstimateResults:
    if not _enough(*owners):
        return _estimate(float("nan"))
    test = two_sample(a, b, *owners, scorer, rounds)
    return _estimate(test.auc, test.interval)


@dataclass(frozen=True)
class HeadReference:
    """Decoded heads of test people, measured once for all generated sets.

    Attributes:
        readers: What training slices fixed.
        measured: The decoded heads.
        results: Means of what was measured on them.
        halves: One half of the people against the other, mean of SPLITS; None for fewer than 8
            people.
        rounds: Resamples of people behind an interval.
    """

    readers: HeadReaders
    measured: MeasuredHeads
    results: HeadSetResults
    halves: HeadComparisonResults
    rounds: int

    @classmethod
    def of(
        cls, train: Split, decoded: Heads, device: torch.device, rounds: int = 200
    ) -> HeadReference:
        """Fit what training slices fix, and measure decoded heads.

        Args:
            train: The training split.
            decoded: Complete stacks of test people through the VQ-VAE.
            device: Where the feature network runs.
            rounds: Resamples of people behind an interval.

        Returns:
            The reference.
        """
        readers = HeadReaders.fit(train, device)
        measured = MeasuredHeads.of(decoded, readers)
        halves = [compare_heads(*_halves(measured, split), rounds) for split in range(SPLITS)]
        return cls(readers, measured, set_results(measured, rounds), _averaged(halves), rounds)


def _halves(measured: MeasuredHeads, seed: int) -> tuple[MeasuredHeads, MeasuredHeads]:
    """The heads of one half of the people, and those of the other."""
    people = measured.heads.people
    first = people == people[0]
    if len(np.unique(people)) >= FOLDS:
        first = split_groups(people, seed) == 0
    return measured.some(first), measured.some(~first)


def _averaged(splits: Sequence[HeadComparisonResults]) -> HeadComparisonResults:
    """Means of values and of both ends of the intervals, as `two_sample` averages its folds."""
    return HeadComparisonResults(
        *(
            {
                name: _average([getattr(split, field.name)[name] for split in splits])
                for name in getattr(splits[0], field.name)
            }
            for field in fields(HeadComparisonResults)
        )
    )


def _average(items: Sequence[EstimateResults]) -> EstimateResults:
    values = [item.value for item in items if item.value is not None]
    ends = [item.interval for item in items if item.interval is not None]
    return _estimate(
        float(np.mean(values)) if values else float("nan"),
        tuple(np.mean(ends, axis=0)) if ends else None,
    )


def judge_heads(drawn: Heads, reference: HeadReference) -> HeadResults:
    """How well generated slices make heads.

    128 heads of 32 slices of 128² take 70 seconds of one core, their reference 90: two thirds of it
    for the feature network and the classifiers of slices.

    Args:
        drawn: Generated heads, of the positions and the size of the reference, best at the ages of
            its people.
        reference: Decoded heads of test people.

    Returns:
        Plain numbers with intervals, in the form in which a report holds them.

    Raises:
        ValueError: For heads of other positions or of another size.
    """
    real = reference.measured.heads
    same = np.array_equal(drawn.positions, real.positions)
    if not same or drawn.images.shape[2:] != real.images.shape[2:]:
        raise ValueError(
            f"drawn heads {drawn.images.shape[1:]} do not match the decoded ones "
            f"{real.images.shape[1:]} in positions and size: draw them at `positions` of the "
            "decoded heads"
        )
    measured = MeasuredHeads.of(drawn, reference.readers)
    return HeadResults(
        len(real.positions),
        set_results(measured, reference.rounds),
        reference.results,
        compare_heads(measured, reference.measured, reference.rounds),
        reference.halves,
    )
