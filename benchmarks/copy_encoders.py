"""Two encoders of slices whose embeddings show copies, small enough to train on one CPU thread.

Contrastive, after Dar 2024 (arXiv 2402.01054; code: github.com/Cardio-AI/memorization-ldm).
Theirs: a slice and its changed version attract each other, all others repel (NT-Xent, temperature
0.07, batches of 64, 128 numbers an embedding); changes are a left-right flip and a rotation of up
to 5 degrees, each with probability 1/2. Two embeddings are compared by their correlation.

DeepSSIM, after Scardace 2025 (arXiv 2509.16582; code: github.com/brAIn-science/DeepSSIM). Theirs:
the cosine of two embeddings of 256 numbers is trained by squared error to equal the SSIM of the two
slices, each with mean 0 and deviation 1; both slices are then changed (flips of either axis,
rotation of up to 10 degrees, gamma of 0.5 to 1.5, each with probability 1/3), so that the cosine
does not depend on these changes.

Simplified for both: the network has four convolutions and random starting weights instead of a
ResNet-50 or ConvNeXt trained on photographs, slices have 64 pixels, Adam runs for some CPU seconds
with a linearly decreasing rate, and the last state is kept instead of the best on validation
slices. For DeepSSIM also: pairs are of training slices only, a third each of a slice with itself,
with another slice of its position, and with any slice; the SSIM has one data range and a Gaussian
window.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oasis_utils.metrics.features import as_floats
from oasis_utils.metrics.image_quality import ssim

SIDE = 64  # pixels of the encoders' slices
WIDTHS = (1, 32, 64, 128, 128)  # channels, halving the side each time
BATCH = 64
RATE = 1e-3
TEMPERATURE = 0.07
AT_ONCE = 256  # slices embedded at once

Loss = Callable[[nn.Module, torch.Generator], Tensor]


@dataclass(frozen=True)
class Changes:
    """Random changes of a slice, each made with the same probability."""

    probability: float
    degrees: float  # largest rotation
    upside_down: bool = False  # flips of the vertical axis, too
    shift: float = 0.0  # largest shift, as a share of the side
    noise: float = 0.0  # largest deviation of added noise
    gamma: tuple[float, float] = (1.0, 1.0)

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Changed slices; the same shape, in [0, 1]."""
        n = len(x)

        def drawn(low: float, high: float, unchanged: float) -> Tensor:
            values = torch.empty(n).uniform_(low, high, generator=rng)
            return values.where(torch.rand(n, generator=rng) < self.probability, unchanged)

        angle = torch.deg2rad(drawn(-self.degrees, self.degrees, 0.0))
        flips = torch.stack([drawn(-1, -1, 1.0), drawn(-1, -1, 1.0)])
        if not self.upside_down:
            flips[1] = 1
        shifts = [drawn(-2 * self.shift, 2 * self.shift, 0.0) for _ in range(2)]
        cos, sin = angle.cos(), angle.sin()
        rows = [
            [cos * flips[0], -sin * flips[1], shifts[0]],
            [sin * flips[0], cos * flips[1], shifts[1]],
        ]
        matrix = torch.stack([torch.stack(row, 1) for row in rows], 1)
        grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
        x = F.grid_sample(x, grid, align_corners=False).clamp(0, 1)
        x = x ** drawn(*self.gamma, 1.0)[:, None, None, None]
        noise = torch.randn(x.shape, generator=rng) * drawn(0, self.noise, 0.0)[:, None, None, None]
        return (x + noise).clamp(0, 1)


DAR = Changes(0.5, degrees=5)
WIDER = Changes(0.5, degrees=5, shift=4 / 128, noise=0.05)  # ours: shifts and noise, too
DEEPSSIM = Changes(1 / 3, degrees=10, upside_down=True, gamma=(0.5, 1.5))


