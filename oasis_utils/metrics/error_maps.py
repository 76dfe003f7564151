"""Errors of a reconstruction by place: edges, flat regions, the middle, the border; where they are
largest.

Images are uint8 slices; errors are in grey levels from 0 to 1. `region` marks the pixels of the
brain or of the head.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy.lib.stride_tricks import sliding_window_view

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


def largest_changes(
    images: Images, outputs: Images, window: int
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, "n 2"]]:
    """Where the mean of a small window is changed most: perhaps a structure lost or invented.

    At a blurred edge the differences nearly cancel; where something is darker or brighter as a
    whole they remain. An edge displaced by d pixels leaves its contrast times d / window.

    Args:
        images: The slices.
        outputs: Their reconstructions.
        window: Pixels along a side of the window.

    Returns:
        (change, centre): output - image in the window with the largest absolute one, in grey levels
        of [-1, 1], and the (row, column) of its centre.
    """
    change = (outputs.astype(np.float32) - images) / np.float32(255)
    for axis in (1, 2):
        change = sliding_window_view(change, window, axis=axis).mean(axis=-1)
    flat = change.reshape(len(change), -1)
    place = np.abs(flat).argmax(axis=1)
    centre = np.stack(np.unravel_index(place, change.shape[1:]), axis=1) + window // 2
    return flat[np.arange(len(flat)), place], centre


def crops(
    images: Images, centres: Int[np.ndarray, "n 2"], side: int
) -> UInt8[np.ndarray, "n side side"]:
    """A square of each slice around its centre, moved inwards where it would leave the slice.

    Args:
        images: The slices.
        centres: (row, column) in each slice.
        side: Pixels along a side of the square, at most those of a slice.

    Returns:
        The squares.
    """
    corners = np.clip(centres - side // 2, 0, np.array(images.shape[1:]) - side)
    return np.stack(
        [
            image[top : top + side, left : left + side]
            for image, (top, left) in zip(images, corners, strict=True)
        ]
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
