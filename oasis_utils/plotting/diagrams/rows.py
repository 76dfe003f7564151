"""Blocks of a network in a row: solids as high as their grid is fine, with name and shape."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from oasis_utils.plotting.diagrams.canvas import Canvas

STAGGER = 0.15  # inches between the two levels of shapes where they would touch


@runtime_checkable
class Block(Protocol):
    """What a diagram needs of a block, such as `models.BlockShape`."""

    @property
    def part(self) -> str:
        """Of the model, such as encoder."""
        ...

    @property
    def name(self) -> str:
        """Of the block."""
        ...

    @property
    def what(self) -> str:
        """What it does."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its output, channels first, without the batch axis."""
        ...


def shape_text(shape: Sequence[int]) -> str:
    """A shape as diagrams show it.

    Args:
        shape: Lengths of the axes.

    Returns:
        Such as "64×32×32".
    """
    return "×".join(map(str, shape))


def of_part(blocks: Sequence[Block], part: str) -> list[Block]:
    """The blocks of one part of the model, in order.

    Args:
        blocks: Of the whole model.
        part: Such as encoder.

    Returns:
        At least one block.

    Raises:
        ValueError: The model has no such part.
    """
    found = [block for block in blocks if block.part == part]
    if not found:
        parts = ", ".join(dict.fromkeys(block.part for block in blocks))
        raise ValueError(f"no block of the part {part}: give all blocks of the model, not {parts}")
    return found


def named(blocks: Sequence[Block], name: str) -> list[Block]:
    """The blocks of that name; none is allowed."""
    return [block for block in blocks if block.name == name]


def merged(blocks: Sequence[Block]) -> list[tuple[str, tuple[int, ...]]]:
    """(Name, shape) of each block; equal neighbours become one, such as "residual ×2"."""
    runs = itertools.groupby(blocks, key=lambda block: (block.name, tuple(block.shape)))
    counted = [(name, shape, len(list(run))) for (name, shape), run in runs]
    return [(name + (f" ×{n}" if n > 1 else ""), shape) for name, shape, n in counted]


@dataclass(frozen=True)
class Scale:
    """Sizes of solids.

    Attributes:
        finest: Rows of the finest grid of the diagram.
        height: Inches of a solid of that grid.
    """

    finest: int
    height: float

    def of(self, shape: Sequence[int]) -> tuple[float, float]:
        """(Width, height) in inches: wider for more channels, higher for a finer grid."""
        width = 0.05 + 0.03 * math.log2(max(shape[0], 1))
        if len(shape) == 1:
            return 0.07, 0.75 * self.height
        return width, max(0.16, self.height * math.sqrt(shape[-1] / self.finest))


def draw_row(
    canvas: Canvas,
    row: Sequence[tuple[str, tuple[int, ...]]],
    places: Sequence[float],
    y: float,
    scale: Scale,
    colour: str,
) -> list[float]:
    """Solids from place to place with arrows between them, in the direction of the places.

    Args:
        canvas: To draw on.
        row: (Name, shape) of each block.
        places: x of the middle of each block, inches.
        y: Of the middle of the row, inches.
        scale: Sizes of the solids.
        colour: Of the solids.

    Returns:
        Half the width of each solid, inches.
    """
    sizes = [scale.of(shape) for _, shape in row]
    halves = [
        canvas.block((x, y), *size, colour) / 2 for x, size in zip(places, sizes, strict=True)
    ]
    reach = 0.56 * max(height for _, height in sizes) + 0.1
    top, bottom = y + reach, y - reach
    tight = len(places) > 1 and abs(places[1] - places[0]) < 0.75
    for i, (x, (name, shape)) in enumerate(zip(places, row, strict=True)):
        words = name if not tight else name.replace(" ", "\n", 1)
        canvas.text((x, top), words, va="bottom")
        lower = STAGGER * (i % 2) if tight else 0.0
        canvas.text((x, bottom - lower), shape_text(shape), va="top")
    sign = 1 if places[-1] >= places[0] else -1
    for (a, x), (b, next_x) in itertools.pairwise(zip(halves, places, strict=True)):
        canvas.arrow([(x + sign * (a + 0.03), y), (next_x - sign * (b + 0.03), y)])
    return halves


def spread(first: float, last: float, count: int) -> list[float]:
    """`count` places from `first` to `last`; a single one lies in the middle."""
    if count == 1:
        return [(first + last) / 2]
    return [first + (last - first) * i / (count - 1) for i in range(count)]
