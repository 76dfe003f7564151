"""A linear model of maps: a mean for each slice position, and directions in which brains differ.

Principal components read as a generator (probabilistic PCA without its isotropic noise, Tipping and
Bishop 1999, doi 10.1111/1467-9868.00196); the directions by a randomised decomposition (Halko 2011,
arXiv 0909.4061).

All positions share the directions. Their lengths and angles may differ between positions, since
ventricles differ where there are ventricles.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

DECOMPOSITION_SEED = 0  # of the randomised decomposition: the same maps give the same model
MOST_FITTED_MAPS = 8192  # of a training split
PRIOR_MAPS = 4.0  # a position's mean and slope are drawn to 0 as by so many maps


def fitted_rows(
    n: int, device: torch.device, n_plain: int | None = None
) -> tuple[Int[Tensor, " rows"], Bool[Tensor, " rows"]]:
    """Which of n training maps the linear model is fitted to, for each n always the same.

    Args:
        n: number of training maps.
        device: of the result.
        n_plain: so many of the first maps are of slices as they are. Default: all.

    Returns:
        At most `MOST_FITTED_MAPS` rows in random order, others only where plain ones leave room;
        and which of them are plain.
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    plain = order < (n if n_plain is None else n_plain)
    chosen = torch.cat([order[plain], order[~plain]])[:MOST_FITTED_MAPS]
    kept = torch.zeros(n, dtype=torch.bool).index_fill_(0, chosen, True)[order]
    return order[kept].to(device), plain[kept].to(device)


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
    """mean[position] + noise @ mixing[position] @ directions: standard normal noise gives maps with
    the mean of their position and the leading part of the covariance that the fitted maps have
    about it.

    Buffers, no parameters: it is fitted, not trained. Zero until then.

    Args:
        n_positions: number of slice positions.
        noise_dim: number of directions, and of the noise's numbers.
        dim: channels of a map.
        grid: rows and columns of a map.
        per_position: each position has a covariance of its own. Default: one for all.
    """

    mean: Tensor
    directions: Tensor
    mixing: Tensor | None  # (n_positions, noise_dim, noise_dim), from noise to shared directions

    def __init__(
        self, n_positions: int, noise_dim: int, dim: int, grid: int, per_position: bool = False
    ):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_positions, dim, grid, grid))
        self.register_buffer(
            "directions", torch.zeros(noise_dim, dim, grid, grid)
        )  # of length: standard deviation
        eye = torch.eye(noise_dim).repeat(n_positions, 1, 1) if per_position else None
        self.register_buffer("mixing", eye)

    @torch.no_grad()
    def fit(
        self,
        maps: Float[Tensor, "n dim rows cols"],
        positions: Int[Tensor, " n"],
        first: Float[Tensor, " n"] | None = None,
        plain: Bool[Tensor, " n"] | None = None,
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
            plain: maps of slices as they are. With a covariance for each position, this is theirs,
                and the means are moved to theirs along the directions; other maps, such as shifted
                ones, only help to find the directions. None: all.
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
        if self.mixing is not None:
            rows = slice(None) if plain is None else plain
            self._fit_positions(maps[rows], positions[rows], None if first is None else first[rows])

    def _fit_positions(self, maps: Tensor, positions: Tensor, first: Tensor | None) -> None:
        """Set `mixing`, and move the means, to what these maps are at each position."""
        known = first is not None and bool(first.isfinite().any())
        if first is not None and known:  # a guessed age would blur what an age does
            rows = first.isfinite()
            maps, positions, first = maps[rows], positions[rows], first[rows]
        numbers = self._numbers(maps, positions, first if known else None)
        centre, mixing = at_positions(numbers, positions, len(self.mean), known)
        self.mean += (centre @ self.directions.flatten(1)).view_as(self.mean)
        assert self.mixing is not None
        self.mixing.copy_(mixing)

    def _numbers(self, maps: Tensor, positions: Tensor, first: Tensor | None) -> Tensor:
        """Coordinates of maps along the shared directions, of which the first may be known."""
        directions = self.directions.flatten(1)
        squares = directions.square().sum(1).clamp(min=1e-9)
        deviations = (maps - self.mean[positions]).flatten(1)
        if first is None:
            return deviations @ directions.t() / squares
        # the first direction is not at right angles to the others
        numbers = (deviations - first[:, None] * directions[0]) @ directions.t() / squares
        return torch.cat([first[:, None], numbers[:, 1:]], dim=1)

    def forward(
        self, noise: Float[Tensor, "batch noise_dim"], positions: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim rows cols"]:
        """The map of each noise vector at its slice position in [0, n_positions)."""
        if self.mixing is not None:
            noise = (noise[:, None] @ self.mixing[positions])[:, 0]
        return self.mean[positions] + (noise @ self.directions.flatten(1)).view(
            -1, *self.mean.shape[1:]
        )


def at_positions(
    numbers: Float[Tensor, "n noise_dim"],
    positions: Int[Tensor, " n"],
    n_positions: int,
    first_is_given: bool,
) -> tuple[
    Float[Tensor, "n_positions noise_dim"], Float[Tensor, "n_positions noise_dim noise_dim"]
]:
    """What turns standard normal noise into coordinates with the mean and covariance that those of
    maps have at each position.

    The fewer maps a position has, the more its mean and slope are drawn towards 0 (as by
    `PRIOR_MAPS` maps), and its covariance towards that of all positions (as by noise_dim maps).

    Args:
        numbers: coordinates of maps along the shared directions.
        positions: of the maps.
        n_positions: number of positions.
        first_is_given: the first number, such as a standardised age, is given, not drawn; the mean
            of the others depends on it.

    Returns:
        (centre, mixing): noise z stands for the coordinates centre[position] + z @
        mixing[position]. Without maps at a position, the covariance is that of all.
    """
    given = int(first_is_given)
    told, free = numbers[:, :given], numbers[:, given:]
    ones = numbers.new_ones(len(numbers), 1)
    inputs = torch.cat([ones, told], dim=1)
    fits, left = [], torch.zeros_like(free)
    for position in range(n_positions):
        here = positions == position
        x, y = inputs[here], free[here]
        ridge = PRIOR_MAPS * torch.eye(1 + given).to(x)
        fits.append(torch.linalg.solve(x.t() @ x + ridge, x.t() @ y))
        left[here] = y - x @ fits[-1]
    pooled, weight = left.t() @ left / max(len(left), 1), float(free.shape[1])
    centre = numbers.new_zeros(n_positions, numbers.shape[1])
    mixing = torch.eye(numbers.shape[1]).to(numbers).repeat(n_positions, 1, 1)
    for position, fit in enumerate(fits):
        rest = left[positions == position]
        covariance = (rest.t() @ rest + weight * pooled) / (len(rest) + weight)
        smallest = 1e-6 * torch.eye(free.shape[1]).to(covariance)
        centre[position, given:] = fit[0]
        mixing[position, :given, given:] = fit[1:]
        mixing[position, given:, given:] = torch.linalg.cholesky(covariance + smallest).t()
    return centre, mixing
