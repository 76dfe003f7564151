"""The layouts of whole stacks: how the numbers that describe the map of each slice belong together
from one slice of a head to the next.

A Gaussian distribution of the latents of all slices of a head, estimated from training heads
(Volokitin 2020, Modelling the distribution of 3D brain MRI using a 2D slice VAE, arXiv 2007.04780).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from oasis_utils.config import NeighbourConfig
from oasis_utils.models.linear_maps import DECOMPOSITION_SEED


class StackLayouts(nn.Module):
    """mean + age * slope + noise @ directions, over the layouts of all slices of a stack.

    Buffers, no parameters: it is fitted, not trained. Zero until then. The first number of a layout
    is the standardised age, where ages are known.

    Args:
        config: numbers of positions, of a layout and of directions.
    """

    mean: Tensor
    slope: Tensor
    directions: Tensor  # of length: standard deviation

    def __init__(self, config: NeighbourConfig):
        super().__init__()
        size = (config.n_positions, config.layout)
        self.knows_age = config.knows_age
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("slope", torch.zeros(size))
        self.register_buffer("directions", torch.zeros(config.stack_directions, *size))

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that a stack needs; the last one is an unknown age."""
        return len(self.directions) + 1

    @torch.no_grad()
    def fit(
        self,
        numbers: Float[Tensor, "n layout"],
        positions: Int[Tensor, " n"],
        ages: Float[Tensor, " n"],
        stacks: Int[Tensor, " n"],
    ) -> None:
        """Set mean, slope and directions to those of these stacks.

        Args:
            numbers: layouts of training maps.
            positions: of the maps.
            ages: standardised, nan where unknown.
            stacks: number of the stack that each map belongs to. A position that a stack lacks is
                interpolated between those that it has.
        """
        names, own = stacks.unique(return_inverse=True)
        table = numbers.new_zeros(len(names), *self.mean.shape)
        there = torch.zeros(table.shape[:2], dtype=torch.bool, device=numbers.device)
        table[own, positions], there[own, positions] = numbers, True
        table = interpolated(table, there)
        years = torch.full((len(names),), torch.nan, device=numbers.device)
        years[own] = ages
        known = years.isfinite()
        if self.knows_age and known.any():
            table, years = table[known], years[known]
        else:
            years = torch.zeros(len(table)).to(table)
        self.mean.copy_(table.mean(0))
        deviations = (table - self.mean).flatten(1)
        spread = (years - years.mean()).square().sum().clamp(min=1e-6)
        slope = (years - years.mean()) @ deviations / spread
        self.slope.copy_(slope.view_as(self.slope))
        self.mean.sub_(years.mean() * self.slope)
        deviations = deviations - (years - years.mean())[:, None] * slope
        self._set_directions(deviations)

    def _set_directions(self, deviations: Float[Tensor, "stacks numbers"]) -> None:
        kept = min(len(self.directions), *deviations.shape)
        with torch.random.fork_rng(devices=[deviations.device] if deviations.is_cuda else []):
            torch.manual_seed(DECOMPOSITION_SEED)
            _, lengths, axes = torch.svd_lowrank(deviations, q=min(kept + 8, *deviations.shape))
        found = (lengths / max(len(deviations) - 1, 1) ** 0.5 * axes).t()[:kept]
        self.directions.zero_()
        self.directions[:kept] = found.view(kept, *self.mean.shape)

    def forward(
        self, normal: Float[Tensor, "heads noise_size"], ages: Float[Tensor, " heads"]
    ) -> Float[Tensor, "heads positions layout"]:
        """The layouts of all slices of new stacks.

        Args:
            normal: standard normal numbers, one row for each stack.
            ages: standardised, nan where unknown.

        Returns:
            Layouts; where an age is known, it is their first number.
        """
        years = torch.where(ages.isfinite(), ages, normal[:, -1].to(ages))
        drawn = self.mean + years[:, None, None] * self.slope
        drawn = drawn + torch.einsum("nd,dpk->npk", normal[:, :-1], self.directions)
        if self.knows_age:
            drawn[:, :, 0] = years[:, None]
        return drawn


def interpolated(
    table: Float[Tensor, "stacks positions numbers"], there: Bool[Tensor, "stacks positions"]
) -> Float[Tensor, "stacks positions numbers"]:
    """Rows of numbers with those of missing positions set between their neighbours that are there,
    and to the nearest one beyond the first and last.
    """
    n = table.shape[1]
    at = torch.arange(n, device=table.device).expand_as(there)
    last = torch.where(there, at, -1).cummax(1).values
    following = torch.where(there, at, n).flip(1).cummin(1).values.flip(1)
    last, following = (
        torch.where(last < 0, following, last),
        torch.where(following >= n, last, following),
    )
    share = ((at - last) / (following - last).clamp(min=1)).to(table)[:, :, None].clamp(0, 1)
    pick = [rows[:, :, None].expand_as(table) for rows in (last, following)]
    return table.gather(1, pick[0]) * (1 - share) + table.gather(1, pick[1]) * share
