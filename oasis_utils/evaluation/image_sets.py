"""Image sets from files: reading, conversion to 8-bit slices, and checks."""

from __future__ import annotations

import math
import os
import re
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from oasis_utils.data.head_volumes import head_files, read_heads
from oasis_utils.data.image_files import read_slice
from oasis_utils.data.keras_layout import MAX_POSITION
from oasis_utils.metrics.slices import require_enough
from oasis_utils.runtime import ARCHIVE_ERRORS, DataError, open_plain
from oasis_utils.runtime.plain_files import refuse_bomb

MAX_IMAGES = 20_000  # metrics compare pairs of them


def require_images(images: np.ndarray, shape: tuple[int, ...]) -> None:
    """ValueError unless the images are uint8 (n, height, width) of the data's size and enough of
    them.
    """
    if images.ndim != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"images must be uint8 (n, height, width), not {images.dtype} {images.shape}"
        )
    if images.shape[1:] != shape:
        raise ValueError(
            f"images are {images.shape[2]}x{images.shape[1]}, the data {shape[1]}x{shape[0]}: bring"
            " them to one size"
        )
    require_enough(len(images), len(images))


def as_grey(images: np.ndarray, source: str) -> UInt8[np.ndarray, "n height width"]:
    """8-bit slices from uint8 ones, or from floats in [0, 1]. ValueError that says what else was
    found.
    """
    if images.ndim != 3:
        raise ValueError(
            f"images in {source} have shape {images.shape}, expected (n, height, width)"
        )
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"images in {source} are {images.dtype}: give uint8, or floats in [0, 1]")
    if not np.isfinite(images).all():
        raise ValueError(
            f"{int((~np.isfinite(images)).any((1, 2)).sum())} images in {source} hold nan or"
            " infinite pixels: remove them"
        )
    if images.size and not 0 <= images.min() <= images.max() <= 1:
        raise ValueError(
            f"images in {source} are floats from {images.min():g} to {images.max():g}: scale them"
            " to [0, 1]"
        )
    return np.rint(images * 255).astype(np.uint8)


def load_images(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Slices of an .npz file as `sample` writes it, of a folder as `sample --heads` writes it, or
    of a folder of grey PNGs.

    Args:
        path: the file or folder.

    Returns:
        (images uint8, positions or None). Positions of PNGs are taken from names such as
        case_001_slice_7.png where all have one.

    Raises:
        ValueError: what is there is anything else, or damaged; the message names it.
    """
    if Path(path).is_dir():
        return _load_folder(Path(path))
    try:
        with open_plain(path) as opened, zipfile.ZipFile(opened) as file:
            packed = os.fstat(opened.fileno()).st_size
            arrays = {
                name: _array(file, f"{name}.npy", packed, path)
                for name in ("images", "positions")
                if f"{name}.npy" in file.namelist()
            }
    except DataError:
        raise
    except ARCHIVE_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"cannot read {path} ({reason}): give an .npz file that `sample` wrote"
        ) from None
    if "images" not in arrays:
        raise ValueError(f"{path} has no array 'images': give a file that `sample` wrote")
    refuse_many(len(arrays["images"]) if arrays["images"].ndim else 0, path)
    images, positions = as_grey(arrays["images"], str(path)), arrays.get("positions")
    if positions is not None and (
        positions.shape != (len(images),) or positions.dtype.kind not in "iu"
    ):
        raise ValueError(
            f"positions in {path} are {positions.dtype} {positions.shape}, expected one whole"
            f" number for each of {len(images)} images"
        )
    if positions is not None and not ((positions >= 0) & (positions <= MAX_POSITION)).all():
        raise ValueError(f"positions in {path} are not from 0 to {MAX_POSITION}: correct them")
    return images, positions


def _array(file: zipfile.ZipFile, name: str, packed: int, path: str | Path) -> np.ndarray:
    """An array of an .npz file, once its header shows that it is plain and not too large."""
    if file.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is packed in a way that NumPy does not use")
    with file.open(name) as stream:
        if np.lib.format.read_magic(stream) == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects")
    refuse_bomb(math.prod(shape) * dtype.itemsize, packed, f"{path}!{name}")
    with file.open(name) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def refuse_many(n: int, path: str | Path) -> None:
    """DataError for more images than metrics can compare."""
    if n > MAX_IMAGES:
        raise DataError(f"{path} has {n} images, more than {MAX_IMAGES}: give a part of them")


def _load_folder(folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
    files, heads = sorted(folder.glob("*.png")), head_files(folder)
    if files and heads:
        raise ValueError(
            f"{folder} holds PNG files and heads, such as {files[0].name} and {heads[0].name}:"
            " give a folder of one kind"
        )
    if heads:
        return read_heads(heads, MAX_IMAGES)
    if not files:
        raise ValueError(
            f"no .png files in {folder}, and no heads: give a folder of grey slices, or what"
            " `sample` wrote, an .npz file or with --heads a folder"
        )
    refuse_many(len(files), folder)
    images, unpacked, packed = [], 0, 0
    for file in files:
        images.append(read_slice(file))
        unpacked, packed = unpacked + images[-1].nbytes, packed + file.stat().st_size
        refuse_bomb(unpacked, packed, folder)
    other = next((i for i, image in enumerate(images) if image.shape != images[0].shape), None)
    if other is not None:
        raise ValueError(
            f"{files[0].name} and {files[other].name} in {folder} have different sizes, "
            f"{images[0].shape} and {images[other].shape}: bring them to one size"
        )
    found = [re.search(r"slice_(\d+)", file.name) for file in files]
    positions = [int(match[1]) for match in found if match]
    if positions and max(positions) > MAX_POSITION:
        raise DataError(f"{folder} has a slice number above {MAX_POSITION}: rename that file")
    return np.stack(images), np.array(positions) if len(positions) == len(files) else None
