"""The DCGAN on index maps (Radford 2015, arXiv 1511.06434): generator above discriminator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from oasis_utils.config import DCGANConfig
from oasis_utils.plotting.diagrams.canvas import Canvas
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
from oasis_utils.plotting.style import BLUE, COLOURS, GREY, ORANGE

PURPLE = COLOURS[3]
UP, DOWN = 4.2, 1.75  # y of generator and discriminator, inches
SUM, VECTORS, MAP = 6.45, 7.2, 8.85  # x of what follows the last layer of the generator
ASIDE = {"position", "noise", "linear start", "reads start", "age", "score"}  # not in the row


def dcgan(
    blocks: Sequence[Block],
    config: DCGANConfig,
    pictures: Mapping[str, np.ndarray] | None = None,
    title: str = "",
) -> Figure:
    """Generator, nearest codes and discriminator with their shapes and conditions.

    Alt text: Noise and slice position pass the blocks of a generator and become a map of vectors,
    which are replaced by their nearest codes. Real and generated maps pass the blocks of a
    discriminator, which gives a score; the loss compares the two scores. A dashed arrow shows that
    the gradient passes the arg min.

    Args:
        blocks: As from `models.block_shapes`.
        config: Of the same model.
        pictures: "index map" of a real slice and "generated map", both (rows, cols) of numbers to
            colour; each may be missing.
        title: Above the figure.

    Returns:
        A new figure.
    """
    canvas, shown = Canvas(9.6, 5.7, title), dict(pictures or {})
    generator, discriminator = (of_part(blocks, part) for part in ("generator", "discriminator"))
    scale = Scale(config.grid, 0.8)
    _generator(canvas, config, generator, scale)
    _nearest(canvas, config, shown.get("generated map"))
    _discriminator(canvas, config, discriminator, scale, shown.get("index map"))
    return canvas.figure


def _generator(canvas: Canvas, config: DCGANConfig, blocks: list[Block], scale: Scale) -> None:
    canvas.text((0.2, UP + 1.38), "generator", BLUE, size=10.0, bold=True, ha="left")
    row = merged([block for block in blocks if block.name not in ASIDE])
    places = spread(2.0, 5.6, len(row))
    halves = draw_row(canvas, row, places, UP, scale, BLUE)
    noise, position = config.noise_dim, named(blocks, "position")[0]
    words = f"noise z  {noise}" + ("\nfirst number: age" if config.knows_age else "")
    canvas.box((0.77, UP + 0.35), (1.25, 0.42), words)
    canvas.box((0.77, UP - 0.35), (1.25, 0.42), f"slice position\n{shape_text(position.shape)}")
    canvas.backdrop((0.77, UP), (1.4, 1.3))
    for side in (1, -1):
        canvas.arrow([(1.41, UP + side * 0.3), (places[0] - halves[0] - 0.03, UP + side * 0.06)])
    canvas.arrow([(places[-1] + halves[-1] + 0.03, UP), (VECTORS - 0.25, UP)])
    _spatial_noise(canvas, config, places, row)
    if config.linear:
        _linear_start(canvas, blocks, (places[3] + places[4]) / 2)


def _spatial_noise(canvas: Canvas, config: DCGANConfig, places: list[float], row: list) -> None:
    """Noise for each cell enters behind the two layers that double the grid."""
    if not config.spatial_noise:
        return
    doubled = [i for i, (name, _) in enumerate(row) if name.startswith("double")]
    for i in doubled:
        _, shape = row[i]
        x = (places[i] + places[i + 1]) / 2
        numbers = shape_text((config.spatial_noise, *shape[1:]))
        canvas.node((x, UP), "+")
        canvas.box((x, UP - 1.02), (0.82, 0.42), f"cell noise\n{numbers}")
        canvas.arrow([(x, UP - 0.81), (x, UP - 0.14)], GREY)


def _linear_start(canvas: Canvas, blocks: list[Block], entry: float) -> None:
    """The linear model takes noise and position; a layer reads its map, and the network adds to
    it.
    """
    start, read = (named(blocks, name)[0] for name in ("linear start", "reads start"))
    y, words = (
        UP + 1.15,
        f"linear start  {shape_text(start.shape)}\nmean of the position + directions",
    )
    canvas.box((3.0, y), (2.3, 0.42), words)
    canvas.arrow([(0.77, UP + 0.66), (0.77, y), (1.83, y)], GREY)
    canvas.arrow([(4.16, y), (SUM, y), (SUM, UP + 0.14)], GREY)
    canvas.arrow([(entry, y), (entry, UP + 0.14)], GREY)
    canvas.text((entry + 0.06, UP + 0.88), f"conv 3×3\n{shape_text(read.shape)}", ha="left")
    canvas.node((entry, UP), "+")
    canvas.node((SUM, UP), "+")


def _nearest(canvas: Canvas, config: DCGANConfig, generated: np.ndarray | None) -> None:
    vectors = (config.output_dim, config.grid, config.grid)
    words = "grey levels" if config.space == "index" else "vectors"
    canvas.block((VECTORS, UP), 0.3, 0.6, BLUE)
    canvas.text((VECTORS, UP + 0.45), f"{words}\n{shape_text(vectors)}", va="bottom")
    canvas.picture((MAP, UP), (0.95, 0.95), generated, "viridis")
    size = shape_text(vectors[1:])
    canvas.text((MAP, UP + 0.53), f"generated map\n{size}", va="bottom")
    canvas.arrow([(VECTORS + 0.25, UP), (MAP - 0.5, UP)])
    canvas.text(
        (7.9, UP + 0.08),
        "nearest\nnumber" if config.space == "index" else "nearest\ncode",
        va="bottom",
    )
    low = UP - 0.62
    canvas.gradient(
        [(MAP - 0.25, UP - 0.5), (MAP - 0.25, low), (VECTORS, low), (VECTORS, UP - 0.38)]
    )
    canvas.text((VECTORS + 0.75, low - 0.1), "gradient past\nthe arg min", ORANGE, va="top")


def _discriminator(
    canvas: Canvas,
    config: DCGANConfig,
    blocks: list[Block],
    scale: Scale,
    real: np.ndarray | None,
) -> None:
    canvas.text((0.2, DOWN + 1.25), "discriminator", PURPLE, size=10.0, bold=True, ha="left")
    row = merged([block for block in blocks if block.name not in ASIDE])
    places = spread(6.6, 3.0, len(row))
    halves = draw_row(canvas, row, places, DOWN, scale, PURPLE)
    canvas.picture((MAP, DOWN), (0.95, 0.95), real, "viridis")
    canvas.text((MAP, DOWN - 0.53), f"real map\n{shape_text((config.grid, config.grid))}", va="top")
    channels = (1 + config.linear) * config.output_dim
    words = "grey levels" if config.space == "index" else "vectors"
    words += "\nand deviations\nfrom the mean" if config.linear else ""
    entry = (places[-1] + halves[-1] + places[-2] - halves[-2]) / 2
    canvas.box((entry, DOWN + 0.96), (1.4, 0.28), "variety of the pack")
    canvas.arrow([(entry, DOWN + 0.82), (entry, DOWN + 0.03)], GREY)
    size = shape_text((channels, config.grid, config.grid))
    canvas.text((7.67, DOWN - 0.1), f"{words}\n{size}", va="top")
    canvas.arrow([(MAP - 0.5, DOWN), (places[0] + halves[0] + 0.03, DOWN)])
    canvas.arrow([(MAP, UP - 0.5), (MAP, DOWN + 0.95), (8.1, DOWN + 0.95), (8.1, DOWN + 0.03)])
    _score(canvas, config, places[-1] - halves[-1], named(blocks, "position")[0])


def _score(canvas: Canvas, config: DCGANConfig, x: float, condition: Block) -> None:
    words = "position" + (" and age" if config.knows_age else "")
    canvas.box((1.3, DOWN + 0.8), (1.35, 0.42), f"{words}\n{shape_text(condition.shape)}")
    canvas.arrow([(1.3, DOWN + 0.58), (1.3, DOWN + 0.24)], GREY)
    canvas.text((1.38, DOWN + 0.41), "projection", ha="left")
    canvas.arrow([(x - 0.03, DOWN), (1.99, DOWN)])
    canvas.box((1.3, DOWN), (1.35, 0.42), "score of each map\n1")
    canvas.arrow([(1.3, DOWN - 0.22), (1.3, DOWN - 1.13)])
    if config.loss == "relativistic":
        own, other = "softplus(generated − real)", "softplus(real − generated)"
        own += f" + {config.gamma / 2:g} (R1 + R2)"
    else:
        own, other = "cross-entropy of real and generated", "softplus(−generated)"
    other += f" + {config.commitment:g} commitment" if config.commitment else ""
    y = DOWN - 1.4
    canvas.box((1.95, y), (3.3, 0.5), f"loss of the discriminator, of scores\n{own}", ORANGE)
    canvas.box((5.55, y), (3.3, 0.5), f"loss of the generator, of scores\n{other}", ORANGE)
    canvas.arrow([(1.3, DOWN - 0.89), (5.55, DOWN - 0.89), (5.55, y + 0.27)])
