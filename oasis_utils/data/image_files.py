"""One image file in, one 8-bit grey picture out, or a DataError that says what is wrong with it.

PNG, JPEG and TIFF are read by Pillow, which is lenient: when it decodes a PNG, it ignores the
checksums of the image data, and it shortens 16-bit colour to 8. So checksums, depth, channels and
size are checked here. PNG: https://www.w3.org/TR/png-3, chunk layout and CRC.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from oasis_utils.runtime import DataError, read_plain

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "TIFF")
MAX_SIDE = 2048  # pixels; slices are padded to squares, so the longer side decides
MAX_PIXELS = MAX_SIDE**2
MAX_FILE_BYTES = 2**26
MAX_CHUNKS = 10_000  # of a PNG; writers need some hundreds, and each takes time
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH_BYTE = 24  # of a file: bits a channel
BITS_PER_SAMPLE, ORIENTATION = 258, 274  # TIFF and EXIF tags
FIX = "convert it to 8-bit grey"

EQUAL_CHANNELS = "equal colour channels, read as grey"
OPAQUE = "opaque alpha channel, left out"
PALETTE = "palette of greys, read as grey"
FEW_BITS = "fewer than 8 bits a pixel, scaled to 0-255"
ROTATED = "turned as the camera's orientation tag says"


@dataclass(frozen=True)
class Picture:
    """The pixels of a file, and what had to be done to get them.

    Attributes:
        pixels: grey levels.
        notes: EQUAL_CHANNELS and so on; none for plain 8-bit grey.
    """

    pixels: UInt8[np.ndarray, "height width"]
    notes: tuple[str, ...] = ()


def read_slice(path: Path) -> UInt8[np.ndarray, "height width"]:
    """The pixels of one image file; DataError as of `read_picture`.

    Args:
        path: a PNG, JPEG or TIFF file of one slice.
    """
    with quiet():
        return read_picture(path).pixels


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Pillow's warnings about files that it repairs.

    It is not safe inside threads: callers put it around them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_picture(path: Path, mask: bool = False) -> Picture:
    """Read one slice or one mask.

    Args:
        path: a PNG, JPEG or TIFF file.
        mask: accept one bit a pixel, and one value at all pixels.

    Returns:
        The pixels as 8-bit grey, and what was changed to get them.

    Raises:
        DataError: it is no plain file, unreadable, damaged, not fetched or several pictures, or it
            has more than 8 bits, colour, transparency, a side of more than 2048 pixels, or one grey
            level above black at all pixels.
    """
    content = read_plain(path, MAX_FILE_BYTES)
    try:
        picture = _decode(content, path, mask)
    except DataError:
        raise
    except Exception as error:  # a damaged file: from SyntaxError to ZeroDivisionError
        reason = str(error) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):  # Pillow names a buffer in memory
            reason = "it is no PNG, JPEG or TIFF" if content else "it is empty"
        raise DataError(f"cannot read {path}: {reason}; replace the file") from None
    low, high = picture.pixels.min(), picture.pixels.max()
    if low == high and high > 0 and not mask:
        raise DataError(
            f"every pixel of {path} is {high}: no slice looks like this, replace or remove the file"
        )
    return picture


def _decode(content: bytes, path: Path, mask: bool) -> Picture:
    png = content.startswith(PNG_SIGNATURE)
    if png:
        _verify_png(content)
        if content[PNG_DEPTH_BYTE] > 8:
            raise DataError(f"{path} has more than 8 bits a pixel: {FIX}")
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if max(image.size) > MAX_SIDE:
            raise DataError(
                f"{path} claims to be {image.width}x{image.height} pixels: no slice has a side of"
                f" more than {MAX_SIDE}; replace the file"
            )
        if getattr(image, "is_animated", False):  # n_frames would look for every page of a TIFF
            raise DataError(
                f"{path} holds 2 pictures or more: write each slice to a file of its own"
            )
        image.load()
        if image.mode[0] in "IF" or max(_tiff_depths(image)) > 8:
            raise DataError(f"{path} has more than 8 bits a pixel: {FIX}")
        few_bits = max(_tiff_depths(image)) < 8 or (
            png and content[PNG_DEPTH_BYTE] < 8 and image.mode == "L"
        )
        notes = [FEW_BITS] if few_bits else []
        if "exif" in image.info and image.getexif().get(ORIENTATION, 1) in range(2, 9):
            turned = ImageOps.exif_transpose(image)
            return _grey(turned, path, mask, [*notes, ROTATED])
        return _grey(image, path, mask, notes)


def _verify_png(content: bytes) -> None:
    """An error of Pillow's if a chunk is damaged or missing; bytes behind the last are ignored."""
    chunks, offset = 0, len(PNG_SIGNATURE)
    while offset < len(content):
        chunks, offset = (
            chunks + 1,
            offset + 12 + int.from_bytes(content[offset : offset + 4], "big"),
        )
        if chunks > MAX_CHUNKS:
            raise ValueError(f"it has more than {MAX_CHUNKS} chunks")
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        image.verify()


def _tiff_depths(image: Image.Image) -> tuple[int, ...]:
    """Bits of each channel of a TIFF; of other formats (8,)."""
    if isinstance(image, TiffImageFile):
        return image.tag_v2.get(BITS_PER_SAMPLE, (1,))
    return (8,)


def _grey(image: Image.Image, path: Path, mask: bool, notes: list[str]) -> Picture:
    """The one channel that carries the picture."""
    if image.mode == "1" and not mask:
        raise DataError(f"{path} has 1 bit a pixel: a mask? Slices are 8-bit grey")
    if image.mode in ("P", "PA"):
        image, notes = (
            image.convert("RGBA" if "transparency" in image.info or image.mode == "PA" else "RGB"),
            [*notes, PALETTE],
        )
    elif "transparency" in image.info and image.mode in ("1", "L", "RGB"):
        image = image.convert("RGBA" if image.mode == "RGB" else "LA")
    if image.mode == "1":
        image = image.convert("L")
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise DataError(
            f"{path} has channels {'+'.join(image.getbands())}, expected one (grey): {FIX}"
        )
    pixels = np.asarray(image)
    if image.mode.endswith("A"):
        if (pixels[..., -1] != 255).any():
            raise DataError(f"{path} is partly transparent: {FIX} without an alpha channel")
        pixels, notes = pixels[..., :-1], [*notes, OPAQUE]
    if image.mode.startswith("RGB"):
        if (pixels != pixels[..., :1]).any():
            raise DataError(f"{path} is a colour picture, its channels R+G+B differ: {FIX}")
        notes = notes if PALETTE in notes else [*notes, EQUAL_CHANNELS]
    return Picture(
        np.ascontiguousarray(pixels if pixels.ndim == 2 else pixels[..., 0]), tuple(notes)
    )
