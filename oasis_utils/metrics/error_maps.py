"""Mean absolute errors of a reconstruction by region: edges, flat regions, the middle, the border.

Images are uint8 slices; errors are in grey levels from 0 to 1. `region` marks the pixels of the
brain or of the head.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8

Images = UInt8[np.ndarray, "n height width"]
Region = Bool[np.ndarray, "n height width"]


def absolute_error(images: Images, outputs: Images) -> Float[np.ndarray, "n height width"]:
    """|image - output| of each pixel, in [0, 1]."""
    return np.abs(images.astype(np.float32) - outputs) / np.float32(255)


def error_by_gradient(images: Images, outputs: Images, region: Region) -> dict[str, float]:
    """Mean error where the image is steep and where it is flat.

    Args:
        images: The slices.
        outputs: Their reconstructions.
        region: Pixels of the brain or of the head.

    Returns:
        {"steepest quarter", "flattest quarter": of the region's pixels, "outside": of the region},
        in grey levels of [0, 1]; nan where there are no such pixels.
    """
    down, right = np.gradient(images.astype(np.float32), axis=(1, 2))
    slope = np.hypot(down, right)
    flat, steep = np.quantile(slope[region], [0.25, 0.75]) if region.any() else (0.0, 0.0)
    error = absolute_error(images, outputs)
    return {
        "steepest quarter": _mean(error[region & (slope >= steep)]),
        "flattest quarter": _mean(error[region & (slope <= flat)]),
        "outside": _mean(error[~region]),
    }


def error_by_region(images: Images, outputs: Images, region: Region) -> dict[str, float]:
    """Mean error in the middle of the frame, where ventricles and deep nuclei lie, and around it.

    Args:
        images: The slices.
        outputs: Their reconstructions.
        region: Pixels of the brain or of the head.

    Returns:
        {"middle": the region's pixels in the middle third of the frame, "around": its other
        pixels}, in grey levels of [0, 1]; nan where there are none.
    """
    rows, cols = (size // 3 for size in images.shape[1:])
    middle = np.zeros(images.shape[1:], bool)
    middle[rows:-rows, cols:-cols] = True
    error = absolute_error(images, outputs)
    return {"middle": _mean(error[region & middle]), "around": _mean(error[region & ~middle])}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
