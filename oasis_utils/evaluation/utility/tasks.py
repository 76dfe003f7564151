"""The two tasks by which generated slices are measured as training data: age and tissues.

Both have small models without learned features: `age_regressor` and `tissue_classifier`. A task
describes slices once; fits on any of them are then cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Integer, Shaped, UInt8

from oasis_utils.data.dataset import Split
from oasis_utils.metrics.age_regressor import AgeRegressor, age_features
from oasis_utils.metrics.bootstrap import number_groups
from oasis_utils.metrics.tissue_classifier import (
    TissueClassifier,
    at_lattice,
    person_dice,
    pixel_features,
)

POINTS = 64  # of each training slice that train the segmentation
NOBODY = -1  # person of a generated slice


@dataclass(frozen=True)
class Described:
    """Slices as a task describes them.

    Attributes:
        features: Of each slice, or of points of it.
        heights: Slice positions over the number of positions, in [0, 1).
        labels: Age in years, or the tissue at each of the points.
        people: Who owns the slice; NOBODY for a generated one.
    """

    features: Float[np.ndarray, "n ..."]
    heights: Float[np.ndarray, " n"]
    labels: Shaped[np.ndarray, "n ..."]
    people: Integer[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.heights)

    def take(self, rows: np.ndarray) -> Described:
        """Some of the slices, by number or mask."""
        return Described(
            self.features[rows], self.heights[rows], self.labels[rows], self.people[rows]
        )

    def labelled(self, labels: Shaped[np.ndarray, "n ..."]) -> Described:
        """The same slices with other labels."""
        return Described(self.features, self.heights, labels, self.people)


def joined(sets: Sequence[Described]) -> Described:
    """Several sets as one."""
    return Described(
        np.concatenate([x.features for x in sets]),
        np.concatenate([x.heights for x in sets]),
        np.concatenate([x.labels for x in sets]),
        np.concatenate([x.people for x in sets]),
    )


@runtime_checkable
class Task(Protocol):
    """What both tasks offer.

    Attributes:
        measure: What the mean of the scores is.
        better: Whether a lower or a higher score is better.
        labels_generated: Whether a model labels generated slices, because they have no labels.
        test_people: Test people.
        test_slices: Their slices.
    """

    measure: ClassVar[Literal["mean absolute error in years", "mean Dice"]]
    better: ClassVar[Literal["lower", "higher"]]
    labels_generated: ClassVar[bool]

    @property
    def test_people(self) -> int:
        """Test people."""
        ...

    @property
    def test_slices(self) -> int:
        """Their slices."""
        ...

    def describe(
        self,
        images: UInt8[np.ndarray, "n height width"],
        positions: Integer[np.ndarray, " n"],
        truth: np.ndarray | None,
        people: Integer[np.ndarray, " n"],
    ) -> Described:
        """Slices with their ages or masks."""
        ...

    def fit(self, training: Described) -> Any:
        """A model of training slices."""
        ...

    def label(self, model: Any, slices: Described) -> Described:
        """Generated slices with the labels that they are trained with."""
        ...

    def outcome(self, model: Any) -> Float[np.ndarray, " people"]:
        """What a model finds in each test person."""
        ...

    def scores(
        self, outcomes: Float[np.ndarray, "draws people"]
    ) -> Float[np.ndarray, "draws people"]:
        """How well the outcomes suit each test person."""
        ...


class AgeTask:
    """Age from slices: the estimates of a person's slices are averaged.

    Args:
        test: Slices of people of known age.
        n_positions: Number of slice positions.
    """

    measure: ClassVar[Literal["mean absolute error in years", "mean Dice"]] = (
        "mean absolute error in years"
    )
    better: ClassVar[Literal["lower", "higher"]] = "lower"
    labels_generated: ClassVar[bool] = False

    def __init__(self, test: Split, n_positions: int):
        self.n_positions = n_positions
        self.test = self.describe(test.images, test.positions, test.ages, test.subjects)
        self.groups = number_groups(test.subjects)
        self.ages = self._means(self.test.labels)

    @property
    def test_people(self) -> int:
        """Test people."""
        return len(self.ages)

    @property
    def test_slices(self) -> int:
        """Their slices."""
        return len(self.test)

    def describe(
        self,
        images: UInt8[np.ndarray, "n height width"],
        positions: Integer[np.ndarray, " n"],
        truth: Float[np.ndarray, " n"] | None,
        people: Integer[np.ndarray, " n"],
    ) -> Described:
        """Slices with their ages in years, all known."""
        assert truth is not None, "an age task needs ages"
        heights = positions / self.n_positions
        return Described(age_features(images), heights, truth.astype(np.float64), people)

    def fit(self, training: Described) -> AgeRegressor:
        """A regression of training slices."""
        return AgeRegressor.fit(training.features, training.heights, training.labels)

    def label(self, model: AgeRegressor, slices: Described) -> Described:
        """The slices as they are: their ages were asked for when they were drawn."""
        return slices

    def outcome(self, model: AgeRegressor) -> Float[np.ndarray, " people"]:
        """Estimated age of each test person in years."""
        return self._means(model.predict(self.test.features, self.test.heights))

    def scores(
        self, outcomes: Float[np.ndarray, "draws people"]
    ) -> Float[np.ndarray, "draws people"]:
        """Absolute errors in years."""
        return np.abs(outcomes - self.ages)

    def _means(self, values: np.ndarray) -> Float[np.ndarray, " people"]:
        return np.bincount(self.groups, values) / np.bincount(self.groups)


class TissueTask:
    """Tissue segmentation: Dice of each person over its slices, averaged over tissues.

    Args:
        test: Slices with masks.
        n_positions: Number of slice positions.
        tissues: Labels of masks that are scored.
        seed: Of the pixels that train.
    """

    measure: ClassVar[Literal["mean absolute error in years", "mean Dice"]] = "mean Dice"
    better: ClassVar[Literal["lower", "higher"]] = "higher"
    labels_generated: ClassVar[bool] = True

    def __init__(
        self, test: Split, n_positions: int, tissues: Integer[np.ndarray, " tissues"], seed: int
    ):
        assert test.masks is not None, "segmentation needs masks"
        self.n_positions, self.tissues, self.seed = n_positions, tissues, seed
        self.true = at_lattice(np.asarray(test.masks)).astype(np.int64)
        self.features = pixel_features(test.images, test.positions / n_positions)
        self.people = test.subjects
        # people without any tissue at the lattice say nothing
        self.scored = np.isfinite(person_dice(self.true, self.true, self.people, tissues))

    @property
    def test_people(self) -> int:
        """Test people with a tissue."""
        return int(self.scored.sum())

    @property
    def test_slices(self) -> int:
        """Their slices."""
        return int(self.scored[number_groups(self.people)].sum())

    def describe(
        self,
        images: UInt8[np.ndarray, "n height width"],
        positions: Integer[np.ndarray, " n"],
        truth: UInt8[np.ndarray, "n height width"] | None,
        people: Integer[np.ndarray, " n"],
    ) -> Described:
        """Slices with the labels of their masks; label 0 without."""
        heights = positions / self.n_positions
        features = pixel_features(images, heights)
        labels = np.zeros(features.shape[:2]) if truth is None else at_lattice(truth)
        return Described(features, heights, labels.astype(np.int64), people)

    def fit(self, training: Described) -> TissueClassifier:
        """A classifier of some pixels of each training slice."""
        places = np.tile(np.arange(training.labels.shape[1]), (len(training), 1))
        places = np.random.default_rng(self.seed).permuted(places, axis=1)[:, :POINTS]
        features = np.take_along_axis(training.features, places[..., None], axis=1)
        labels = np.take_along_axis(training.labels, places, axis=1)
        return TissueClassifier.fit(features.reshape(-1, features.shape[-1]), labels.ravel())

    def label(self, model: TissueClassifier, slices: Described) -> Described:
        """The slices with the tissues that a model finds in them."""
        return slices.labelled(model.predict(slices.features))

    def outcome(self, model: TissueClassifier) -> Float[np.ndarray, " people"]:
        """Dice of each test person."""
        found = model.predict(self.features)
        return person_dice(found, self.true, self.people, self.tissues)[self.scored]

    def scores(
        self, outcomes: Float[np.ndarray, "draws people"]
    ) -> Float[np.ndarray, "draws people"]:
        """The same."""
        return outcomes


def shuffled(slices: Described, by_person: bool, seed: int) -> Described:
    """Slices with labels that are not theirs.

    Args:
        slices: Real slices.
        by_person: Whether the labels belong to people: each then gets those of another one. Else
            each slice gets those of the next one in the order of positions, of another person
            where there are several at a position.
        seed: Of the exchange.

    Returns:
        The same slices with other labels.
    """
    rng = np.random.default_rng(seed)
    if by_person:
        _, first, number = np.unique(slices.people, return_index=True, return_inverse=True)
        return slices.labelled(slices.labels[first][_exchanged(len(first), rng)][number])
    order = np.lexsort((rng.random(len(slices)), slices.heights))
    labels = np.empty_like(slices.labels)
    labels[order] = np.roll(slices.labels[order], 1, axis=0)
    return slices.labelled(labels)


def _exchanged(n: int, rng: np.random.Generator) -> Integer[np.ndarray, " n"]:
    """A permutation in a single cycle: nobody stays in place unless alone."""
    order = rng.permutation(n)
    result = np.empty(n, np.int64)
    result[order] = np.roll(order, 1)
    return result
