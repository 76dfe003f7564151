"""Resampling of a particle filter: which proposals of a batch go on.

Gordon 1993, doi 10.1049/ip-f-2.1993.0015.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def resample(
    weights: Float[Tensor, "batch particles"], picks: Float[Tensor, " batch"], last: bool = False
) -> tuple[Int[Tensor, " flat"], Float[Tensor, "batch particles"]]:
    """Systematic resampling of the maps whose effective number of particles fell below half.

    Args:
        weights: Log weights.
        picks: A uniform random number for each map.
        last: Choose one particle of each map, by weight.

    Returns:
        Rows of the flattened batch to go on with, and new log weights.
    """
    batch, particles = weights.shape
    shares = weights.softmax(1)
    own = torch.arange(particles, device=weights.device).expand(batch, particles)
    points = (picks[:, None] + (0 if last else own)) / (1 if last else particles)
    reached = shares.cumsum(1)
    reached = reached / reached[:, -1:]
    points = points.expand(batch, particles).contiguous()
    drawn = torch.searchsorted(reached, points, right=True).clamp(max=particles - 1)
    uneven = (1 / shares.square().sum(1, keepdim=True) < particles / 2) | last
    chosen = (
        torch.where(uneven, drawn, own)
        + particles * torch.arange(batch, device=weights.device)[:, None]
    )
    return chosen.flatten(), torch.where(uneven, 0, weights)
