"""Cuts slices to the field of view of the training heads and resizes them, chunk by chunk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8

from oasis_utils.config import DataConfig
from oasis_utils.data.grey_levels import FOREGROUND
from oasis_utils.data.orientation import oriented
from oasis_utils.runtime import DataError
from oasis_utils.runtime.symmetry import Symmetry

RESIZE_CHUNK = 64  # most slices resized at a time
CHUNK_PIXELS = 2**24  # of the stored and the resized slices of a chunk
ODD_PIXELS = 0.002  # a pixel that is foreground in a smaller share of the slices is left out


class _Extent(NamedTuple):
    """Where the heads are along one axis, in pixels."""

    first: int
    middle: float  # the mid-line, if it crosses this axis, else the middle of first and last
    last: int


def fit_window(
    heads: Int[np.ndarray, "size size"], n: int, config: DataConfig, symmetry: Symmetry
) -> tuple[int, int, int]:
    """The square that holds the training heads, with their mid-line in its middle.

    The mid-line is taken to run through the centre of mass of the heads. Training mirrors slices
    about the middle of the square; off the mid-line, it would show every head in two places.

    Args:
        heads: for each pixel, in how many of the n training slices it is foreground.
        n: training slices.
        config: its image_size is the least side of the square, because slices are not enlarged.
        symmetry: of the slices; where there is none, the square lies around the heads.

    Returns:
        (top, left, side) in pixels. The square may reach out of the picture, where it is black. No
        head is cut off, so in a picture that is kept whole the mid-line may stay beside the middle.

    Raises:
        DataError: the training slices are black.
    """
    size = len(heads)
    seen = heads > ODD_PIXELS * n
    if not seen.any():
        raise DataError(
            f"all {n} training slices are black (no pixel above {FOREGROUND} of 255): "
            "check the scaling of the images"
        )
    if not config.fit_crop:
        return 0, 0, size
    extents = {axis: _extent(heads, seen, axis, symmetry) for axis in (-2, -1)}
    side = size
    if size > config.image_size:
        reach = 1 + 2 * max(max(e.middle - e.first, e.last - e.middle) for e in extents.values())
        side = int(min(size, max(config.image_size, round(reach * (1 + 2 * config.crop_margin)))))
    is_cut = side < size
    if is_cut and symmetry.axis is not None:  # a mid-line between two pixels needs an even side
        side += (round(2 * extents[symmetry.axis].middle) - side + 1) % 2
    top, left = (_start(e, side, size, axis == symmetry.axis) for axis, e in extents.items())
    return top, left, side


def _extent(heads: np.ndarray, seen: np.ndarray, axis: int, symmetry: Symmetry) -> _Extent:
    other = 1 if axis == -2 else 0
    places, counts = np.flatnonzero(seen.any(other)), (heads * seen).sum(other)
    first, last = int(places[0]), int(places[-1])
    centre = (counts * np.arange(len(counts))).sum() / counts.sum()
    return _Extent(first, centre if axis == symmetry.axis else (first + last) / 2, last)


def _start(extent: _Extent, side: int, size: int, mirrored: bool) -> int:
    """First row or column of the square; around a mid-line, it may lie outside the picture."""
    start = math.ceil(extent.middle - (side - 1) / 2 - 0.5)  # the nearest, of two the lower
    low, high = (extent.last - side + 1, extent.first) if mirrored else (0, size - side)
    return min(max(start, low), high)


def mapped(raw: BinaryIO, size: int, n: int) -> UInt8[np.ndarray, "n size size"]:
    """The n slices of a raw file as a memory map."""
    return np.memmap(raw, np.uint8, "r", shape=(n, size, size))


@dataclass(frozen=True)
class Window:
    """How stored slices become those of the cache.

    Attributes:
        crop: (top, left, side) in pixels of the turned slice, see `fit_window`.
        size: pixels of a side after resizing.
        turn: applied before the cut, see `orientation.oriented`.
    """

    crop: tuple[int, int, int]
    size: int
    turn: str = "as-is"

    def cut(self, stack: UInt8[np.ndarray, "n height width"]) -> UInt8[np.ndarray, "n side side"]:
        """Slices turned and cut, not yet resized."""
        top, left, side = self.crop
        turned = oriented(stack, self.turn)
        part = turned[:, max(top, 0) : top + side, max(left, 0) : left + side]
        if part.shape[1:] == (side, side):
            return np.ascontiguousarray(part)
        square = np.zeros((len(stack), side, side), np.uint8)
        row, col = max(-top, 0), max(-left, 0)
        square[:, row : row + part.shape[1], col : col + part.shape[2]] = part
        return square


def write_resized(
    path: Path,
    raw: BinaryIO,
    source_size: int,
    rows: np.ndarray,
    window: Window,
    nearest: bool = False,
) -> None:
    """Write chosen slices of a raw file as a .npy array of shape (n, size, size).

    Args:
        path: the .npy file.
        raw: slices one after the other, uint8.
        source_size: pixels of their side.
        rows: which slices, in the order of the array.
        window: how they are turned, cut and resized.
        nearest: take the nearest pixel, as for masks. Default: bilinear with antialiasing.
    """
    shape = (len(rows), window.size, window.size)
    with open(path, "wb") as file:
        np.lib.format.write_array_header_2_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        step = min(RESIZE_CHUNK, max(1, CHUNK_PIXELS // max(source_size, window.size) ** 2))
        for start in range(0, len(rows), step):
            chunk = rows[start : start + step]
            part = window.cut(mapped(raw, source_size, int(rows.max()) + 1)[chunk])
            file.write(_resized(part, window.size, nearest).data)


def _resized(
    part: UInt8[np.ndarray, "n side side"], size: int, nearest: bool
) -> UInt8[np.ndarray, "n size size"]:
    if part.shape[-1] == size:
        return part
    images = torch.from_numpy(part)[:, None]
    if nearest:
        small = torch.nn.functional.interpolate(images, (size, size), mode="nearest-exact")
    else:
        from torchvision.transforms.v2.functional import resize  # slow to import

        small = resize(images, [size, size], antialias=True)
    return small[:, 0].contiguous().numpy()
