"""Generator and discriminator of the DCGAN, and their losses.

Architecture: Radford 2015 (arXiv 1511.06434), transposed and strided convolutions; no normalisation
in the discriminator (R3GAN, Huang 2024, arXiv 2501.05441, section 3).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from oasis_utils.config import DCGANConfig
from oasis_utils.models.linear_maps import LinearMaps

PACK_SIZE = 4  # maps of neighbouring positions whose variety the discriminator sees together


class Generator(nn.Module):
    """Noise and slice position to a map of vectors.

    The first `noise_dim` numbers of the noise are global to the map; the first of them is the
    standardised age where the model is conditioned on ages (random where the age is unknown). The
    rest is spatial noise for each cell, at half and at full resolution, as in StyleGAN (Karras
    2019, arXiv 1812.04948, section 3.2), because one vector cannot describe every cortical fold.
    With start="linear" the network adds to the map that a linear model makes of the same noise, and
    takes that map as an input.

    Args:
        config: sizes of the network, of the maps and of the noise.
    """

    def __init__(self, config: DCGANConfig):
        super().__init__()
        self.config, self.base = config, config.grid // 4
        wide, middle, narrow = 4 * config.channels, 2 * config.channels, config.channels
        self.condition = nn.Embedding(config.n_positions, config.noise_dim)
        self.project = nn.Linear(2 * config.noise_dim, wide * self.base**2)
        self.layers = nn.Sequential(
            nn.GroupNorm(8, wide),
            nn.ReLU(),
            nn.ConvTranspose2d(wide, middle, 4, stride=2, padding=1),
            nn.GroupNorm(8, middle),
            nn.ReLU(),
            nn.ConvTranspose2d(middle, narrow, 4, stride=2, padding=1),
            nn.GroupNorm(8, narrow),
            nn.ReLU(),
            nn.Conv2d(narrow, narrow, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(narrow, config.output_dim, 3, padding=1),
        )
        if config.space == "index":
            self.layers.append(nn.Tanh())  # the range that is cut into equal bins
        if config.linear:
            self.linear = LinearMaps(
                config.n_positions,
                config.noise_dim,
                config.output_dim,
                config.grid,
                config.per_position,
            )
            # the name is that of the weights in checkpoint files
            self.show = nn.Conv2d(config.output_dim, narrow, 3, padding=1, bias=False)
        if config.spatial_noise:
            self.mix_half = nn.Conv2d(config.spatial_noise, middle, 1, bias=False)
            self.mix_full = nn.Conv2d(config.spatial_noise, narrow, 1, bias=False)

    def forward(
        self, noise: Float[Tensor, "batch noise_size"], positions: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch dim rows cols"]:
        """Maps in the output space.

        Args:
            noise: standard normal numbers, one vector for each map.
            positions: slice positions in [0, n_positions).

        Returns:
            Vectors near those of the codes; with space="index" one channel in [-1, 1].
        """
        config, layers = self.config, self.layers
        whole, half, full = noise.split(
            (config.noise_dim, config.half_noise, config.full_noise), dim=1
        )
        condition = torch.cat([whole, self.condition(positions)], dim=1)
        x = layers[:3](self.project(condition).view(len(noise), -1, self.base, self.base))
        if config.spatial_noise:
            x = x + self.mix_half(half.view(len(noise), config.spatial_noise, *x.shape[2:]))
        x = layers[3:6](x)
        if config.spatial_noise:
            x = x + self.mix_full(full.view(len(noise), config.spatial_noise, *x.shape[2:]))
        x = layers[6:9](x)
        if not config.linear:
            return layers[9:](x)
        first = self.linear(whole, positions)
        return first + layers[9:](x + self.show(first))


class Discriminator(nn.Module):
    """A map of vectors and its slice position to a score; higher is more real.

    With start="linear" it also sees how each map differs from the mean of its position.

    Args:
        config: sizes of the network and of the maps, loss, and whether ages are known.

    Reference:
        Conditions by projection: cGANs with Projection Discriminator (Miyato 2018, arXiv
        1802.05637).
    """

    mean: Tensor  # of each position; only with start="linear"

    def __init__(self, config: DCGANConfig):
        super().__init__()
        self.linear, base, channels = config.linear, config.grid // 4, config.channels
        wide = 4 * channels
        if config.linear:
            self.register_buffer(
                "mean", torch.zeros(config.n_positions, config.output_dim, config.grid, config.grid)
            )
        self.layers = nn.Sequential(
            nn.Conv2d((1 + config.linear) * config.output_dim, channels, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * channels, wide, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(wide, wide, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
        )
        self.project = nn.Linear(wide * base**2 + 1, wide)
        self.score = nn.Linear(wide, 1)
        self.condition = nn.Embedding(config.n_positions, wide)
        self.ageing = nn.Linear(1, wide, bias=False) if config.knows_age else None

    def forward(
        self,
        maps: Float[Tensor, "batch dim rows cols"],
        positions: Int[Tensor, " batch"],
        ages: Float[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """The score of each map.

        Args:
            maps: vectors in the output space.
            positions: slice positions in [0, n_positions), neighbours side by side, see
                `pack_variety`.
            ages: standardised, nan where unknown; None: all unknown.

        Returns:
            A score of any sign; higher is more real.
        """
        x = self.layers(
            torch.cat([maps, maps - self.mean[positions]], dim=1) if self.linear else maps
        )
        x = F.leaky_relu(self.project(torch.cat([x, pack_variety(x)[:, None]], dim=1)), 0.2)
        condition = self.condition(positions)
        if self.ageing is not None and ages is not None:
            condition = condition + self.ageing(ages.nan_to_num(0.0)[:, None])
        return self.score(x)[:, 0] + (x * condition).mean(1)


def pack_variety(features: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
    """Deviation of the features within each pack of neighbours, for every member of the pack: a
    minibatch statistic (Karras 2018, arXiv 1710.10196, section 3). Over a whole batch it would be
    the deviation between positions.

    Args:
        features: Of maps of which neighbours form packs of PACK_SIZE.

    Returns:
        The mean deviation of its pack for each map.
    """
    packs = features.tensor_split(max(len(features) // PACK_SIZE, 1))
    return torch.cat(
        [
            (pack - pack.mean(0)).square().mean(0).add(1e-8).sqrt().mean().expand(len(pack))
            for pack in packs
        ]
    )


def discriminator_loss(
    kind: str, real: Float[Tensor, " batch"], fake: Float[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """What the discriminator minimises.

    Args:
        kind: "relativistic" or "bce", see `DCGANConfig.loss`.
        real: its scores of real maps.
        fake: its scores of drawn maps.

    Returns:
        The mean over the batch.
    """
    if kind == "relativistic":  # R3GAN, eq. 2
        return F.softplus(fake - real).mean()
    # Goodfellow 2014 (arXiv 1406.2661): cross-entropy of real and drawn
    return (F.softplus(-real) + F.softplus(fake)).mean()


def generator_loss(
    kind: str, real: Float[Tensor, " batch"], fake: Float[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """What the generator minimises.

    Args:
        kind: "relativistic" or "bce", see `DCGANConfig.loss`.
        real: the discriminator's scores of real maps, used by the relativistic loss only.
        fake: its scores of drawn maps.

    Returns:
        The mean over the batch.
    """
    if kind == "relativistic":
        return F.softplus(real - fake).mean()
    return F.softplus(-fake).mean()
