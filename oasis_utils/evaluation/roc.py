"""Intervals over people for the AUROC of changed cells, and a cache of scores.

The cells of a slice, and the slices of a person, are not independent, so whole people are
resampled. The AUROC is a mean over pairs of a changed and an unchanged cell: their wins are summed
once for each pair of people, and a resample of people weighs the sums (clustered data: Obuchowski
1997, doi 10.2307/2533958).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from oasis_utils.evaluation.anomalies import auroc_by_kind
from oasis_utils.evaluation.planting import Planted, covered
from oasis_utils.metrics.bootstrap import MIN_GROUPS, central, draw_weights, number_groups
from oasis_utils.metrics.ranking import group_wins

Images = UInt8[np.ndarray, "n height width"]
Scores = Float[np.ndarray, "n rows cols"]
FOUND, PARTLY_FOUND = 0.8, 0.5  # AUROC above which the lower end of the interval must lie


def cached(score: Callable[[Images], Scores]) -> Callable[[Images], Scores]:
    """The same score function, which does not compute the scores of the very same array twice.

    Args:
        score: Slices to cell scores.

    Returns:
        The function with a memory; it keeps the arrays.
    """
    known: list[tuple[np.ndarray, np.ndarray]] = []

    def ask(images: Images) -> Scores:
        for seen, found in known:
            if seen is images:
                return found
        known.append((images, score(images)))
        return known[-1][1]

    return ask


def auroc_interval(
    changed: Float[np.ndarray, " n"],
    unchanged: Float[np.ndarray, " m"],
    owners: Integer[np.ndarray, " n"],
    others: Integer[np.ndarray, " m"],
    rounds: int = 1000,
) -> tuple[float, float]:
    """Central 95 % of the AUROC over resamples of people; (nan, nan) for fewer than MIN_GROUPS
    people.
    """
    return _interval(_resampled(changed, unchanged, owners, others, rounds))


def _interval(resamples: Float[np.ndarray, " rounds"]) -> tuple[float, float]:
    return central(resamples) if len(resamples) else (float("nan"), float("nan"))


def _resampled(
    changed: Float[np.ndarray, " n"],
    unchanged: Float[np.ndarray, " m"],
    owners: Integer[np.ndarray, " n"],
    others: Integer[np.ndarray, " m"],
    rounds: int = 1000,
) -> Float[np.ndarray, " rounds"]:
    """The AUROC of each resample of people, the same resamples for the same people; empty for fewer
    than MIN_GROUPS people.
    """
    numbers = number_groups(np.concatenate([owners, others]))
    owners, others, people = (
        numbers[: len(owners)],
        numbers[len(owners) :],
        int(numbers.max(initial=-1)) + 1,
    )
    if people < MIN_GROUPS or min(len(changed), len(unchanged)) == 0:
        return np.zeros(0)
    table = np.zeros((people, people))
    known = group_wins(changed, unchanged, owners, others)
    table[: len(known), : known.shape[1]] = known
    sizes = [np.bincount(x, minlength=people) for x in (owners, others)]
    weights = draw_weights(people, rounds, np.random.default_rng(0)).astype(np.float64)
    pairs = (weights @ sizes[0]) * (weights @ sizes[1])
    return np.einsum("ri,ij,rj->r", weights, table, weights)[pairs > 0] / pairs[pairs > 0]


def intervals(
    score: Callable[[Images], Scores],
    images: Images,
    planted: dict[str, Planted],
    subjects: Integer[np.ndarray, " n"],
) -> dict[str, tuple[float, float]]:
    """Intervals of the AUROC of each kind of anomaly over resamples of people.

    Args:
        score: Slices to cell scores.
        images: The untouched slices.
        planted: Anomalies of each kind in the same slices.
        subjects: Person of each slice.

    Returns:
        {kind: central 95 % of the AUROC of the changed cells against the same cells of the
        untouched slices}; nan for too few people.

    Reference:
        Obuchowski 1997, doi 10.2307/2533958.
    """
    resamples = _resampled_kinds(score, images, planted, subjects)
    return {kind: _interval(values) for kind, values in resamples.items()}


def differences(
    score: Callable[[Images], Scores],
    other: Callable[[Images], Scores],
    images: Images,
    planted: dict[str, Planted],
    subjects: Integer[np.ndarray, " n"],
) -> dict[str, tuple[float, float]]:
    """Intervals of the difference of two scores' AUROC, over the same resamples of people.

    Args:
        score: Slices to cell scores.
        other: The score that is subtracted.
        images: The untouched slices.
        planted: Anomalies of each kind in the same slices.
        subjects: Person of each slice.

    Returns:
        {kind: central 95 % of AUROC of `score` minus that of `other`}; nan for too few people.
    """
    mine, theirs = (_resampled_kinds(one, images, planted, subjects) for one in (score, other))
    return {kind: _interval(mine[kind] - theirs[kind]) for kind in planted}


def compared(
    scores: Mapping[str, Callable[[Images], Scores]],
    images: Images,
    planted: dict[str, Planted],
    subjects: Integer[np.ndarray, " n"],
    region: Bool[np.ndarray, "n height width"] | None = None,
    region_name: str = "brain",
) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """AUROC of several scores on planted anomalies, as rows for `plotting.forest`.

    Args:
        scores: {name: slices to cell scores}.
        images: The untouched slices.
        planted: Anomalies of each kind in the same slices.
        subjects: Person of each slice.
        region: Pixels of the brain; None takes the foreground.
        region_name: Name of the region in the keys, see `Split.region_name`.

    Returns:
        {unchanged cells: {kind: {name of the score: {"value", "interval"}}}} against "the same
        cells" and "all cells in the brain" of the untouched slices; intervals over people are of
        the first only.
    """
    found: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for name, score in scores.items():
        ends = intervals(score, images, planted, subjects)
        for kind, values in auroc_by_kind(score, images, planted, region, region_name).items():
            same, all_cells = values
            for against, key in (("the same cells", same), (all_cells, all_cells)):
                item = {"value": values[key], "interval": ends[kind] if key == same else None}
                found.setdefault(against, {}).setdefault(kind, {})[name] = item
    return found


def detected(ends: Sequence[float]) -> str:
    """Whether a kind of anomaly is found, by the interval of its AUROC.

    Args:
        ends: Lower and upper end; nan for too few people.

    Returns:
        "found" where the lower end is above `FOUND`, "partly found" above `PARTLY_FOUND`, "not
        shown to be found" or "too few people to say".
    """
    low = ends[0]
    if not np.isfinite(low):
        return "too few people to say"
    if low > FOUND:
        return "found"
    return "partly found" if low > PARTLY_FOUND else "not shown to be found"


def _resampled_kinds(
    score: Callable[[Images], Scores],
    images: Images,
    planted: dict[str, Planted],
    subjects: Integer[np.ndarray, " n"],
) -> dict[str, Float[np.ndarray, " _"]]:
    untouched, found = score(images), {}
    for kind, changed in planted.items():
        where = covered(changed.mask, untouched.shape[1])
        owners = np.broadcast_to(subjects[:, None, None], where.shape)[where]
        found[kind] = _resampled(score(changed.images)[where], untouched[where], owners, owners)
    return found
