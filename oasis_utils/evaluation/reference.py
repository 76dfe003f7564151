"""The real sets that generated slices are judged against, everything measured on them, and how two
sets compare.

The *real* set are slices of the test split, which no model has seen; generated slices are drawn at
their positions and ages. Three real references show what a distance is worth: *real vs real*
(validation people against test people),
*training vs real* (training people) and, with a VQ-VAE, *decoded vs real* (validation people passed
through it) and
*decoded vs decoded* (both sides passed through it), the reference of priors judged without the
decoder's blur. All sets have the same number of slices, at positions and ages as near to the real
ones as the data allow.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from scipy.stats import wasserstein_distance

from oasis_utils.config import EvaluationConfig
from oasis_utils.data.dataset import Split
from oasis_utils.metrics import distances as fidelity
from oasis_utils.metrics.anatomy import Anatomist, Atlas, PositionReader, compare_measures
from oasis_utils.metrics.features import (
    LEARNED,
    RADIOMIC,
    Projection,
    Standard,
    balanced,
    learned,
    matched,
    partners,
    radiomic,
    radiomic_text,
)
from oasis_utils.metrics.memorisation import CopyTest
from oasis_utils.metrics.two_sample import logistic, network, small_pictures, two_sample
from oasis_utils.models.codes import decode_maps, encode_images
from oasis_utils.models.vqvae import VQVAE

REAL, TRAINING, DECODED, PRIOR = (
    "real_vs_real",
    "training_vs_real",
    "decoded_vs_real",
    "decoded_vs_decoded",
)
COMPONENTS = (
    32  # principal components of the learned features in which the Frechet distance is taken
)
TRAINING_ROWS = 512  # training slices that fix the scales, thresholds and ranges
LEARNED_ROWS = 128  # of them, those that fix the principal components: the network is slow
SPACES = {"learned": LEARNED, "radiomic": RADIOMIC}

# ---------------------------------------------------------------- what is measured


@dataclass(frozen=True)
class Yardsticks:
    """Everything that training slices fix before anything is judged."""

    projection: Projection
    standard: Standard
    anatomist: Anatomist
    atlas: Atlas
    reader: PositionReader
    copies: CopyTest

    @classmethod
    def fit(cls, train: Split, other: Split, real: Split, device: torch.device) -> Yardsticks:
        rows = balanced(train.positions, TRAINING_ROWS)
        images, positions = np.array(train.images[rows]), train.positions[rows]
        n_positions = 1 + int(max(split.positions.max() for split in (train, other, real)))
        few = balanced(positions, LEARNED_ROWS)
        principal = Projection.fit(
            learned(images[few], device, "features of training slices"),
            min(COMPONENTS, len(few) // 2),
        )
        anatomist = Anatomist.fit(train, rows)
        return cls(
            principal,
            Standard.fit(radiomic(images, train.symmetry)),
            anatomist,
            Atlas.fit(anatomist.measure(images, positions), positions, n_positions),
            PositionReader.fit(images, positions),
            CopyTest.fit(train, real, other),
        )

    @property
    def spaces(self) -> dict[str, str]:
        """SPACES, with the radiomic numbers that these data have."""
        return SPACES | {"radiomic": radiomic_text(self.anatomist.symmetry)}


@dataclass(frozen=True)
class Described:
    """A set of slices and all that is measured on each of them, once."""

    images: UInt8[np.ndarray, "n height width"]
    positions: Integer[np.ndarray, " n"]
    groups: Integer[
        np.ndarray, " n"
    ]  # subjects; generated slices are independent, each its own group
    learned: Float[np.ndarray, "n features"]
    projected: Float[np.ndarray, "n components"]
    radiomic: Float[np.ndarray, "n numbers"]
    anatomy: Float[np.ndarray, "n measures"]  # in real deviations from the mean of the position
    outside: Bool[np.ndarray, "n measures"]
    measures: tuple[str, ...]  # names of the columns of anatomy and outside
    read_positions: Float[np.ndarray, " n"]

    @classmethod
    def of(
        cls,
        images: UInt8[np.ndarray, "n height width"],
        positions: Integer[np.ndarray, " n"],
        groups: Integer[np.ndarray, " n"],
        yardsticks: Yardsticks,
        device: torch.device,
        name: str,
    ) -> Described:
        """name: of the set, for the progress; "" shows none."""
        features = learned(images, device, name and f"features of {name}")
        measured = yardsticks.anatomist.measure(images, positions)
        return cls(
            images,
            positions,
            groups,
            features,
            yardsticks.projection(features),
            yardsticks.standard(radiomic(images, yardsticks.anatomist.symmetry)),
            yardsticks.atlas.scaled(measured, positions),
            yardsticks.atlas.outside(measured, positions),
            yardsticks.anatomist.measures,
            yardsticks.reader.read(images),
        )

    def similarity(self, kind: Callable, rounds: int) -> Estimate:
        """Mean similarity of two slices of one position and different groups; kind: metrics.ssim or
        metrics.ms_ssim.
        """
        scores = fidelity.pair_scores(self.images, self.positions, self.groups, kind)
        known = np.isfinite(scores)
        if not known.any():
            return estimate(float("nan"))
        return estimate(
            scores[known].mean(), fidelity.mean_interval(scores[known], self.groups[known], rounds)
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
            result[f"{name}_interval"] = list(fidelity.mean_interval(values, self.groups, rounds))
        return result


Estimate = dict[str, Any]  # {"value": float, "interval": [low, high] or None}
Comparison = dict[str, dict[str, Estimate]]


def compare(a: Described, b: Described, rounds: int, classify: bool = True) -> Comparison:
    """{family: {metric: {"value", "interval"}}} of two sets; families learned, radiomic,
    two_sample, anatomy.

    Intervals are central 95 % over whole subjects of both sides. classify=False leaves the network
    out: it is slow.
    """
    owners = a.groups, b.groups
    spaces = {
        "learned": (a.learned, b.learned, a.projected, b.projected),
        "radiomic": (a.radiomic, b.radiomic, a.radiomic, b.radiomic),
    }
    result = {name: _compare_space(*arrays, *owners, rounds) for name, arrays in spaces.items()}
    tests = {"logistic": two_sample(a.radiomic, b.radiomic, *owners, logistic, rounds)}
    if classify:
        tests["network"] = two_sample(
            small_pictures(a.images), small_pictures(b.images), *owners, network, rounds
        )
    result["two_sample"] = {name: estimate(test.auc, test.interval) for name, test in tests.items()}
    result["anatomy"] = _compare_anatomy(a, b, rounds)
    return result


def estimate(value: float, interval: tuple[float, float] | None = None) -> Estimate:
    """A value with its interval, as it stands in a report."""
    return {
        "value": float(value),
        "interval": None if interval is None else [float(end) for end in interval],
    }


def resolution(comparison: Comparison) -> dict[str, float]:
    """{family metric: half width of its interval}: differences from the reference below this are
    not resolved.
    """
    return {
        f"{family} {name}": (item["interval"][1] - item["interval"][0]) / 2
        for family, metrics in comparison.items()
        for name, item in metrics.items()
        if item["interval"]
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
    near = fidelity.Neighbourhoods.of(a, b, groups_a, groups_b)
    intervals = near.intervals(groups_a, groups_b, rounds)
    return {
        "kid": estimate(
            fidelity.kid(a, b, groups_a, groups_b),
            fidelity.kid_interval(a, b, groups_a, groups_b, rounds),
        ),
        "frechet": estimate(
            fidelity.corrected_frechet(few_a, few_b, groups_a, groups_b),
            fidelity.frechet_interval(few_a, few_b, groups_a, groups_b, rounds),
        ),
        **{name: estimate(value, intervals[name]) for name, value in near.means().items()},
    }


def _compare_anatomy(a: Described, b: Described, rounds: int) -> dict[str, Estimate]:
    """Wasserstein distances of the measures, at least 0 and biased upwards where people are few."""
    result = {}
    groups = [fidelity.number_groups(side.groups) for side in (a, b)]
    counts = [int(numbers.max()) + 1 for numbers in groups]
    for i, (name, value) in enumerate(compare_measures(a.anatomy, b.anatomy, a.measures).items()):

        def resampled(u: np.ndarray, v: np.ndarray, i: int = i) -> float:
            return float(
                wasserstein_distance(a.anatomy[:, i], b.anatomy[:, i], u[groups[0]], v[groups[1]])
            )

        interval = fidelity.bootstrap(resampled, *counts, rounds, centre=value)
        result[name] = estimate(value, (max(interval[0], 0.0), interval[1]))
    return result


# ---------------------------------------------------------------- the real side


def judged_rows(
    real: Split, n: int, kept: Integer[np.ndarray, " m"] | None = None
) -> Integer[np.ndarray, " k"]:
    """The rows of the test split against which at most n generated slices are judged, and whose
    positions and ages they are drawn at: as evenly over the positions as the data allow. kept: only
    these rows.
    """
    kept = np.arange(len(real)) if kept is None else kept
    return kept[balanced(real.positions[kept], n)]


@dataclass(frozen=True)
class Reference:
    """The real sets, described once, and how they compare: what every judgement is read against."""

    yardsticks: Yardsticks
    real: Described  # test people
    ages: Float[np.ndarray, " n"]  # of these slices, years, nan where unknown
    decoded_real: (
        Described | None
    )  # the same slices through the VQ-VAE; None where only images are known
    other: Described  # validation people, matched in position and age
    decoded: Described | None  # the same slices through the VQ-VAE
    comparisons: dict[str, Comparison | None]  # REAL, TRAINING, DECODED and PRIOR
    config: EvaluationConfig
    device: torch.device
    seconds: dict[str, float]

    @classmethod
    def of(
        cls,
        train: Split,
        other: Split,
        real: Split,
        config: EvaluationConfig,
        device: torch.device,
        vqvae: VQVAE | None = None,
        n_judged: int | None = None,
        positions: Integer[np.ndarray, " n"] | None = None,
    ) -> Reference:
        """n_judged: how many images will be judged; positions: theirs, and then the real sets keep
        only these. Every set has as many slices as the smallest, at most config.n_images.
        ValueError if too few are left.
        """
        kept = [_restrict(split, positions) for split in (other, real)]
        limit = min(config.n_images, len(train), *map(len, kept), n_judged or config.n_images)
        fidelity.require_enough(n_judged or limit, limit)
        wanted = judged_rows(real, limit, kept[1])
        rows = {
            "real slices": (real, wanted),
            "other people": (other, _like(other, kept[0], real, wanted)),
            "training people": (train, _like(train, np.arange(len(train)), real, wanted)),
        }
        seconds: dict[str, float] = {}
        with timed(seconds, "references from training slices"):
            yardsticks = Yardsticks.fit(train, other, real, device)
        with timed(seconds, "real slices described"):
            sets = {
                name: _described(*some, yardsticks, device, name) for name, some in rows.items()
            }
        decoded: dict[str, Described] = {}
        if vqvae is not None:
            with timed(seconds, "decoded slices described"):
                decoded = {
                    name: _decoded(sets[name], vqvae, yardsticks, device, f"decoded {name}")
                    for name in ("real slices", "other people")
                }
        with timed(seconds, "references compared"):
            comparisons = _references(sets, decoded, config.bootstrap)
        return cls(
            yardsticks,
            sets["real slices"],
            np.asarray(real.ages[wanted], np.float32),
            decoded.get("real slices"),
            sets["other people"],
            decoded.get("other people"),
            comparisons,
            config,
            device,
            seconds,
        )

    @property
    def n_images(self) -> int:
        return len(self.real.images)


def _references(
    sets: dict[str, Described], decoded: dict[str, Described], rounds: int
) -> dict[str, Comparison | None]:
    real, other = sets["real slices"], sets["other people"]
    through = decoded.get("other people")
    return {
        REAL: compare(other, real, rounds),
        TRAINING: compare(sets["training people"], real, rounds, classify=False),
        DECODED: through and compare(through, real, rounds),
        PRIOR: through and compare(through, decoded["real slices"], rounds),
    }


def _like(
    split: Split, kept: np.ndarray, real: Split, wanted: np.ndarray
) -> Integer[np.ndarray, " n"]:
    """The kept rows of a split that match the wanted slices of the test split: each test person has
    a partner of about the same age, who lends slices of the same positions, so that both sides have
    as many slices of each person.
    """
    (names, mine, ages), (_, theirs, to_ages) = (
        _people(s, rows) for s, rows in ((split, kept), (real, wanted))
    )
    partner = names[partners(ages, to_ages)][theirs]
    return kept[
        matched(
            split.positions[kept],
            split.ages[kept],
            real.positions[wanted],
            real.ages[wanted],
            names[mine][:, None] != partner,
        )
    ]


def _people(split: Split, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(subjects, each row's number among them, mean age of each)."""
    names, number = np.unique(split.subjects[rows], return_inverse=True)
    return (
        names,
        number,
        np.bincount(number, split.ages[rows].astype(np.float64)) / np.bincount(number),
    )


