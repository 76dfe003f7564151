"""The gated PixelCNN: the whole network, and one layer as in figure 2 of van den Oord 2016 (arXiv
1606.05328).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from oasis_utils.config import PixelCNNConfig
from oasis_utils.plotting.diagrams.canvas import Canvas, Point
from oasis_utils.plotting.diagrams.rows import (
    Block,
    Scale,
    draw_row,
    merged,
    named,
    of_part,
    shape_text,
    spread,
)
from oasis_utils.plotting.style import BLUE, COLOURS, GREEN, ORANGE

TOP = 4.55  # y of the network, inches
VERTICAL, HORIZONTAL = 2.75, 1.05  # y of the two stacks of the layer
CONV, TOLD, LINK, CONDITION, GATES, PRODUCT = 1.75, 2.65, 3.2, 4.3, 5.25, 6.05  # x
PURPLE = COLOURS[3]


def pixelcnn(
    blocks: Sequence[Block],
    config: PixelCNNConfig,
    pictures: Mapping[str, np.ndarray] | None = None,
    title: str = "",
) -> Figure:
    """The network from index map to logits, and below it one gated block with its two stacks.

    Alt text: An index map passes an embedding, gated blocks and a head, which gives a logit for
    each code at each cell. Below, one block: a vertical stack sees the rows above, a horizontal
    stack the cells to the left and, by a 1×1 convolution, the vertical stack. Each has a gate, the
    product of a tanh and a sigmoid, to which the condition is added; the horizontal stack has a
    residual connection.

    Args:
        blocks: As from `models.block_shapes`.
        config: Of the same model.
        pictures: "index map" (rows, cols) of numbers to colour; may be missing.
        title: Above the figure.

    Returns:
        A new figure.
    """
    canvas = Canvas(9.6, 5.75, title)
    _network(canvas, config, blocks, (pictures or {}).get("index map"))
    canvas.backdrop((4.8, 1.84), (9.36, 3.44))
    canvas.text((0.25, 3.38), "one gated block", ha="left", size=10.0, bold=True)
    width = config.first_kernel
    words = f"a block after the first; kernels of the first: {width // 2}×{width}, 1×{width // 2}"
    canvas.text((9.35, 3.38), words, ha="right")
    _vertical(canvas, config, blocks)
    _horizontal(canvas, config)
    _condition(canvas, config)
    return canvas.figure


def _network(
    canvas: Canvas, config: PixelCNNConfig, blocks: Sequence[Block], indices: np.ndarray | None
) -> None:
    gated = of_part(blocks, "blocks")
    row = [
        *merged(named(blocks, "embedding")),
        *merged(gated[:1]),
        *merged(gated[1:]),
        *merged(of_part(blocks, "head")),
    ]
    names = ["first gated block" if i == 1 else name for i, (name, _) in enumerate(row)]
    row = [(name, shape) for name, (_, shape) in zip(names, row, strict=True)]
    places = spread(2.2, 7.4, len(row))
    scale = Scale(config.grid, 0.6)
    for part, colour in ((slice(0, 1), GREEN), (slice(1, -2), BLUE), (slice(-2, None), PURPLE)):
        draw_row(canvas, row[part], places[part], TOP, scale, colour)
    halves = [sum(scale.of(shape)[:1]) / 2 + 0.1 for _, shape in row]
    for i in (0, len(row) - 3):
        canvas.arrow([(places[i] + halves[i], TOP), (places[i + 1] - halves[i + 1], TOP)])
    canvas.picture((0.75, TOP), (0.85, 0.85), indices, "viridis")
    size = shape_text((config.grid, config.grid))
    canvas.text((0.75, TOP + 0.48), "index map", va="bottom")
    canvas.text((0.75, TOP - 0.48), size, va="top")
    canvas.arrow([(1.2, TOP), (places[0] - halves[0], TOP)])
    canvas.box(
        (8.8, TOP),
        (1.3, 0.62),
        f"{config.n_codes} logits for\neach cell, given\nthose before it",
        ORANGE,
    )
    canvas.arrow([(places[-1] + halves[-1], TOP), (8.13, TOP)])
    ages = "".join(f", age ({shape_text(block.shape)})" for block in named(blocks, "age"))
    told = "cell bias" + (" and layout" if config.layout else "")
    y = TOP + 0.95
    canvas.box((places[1] - 0.6, y), (1.45, 0.3), told, GREEN)
    canvas.arrow([(places[1] - 0.2, y - 0.15), (places[1] - 0.2, y - 0.36)], GREEN)
    canvas.box((places[1] + 1.075, y), (1.75, 0.3), f"condition h: position{ages}", ORANGE)
    for x in (places[1] + 0.25, *places[2:-2]):
        canvas.arrow([(x, y - 0.15), (x, y - 0.36)], ORANGE)


def _gate(canvas: Canvas, y: float) -> None:
    """tanh and sigmoid of the two halves of the channels, and their product."""
    for side, words in ((1, "tanh"), (-1, "sigmoid")):
        canvas.box((GATES, y + side * 0.3), (0.6, 0.32), words, BLUE)
        canvas.arrow(
            [
                (CONDITION + 0.13, y),
                (4.75, y),
                (4.75, y + side * 0.3),
                (GATES - 0.31, y + side * 0.3),
            ]
        )
        canvas.arrow(
            [(GATES + 0.31, y + side * 0.3), (PRODUCT, y + side * 0.3), (PRODUCT, y + side * 0.13)]
        )
    canvas.node((PRODUCT, y), "×")


def _chain(canvas: Canvas, points: Sequence[Point]) -> None:
    for start, end in zip(points[::2], points[1::2], strict=True):
        canvas.arrow([start, end])


def _vertical(canvas: Canvas, config: PixelCNNConfig, blocks: Sequence[Block]) -> None:
    y, wide = VERTICAL, shape_text((2 * config.channels, config.grid, config.grid))
    canvas.text((0.62, y), "vertical\nstack", bold=True)
    rows = config.kernel // 2 + 1
    canvas.box((CONV, y), (1.05, 0.5), f"conv {rows}×{config.kernel}\n{wide}", BLUE)
    canvas.node((TOLD, y), "+")
    canvas.node((CONDITION, y), "+")
    told = named(blocks, "cell bias")[0]
    words = "cell bias" + (", layout" if config.layout else "")
    canvas.text(
        (TOLD, y + 0.36), f"{words}  {shape_text(told.shape)}\n(first block)", GREEN, va="bottom"
    )
    canvas.arrow([(TOLD, y + 0.34), (TOLD, y + 0.14)], GREEN)
    _gate(canvas, y)
    _chain(
        canvas,
        [
            (0.95, y),
            (CONV - 0.55, y),
            (CONV + 0.55, y),
            (TOLD - 0.14, y),
            (TOLD + 0.14, y),
            (CONDITION - 0.14, y),
            (PRODUCT + 0.14, y),
            (8.55, y),
        ],
    )
    canvas.text((8.98, y), "to the\nnext block")


def _horizontal(canvas: Canvas, config: PixelCNNConfig) -> None:
    y, grid = HORIZONTAL, (config.grid, config.grid)
    wide = shape_text((2 * config.channels, *grid))
    canvas.text((0.62, y), "horizontal\nstack", bold=True)
    canvas.box((CONV, y), (1.05, 0.5), f"conv 1×{config.kernel // 2 + 1}\n{wide}", BLUE)
    canvas.box((LINK, (VERTICAL + y) / 2), (0.85, 0.32), "conv 1×1", BLUE)
    canvas.arrow([(LINK, VERTICAL), (LINK, (VERTICAL + y) / 2 + 0.17)])
    canvas.arrow([(LINK, (VERTICAL + y) / 2 - 0.17), (LINK, y + 0.14)])
    for x in (LINK, CONDITION, 8.05):
        canvas.node((x, y), "+")
    _gate(canvas, y)
    narrow = shape_text((config.channels, *grid))
    canvas.box((7.1, y), (0.95, 0.5), f"conv 1×1\n{narrow}", BLUE)
    low = y - 0.68
    canvas.arrow([(1.08, y), (1.08, low), (8.05, low), (8.05, y - 0.14)])
    canvas.text((3.3, low + 0.12), "residual connection (not in the first block)")
    _chain(
        canvas,
        [
            (0.99, y),
            (CONV - 0.55, y),
            (CONV + 0.55, y),
            (LINK - 0.14, y),
            (LINK + 0.14, y),
            (CONDITION - 0.14, y),
            (PRODUCT + 0.14, y),
            (6.6, y),
            (7.6, y),
            (7.91, y),
            (8.19, y),
            (8.55, y),
        ],
    )
    canvas.text((8.98, y), "to the\nnext block")


def _condition(canvas: Canvas, config: PixelCNNConfig) -> None:
    middle = (VERTICAL + HORIZONTAL) / 2
    kinds = "position" + (", age" if config.knows_age else "")
    canvas.box((CONDITION, middle), (0.95, 0.42), f"condition h\n{kinds}", ORANGE)
    canvas.arrow([(CONDITION, middle + 0.22), (CONDITION, VERTICAL - 0.14)], ORANGE)
    canvas.arrow([(CONDITION, middle - 0.22), (CONDITION, HORIZONTAL + 0.14)], ORANGE)
