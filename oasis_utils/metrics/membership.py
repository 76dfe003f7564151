"""Membership inference: can one tell from a model's scores whose slices it was trained on?

A model scores slices of its training people (members) and of other people. Some slices are easy for
every model, so scores are adjusted first: for the slice position, and for covariates such as age
and the score of a reference model that was trained on neither side (difficulty calibration: Watson
2022, arXiv 2111.08440). The attack then calls the slices, or the people, of highest score members;
it is judged by its area under the ROC curve, and by how many members it finds when it accuses 1 %
of the others (Carlini 2022, arXiv 2112.03570).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from oasis_utils.metrics.bootstrap import MIN_GROUPS, bootstrap, number_groups
from oasis_utils.metrics.ranking import auroc

FALSE_POSITIVE_RATE = 0.01  # share of others that the strict attack accuses
SPREAD_FLOOR = 1e-12  # of a covariate that is constant within positions


@dataclass(frozen=True)
class ScoredSlices:
    """What a model says of the slices of one group of people.

    Attributes:
        scores: Higher where the slice fits the model better, such as a log-likelihood.
        positions: Slice positions.
        people: Number of the person of each slice.
        covariates: What makes a slice easy for any model; finite.
    """

    scores: Float[np.ndarray, " n"]
    positions: Integer[np.ndarray, " n"]
    people: Integer[np.ndarray, " n"]
    covariates: Float[np.ndarray, "n covariates"]


def adjusted(
    members: ScoredSlices, others: ScoredSlices
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]]:
    """Scores less what slice position and covariates predict, by least squares over both groups.

    The regression does not know which group a slice is of, so it favours neither.

    Args:
        members: Slices of the training people.
        others: Slices of other people.

    Returns:
        The residuals of both groups.
    """
    sides = (members, others)
    positions = np.concatenate([side.positions for side in sides])
    scores = _centred(np.concatenate([side.scores for side in sides])[:, None], positions)
    known = _centred(np.concatenate([side.covariates for side in sides]), positions)
    known = known / np.maximum(known.std(0), SPREAD_FLOOR)
    weights = np.linalg.lstsq(known, scores, rcond=1e-9)[0]
    rest = (scores - known @ weights)[:, 0]
    return rest[: len(members.scores)], rest[len(members.scores) :]


def _centred(
    values: Float[np.ndarray, "n columns"], positions: Integer[np.ndarray, " n"]
) -> Float[np.ndarray, "n columns"]:
    """Values less the mean of their position."""
    place = number_groups(positions)
    sums = np.zeros((place.max() + 1, values.shape[1]))
    np.add.at(sums, place, values.astype(np.float64))
    return values - (sums / np.bincount(place)[:, None])[place]


def found_at(
    members: Float[np.ndarray, " n"],
    others: Float[np.ndarray, " m"],
    rate: float = FALSE_POSITIVE_RATE,
) -> float:
    """Share of the members found by a threshold that at most a share `rate` of the others exceeds.

    Args:
        members: Scores of the members.
        others: Scores of the others; fewer than 1 / rate of them: none may exceed the threshold.
        rate: False positive rate, in (0, 1).

    Returns:
        The true positive rate, in [0, 1].
    """
    threshold = np.quantile(others, 1 - rate, method="higher")
    return float((members > threshold).mean())


Interval = tuple[float, float] | None


def membership(
    members: ScoredSlices, others: ScoredSlices, rounds: int = 500
) -> dict[str, tuple[float, Interval]]:
    """How well the adjusted scores tell members from others.

    Args:
        members: Slices of the training people.
        others: Slices of other people.
        rounds: Resamples of people behind the intervals.

    Returns:
        {"slice_auc", "slice_found", "person_auc", "person_found"}: value and 95 % interval over
        people, None for fewer than MIN_GROUPS people a side. A person's score is the mean of the
        slices; "found" is the true positive rate at FALSE_POSITIVE_RATE.
    """
    scores = adjusted(members, others)
    owners = number_groups(members.people), number_groups(others.people)
    means = [
        np.bincount(owner, score) / np.bincount(owner)
        for owner, score in zip(owners, scores, strict=True)
    ]
    singly = np.arange(len(means[0])), np.arange(len(means[1]))
    units = {"slice": (*scores, *owners), "person": (*means, *singly)}
    return {
        f"{unit}_{name}": _with_interval(statistic, *arrays, rounds=rounds)
        for unit, arrays in units.items()
        for name, statistic in (("auc", auroc), ("found", found_at))
    }


def _with_interval(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    members: np.ndarray,
    others: np.ndarray,
    owners: np.ndarray,
    strangers: np.ndarray,
    rounds: int,
) -> tuple[float, Interval]:
    counts = int(owners.max()) + 1, int(strangers.max()) + 1
    value = statistic(members, others)
    if min(counts) < MIN_GROUPS:
        return value, None

    def resampled(u: np.ndarray, v: np.ndarray) -> float:
        return statistic(np.repeat(members, u[owners]), np.repeat(others, v[strangers]))

    return value, bootstrap(resampled, *counts, rounds)
