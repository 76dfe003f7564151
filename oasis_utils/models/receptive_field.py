"""Receptive fields: the cells that a prediction of the PixelCNN depends on, and those of a plain
stack of masked convolutions.

The blind spot of masked convolutions: Conditional Image Generation with PixelCNN Decoders (van den
Oord 2016, arXiv 1606.05328), figure 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from oasis_utils.models.pixelcnn import PixelCNN


def receptive_field(model: PixelCNN, row: int, col: int) -> Bool[Tensor, "rows cols"]:
    """The cells that the prediction of one cell depends on.

    Args:
        model: a PixelCNN; it is in the same mode, training or evaluation, afterwards.
        row: of the predicted cell, in [0, grid).
        col: of the predicted cell, in [0, grid).

    Returns:
        True for each cell whose embedding has a non-zero gradient.
    """
    grid, device = model.config.grid, model.cell_bias.device
    seen: list[Tensor] = []
    was_training = model.training
    model.eval()
    hook = model.embedding.register_forward_hook(
        lambda _module, _args, out: seen.append(out.requires_grad_())
    )
    try:
        zeros = torch.zeros(1, grid, grid, dtype=torch.long, device=device)
        # a layout of the mean map: what it tells does not come from other cells
        layouts = torch.zeros(1, model.config.layout, device=device) if model.layout else None
        logits = model(zeros, zeros[0, 0, :1], layouts=layouts)
    finally:
        hook.remove()
        model.train(was_training)
    (slope,) = torch.autograd.grad(logits[0, :, row, col].square().sum(), seen[0])
    return slope[0].abs().sum(-1) > 0


def causal_mask(width: int, itself: bool) -> Float[Tensor, "width width"]:
    """1 for the cells of a square kernel that come before its middle in raster order (mask A), and
    with `itself` for the middle too (mask B).
    """
    before = torch.arange(width * width) < width * width // 2 + itself
    return before.view(width, width).double()


def naive_receptive_field(layers: int, grid: int, row: int, col: int) -> Bool[Tensor, "rows cols"]:
    """The cells that the prediction of one cell depends on in a plain stack of masked 3x3
    convolutions: cells above and to the right are missed, however deep the stack.

    Args:
        layers: number of convolutions. All weights that their masks leave are 1, so every path
            counts.
        grid: rows and columns of the map.
        row: of the predicted cell, in [0, grid).
        col: of the predicted cell, in [0, grid).

    Returns:
        True for each cell that is seen.

    Reference:
        Pixel Recurrent Neural Networks (van den Oord 2016, arXiv 1601.06759).
    """
    cells = torch.zeros(1, 1, grid, grid, dtype=torch.float64, requires_grad=True)
    x = cells
    for layer in range(layers):
        x = F.conv2d(x, causal_mask(3, itself=layer > 0)[None, None], padding=1)
    (slope,) = torch.autograd.grad(x[0, 0, row, col], cells)
    return slope[0, 0] > 0
