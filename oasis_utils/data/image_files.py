"""One image file in, one 8-bit grey picture out, or a DataError that says what is wrong with it.

PNG, JPEG and TIFF are read by Pillow, which is lenient: it takes a PNG whose image data fail their
checksum, and shortens 16-bit colour to 8. So the checksums, depth, channels and size are looked at
here. PNG: https://www.w3.org/TR/png-3, chunk layout and CRC.
"""

from __future__ import annotations

import contextlib
import io
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from oasis_utils.runtime import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "TIFF")
MAX_PIXELS = 2**26  # 8192²: a header that promises more is damaged, or a decompression bomb
POINTER = b"version https://git-lfs"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
BITS_PER_SAMPLE, ORIENTATION = 258, 274  # TIFF and EXIF tags
FIX = "convert it to 8-bit grey"

EQUAL_CHANNELS = "equal colour channels, read as grey"
OPAQUE = "opaque alpha channel, left out"
PALETTE = "palette of greys, read as grey"
FEW_BITS = "fewer than 8 bits a pixel, scaled to 0-255"
ROTATED = "turned as the camera's orientation tag says"


@dataclass(frozen=True)
class Picture:
    """The pixels of a file, and what had to be done to get them (the texts above; empty for plain
    8-bit grey).
    """

    pixels: UInt8[np.ndarray, "height width"]
    notes: tuple[str, ...] = ()


def read_slice(path: Path) -> UInt8[np.ndarray, "height width"]:
    """The pixels of one image file. Raises DataError that names the file, see `read_picture`."""
    with quiet():
        return read_picture(path).pixels


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings of Pillow about files that it repairs; not safe inside threads, so callers put it
    around them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_picture(path: Path, mask: bool = False) -> Picture:
    """One slice, or one mask: a mask may have one bit a pixel and be constant.

    DataError: unreadable or damaged, a Git LFS pointer, several pictures, more than 8 bits, colour,
    transparency, more than 8192² pixels, or one grey level above black all over.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    if content.startswith(POINTER):
        raise DataError(
            f"{path} is a Git LFS pointer, not a picture: run `git lfs pull` where it comes from"
        )
    try:
        picture = _decode(content, path, mask)
    except DataError:
        raise
    except (
        Exception
    ) as error:  # a damaged file makes Pillow raise anything from SyntaxError to ZeroDivisionError
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
    if content.startswith(PNG_SIGNATURE) and _png_depth(content) > 8:
        raise DataError(f"{path} has more than 8 bits a pixel: {FIX}")
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise DataError(
                f"{path} claims to be {image.width}x{image.height} pixels: no slice is so large; "
                "replace the file"
            )
        if getattr(image, "n_frames", 1) > 1:
            raise DataError(
                f"{path} holds {image.n_frames} pictures: write each slice to a file of its own"
            )
        image.load()
        if image.mode[0] in "IF" or max(_tiff_depths(image)) > 8:
            raise DataError(f"{path} has more than 8 bits a pixel: {FIX}")
        notes = (
            [FEW_BITS]
            if max(_tiff_depths(image)) < 8
            or (content.startswith(PNG_SIGNATURE) and (content[24] < 8 and image.mode == "L"))
            else []
        )
        if "exif" in image.info and image.getexif().get(ORIENTATION, 1) in range(2, 9):
            image, notes = ImageOps.exif_transpose(image), [*notes, ROTATED]
        return _grey(image, path, mask, notes)


def _png_depth(content: bytes) -> int:
    """Bits a channel; ValueError if a chunk is damaged or missing. What follows the last chunk is
    nobody's business.
    """
    place, kind = len(PNG_SIGNATURE), b""
    view = memoryview(content)
    while kind != b"IEND":
        end = place + 12 + int.from_bytes(view[place : place + 4])
        kind = bytes(view[place + 4 : place + 8])
        if end > len(content):
            raise ValueError("the file is truncated")
        if zlib.crc32(view[place + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise ValueError("a checksum is wrong, the file is damaged")
        place = end
    return content[24]


def _tiff_depths(image: Image.Image) -> tuple[int, ...]:
    """Bits of each channel of a TIFF; of other formats (8,)."""
    return image.tag_v2.get(BITS_PER_SAMPLE, (1,)) if image.format == "TIFF" else (8,)


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
