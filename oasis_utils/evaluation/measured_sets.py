"""Measurements of a set of slices, and the comparison of two measured sets.

Training slices fix all scales, principal components, ranges and thresholds (`FittedReference`)
before any set is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8

from oasis_utils.data.dataset import Split
from oasis_utils.metrics.anatomy import Anatomist
from oasis_utils.metrics.atlas import Atlas, compare_measures
from oasis_utils.metrics.bootstrap import bootstrap, mean_interval, number_groups
from oasis_utils.metrics.features import LEARNED, Standardizer, learned, projection
from oasis_utils.metrics.frechet import corrected_frechet, frechet_interval
from oasis_utils.metrics.kernel_distance import kid, kid_interval
from oasis_utils.metrics.matching import balanced
from oasis_utils.metrics.measure_sets import joint_distance, standardised_difference
from oasis_utils.metrics.memorisation import CopyTest
from oasis_utils.metrics.neighbourhoods import Neighbourhoods
from oasis_utils.metrics.position_regressor import PositionRegressor
from oasis_utils.metrics.radiomic import RADIOMIC, radiomic, radiomic_text
from oasis_utils.metrics.two_sample import logistic, network, small_pictures, two_sample
from oasis_utils.metrics.variety import pair_scores

COMPONENTS = (
    32  # principal components of the learned features in which the Frechet distance is taken
)

TRAINING_ROWS = 512  # training slices that fix the scales, thresholds and ranges

LEARNED_ROWS = 128  # of them, those that fix the principal components: the network is slow

SPACES = {"learned": LEARNED, "radiomic": RADIOMIC}


@dataclass(frozen=True)
class FittedReference:
    """Everything that training slices fix before any set is measured.

    Attributes:
        project: Learned features to their leading principal components.
        standard: Scale of the radiomic numbers.
        anatomist: Measures anatomy.
        atlas: Real ranges of the anatomical measures.
        reader: Estimates slice positions.
        copies: The copy test.
    """

    project: Callable[[np.ndarray], np.ndarray]
    standard: Standardizer
    anatomist: Anatomist
    atlas: Atlas
    reader: PositionRegressor
    copies: CopyTest

    @classmethod
    def fit(cls, train: Split, other: Split, real: Split, device: torch.device) -> FittedReference:
        """From training people, other people (validation) and the real side (test)."""
        rows = balanced(train.positions, TRAINING_ROWS)
        images, positions = np.array(train.images[rows]), train.positions[rows]
        n_positions = 1 + int(max(split.positions.max() for split in (train, other, real)))
        few = balanced(positions, LEARNED_ROWS)
        features = learned(images[few], device, "features of training slices")
        anatomist = Anatomist.fit(train, rows)
        return cls(
            projection(features, min(COMPONENTS, len(few) // 2)),
            Standardizer.fit(radiomic(images, train.symmetry)),
            anatomist,
            Atlas.fit(anatomist.measure(images, positions), positions, n_positions),
            PositionRegressor.fit(images, positions),
            CopyTest.fit(train, real, other),
        )

    @property
    def spaces(self) -> dict[str, str]:
        """SPACES, with the radiomic numbers that these data have."""
        return SPACES | {"radiomic": radiomic_text(self.anatomist.symmetry)}


@dataclass(frozen=True)
class MeasuredSet:
    """A set of slices and all that is measured on each of them, once.

    Attributes:
        images: The slices.
        positions: Their slice positions.
        groups: Subjects; each generated slice is independent and its own group.
        learned: Features of the network.
        projected: Their leading principal components.
        radiomic: Radiomic numbers in training deviations.
        anatomy: Anatomical measures, in real deviations from the mean of the position.
        outside: Which measures are outside the real range of the position.
        measures: Names of the columns of anatomy and outside.
        read_positions: Slice positions estimated from the slices.
    """

    images: UInt8[np.ndarray, "n height width"]
    positions: Integer[np.ndarray, " n"]
    groups: Integer[np.ndarray, " n"]
    learned: Float[np.ndarray, "n features"]
    projected: Float[np.ndarray, "n components"]
    radiomic: Float[np.ndarray, "n numbers"]
    anatomy: Float[np.ndarray, "n measures"]
    outside: Bool[np.ndarray, "n measures"]
    measures: tuple[str, ...]
    read_positions: Float[np.ndarray, " n"]

    @classmethod
    def of(
        cls,
        images: UInt8[np.ndarray, "n height width"],
        positions: Integer[np.ndarray, " n"],
        groups: Integer[np.ndarray, " n"],
        fitted: FittedReference,
        device: torch.device,
        name: str,
    ) -> MeasuredSet:
        """name: of the set, for the progress; "" shows none."""
        features = learned(images, device, name and f"features of {name}")
        measured = fitted.anatomist.measure(images, positions)
        return cls(
            images,
            positions,
            groups,
            features,
            fitted.project(features),
            fitted.standard(radiomic(images, fitted.anatomist.symmetry)),
            fitted.atlas.scaled(measured, positions),
            fitted.atlas.outside(measured, positions),
            fitted.anatomist.measures,
            fitted.reader.read(images),
        )

    def similarity(self, kind: Callable, rounds: int) -> Estimate:
        """Mean similarity of two slices of one position and different groups; kind: metrics.ssim or
        metrics.ms_ssim.
        """
        scores = pair_scores(self.images, self.positions, self.groups, kind)
        known = np.isfinite(scores)
        if not known.any():
            return estimate(float("nan"))
        return estimate(
            scores[known].mean(), mean_interval(scores[known], self.groups[known], rounds)
        )

    def anatomy_shares(self, rounds: int) -> dict[str, Any]:
        """Slices outside the real range and the position error, with intervals, and the share
        outside by measure.
        """
        sides = {
            "outside_share": self.outside.any(1).astype(np.float64),
            "position_error": np.abs(self.read_positions - self.positions),
        }
        result: dict[str, Any] = {
            "outside": dict(zip(self.measures, self.outside.mean(0).tolist(), strict=True))
        }
        for name, values in sides.items():
            result[name] = float(values.mean())
            result[f"{name}_interval"] = list(mean_interval(values, self.groups, rounds))
        return result


Estimate = dict[str, Any]  # {"value": float, "interval": [low, high] or None}

# {family: {metric: Estimate}}; "anatomy_joint" is a single Estimate or None
Comparison = dict[str, Any]

JOINT = "anatomy_joint"


def compare(a: MeasuredSet, b: MeasuredSet, rounds: int, classify: bool = True) -> Comparison:
    """{family: {metric: {"value", "interval"}}} of two sets; families learned, radiomic,
    two_sample, anatomy (Wasserstein distance of each measure) and anatomy_effects (mean of a minus
    mean of b, in pooled deviations). anatomy_joint is one estimate, the distance of all measures
    together; None for too few slices.

    Intervals are central 95 % over whole subjects of both sides. classify=False leaves the network
    out: it is slow.
    """
    owners = a.groups, b.groups
    spaces = {
        "learned": (a.learned, b.learned, a.projected, b.projected),
        "radiomic": (a.radiomic, b.radiomic, a.radiomic, b.radiomic),
    }
    result: Comparison = {
        name: _compare_space(*arrays, *owners, rounds) for name, arrays in spaces.items()
    }
    tests = {"logistic": two_sample(a.radiomic, b.radiomic, *owners, logistic, rounds)}
    if classify:
        tests["network"] = two_sample(
            small_pictures(a.images), small_pictures(b.images), *owners, network, rounds
        )
    result["two_sample"] = {name: estimate(test.auc, test.interval) for name, test in tests.items()}
    result["anatomy"] = _compare_anatomy(a, b, rounds)
    joint = joint_distance(a.anatomy, b.anatomy, *owners, rounds)
    result[JOINT] = None if joint is None else estimate(*joint)
    result["anatomy_effects"] = {
        name: estimate(*standardised_difference(one, other, *owners, rounds))
        for name, one, other in zip(a.measures, a.anatomy.T, b.anatomy.T, strict=True)
    }
    return result


def estimate(value: float, interval: tuple[float, float] | None = None) -> Estimate:
    """A value with its interval, as it stands in a report."""
    return {
        "value": float(value),
        "interval": None if interval is None else [float(end) for end in interval],
    }


def resolution(comparison: Comparison) -> dict[str, float]:
    """Half widths of a comparison's intervals.

    Args:
        comparison: Usually real against real slices.

    Returns:
        {"family metric": half width}, that of anatomy_joint under its own name: smaller differences
        from the reference are not resolved.
    """
    items = {
        f"{family} {name}": item
        for family, metrics in comparison.items()
        if family != JOINT
        for name, item in metrics.items()
    }
    return {
        name: (item["interval"][1] - item["interval"][0]) / 2
        for name, item in (items | {JOINT: comparison.get(JOINT)}).items()
        if item and item["interval"]
    }


def _compare_space(
    a: np.ndarray,
    b: np.ndarray,
    few_a: np.ndarray,
    few_b: np.ndarray,
    groups_a: np.ndarray,
    groups_b: np.ndarray,
    rounds: int,
) -> dict[str, Estimate]:
    near = Neighbourhoods.of(a, b, groups_a, groups_b)
    intervals = near.intervals(groups_a, groups_b, rounds)
    return {
        "kid": estimate(
            kid(a, b, groups_a, groups_b),
            kid_interval(a, b, groups_a, groups_b, rounds),
        ),
        "frechet": estimate(
            corrected_frechet(few_a, few_b, groups_a, groups_b),
            frechet_interval(few_a, few_b, groups_a, groups_b, rounds),
        ),
        **{name: estimate(value, intervals[name]) for name, value in near.means().items()},
    }


def _compare_anatomy(a: MeasuredSet, b: MeasuredSet, rounds: int) -> dict[str, Estimate]:
    """Wasserstein distances of the measures, at least 0 and biased upwards where people are few."""
    from scipy.stats import wasserstein_distance  # slow to import

    result = {}
    groups_a, groups_b = number_groups(a.groups), number_groups(b.groups)
    count_a, count_b = int(groups_a.max()) + 1, int(groups_b.max()) + 1
    for i, (name, value) in enumerate(compare_measures(a.anatomy, b.anatomy, a.measures).items()):

        def resampled(u: np.ndarray, v: np.ndarray, i: int = i) -> float:
            return float(
                wasserstein_distance(a.anatomy[:, i], b.anatomy[:, i], u[groups_a], v[groups_b])
            )

        interval = bootstrap(resampled, count_a, count_b, rounds, centre=value)
        result[name] = estimate(value, (max(interval[0], 0.0), interval[1]))
    return result
