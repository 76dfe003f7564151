"""The VQ-VAE as in figure 1 of van den Oord 2017 (arXiv 1711.00937)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from oasis_utils.config import VQVAEConfig
from oasis_utils.plotting.diagrams.canvas import Canvas
from oasis_utils.plotting.diagrams.rows import (
    Block,
    Scale,
    draw_row,
    merged,
    of_part,
    shape_text,
    spread,
)
from oasis_utils.plotting.style import BLUE, GREEN, GREY, ORANGE

UP, DOWN = 4.0, 1.5  # y of encoder and decoder, inches
MIDDLE = (UP + DOWN) / 2
LEFT, RIGHT, CODES = 0.75, 7.2, 8.8  # x of the slices, of the latents and of the codebook
PAST = RIGHT - 0.65  # x of the gradient past the arg min


def vqvae(
    blocks: Sequence[Block],
    config: VQVAEConfig,
    pictures: Mapping[str, np.ndarray] | None = None,
    title: str = "",
) -> Figure:
    """Encoder, nearest code and decoder with their shapes, the terms of the loss, and the way of
    the gradient.

    Alt text: A slice passes the blocks of an encoder and becomes latents z. The nearest code of a
    codebook replaces each latent, and a decoder turns the codes e into a reconstruction. Dashed
    arrows follow the gradient from the reconstruction loss through the decoder to the codes, past
    the arg min to the latents, and through the encoder.

    Args:
        blocks: As from `models.block_shapes`; those of a patch discriminator are not drawn.
        config: Of the same model.
        pictures: "slice" and "reconstruction" (height, width), uint8 or float in [0, 1]; "index
            map" (rows, cols) of numbers to colour; "codebook" (n_codes, dim). Each may be missing.
        title: Above the figure.

    Returns:
        A new figure.
    """
    canvas, shown = Canvas(9.6, 5.2, title), dict(pictures or {})
    encoder, decoder = (merged(of_part(blocks, part)) for part in ("encoder", "decoder"))
    scale = Scale(config.image_size, 1.0)
    _gradient(canvas, config)
    _half(canvas, encoder, UP, scale, BLUE)
    _half(canvas, decoder, DOWN, scale, GREEN)
    canvas.text((3.9, UP + 1.02), "encoder", BLUE, size=10.0, bold=True)
    canvas.text((3.9, 0.42), "decoder", GREEN, size=10.0, bold=True)
    _slices(canvas, config, shown)
    _quantiser(canvas, config, of_part(blocks, "codebook")[0], shown)
    _losses(canvas, config)
    legend = (
        "solids: higher for a finer grid, wider for more channels (latents and codes: not to scale)"
        " · sg[ ]: the gradient stops"
    )
    canvas.text((canvas.width / 2, 0.13), legend, GREY)
    return canvas.figure


def _half(
    canvas: Canvas,
    row: Sequence[tuple[str, tuple[int, ...]]],
    y: float,
    scale: Scale,
    colour: str,
) -> None:
    """One of the two networks, with arrows from what it takes and to what it gives."""
    ends = [LEFT + 0.57, RIGHT - 0.43]
    first, last = (1.95, 5.95) if y == UP else (5.95, 1.95)
    begin, end = ends if y == UP else ends[::-1]
    places = spread(first, last, len(row))
    halves = draw_row(canvas, row, places, y, scale, colour)
    sign = 1 if y == UP else -1
    canvas.arrow([(begin, y), (first - sign * (halves[0] + 0.03), y)])
    canvas.arrow([(last + sign * (halves[-1] + 0.03), y), (end, y)])


def _slices(canvas: Canvas, config: VQVAEConfig, shown: Mapping[str, np.ndarray]) -> None:
    size = shape_text((1, config.image_size, config.image_size))
    canvas.picture((LEFT, UP), (1.1, 1.1), shown.get("slice"))
    canvas.text((LEFT, UP + 0.62), f"slice x\n{size}", va="bottom")
    canvas.picture((LEFT, DOWN), (1.1, 1.1), shown.get("reconstruction"))
    canvas.text((LEFT, DOWN - 0.62), f"reconstruction\n{size}", va="top")


def _quantiser(
    canvas: Canvas, config: VQVAEConfig, nearest: Block, shown: Mapping[str, np.ndarray]
) -> None:
    """Latents, index map, codebook and codes, from top to bottom."""
    latent = shape_text((config.code_dim, config.grid, config.grid))
    for y, words, colour, side in ((UP, "latents z", BLUE, 1), (DOWN, "codes e", GREEN, -1)):
        canvas.block((RIGHT, y), 0.6, 0.6, colour)
        depth = 0.07 + 0.12 * 0.6
        canvas.grid((RIGHT - 0.3 - depth / 2, y - 0.3 - depth / 2), (0.6, 0.6))
        canvas.text(
            (RIGHT, y + side * 0.45), f"{words}\n{latent}", va="bottom" if side > 0 else "top"
        )
    canvas.picture((RIGHT, MIDDLE), (0.8, 0.8), shown.get("index map"), "viridis")
    words = f"index map\n{shape_text(nearest.shape)}"
    canvas.text((RIGHT + 0.1, MIDDLE - 0.62), words, ha="left")
    canvas.arrow([(RIGHT, UP - 0.4), (RIGHT, MIDDLE + 0.42)])
    canvas.arrow([(RIGHT, MIDDLE - 0.42), (RIGHT, DOWN + 0.42)])
    canvas.text((RIGHT + 0.1, MIDDLE + 0.6), "nearest code\narg min ‖z − e‖", ha="left")
    _codebook(canvas, config, shown.get("codebook"))


def _codebook(canvas: Canvas, config: VQVAEConfig, codes: np.ndarray | None) -> None:
    size, learned = (0.55, 0.8), {"ema": "moving averages of z", "gradient": "‖sg[z] − e‖²"}
    canvas.picture((CODES, MIDDLE), size, codes, "coolwarm")
    canvas.text((CODES, MIDDLE + 0.47), "codebook", ORANGE, va="bottom", bold=True)
    words = f"{config.n_codes} codes of {config.code_dim}\n{learned[config.codebook]}"
    canvas.text((CODES, MIDDLE - 0.47), words, va="top")
    canvas.arrow([(CODES - 0.3, MIDDLE), (RIGHT + 0.43, MIDDLE)])


def _losses(canvas: Canvas, config: VQVAEConfig) -> None:
    pixels = {"l1": "L1", "mse": "squared error"}[config.pixel_loss]
    weight = "" if config.ssim_weight == 1 else f"{config.ssim_weight:g} "
    terms = pixels + (f" + {weight}(1 − SSIM)" if config.ssim_weight else "")
    terms += " + GAN" if config.adversarial_weight else ""
    words = f"reconstruction loss\n{terms}"
    canvas.box((LEFT + 0.3, MIDDLE), (1.75, 0.5), words, ORANGE)
    canvas.arrow([(LEFT, UP - 0.56), (LEFT, MIDDLE + 0.27)])
    canvas.arrow([(LEFT, DOWN + 0.56), (LEFT, MIDDLE - 0.27)])
    words = f"commitment loss\n{config.commitment:g} ‖z − sg[e]‖²"
    canvas.box((CODES, UP), (1.3, 0.5), words, ORANGE)
    canvas.arrow([(RIGHT + 0.42, UP), (CODES - 0.67, UP)])
    far = CODES + 0.7
    canvas.arrow(
        [
            (RIGHT + 0.42, DOWN),
            (far, DOWN),
            (far, UP - 0.5),
            (CODES + 0.4, UP - 0.5),
            (CODES + 0.4, UP - 0.27),
        ]
    )


def _gradient(canvas: Canvas, config: VQVAEConfig) -> None:
    """From the loss through the decoder to the codes, past the arg min to the latents, and through
    the encoder.
    """
    low, high, end, solid = DOWN - 0.22, UP - 0.22, LEFT + 0.6, RIGHT - 0.38
    canvas.gradient([(end, low), (solid, low)])
    x, below, above = RIGHT - 0.2, DOWN + 0.57, UP - 0.6
    around = [(x, DOWN + 0.37), (x, below), (PAST, below), (PAST, above), (x, above)]
    canvas.gradient([*around, (x, UP - 0.38)])
    canvas.gradient([(solid, high), (end, high)])
    words = f"gradient past the arg min:\n{config.gradient}"
    canvas.text((PAST - 0.12, MIDDLE), words, ORANGE, ha="right")
