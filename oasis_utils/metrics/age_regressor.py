"""Age estimated from slices by kernel ridge regression on regional grey levels.

The kernel compares the regions of two slices and their positions: slices of different positions say
little about each other, so that position is not mistaken for age (Saunders 1998, ICML, in
scikit-learn). The settings are fixed, so that they favour no training set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from oasis_utils.metrics.features import Standardizer
from oasis_utils.metrics.grey_ranges import regional_shares

REGIONS = 4  # along each axis
PRECISION = 0.3  # of the kernel, on the mean square difference of standardised features
POSITION_WIDTH = 0.2  # deviation of the kernel over positions, as a share of all positions
PENALTY = 0.1  # of the squared norm


def age_features(images: UInt8[np.ndarray, "n height width"]) -> Float[np.ndarray, "n features"]:
    """What the age is estimated from: grey levels of 4 x 4 regions.

    Args:
        images: Slices.

    Returns:
        `regional_shares` in [0, 1].
    """
    return regional_shares(images, REGIONS)


@dataclass(frozen=True)
class AgeRegressor:
    """A fitted regression.

    Attributes:
        standard: Scale of the features.
        model: scikit-learn's KernelRidge.
        mean: Mean training age in years.
    """

    standard: Standardizer
    model: Any
    mean: float

    @classmethod
    def fit(
        cls,
        features: Float[np.ndarray, "n features"],
        heights: Float[np.ndarray, " n"],
        ages: Float[np.ndarray, " n"],
    ) -> AgeRegressor:
        """A regression of training slices.

        Args:
            features: From `age_features`, of one slice or more.
            heights: Slice positions over the number of positions, in [0, 1).
            ages: Years, all known.

        Returns:
            The regression.
        """
        from sklearn.kernel_ridge import KernelRidge  # slow to import

        standard, mean = Standardizer.fit(features), float(ages.mean())
        model = KernelRidge(kernel="rbf", gamma=1.0).set_params(alpha=PENALTY)
        return cls(standard, model.fit(_scaled(standard, features, heights), ages - mean), mean)

    def predict(
        self, features: Float[np.ndarray, "n features"], heights: Float[np.ndarray, " n"]
    ) -> Float[np.ndarray, " n"]:
        """The age of each slice.

        Args:
            features: From `age_features`.
            heights: As in `fit`.

        Returns:
            Years.
        """
        return self.model.predict(_scaled(self.standard, features, heights)) + self.mean


def _scaled(
    standard: Standardizer, features: np.ndarray, heights: np.ndarray
) -> Float[np.ndarray, "n coordinates"]:
    """Coordinates whose squared distance is the exponent of the kernel."""
    x = standard(features) * np.sqrt(PRECISION / features.shape[1])
    return np.hstack([x, (heights / (np.sqrt(2) * POSITION_WIDTH))[:, None]])
