"""Detector of broken slices: empty ones, half brains, and brains without a middle.

Each measure has a limit for each position, half of the 1st percentile of training slices there and
at adjacent positions: a slice must be far outside of what is real to count. Positions at which real
slices show next to nothing have a limit near 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from oasis_utils.config import BRAIN_LEVEL
from oasis_utils.metrics.anatomy import ADJACENT_POSITIONS
from oasis_utils.metrics.dark_area import DarkArea
from oasis_utils.metrics.matching import balanced
from oasis_utils.metrics.slices import LabelledSlices
from oasis_utils.runtime.symmetry import Symmetry

EMPTY, HALF, NO_MIDDLE = "empty", "half missing", "middle missing"
FIT_ROWS = 4096  # training slices that fix the limits
LOW_PERCENTILE, MARGIN = 1.0, 0.5  # a limit is MARGIN times the percentile


@dataclass(frozen=True)
class BrokenSlices:
    """What fixes whether a slice is broken.

    Attributes:
        symmetry: Where the mid-line of the slices is; without one no half can be missing.
        column: Of the mid-line in upright slices, in pixels.
        middle: Where the middle of the brain is, dark where there is no foreground.
        limits: {kind: value of its measure at each position below which a slice is broken}, nan
            where no training slice is near.
    """

    symmetry: Symmetry
    column: int
    middle: DarkArea
    limits: dict[str, Float[np.ndarray, " n_positions"]]

    @classmethod
    def fit(cls, train: LabelledSlices) -> BrokenSlices:
        """From training slices.

        Args:
            train: Slices that show something.

        Returns:
            The detector.

        Raises:
            ValueError: If no slice shows anything.
        """
        rows = balanced(train.positions, FIT_ROWS)
        images, positions = np.array(train.images[rows]), train.positions[rows]
        middle = DarkArea(DarkArea.fit(train).boxes, BRAIN_LEVEL * 255)
        profile = train.symmetry.upright(_foreground(images)).sum((0, 1))
        column = round(float(np.average(np.arange(len(profile)) + 0.5, weights=profile)))
        free = cls(train.symmetry, column, middle, {})
        measured = free.measure(images, positions)
        n_positions = int(train.positions.max()) + 1
        limits = {name: _limits(x, positions, n_positions) for name, x in measured.items()}
        return cls(train.symmetry, column, middle, limits)

    def measure(
        self, images: UInt8[np.ndarray, "n height width"], positions: Integer[np.ndarray, " n"]
    ) -> dict[str, Float[np.ndarray, " n"]]:
        """What is small in a broken slice.

        Args:
            images: Slices.
            positions: Of the slices.

        Returns:
            {kind: a value in [0, 1] for each slice}: foreground as a share of the frame; that of
            the smaller half over that of the larger (1 for an empty slice); foreground as a share
            of the middle (1 where real slices have none).
        """
        inside = self.symmetry.upright(_foreground(images))
        found = {
            EMPTY: inside.mean((1, 2)),
            NO_MIDDLE: 1 - self.middle.share(images, positions),
        }
        if self.symmetry:
            left, right = (
                x.sum((1, 2)) for x in (inside[:, :, : self.column], inside[:, :, self.column :])
            )
            larger = np.maximum(left, right)
            found[HALF] = np.where(larger > 0, np.minimum(left, right) / np.maximum(larger, 1), 1.0)
        return found

    def find(
        self, images: UInt8[np.ndarray, "n height width"], positions: Integer[np.ndarray, " n"]
    ) -> dict[str, Bool[np.ndarray, " n"]]:
        """Which slices are broken, and how.

        Args:
            images: Slices.
            positions: Of the slices.

        Returns:
            {"empty", "middle missing" and, where there is a mid-line, "half missing": whether it
            holds for each slice}. A kind does not exclude another.
        """
        return {
            name: values < self.limits[name][np.clip(positions, 0, len(self.limits[name]) - 1)]
            for name, values in self.measure(images, positions).items()
        }


def _foreground(
    images: UInt8[np.ndarray, "n height width"],
) -> Bool[np.ndarray, "n height width"]:
    return np.asarray(images) > BRAIN_LEVEL * 255


def _limits(
    values: Float[np.ndarray, " n"], positions: Integer[np.ndarray, " n"], n_positions: int
) -> Float[np.ndarray, " n_positions"]:
    limits = np.full(n_positions, np.nan)
    for position in range(n_positions):
        near = values[np.abs(positions - position) <= ADJACENT_POSITIONS]
        if len(near):
            limits[position] = MARGIN * np.percentile(near, LOW_PERCENTILE)
    return limits
