"""Label maps of the tissues of generated heads, by the thresholds that the metrics use.

Two thresholds of the training slices part fluid, grey and white matter (`metrics.anatomy.Tissues`).
They see one pixel at a time: shading and pixels that hold two tissues are labelled wrongly.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from oasis_utils.data.dataset import Split, subsample
from oasis_utils.metrics.anatomy import Tissues, outline
from oasis_utils.runtime import DataError

GREY, WHITE, FLUID = 1, 2, 3  # labels of BIDS; 0 is the background
FITTED_SLICES = 512  # training slices that set the thresholds


def fit_tissues(train: Split) -> Tissues:
    """The thresholds of a data set of skull-stripped slices.

    Args:
        train: its training split.

    Returns:
        Thresholds as shares of the 95th percentile of a slice's brain.

    Raises:
        DataError: the slices show whole heads, whose skull and scalp have the grey levels of brain.
    """
    if train.content != "brain":
        raise DataError(
            "tissues cannot be told apart by grey levels in heads with the skull on: leave out"
            " --tissues, or train on skull-stripped slices"
        )
    return Tissues.fit(np.array(subsample(train, FITTED_SLICES).images))


def tissue_labels(
    slices: UInt8[np.ndarray, "n height width"], tissues: Tissues
) -> UInt8[np.ndarray, "n height width"]:
    """The tissue of each pixel.

    Args:
        slices: grey levels of skull-stripped slices.
        tissues: thresholds of the training slices.

    Returns:
        0 background, 1 grey matter, 2 white matter, 3 fluid.
    """
    labels = np.zeros(slices.shape, np.uint8)
    for label, image in zip(labels, slices, strict=True):
        brain = outline(image)
        if brain.any():
            share = image[brain] / max(float(np.percentile(image[brain], 95)), 1.0)
            label[brain] = np.where(
                share < tissues.grey, FLUID, np.where(share < tissues.white, GREY, WHITE)
            )
    return labels
