"""Slice position estimated from the picture by ridge regression on a thumbnail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float, Integer, UInt8

from oasis_utils.metrics.features import Standardizer, as_floats


@dataclass(frozen=True)
class PositionRegressor:
    """Ridge regression (scikit-learn) from a slice's 16 x 16 thumbnail to its position: too coarse
    for decoder blur to matter.

    Attributes:
        standard: Scale of the thumbnails' pixels.
        weights: One for each pixel of a thumbnail.
        mean: Mean training position.
    """

    standard: Standardizer
    weights: Float[np.ndarray, " dim"]
    mean: float

    @classmethod
    def fit(
        cls,
        images: UInt8[np.ndarray, "n height width"],
        positions: Integer[np.ndarray, " n"],
        ridge: float = 300.0,
    ) -> PositionRegressor:
        """From training slices; ridge is the penalty of the squared weights."""
        from sklearn.linear_model import Ridge  # slow to import

        rows = thumbnails(images)
        standard, mean = Standardizer.fit(rows), float(positions.mean())
        x = standard(rows)
        model = Ridge(alpha=ridge, fit_intercept=False).fit(x, positions - mean)
        return cls(standard, model.coef_, mean)

    def read(self, images: UInt8[np.ndarray, "n height width"]) -> Float[np.ndarray, " n"]:
        """The position of each slice, in slices, not rounded."""
        return self.standard(thumbnails(images)) @ self.weights + self.mean


def thumbnails(images: UInt8[np.ndarray, "n height width"]) -> Float[np.ndarray, "n 256"]:
    """Slices at 16 x 16 pixels in [0, 1], flattened."""
    return F.interpolate(as_floats(images), size=(16, 16), mode="area").flatten(1).double().numpy()
