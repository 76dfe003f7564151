"""Real ranges of the anatomical measures by position, and distances of other slices to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from oasis_utils.metrics.anatomy import ADJACENT_POSITIONS

RANGE_MARGIN = 0.5  # by which a range is widened, in real deviations


@dataclass(frozen=True)
class Atlas:
    """What the training slices of each position measure; adjacent positions lend theirs.

    Attributes:
        mean: Mean of each measure at each position.
        deviation: Its standard deviation.
        low: 1st percentile less RANGE_MARGIN deviations.
        high: 99th percentile plus RANGE_MARGIN deviations.
    """

    mean: Float[np.ndarray, "positions measures"]
    deviation: Float[np.ndarray, "positions measures"]
    low: Float[np.ndarray, "positions measures"]
    high: Float[np.ndarray, "positions measures"]

    @classmethod
    def fit(
        cls,
        values: Float[np.ndarray, "n measures"],
        positions: Integer[np.ndarray, " n"],
        n_positions: int,
    ) -> Atlas:
        """Positions without any training slice near them stay nan: nothing is known about them."""
        shape = (n_positions, values.shape[1])
        mean, deviation, low, high = (np.full(shape, np.nan) for _ in range(4))
        least = 0.05 * values.std(0) + 1e-9  # a handful of slices may agree by chance
        for position in range(n_positions):
            near = values[np.abs(positions - position) <= ADJACENT_POSITIONS]
            if len(near) > 1:
                mean[position], deviation[position] = near.mean(0), np.maximum(near.std(0), least)
                low[position], high[position] = np.percentile(near, [1, 99], axis=0)
        return cls(mean, deviation, low - RANGE_MARGIN * deviation, high + RANGE_MARGIN * deviation)

    def scaled(
        self, values: Float[np.ndarray, "n measures"], positions: Integer[np.ndarray, " n"]
    ) -> Float[np.ndarray, "n measures"]:
        """Distance from the mean of the position, in real deviations."""
        return (values - self.mean[positions]) / self.deviation[positions]

    def outside(
        self, values: Float[np.ndarray, "n measures"], positions: Integer[np.ndarray, " n"]
    ) -> Bool[np.ndarray, "n measures"]:
        """Which measures leave the real range of their position."""
        return (values < self.low[positions]) | (values > self.high[positions])


def compare_measures(
    a: Float[np.ndarray, "n measures"], b: Float[np.ndarray, "m measures"], names: tuple[str, ...]
) -> dict[str, float]:
    """Wasserstein distance of each measure between two sets of scaled values: in real
    deviations.
    """
    from scipy.stats import wasserstein_distance  # slow to import

    return {name: float(wasserstein_distance(a[:, i], b[:, i])) for i, name in enumerate(names)}
