"""DCGAN that draws maps of code vectors, which are then quantised to the nearest codes: every map can be decoded.

Architecture: Radford 2015 (arXiv 1511.06434), transposed and strided convolutions. Loss: relativistic pairing with R1
and R2 penalties, no normalisation in the discriminator (R3GAN, Huang 2024, arXiv 2501.05441, eq. 2 and section 3).
Generator and discriminator meet in the embedding space of the codebook, where near means similar; index numbers have
no such meaning. Real and drawn maps pass through the same codebook, so quantisation gives nobody away.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from oasis_utils.config import DCGANConfig
from oasis_utils.quantizer import nearest_code


class Generator(nn.Module):
    """Noise and slice position to a map of vectors in the (standardised) code space."""

    def __init__(self, config: DCGANConfig):
        super().__init__()
        self.config, self.base = config, config.grid // 4
        wide, middle, narrow = 4 * config.channels, 2 * config.channels, config.channels
        self.condition = nn.Embedding(config.n_positions, config.noise_dim)
        self.project = nn.Linear(2 * config.noise_dim, wide * self.base**2)
        self.layers = nn.Sequential(
            nn.GroupNorm(8, wide), nn.ReLU(), nn.ConvTranspose2d(wide, middle, 4, stride=2, padding=1),
            nn.GroupNorm(8, middle), nn.ReLU(), nn.ConvTranspose2d(middle, narrow, 4, stride=2, padding=1),
            nn.GroupNorm(8, narrow), nn.ReLU(), nn.Conv2d(narrow, narrow, 3, padding=1),
            nn.ReLU(), nn.Conv2d(narrow, config.code_dim, 3, padding=1))

    def forward(self, noise: Float[Tensor, "batch noise_dim"],
                positions: Int[Tensor, " batch"]) -> Float[Tensor, "batch dim rows cols"]:
        told = torch.cat([noise, self.condition(positions)], dim=1)
        return self.layers(self.project(told).view(len(noise), -1, self.base, self.base))


class Discriminator(nn.Module):
    """A map of vectors and its slice position to a score; higher is more real. Projection condition (Miyato 2018)."""

    def __init__(self, config: DCGANConfig):
        super().__init__()
        base, channels = config.grid // 4, config.channels
        wide = 4 * channels
        self.layers = nn.Sequential(
            nn.Conv2d(config.code_dim, channels, 3, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * channels, wide, 4, stride=2, padding=1), nn.LeakyReLU(0.2))
        self.spread = nn.Conv2d(wide + 1, wide, 3, padding=1)
        self.project = nn.Linear(wide * base**2, wide)
        self.score = nn.Linear(wide, 1)
        self.condition = nn.Embedding(config.n_positions, wide)

    def forward(self, maps: Float[Tensor, "batch dim rows cols"],
                positions: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        x = self.layers(maps)
        variety = (x.var(dim=0, unbiased=False) + 1e-8).sqrt().mean()  # minibatch statistic (Karras 2018)
        x = torch.cat([x, variety.expand(len(x), 1, *x.shape[2:])], dim=1)
        x = F.leaky_relu(self.project(F.leaky_relu(self.spread(x), 0.2).flatten(1)), 0.2)
        return self.score(x)[:, 0] + (x * self.condition(positions)).mean(1)


class DCGAN(nn.Module):
    """Both networks and the codebook between them."""

    Config = DCGANConfig
    phases = ("discriminator", "generator")
    monitor = ("kernel_distance", "min")

    def __init__(self, config: DCGANConfig):
        super().__init__()
        self.config = config
        self.generator, self.discriminator = Generator(config), Discriminator(config)
        self.register_buffer("codebook", torch.randn(config.n_codes, config.code_dim))  # standardised

    @torch.no_grad()
    def use_codebook(self, codebook: Float[Tensor, "n_codes dim"], counts: Float[Tensor, " n_codes"]) -> None:
        """Take the VQ-VAE's codes, scaled so that the maps of the training data (code counts) have unit variance.

        One scale for all dimensions: which code is nearest must not change.
        """
        weights = (counts / counts.sum())[:, None]
        mean = (weights * codebook).sum(0)
        scale = (weights * (codebook - mean).square()).sum().div(self.config.code_dim).sqrt()
        if not scale > 0:
            raise ValueError("the training maps use a single code: the codebook has collapsed, train the VQ-VAE again")
        self.codebook.copy_((codebook - mean) / scale)

    def embed(self, indices: Int[Tensor, "batch rows cols"]) -> Float[Tensor, "batch dim rows cols"]:
        return F.embedding(indices, self.codebook).permute(0, 3, 1, 2)

    def quantize(self, maps: Float[Tensor, "batch dim rows cols"]) -> Int[Tensor, "batch rows cols"]:
        """Indices in [0, n_codes) of the nearest codes."""
        flat = maps.detach().permute(0, 2, 3, 1).reshape(-1, self.config.code_dim)
        return nearest_code(flat, self.codebook).view(len(maps), *maps.shape[2:])

    def noise(self, seeds: list[int]) -> Float[Tensor, "batch noise_dim"]:
        """One noise vector for each seed, the same on every device and in every batch."""
        rows = [torch.randn(self.config.noise_dim, generator=torch.Generator().manual_seed(s)) for s in seeds]
        return torch.stack(rows).to(self.codebook.device)

    @torch.no_grad()
    def sample(self, positions: Int[Tensor, " batch"],
               noise: Float[Tensor, "batch noise_dim"]) -> Int[Tensor, "batch rows cols"]:
        """Index maps; ValueError for a position it was not trained on."""
        if len(positions) == 0 or int(positions.min()) < 0 or int(positions.max()) >= self.config.n_positions:
            raise ValueError(f"positions must be in [0, {self.config.n_positions}), got {positions.tolist()[:8]}")
        return self.quantize(self.generator(noise, positions))

    # ------------------------------------------------------------ training

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"discriminator": list(self.discriminator.parameters()), "generator": list(self.generator.parameters())}

    def step(self, batch: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Losses of one batch {"indices", "positions"} for one of the two players; float32 for the penalties."""
        positions = batch["positions"]
        with torch.autocast(positions.device.type, enabled=False):
            noise = torch.randn(len(positions), self.config.noise_dim, device=positions.device)
            drawn = self.generator(noise, positions)
            codes = self.embed(self.quantize(drawn))
            real = self.embed(batch["indices"])
            if phase == "discriminator":
                return self._discriminator_step(real, codes, positions)
            fake = drawn + (codes - drawn).detach()  # straight through the quantisation
            margin = self.discriminator(fake, positions) - self.discriminator(real, positions)
            commitment = F.mse_loss(drawn, codes)
            loss = F.softplus(-margin).mean() + self.config.commitment * commitment
            return {"loss": loss, "commitment": commitment}

    def _discriminator_step(self, real: Tensor, fake: Tensor, positions: Tensor) -> dict[str, Tensor]:
        real, fake = real.detach().requires_grad_(), fake.detach().requires_grad_()
        real_score, fake_score = self.discriminator(real, positions), self.discriminator(fake, positions)
        margin = real_score - fake_score
        slopes = torch.autograd.grad([real_score.sum(), fake_score.sum()], [real, fake], create_graph=True)
        penalty = sum(slope.square().sum(dim=(1, 2, 3)).mean() for slope in slopes)  # R1 + R2
        loss = F.softplus(-margin).mean() + 0.5 * self.config.gamma * penalty
        return {"loss": loss, "penalty": penalty, "accuracy": (margin > 0).float().mean()}

    @torch.no_grad()
    def validate(self, batches) -> dict[str, float]:
        """Kernel distance between drawn and held-out maps at the same positions, and how alike the code use is."""
        real, drawn = [], []
        for i, batch in enumerate(batches):
            seeds = list(range(i * batches.batch_size, i * batches.batch_size + len(batch["positions"])))
            real.append(batch["indices"])
            drawn.append(self.sample(batch["positions"], self.noise(seeds)))
        real, drawn = torch.cat(real), torch.cat(drawn)
        return {"kernel_distance": kernel_distance(self.embed(real).flatten(1), self.embed(drawn).flatten(1)),
                "code_divergence": code_divergence(real, drawn, self.config.n_codes),
                "distinct_codes": float(drawn.unique().numel())}


