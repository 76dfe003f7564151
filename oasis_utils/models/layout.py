"""The layout of an index map: a few numbers that say how a whole map differs from the mean of its
slice position, and what they tell the network of the PixelCNN at every cell.

A cell-by-cell model decides the left outline of a brain long before the right one. Latent numbers
for the whole map, given to an autoregressive decoder, let far cells agree (PixelVAE: Gulrajani
2016, arXiv 1611.05013). Here the latents are those of a linear model that is fitted in seconds, not
trained (`LinearMaps`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from oasis_utils.config import PixelCNNConfig
from oasis_utils.models.linear_maps import LinearMaps, fitted_rows, with_first

HIDDEN = 32  # channels of the network that reads a layout
KNOWN = 1e-6  # variance of a layout's first number where the age is known


class Layout(nn.Module):
    """Layouts of index maps: measured, drawn, and read by a network.

    The numbers of a layout are standard normal. The first is the standardised age, where ages are
    known.

    Args:
        config: of the PixelCNN.
    """

    codebook: Tensor  # vectors of the codes, of unit variance in the training maps
    residual: Tensor  # variance that the linear model leaves of a number of a map's vectors

    def __init__(self, config: PixelCNNConfig):
        super().__init__()
        self.config, wide = config, 2 * config.channels
        self.register_buffer("codebook", torch.zeros(config.n_codes, config.code_dim))
        self.register_buffer("residual", torch.ones(()))
        self.linear = LinearMaps(
            config.n_positions, config.layout, config.code_dim, config.grid, per_position=True
        )
        self.network = nn.Sequential(
            nn.Conv2d(config.code_dim, HIDDEN, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(HIDDEN, HIDDEN, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(HIDDEN, wide, 1),
        )

    @torch.no_grad()
    def fit(
        self,
        codebook: Float[Tensor, "n_codes dim"],
        indices: Int[Tensor, "n rows cols"],
        positions: Int[Tensor, " n"],
        ages: Float[Tensor, " n"] | None = None,
        n_plain: int | None = None,
    ) -> None:
        """Fit the linear model to training maps, and its numbers at each position.

        Args:
            codebook: the codes of the VQ-VAE.
            indices: training maps, codes in [0, n_codes).
            positions: slice position of each map, in [0, n_positions).
            ages: years, nan where unknown; None: all unknown.
            n_plain: so many of the first maps are of slices as they are, neither mirrored nor
                shifted. Default: all.
        """
        some, plain = fitted_rows(len(indices), indices.device, n_plain)
        used = codebook[indices[some].flatten()]
        self.codebook.copy_((codebook - used.mean(0)) / used.var(0).mean().sqrt().clamp(min=1e-6))
        maps = self.embed(indices[some])
        standard = self.standardize(ages, positions)
        self.linear.fit(maps, positions[some], standard[some], plain)
        numbers, _ = self.measure(
            indices[some], positions[some], None if ages is None else ages[some]
        )
        self.residual.copy_((maps - self.linear(numbers, positions[some])).square().mean())

    def embed(
        self, indices: Int[Tensor, "batch rows cols"]
    ) -> Float[Tensor, "batch dim rows cols"]:
        """Index maps as standardised code vectors."""
        return F.embedding(indices, self.codebook).permute(0, 3, 1, 2)

    def standardize(
        self, ages: Float[Tensor, " batch"] | None, positions: Int[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """Years as deviations from the training subjects' mean; nan where unknown."""
        if ages is None or not self.config.knows_age:
            return torch.full_like(positions, math.nan, dtype=self.codebook.dtype)
        return (ages.to(self.codebook) - self.config.age_mean) / self.config.age_std

    def measure(
        self,
        indices: Int[Tensor, "batch rows cols"],
        positions: Int[Tensor, " batch"],
        ages: Float[Tensor, " batch"] | None = None,
        keep: Bool[Tensor, "batch rows cols"] | None = None,
    ) -> tuple[Float[Tensor, "batch layout"], Float[Tensor, "batch layout layout"]]:
        """The layouts that maps have under the linear model.

        Args:
            indices: codes in [0, n_codes).
            positions: slice position of each map.
            ages: years, nan where unknown; None: all unknown.
            keep: the cells that are known; None: all.

        Returns:
            Mean of each layout given the known cells, and the lower Cholesky factor of its
            covariance.

        Reference:
            Tipping and Bishop 1999, doi 10.1111/1467-9868.00196, section 3.
        """
        directions = self.linear.directions.flatten(1)
        deviations = (self.embed(indices) - self.linear.mean[positions]).flatten(1)
        standard = self.standardize(ages, positions)
        first = F.one_hot(torch.zeros_like(positions), self.config.layout).to(deviations)
        prior_mean = first * standard.nan_to_num(0.0)[:, None]
        known = (first * standard.isfinite()[:, None]).bool()
        prior = torch.where(known, 1 / KNOWN, 1.0)
        if keep is None:
            products = (directions @ directions.t()).expand(len(indices), -1, -1)
            matched = deviations @ directions.t()
        else:
            seen = keep[:, None].expand(-1, self.config.code_dim, -1, -1).flatten(1).to(deviations)
            products = torch.stack([(directions * row) @ directions.t() for row in seen])
            matched = (deviations * seen) @ directions.t()
        assert self.linear.mixing is not None  # made with per_position
        mixing = self.linear.mixing[positions]
        products = mixing @ products @ mixing.mT
        matched = (mixing @ matched[:, :, None])[:, :, 0]
        precision = (products / self.residual + torch.diag_embed(prior)).double()
        right = (matched / self.residual + prior * prior_mean).double()
        factor = torch.linalg.cholesky(precision)
        mean = torch.cholesky_solve(right[:, :, None], factor)[:, :, 0]
        spread = torch.linalg.cholesky(torch.cholesky_inverse(factor))
        return mean.to(deviations), spread.to(deviations)

    def drawn(
        self,
        normal: Float[Tensor, "batch layout"],
        positions: Int[Tensor, " batch"],
        ages: Float[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch layout"]:
        """Standard normal numbers as layouts, with known ages in the first place."""
        return with_first(normal, self.standardize(ages, positions))

    def forward(
        self, numbers: Float[Tensor, "batch layout"], positions: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch two_channels rows cols"]:
        """What the layouts add to the gates of the first block."""
        return self.network(self.linear(numbers, positions))

    def nats(
        self,
        numbers: Float[Tensor, "batch layout"],
        positions: Int[Tensor, " batch"],
        ages: Float[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """What it costs to tell a layout to within `PixelCNNConfig.layout_noise`: the divergence of
        the normal distribution about it from the standard normal one. A known age costs nothing.
        """
        noise, known = self.config.layout_noise, self.standardize(ages, positions).isfinite()
        costs = 0.5 * (noise**2 + numbers.square() - 1) - math.log(noise)
        return costs.sum(1) - torch.where(known, costs[:, 0], 0.0)