def _described(
    split: Split, rows: np.ndarray, yardsticks: Yardsticks, device: torch.device, name: str
) -> Described:
    return Described.of(
        np.array(split.images[rows]),
        split.positions[rows],
        split.subjects[rows],
        yardsticks,
        device,
        name,
    )


def _decoded(
    some: Described, vqvae: VQVAE, yardsticks: Yardsticks, device: torch.device, name: str
) -> Described:
    images = decode_maps(vqvae, encode_images(vqvae, some.images, device))
    return Described.of(images, some.positions, some.groups, yardsticks, device, name)


def _restrict(split: Split, positions: np.ndarray | None) -> Integer[np.ndarray, " rows"]:
    """Rows of a split at these positions. ValueError for a position that the data lack or a single
    subject.
    """
    subjects = np.unique(split.subjects)
    if len(subjects) < 2:
        raise ValueError(
            f"the {split.name} split holds 1 subject, at least 2 are needed: slices of one person"
            " say nothing on how people differ, and intervals draw whole subjects; use more"
            " subjects"
        )
    if positions is None:
        return np.arange(len(split))
    unknown = np.setdiff1d(positions, split.positions)
    if len(unknown):
        known = np.unique(split.positions)
        raise ValueError(
            f"position {unknown[0]} of the images is unknown: the {split.name} split has positions "
            f"{known[0]} to {known[-1]}; leave positions out to have them read from the slices"
        )
    rows = np.flatnonzero(np.isin(split.positions, positions))
    if len(rows) < fidelity.MINIMUM:
        raise ValueError(
            f"the {split.name} split has {len(rows)} slices at the positions of the images, at"
            f" least {fidelity.MINIMUM} are needed: judge images of more positions"
        )
    return rows


@contextlib.contextmanager
def timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    """Write the wall seconds of a block under its name."""
    start = time.monotonic()
    yield
    seconds[part] = round(time.monotonic() - start, 1)
