"""A linear model of maps: a mean for each slice position, and directions in which brains differ.

Principal components read as a generator (probabilistic PCA without its isotropic noise, Tipping and
Bishop 1999, doi 10.1111/1467-9868.00196); the directions by a randomised decomposition (Halko 2011,
arXiv 0909.4061).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

DECOMPOSITION_SEED = 0  # of the randomised decomposition: the same maps give the same model
MOST_FITTED_MAPS = 8192  # of a training split


def fitted_rows(n: int, device: torch.device) -> Int[Tensor, " rows"]:
    """Which of n training maps the linear model is fitted to: at most `MOST_FITTED_MAPS`, drawn at
    random, for each n always the same.
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return order[:MOST_FITTED_MAPS].to(device)


def with_first(
    noise: Float[Tensor, "batch dim"], first: Float[Tensor, " batch"] | None
) -> Float[Tensor, "batch dim"]:
    """The noise with `first`, such as standardised ages, in its first place; nan leaves the noise's
    own number there, None all of them.
    """
    if first is None:
        return noise
    return torch.cat(
        [torch.where(first.isfinite(), first, noise[:, 0])[:, None], noise[:, 1:]], dim=1
    )


class LinearMaps(nn.Module):
    """mean[position] + noise @ directions: standard normal noise gives maps with the mean of their
    position and the leading part of the covariance that the fitted maps have about it, one
    covariance for all positions.

    Buffers, no parameters: it is fitted, not trained. Zero until then.

    Args:
        n_positions: number of slice positions.
        noise_dim: number of directions, and of the noise's numbers.
        dim: channels of a map.
        grid: rows and columns of a map.
    """

    mean: Tensor
    directions: Tensor

    def __init__(self, n_positions: int, noise_dim: int, dim: int, grid: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_positions, dim, grid, grid))
        self.register_buffer(
            "directions", torch.zeros(noise_dim, dim, grid, grid)
        )  # of length: standard deviation

    @torch.no_grad()
    def fit(
        self,
        maps: Float[Tensor, "n dim rows cols"],
        positions: Int[Tensor, " n"],
        first: Float[Tensor, " n"] | None = None,
    ) -> None:
        """Set the means and directions to those of these maps.

        A position without maps gets the mean of all; directions beyond the rank of the maps stay
        zero.

        Args:
            maps: of the training split.
            positions: slice position of each map, in [0, n_positions).
            first: the meaning of the noise's first number for each map, such as a standardised age;
                nan where unknown. Its direction is then the regression of the maps on it, and the
                others are principal components of the residuals. None: all directions are
                principal components.
        """
        counts = torch.bincount(positions, minlength=len(self.mean))
        sums = torch.zeros_like(self.mean).index_add_(0, positions, maps)
        means = sums / counts.clamp(min=1).view(-1, 1, 1, 1)
        self.mean.copy_(torch.where(counts.view(-1, 1, 1, 1) > 0, means, maps.mean(0)))
        deviations = (maps - self.mean[positions]).flatten(1)
        self.directions.zero_()
        taken = 0
        if first is not None and (known := first.isfinite()).any():
            taken = 1
            slope = first[known] @ deviations[known] / first[known].square().sum().clamp(min=1e-6)
            self.directions[0] = slope.view(maps.shape[1:])
            deviations[known] -= first[known, None] * slope
        kept = min(len(self.directions) - taken, *deviations.shape)
        with torch.random.fork_rng(devices=[maps.device] if maps.is_cuda else []):
            torch.manual_seed(DECOMPOSITION_SEED)
            _, lengths, axes = torch.svd_lowrank(deviations, q=min(kept + 8, *deviations.shape))
        found = (lengths / len(maps) ** 0.5 * axes).t()[:kept]
        self.directions[taken : taken + kept] = found.view(kept, *maps.shape[1:])

    def forward(
        self, noise: Float[Tensor, "batch noise_dim"], positions: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim rows cols"]:
        """The map of each noise vector at its slice position in [0, n_positions)."""
        return self.mean[positions] + (noise @ self.directions.flatten(1)).view(
            -1, *self.mean.shape[1:]
        )