def small(images: np.ndarray) -> Tensor:
    """8-bit slices as float32 in [0, 1] at SIDE pixels."""
    return F.interpolate(as_floats(images), size=(SIDE, SIDE), mode="area")


def standardised(x: Tensor) -> Tensor:
    """Slices of mean 0 and deviation 1."""
    deviation, mean = torch.std_mean(x, dim=(1, 2, 3), keepdim=True)
    return (x - mean) / deviation.clamp(min=1e-6)


def network(dim: int) -> nn.Module:
    """Standardised slices of SIDE pixels to embeddings of `dim` numbers."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(WIDTHS):
        layers += [
            nn.Conv2d(before, after, 3, 2, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    cells = (SIDE >> (len(WIDTHS) - 1)) ** 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(WIDTHS[-1] * cells, dim))


def nt_xent(first: Tensor, second: Tensor) -> Tensor:
    """Cross-entropy of finding each row's other view among all rows (Chen 2020, arXiv 2002.05709,
    equation 1).
    """
    rows = F.normalize(torch.cat([first, second]))
    similarity = rows @ rows.T / TEMPERATURE
    similarity.fill_diagonal_(-torch.inf)
    n = len(first)
    return F.cross_entropy(similarity, torch.arange(2 * n).roll(n))


def contrastive(images: Tensor, changes: Changes) -> Loss:
    """NT-Xent of random slices and their changed versions."""

    def loss(model: nn.Module, rng: torch.Generator) -> Tensor:
        x = images[torch.randint(len(images), (BATCH,), generator=rng)]
        views = torch.cat([x, changes(x, rng)])
        return nt_xent(*model(standardised(views)).chunk(2))

    return loss


def partners(rows: Tensor, positions: Tensor, rng: torch.Generator) -> Tensor:
    """For each row itself, another row of its position, or any row, a third each."""
    n = len(rows)
    same = positions[rows][:, None] == positions
    near = torch.multinomial(same.float(), 1, generator=rng)[:, 0]
    anyone = torch.randint(len(positions), (n,), generator=rng)
    kind = torch.randint(3, (n,), generator=rng)
    return torch.stack([rows, near, anyone])[kind, torch.arange(n)]


def structural(images: Tensor, positions: Tensor, changes: Changes = DEEPSSIM) -> Loss:
    """Squared difference of the cosine of two changed slices from the SSIM of the originals."""
    plain = standardised(images)
    data_range = float((plain.amax((1, 2, 3)) - plain.amin((1, 2, 3))).mean())

    def loss(model: nn.Module, rng: torch.Generator) -> Tensor:
        rows = torch.randint(len(images), (BATCH,), generator=rng)
        others = partners(rows, positions, rng)
        target = ssim(plain[rows], plain[others], data_range)
        pair = changes(images[torch.cat([rows, others])], rng)
        return F.mse_loss(F.cosine_similarity(*model(standardised(pair)).chunk(2)), target)

    return loss


def train(
    dim: int,
    loss: Loss,
    seconds: float,
    seed: int,
    clock: Callable[[], float] = time.process_time,
) -> tuple[nn.Module, dict[str, float]]:
    """A network trained for some CPU seconds, and {"steps", "loss"}: the mean of the last tenth."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    model = network(dim).train()
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    begun, spent, losses = clock(), 0.0, []
    while not losses or spent < seconds:
        optimizer.param_groups[0]["lr"] = RATE * (1 - spent / seconds)
        value = loss(model, rng)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
        spent = clock() - begun
    last = losses[-max(len(losses) // 10, 1) :]
    return model.eval(), {"steps": len(losses), "loss": float(np.mean(last))}


@torch.inference_mode()
def embed(model: nn.Module, images: np.ndarray) -> Tensor:
    """Embeddings of 8-bit slices."""
    parts = (images[i : i + AT_ONCE] for i in range(0, len(images), AT_ONCE))
    return torch.cat([model(standardised(small(part))) for part in parts])