def polynomial_kernel(x: Float[Tensor, "n dim"], y: Float[Tensor, "m dim"]) -> Float[Tensor, "n m"]:
    """(x·y / dim + 1)³ of every pair, in double precision (Binkowski 2018, 1801.01401)."""
    return (x.double() @ y.double().t() / x.shape[1] + 1) ** 3


def kernel_distance(a: Float[Tensor, "n dim"], b: Float[Tensor, "m dim"]) -> float:
    """Unbiased squared maximum mean discrepancy with the polynomial kernel (Binkowski 2018, 1801.01401)."""
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a kernel distance needs at least 2 rows on either side, not {len(a)} and {len(b)}")

    def off_diagonal_mean(gram: Tensor) -> Tensor:
        n = len(gram)
        return (gram.sum() - gram.diagonal().sum()) / (n * (n - 1))

    aa, bb, ab = polynomial_kernel(a, a), polynomial_kernel(b, b), polynomial_kernel(a, b)
    return float(off_diagonal_mean(aa) + off_diagonal_mean(bb) - 2 * ab.mean())


def code_divergence(a: Int[Tensor, ...], b: Int[Tensor, ...], n_codes: int) -> float:
    """Jensen-Shannon divergence of two code histograms in nats, in [0, ln 2]."""
    p, q = (torch.bincount(x.flatten(), minlength=n_codes).double() / x.numel() for x in (a, b))
    middle = (p + q) / 2
    return float(sum(torch.xlogy(x, x / middle.clamp(min=1e-30)).sum() for x in (p, q)) / 2)
