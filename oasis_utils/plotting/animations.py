"""Small animations of slices: GIF files, as every browser and viewer shows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from oasis_utils.plotting.style import grey_limit
from oasis_utils.runtime import atomic

if TYPE_CHECKING:
    import IPython.display

WIDTH = 900  # pixels; the width of a notebook's column
STRIP = 22  # pixels of height for the text of a frame
GAP = 2


def animation(
    frames: np.ndarray, labels: Sequence[str], columns: int = 8, seconds: float = 0.7
) -> list[Image.Image]:
    """One picture for each moment: its label above a sheet of slices.

    Args:
        frames: (moments, n, height, width), uint8 or float in [0, 1].
        labels: One text for each moment, in characters of Latin-1.
        columns: Slices in a row.
        seconds: How long a moment is shown; the last is shown three times as long.

    Returns:
        Grey pictures of one size, at most WIDTH pixels wide; `duration` of each is in its `info`.

    Raises:
        ValueError: Not four dimensions, no moments, or not one label each.
    """
    if frames.ndim != 4 or not len(frames) or len(labels) != len(frames):
        raise ValueError(
            f"frames {frames.shape} with {len(labels)} labels: give (moments, n, height, width) and"
            " one label for each moment"
        )
    grey = (frames / grey_limit(frames) * 255).round().clip(0, 255).astype(np.uint8)
    pictures = [_sheet(images, text, columns) for images, text in zip(grey, labels, strict=True)]
    for picture in pictures:
        picture.info["duration"] = round(1000 * seconds)
    pictures[-1].info["duration"] *= 3
    return pictures


def _sheet(images: np.ndarray, text: str, columns: int) -> Image.Image:
    columns, (height, width) = min(columns, len(images)), images.shape[1:]
    scale = max(1, min(2, (WIDTH - GAP * columns) // (columns * width)))
    high, wide = height * scale + GAP, width * scale + GAP
    rows = -(-len(images) // columns)
    sheet = Image.new("L", (columns * wide, STRIP + rows * high), 255)
    ImageDraw.Draw(sheet).text((4, 3), text, fill=0, font=ImageFont.load_default(13))
    for i, image in enumerate(images):
        at = (i % columns) * wide, STRIP + (i // columns) * high
        size = width * scale, height * scale
        sheet.paste(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR), at)
    return sheet


def save_animation(
    pictures: Sequence[Image.Image], folder: Path, name: str, description: str
) -> IPython.display.Image:
    """Write a GIF that repeats.

    Args:
        pictures: From `animation`.
        folder: Created if missing; usually `RunFolder.figures`.
        name: File name without its ending.
        description: The text for those who cannot see it.

    Returns:
        The animation as a notebook shows it.
    """
    from IPython.display import Image as Shown

    path = folder / f"{name}.gif"
    with atomic(path) as partial:
        pictures[0].save(
            partial,
            format="GIF",
            save_all=True,
            append_images=list(pictures[1:]),
            duration=[picture.info["duration"] for picture in pictures],
            loop=0,
        )
    return Shown(data=path.read_bytes(), format="gif", alt=description)
