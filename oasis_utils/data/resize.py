"""Cuts slices to the field of view of the training heads and resizes them, chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Int, UInt8

from oasis_utils.config import DataConfig
from oasis_utils.data.grey_levels import FOREGROUND
from oasis_utils.data.orientation import oriented
from oasis_utils.runtime import DataError

RESIZE_CHUNK = 64  # most slices resized at a time
CHUNK_PIXELS = 2**24  # of the stored and the resized slices of a chunk
ODD_PIXELS = 0.002  # a pixel that is foreground in a smaller share of the slices is left out


def fit_window(
    heads: Int[np.ndarray, "size size"], n: int, config: DataConfig
) -> tuple[int, int, int]:
    """The square that holds the training heads.

    Args:
        heads: for each pixel, in how many of the n training slices it is foreground.
        n: training slices.
        config: its image_size is the least side of the square, because slices are not enlarged.

    Returns:
        (top, left, side) in pixels.

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
    if not config.fit_crop or size <= config.image_size:
        return 0, 0, size
    rows, cols = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    extent = max(rows[-1] - rows[0], cols[-1] - cols[0]) + 1
    side = int(min(size, max(config.image_size, round(extent * (1 + 2 * config.crop_margin)))))
    top, left = (
        int(np.clip((edge[0] + edge[-1] + 1 - side) // 2, 0, size - side)) for edge in (rows, cols)
    )
    return top, left, side


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
        return np.ascontiguousarray(turned[:, top : top + side, left : left + side])


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
