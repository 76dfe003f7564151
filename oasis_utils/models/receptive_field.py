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

from oasis_utils.models.gated_network import GatedBlock
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


def kernel_cells(block: GatedBlock) -> tuple[Bool[Tensor, "width width"], ...]:
    """The weights of a square kernel that a gated block has; the others would be masked.

    Args:
        block: of a PixelCNN.

    Returns:
        Two masks, of the vertical and of the horizontal stack; their middle is the cell itself.
    """
    vertical = torch.zeros(block.width, block.width, dtype=torch.bool)
    horizontal, side = vertical.clone(), block.width // 2
    vertical[: block.height] = True
    horizontal[side, : block.look_back] = True
    return vertical, horizontal


def fields_by_block(model: PixelCNN, row: int, col: int) -> Bool[Tensor, "blocks rows cols"]:
    """The cells that the horizontal features of one cell depend on after each gated block.

    Args:
        model: a PixelCNN; it is in the same mode, training or evaluation, afterwards.
        row: of the cell, in [0, grid).
        col: of the cell, in [0, grid).

    Returns:
        One map for each block; true for each cell whose embedding has a non-zero gradient.
    """
    width = model.config.channels
    features = torch.randn(
        1, width, model.config.grid, model.config.grid, generator=torch.Generator().manual_seed(0)
    )
    inputs = features.to(model.cell_bias).requires_grad_()
    vertical = horizontal = inputs
    zero = torch.zeros(1, 2 * width, 1, 1).to(inputs)
    fields = []
    modes = [(block.dropout, block.dropout.training) for block in model.gated_blocks]
    try:
        for block in model.gated_blocks:
            block.dropout.training = False
            vertical, horizontal = block(vertical, horizontal, (zero, zero))
            at_cell = horizontal[0, :, row, col].square().sum()
            (slope,) = torch.autograd.grad(at_cell, inputs, retain_graph=True)
            fields.append(slope[0].abs().sum(0) > 0)
    finally:
        for dropout, training in modes:
            dropout.training = training
    return torch.stack(fields)


def causal_mask(width: int, itself: bool) -> Float[Tensor, "width width"]:
    """1 for the cells of a square kernel that come before its middle in raster order (mask A), and
    with `itself` for the middle too (mask B).

    Args:
        width: Odd width of the kernel.
        itself: Whether the middle is seen.

    Returns:
        Zeros and ones.
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
