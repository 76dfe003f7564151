"""Tissue of single pixels by logistic regression on grey levels around them, and its Dice score.

A pixel is described by the shares of its grey level in ranges after Gaussian filters of several
widths (scale space, Witkin 1983, IJCAI), its place in the picture and the position of its slice.
All of it works for skull-stripped slices and whole heads, with or without a mid-line. Pixels are
taken from a regular lattice of 32 x 32 points of a slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8
from scipy import ndimage

from oasis_utils.metrics.bootstrap import number_groups
from oasis_utils.metrics.grey_ranges import range_shares, relative_greys

LATTICE = 32  # points along each axis of a slice
WIDTHS = (0, 1 / 128, 1 / 64, 1 / 32, 1 / 16)  # deviations of the filters, in sides of a slice
STEPS = 1000  # of the solver at most


def at_lattice(pictures: np.ndarray) -> np.ndarray:
    """Values of pictures at the points of the lattice.

    Args:
        pictures: Slices or masks of any type, (n, height, width).

    Returns:
        (n, points), row by row.
    """
    rows, cols = (_places(side) for side in pictures.shape[1:3])
    return pictures[:, rows[:, None], cols].reshape(len(pictures), -1)


def _places(side: int) -> Integer[np.ndarray, " lattice"]:
    return ((np.arange(LATTICE) + 0.5) * side / LATTICE).astype(int)


def pixel_features(
    images: UInt8[np.ndarray, "n height width"], heights: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n points features"]:
    """Features of the points of the lattice.

    Args:
        images: Slices.
        heights: Slice positions over the number of positions, in [0, 1).

    Returns:
        float32; `range_shares` for each filter, then row, column and height in [-1, 1] and their
        squares.
    """
    grey = np.concatenate([_filtered(batch) for batch in relative_greys(images)])
    line = (2 * np.arange(LATTICE, dtype=np.float32) + 1) / LATTICE - 1
    places = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    shape = (*grey.shape[:2], 1)
    level = np.broadcast_to((2 * heights - 1)[:, None, None], shape)
    where = np.concatenate([np.broadcast_to(places, (*shape[:2], 2)), level], axis=-1)
    return np.concatenate([grey, where, where**2], axis=-1, dtype=np.float32)


def _filtered(
    grey: Float[np.ndarray, "n rows cols"],
) -> Float[np.ndarray, "n points shares"]:
    """`range_shares` after each filter at the points of the lattice."""
    parts = []
    for width in WIDTHS:
        deviation = width * grey.shape[-1]
        smooth = ndimage.gaussian_filter(grey, (0, deviation, deviation), truncate=2.5)
        parts.append(range_shares(at_lattice(smooth)))
    return np.concatenate(parts, axis=-1)


@dataclass(frozen=True)
class TissueClassifier:
    """A fitted classifier.

    Attributes:
        model: scikit-learn's pipeline.
    """

    model: Any

    @classmethod
    def fit(
        cls, features: Float[np.ndarray, "n features"], labels: Integer[np.ndarray, " n"]
    ) -> TissueClassifier:
        """A classifier of training pixels.

        Args:
            features: From `pixel_features`, one row a pixel.
            labels: Their labels; with a single one, every pixel will get it.

        Returns:
            The classifier.
        """
        from sklearn.dummy import DummyClassifier
        from sklearn.linear_model import LogisticRegression  # slow to import
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        if np.ptp(labels) == 0:
            return cls(DummyClassifier(strategy="most_frequent").fit(features, labels))
        solver = LogisticRegression(max_iter=STEPS, tol=1e-3)
        return cls(make_pipeline(StandardScaler(), solver).fit(features, labels))

    def predict(
        self, features: Float[np.ndarray, "*shape features"]
    ) -> Integer[np.ndarray, "*shape"]:
        """The label of each pixel.

        Args:
            features: From `pixel_features`.

        Returns:
            Labels as in `fit`.
        """
        flat = features.reshape(-1, features.shape[-1])
        return self.model.predict(flat).reshape(features.shape[:-1])


def person_dice(
    found: Integer[np.ndarray, "n points"],
    true: Integer[np.ndarray, "n points"],
    people: Integer[np.ndarray, " n"],
    tissues: Integer[np.ndarray, " tissues"],
) -> Float[np.ndarray, " people"]:
    """Dice score of each person, averaged over tissues (Dice 1945, doi 10.2307/1932409).

    Args:
        found: Labels by a classifier.
        true: Labels of the masks.
        people: The person of each row.
        tissues: Labels that are scored.

    Returns:
        Scores in [0, 1] in ascending order of people. A tissue that a person has in neither is left
        out; nan where that leaves none.
    """
    groups = number_groups(people)
    scores = np.stack([_dice(found == tissue, true == tissue, groups) for tissue in tissues])
    known = np.isfinite(scores)
    sums = np.where(known, scores, 0).sum(0)
    return np.divide(sums, known.sum(0), out=np.full(len(sums), np.nan), where=known.any(0))


def _dice(found: np.ndarray, true: np.ndarray, groups: np.ndarray) -> Float[np.ndarray, " people"]:
    shared, size = (np.bincount(groups, x.sum(1)) for x in (found & true, found * 1 + true * 1))
    return np.divide(2 * shared, size, out=np.full(len(size), np.nan), where=size > 0)
