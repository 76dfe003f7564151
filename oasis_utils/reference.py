"""What is a figure read against? The real sets, everything measured on them, and how two sets compare.

The *real* side are test slices, which no model has seen. The *floor* compares validation slices with them: two
disjoint groups of real people. The *ceiling* passes the validation slices through the VQ-VAE first: a prior can at
best reach it. All sets have the same number of images, because most figures depend on it.
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

from oasis_utils import fidelity
from oasis_utils.anatomy import Anatomist, Atlas, PositionReader, compare_measures
from oasis_utils.codes import decode_maps, encode_images
from oasis_utils.config import EvaluationConfig
from oasis_utils.data import Split
from oasis_utils.features import LEARNED, RADIOMIC, Projection, Standard, balanced, learned, radiomic, radiomic_text
from oasis_utils.memorisation import CopyTest
from oasis_utils.twosample import logistic, network, small_pictures, two_sample
from oasis_utils.vqvae import VQVAE

COMPONENTS = 32  # principal components of the learned features in which the Frechet distance is taken
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
    def fit(cls, train: Split, floor: Split, real: Split, device: torch.device) -> Yardsticks:
        rows = balanced(train.positions, TRAINING_ROWS)
        images, positions = np.array(train.images[rows]), train.positions[rows]
        n_positions = 1 + int(max(split.positions.max() for split in (train, floor, real)))
        few = balanced(positions, LEARNED_ROWS)
        principal = Projection.fit(learned(images[few], device, "features of training slices"),
                                   min(COMPONENTS, len(few) // 2))
        anatomist = Anatomist.fit(train, rows)
        return cls(principal, Standard.fit(radiomic(images, train.symmetry)), anatomist,
                   Atlas.fit(anatomist.measure(images, positions), positions, n_positions),
                   PositionReader.fit(images, positions), CopyTest.fit(train, real, floor))

    @property
    def spaces(self) -> dict[str, str]:
        """SPACES, with the radiomic numbers that these data have."""
        return SPACES | {"radiomic": radiomic_text(self.anatomist.symmetry)}


@dataclass(frozen=True)
class Described:
    """A set of slices and all that is measured on each of them, once."""

    images: UInt8[np.ndarray, "n height width"]
    positions: Integer[np.ndarray, " n"]
    groups: Integer[np.ndarray, " n"]  # subjects; generated slices are independent, each its own group
    learned: Float[np.ndarray, "n features"]
    projected: Float[np.ndarray, "n components"]
    radiomic: Float[np.ndarray, "n numbers"]
    anatomy: Float[np.ndarray, "n measures"]  # in real deviations from the mean of the position
    outside: Bool[np.ndarray, "n measures"]
    measures: tuple[str, ...]  # names of the columns of anatomy and outside
    read_positions: Float[np.ndarray, " n"]

    @classmethod
    def of(cls, images: UInt8[np.ndarray, "n height width"], positions: Integer[np.ndarray, " n"],
           groups: Integer[np.ndarray, " n"], yardsticks: Yardsticks, device: torch.device, name: str) -> Described:
        """name: of the set, for the progress; "" shows none."""
        features = learned(images, device, name and f"features of {name}")
        measured = yardsticks.anatomist.measure(images, positions)
        return cls(images, positions, groups, features, yardsticks.projection(features),
                   yardsticks.standard(radiomic(images, yardsticks.anatomist.symmetry)),
                   yardsticks.atlas.scaled(measured, positions), yardsticks.atlas.outside(measured, positions),
                   yardsticks.anatomist.measures, yardsticks.reader.read(images))

    @property
    def position_error(self) -> float:
        """Mean distance between the position asked for and the one read back, in slices."""
        return float(np.abs(self.read_positions - self.positions).mean())

    @property
    def outside_share(self) -> float:
        """Share of slices with at least one measure outside the real range of their position."""
        return float(self.outside.any(1).mean())

    def pair_figure(self, kind: Callable) -> float:
        """Mean likeness of two slices of one position; kind: metrics.ssim or metrics.ms_ssim."""
        return fidelity.pair_similarity(self.images, self.positions, self.groups, kind)


Comparison = dict[str, dict[str, dict[str, Any]]]


def compare(a: Described, b: Described, rounds: int, classify: bool = True) -> Comparison:
    """{family: {figure: {"value", "interval"}}} of two sets; families learned, radiomic, two_sample, anatomy.

    Intervals are central 95 % over whole subjects of both sides. classify=False leaves the network out: it is slow.
    """
    owners = a.groups, b.groups
    spaces = {"learned": (a.learned, b.learned, a.projected, b.projected),
              "radiomic": (a.radiomic, b.radiomic, a.radiomic, b.radiomic)}
    result = {name: _compare_space(*arrays, *owners, rounds) for name, arrays in spaces.items()}
    tests = {"logistic": two_sample(a.radiomic, b.radiomic, *owners, logistic, rounds)}
    if classify:
        tests["network"] = two_sample(small_pictures(a.images), small_pictures(b.images), *owners, network, rounds)
    result["two_sample"] = {name: figure(test.auc, test.interval) for name, test in tests.items()}
    distances = compare_measures(a.anatomy, b.anatomy, a.measures)
    result["anatomy"] = {name: figure(value) for name, value in distances.items()}
    return result


def figure(value: float, interval: tuple[float, float] | None = None) -> dict[str, Any]:
    """A figure as it stands in a report."""
    return {"value": float(value), "interval": None if interval is None else [float(end) for end in interval]}


def _compare_space(a: np.ndarray, b: np.ndarray, few_a: np.ndarray, few_b: np.ndarray, groups_a: np.ndarray,
                   groups_b: np.ndarray, rounds: int) -> dict[str, dict[str, Any]]:
    near = fidelity.Neighbourhoods.of(a, b, groups_a, groups_b)
    intervals = near.intervals(groups_a, groups_b, rounds)
    return {"kid": figure(fidelity.kid(a, b), fidelity.kid_interval(a, b, groups_a, groups_b, rounds)),
            "frechet": figure(fidelity.frechet(few_a, few_b),
                              fidelity.frechet_interval(few_a, few_b, groups_a, groups_b, rounds)),
            **{name: figure(value, intervals[name]) for name, value in near.means().items()}}


# ---------------------------------------------------------------- the real side


@dataclass(frozen=True)
class Reference:
    """The real sets, described once, and their own figures: what every judgement is read against."""

    yardsticks: Yardsticks
    real: Described
    other: Described
    decoded: Described | None  # `other` through the VQ-VAE; None where only images are known
    floor: Comparison
    ceiling: Comparison | None
    config: EvaluationConfig
    device: torch.device
    seconds: dict[str, float]

    @classmethod
    def of(cls, train: Split, floor: Split, real: Split, config: EvaluationConfig, device: torch.device,
           vqvae: VQVAE | None = None, n_judged: int | None = None,
           positions: Integer[np.ndarray, " n"] | None = None) -> Reference:
        """n_judged: how many images will be judged; positions: theirs, and then the real sets keep only these. Every
        set has as many slices as the smallest, at most config.n_images. ValueError if too few are left."""
        kept = [_restrict(split, positions) for split in (floor, real)]
        limit = min(config.n_images, *map(len, kept), n_judged or config.n_images)
        fidelity.require_enough(n_judged or limit, limit)
        rows = [rows[balanced(split.positions[rows], limit)] for rows, split in zip(kept, (floor, real), strict=True)]
        seconds: dict[str, float] = {}
        with timed(seconds, "yardsticks from training slices"):
            yardsticks = Yardsticks.fit(train, floor, real, device)
        with timed(seconds, "real slices described"):
            other, target = (
                Described.of(np.array(s.images[i]), s.positions[i], s.subjects[i], yardsticks, device, name)
                for s, i, name in zip((floor, real), rows, ("other real slices", "real slices"), strict=True))
        decoded = ceiling = None
        if vqvae is not None:
            with timed(seconds, "decoded slices described"):
                images = decode_maps(vqvae, encode_images(vqvae, other.images, device))
                decoded = Described.of(images, other.positions, other.groups, yardsticks, device, "decoded slices")
        with timed(seconds, "floor and ceiling"):
            own = compare(other, target, config.bootstrap)
            ceiling = decoded and compare(decoded, target, config.bootstrap)
        return cls(yardsticks, target, other, decoded, own, ceiling, config, device, seconds)

    @property
    def n_images(self) -> int:
        return len(self.real.images)


def _restrict(split: Split, positions: np.ndarray | None) -> Integer[np.ndarray, " rows"]:
    """Rows of a split at these positions. ValueError for a position that the data lack or a single subject."""
    subjects = np.unique(split.subjects)
    if len(subjects) < 2:
        raise ValueError(f"the {split.name} split holds 1 subject, at least 2 are needed: slices of one person say "
                         "nothing on how people differ, and intervals draw whole subjects; use more subjects")
    if positions is None:
        return np.arange(len(split))
    unknown = np.setdiff1d(positions, split.positions)
    if len(unknown):
        known = np.unique(split.positions)
        raise ValueError(f"position {unknown[0]} of the images is unknown: the {split.name} split has positions "
                         f"{known[0]} to {known[-1]}; leave positions out to have them read from the slices")
    rows = np.flatnonzero(np.isin(split.positions, positions))
    if len(rows) < fidelity.MINIMUM:
        raise ValueError(f"the {split.name} split has {len(rows)} slices at the positions of the images, at least "
                         f"{fidelity.MINIMUM} are needed: judge images of more positions")
    return rows


@contextlib.contextmanager
def timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    """Write the wall seconds of a block under its name."""
    start = time.monotonic()
    yield
    seconds[part] = round(time.monotonic() - start, 1)
