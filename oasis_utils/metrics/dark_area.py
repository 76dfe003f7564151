"""Share of dark pixels in the middle of the brain, which grows with age."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from oasis_utils.metrics.anatomy import consensus
from oasis_utils.metrics.matching import balanced
from oasis_utils.metrics.slices import LabelledSlices

FIT_ROWS = 1024  # training slices that fix where the middle of the brain is
DARK_LEVEL = 0.3  # of white, below which a pixel of the middle of the brain is dark: mostly fluid


@dataclass(frozen=True)
class DarkArea:
    """Share of dark pixels in the middle of the brain (of the head): mostly ventricles, which widen
    with age.

    The middle is the middle half of the bounding box of the training slices' brains, position by
    position; dark is below DARK_LEVEL of white, the 95th percentile of grey levels there. The scalp
    of whole heads lies outside.

    Attributes:
        boxes: Top, bottom, left and right of the middle in pixels, for each position.
        level: Grey level of 255 below which a pixel is dark.
    """

    boxes: Integer[np.ndarray, "n_positions 4"]
    level: float

    @classmethod
    def fit(cls, train: LabelledSlices) -> DarkArea:
        """ValueError if no training slice shows anything."""
        rows = balanced(train.positions, FIT_ROWS)
        positions = train.positions[rows]
        boxes = np.array([_middle(region) for region in consensus(train.region(rows), positions)])
        grey = np.concatenate(
            [
                train.images[row, top:bottom, left:right].ravel()
                for row, (top, bottom, left, right) in zip(rows, boxes[positions], strict=True)
            ]
        )
        if not len(grey):
            raise ValueError(f"no brain in the {train.name} slices: check that they are not black")
        return cls(boxes, DARK_LEVEL * float(np.percentile(grey, 95)))

    def share(
        self,
        images: UInt8[np.ndarray, "n height width"],
        positions: Integer[np.ndarray, " n"] | int,
    ) -> Float[np.ndarray, " n"]:
        """Of each slice, in [0, 1]; 0 at positions that show no brain."""
        rows = np.clip(np.broadcast_to(positions, len(images)), 0, len(self.boxes) - 1)
        return np.array(
            [
                (image[top:bottom, left:right] < self.level).sum()
                / max((bottom - top) * (right - left), 1)
                for image, (top, bottom, left, right) in zip(images, self.boxes[rows], strict=True)
            ]
        )

    def darkest_position(
        self, images: UInt8[np.ndarray, "n height width"], positions: Integer[np.ndarray, " n"]
    ) -> int:
        """The slice position with the darkest middle on average, where ageing shows best."""
        shares, known = self.share(images, positions), np.unique(positions)
        return int(known[np.argmax([shares[positions == position].mean() for position in known])])

    def age_correlation(
        self,
        images: UInt8[np.ndarray, "n height width"],
        positions: Integer[np.ndarray, " n"] | int,
        ages: Float[np.ndarray, " n"],
    ) -> float:
        """Correlation of the share with age in years, over the slices of known age; nan where
        either is constant.
        """
        known = np.isfinite(ages)
        shares, years = self.share(images, positions)[known], ages[known]
        if len(years) < 2 or np.ptp(shares) == 0 or np.ptp(years) == 0:
            return float("nan")
        return float(np.corrcoef(years, shares)[0, 1])


def _middle(region: Bool[np.ndarray, "height width"]) -> list[int]:
    """Top, bottom, left and right of the middle half of a region's bounding box; zeros for an empty
    one.
    """
    bounds = []
    for axis in (1, 0):
        inside = np.flatnonzero(region.any(axis))
        if not len(inside):
            return [0] * 4
        first, last = int(inside[0]), int(inside[-1]) + 1
        quarter = (last - first) // 4
        bounds += [first + quarter, last - quarter]
    return bounds
