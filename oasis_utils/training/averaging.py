"""Gradients and losses of the joined batch, from those of the processes that train together.

The trainer calls `step` of a model, not its forward pass, and gradient penalties need second
derivatives, so the gradients are averaged after the backward pass, in one message a phase, as in
Karras 2020 (arXiv 2006.06676), and not by DistributedDataParallel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oasis_utils.runtime import processes


@torch.no_grad()
def of_joined_batch(
    parameters: list[nn.Parameter], losses: dict[str, Tensor], rows: int
) -> dict[str, Tensor]:
    """Replace the gradients by their mean over the rows of all processes.

    Args:
        parameters: whose gradients are changed in place.
        losses: means over the rows of this process.
        rows: of the batch of this process.

    Returns:
        The losses, as means over the rows of all processes; unchanged in a single process.
    """
    if processes.count() == 1:
        return losses
    slopes = [p.grad for p in parameters if p.grad is not None]
    values = torch.stack([value.detach().to(slopes[0]) for value in losses.values()])
    flat = torch.cat([*(slope.reshape(-1) for slope in slopes), values, values.new_ones(1)])
    flat = processes.summed(flat.mul_(rows))
    sizes = [*(slope.numel() for slope in slopes), len(values), 1]
    *means, values, _ = flat.div_(flat[-1].clone()).split(sizes)
    for slope, mean in zip(slopes, means, strict=True):
        slope.copy_(mean.view(slope.shape))
    return dict(zip(losses, values.unbind(), strict=True))


def rows_of(batch: dict[str, Tensor]) -> int:
    """Number of rows of a batch."""
    return len(next(iter(batch.values())))
