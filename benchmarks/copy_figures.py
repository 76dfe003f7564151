"""How well a rule separates copies from other people: shares, AUC, intervals over people.

A run holds the scores of one seed; low scores are suspicious. The people of the calibration are
drawn again, too, so that an interval includes the uncertainty of the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from copy_sets import FRESH, FRESH_DECODED, Setting, Slices

from oasis_utils.metrics.bootstrap import central, draw_weights
from oasis_utils.metrics.memorisation import THRESHOLD_PERCENTILE
from oasis_utils.metrics.ranking import group_wins

ROUNDS = 1000
CALIBRATION = "calibration"  # the name of its scores

Scores = dict[str, np.ndarray]  # {set: score of each slice}


@dataclass(frozen=True)
class Draws:
    """Resamples of people, the same for all rules."""

    calibration: np.ndarray  # (rounds, people)
    fresh: np.ndarray
    copied: np.ndarray

    @classmethod
    def of(cls, setting: Setting) -> Draws:
        """ROUNDS resamples of each group of people."""
        rng = np.random.default_rng(0)
        sides = (setting.calibration, setting.judged[FRESH], setting.train)
        return cls(*(draw_weights(side.n_people, ROUNDS, rng) for side in sides))


def threshold(values: np.ndarray) -> float:
    """Below it a slice counts as a copy."""
    return float(np.percentile(values, THRESHOLD_PERCENTILE))


def resampled_thresholds(values: np.ndarray, people: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The threshold of each resample of the calibration people."""
    return np.array([threshold(np.repeat(values, weights[people])) for weights in draws])


def resampled_shares(
    values: np.ndarray, people: np.ndarray, draws: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
    """Share of slices below the threshold in each resample of people."""
    below = np.array(
        [np.searchsorted(np.sort(values[people == p]), thresholds) for p in range(draws.shape[1])]
    )
    return (draws * below.T).sum(1) / (draws @ np.bincount(people))


def resampled_auc(
    positive: np.ndarray, negative: np.ndarray, sides: tuple[Slices, Slices], draws: Draws
) -> tuple[float, np.ndarray]:
    """(AUC of low scores for copies, the same in each resample of people of both sides)."""
    owners, others = (side.people for side in sides)
    table = group_wins(-positive, -negative, owners, others)
    pairs = (draws.copied @ np.bincount(owners)) * (draws.fresh @ np.bincount(others))
    value = float(table.sum() / (len(positive) * len(negative)))
    return value, np.einsum("ri,ij,rj->r", draws.copied, table, draws.fresh) / pairs


Figure = tuple[list[float], np.ndarray]  # (value of each seed, mean over seeds of each resample)


def mean_figure(figures: list[Figure]) -> Figure:
    """The mean over kinds."""
    values, resamples = zip(*figures, strict=True)
    return np.mean(values, 0).tolist(), np.mean(resamples, 0)


def plain(figure: Figure) -> dict[str, Any]:
    """A figure for the record."""
    values, resamples = figure
    return {"value": float(np.mean(values)), "interval": central(resamples), "seeds": values}


def judged(runs: list[Scores], setting: Setting, draws: Draws) -> dict[str, Any]:
    """What one rule finds; one run for each seed."""
    people = setting.calibration.people
    cuts = [threshold(run[CALIBRATION]) for run in runs]
    thresholds = [resampled_thresholds(run[CALIBRATION], people, draws.calibration) for run in runs]

    def share(name: str) -> Figure:
        part = setting.judged[name]
        weights = draws.fresh if name in (FRESH, FRESH_DECODED) else draws.copied
        resamples = [
            resampled_shares(run[name], part.people, weights, t)
            for run, t in zip(runs, thresholds, strict=True)
        ]
        values = [float((run[name] < cut).mean()) for run, cut in zip(runs, cuts, strict=True)]
        return values, np.mean(resamples, 0)

    def auc(name: str) -> Figure:
        other = FRESH_DECODED if name.startswith("decoded") else FRESH
        sides = setting.judged[name], setting.judged[other]
        found = [resampled_auc(run[name], run[other], sides, draws) for run in runs]
        return [value for value, _ in found], np.mean([x for _, x in found], 0)

    kinds = [*setting.kinds, *setting.harder]
    shares = {name: share(name) for name in setting.judged}
    aucs = {name: auc(name) for name in kinds}
    return {
        "thresholds": cuts,
        "false_positives": plain(shares[FRESH]),
        "false_positives_decoded": plain(shares[FRESH_DECODED]),
        "found": {name: plain(shares[name]) for name in kinds},
        "auc": {name: plain(aucs[name]) for name in kinds},
        "found_mean": plain(mean_figure([shares[name] for name in setting.kinds])),
        "auc_mean": plain(mean_figure([aucs[name] for name in setting.kinds])),
        "found_harder_mean": plain(mean_figure([shares[name] for name in setting.harder])),
        "auc_harder_mean": plain(mean_figure([aucs[name] for name in setting.harder])),
    }
