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
    gradients = [p.grad for p in parameters if p.grad is not None]
    values = torch.stack([value.detach().to(gradients[0]) for value in losses.values()])
    rest = [values, values.new_ones(1)]
    flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), *rest])
    flat = processes.summed(flat.mul_(rows))
    sizes = [*(gradient.numel() for gradient in gradients), len(values), 1]
    *means, values, _ = flat.div_(flat[-1].clone()).split(sizes)
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view(gradient.shape))
    return dict(zip(losses, values.unbind(), strict=True))


def rows_of(batch: dict[str, Tensor]) -> int:
    """Number of rows of a batch."""
    return len(next(iter(batch.values())))
