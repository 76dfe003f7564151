"""A vector quantiser and its codebook: search, gradients, learning, k-means initialisation, and
replacement of unused codes.

Neural Discrete Representation Learning (van den Oord 2017, arXiv 1711.00937), section 3.1 and
appendix A.1. Rotation trick: Restructuring Vector Quantization with the Rotation Trick (Fifty 2024,
arXiv 2410.06424).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from oasis_utils.runtime import processes

# latents whose distances are in memory at once: 2048 stay in a CPU's cache
DISTANCE_ROWS = {"cpu": 2048, "cuda": 65536}


@dataclass(frozen=True)
class Quantized:
    """Output of the quantiser.

    Attributes:
        codes: the nearest codes; gradients pass on to the latents.
        indices: of these codes, in [0, n_codes).
        loss: commitment, already weighted by beta; and that of a gradient codebook.
    """

    codes: Float[Tensor, "batch dim rows cols"]
    indices: Int[Tensor, "batch rows cols"]
    loss: Float[Tensor, ""]


@torch.no_grad()
def nearest_code(
    latents: Float[Tensor, "n dim"], codebook: Float[Tensor, "n_codes dim"]
) -> Int[Tensor, " n"]:
    """Index of the nearest code, argmin_k ||z - e_k||² (eq. 1), in float32 whatever the surrounding
    precision.

    ||z||² is the same for all codes and is left out; the distances are never in memory all at once.
    """
    with torch.autocast(latents.device.type, enabled=False):
        latents, codebook = latents.float(), codebook.float()
        norms, transposed = codebook.square().sum(1), codebook.t().contiguous()
        parts = latents.split(DISTANCE_ROWS.get(latents.device.type, 65536))
        return torch.cat(
            [torch.addmm(norms, part, transposed, alpha=-2).min(1).indices for part in parts]
        )


@torch.no_grad()
def kmeans(
    points: Float[Tensor, "n dim"], n_clusters: int, rounds: int = 10
) -> Float[Tensor, "n_clusters dim"]:
    """Centres of a few rounds of Lloyd's algorithm; clusters that lose all points restart at random
    ones.
    """
    repeats = -(-n_clusters // len(points))
    centres = (
        points[torch.randperm(len(points), device=points.device)]
        .repeat(repeats, 1)[:n_clusters]
        .clone()
    )
    for _ in range(rounds):
        nearest = nearest_code(points, centres)
        counts = torch.bincount(nearest, minlength=n_clusters)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        centres = sums / counts.clamp(min=1)[:, None]
        empty = counts == 0
        centres[empty] = random_rows(points, int(empty.sum()))
    return centres


def random_rows(points: Float[Tensor, "n dim"], count: int) -> Float[Tensor, "count dim"]:
    """`count` rows of the points, drawn with replacement."""
    return points[torch.randint(len(points), (count,), device=points.device)]


def random_rows_of_all(points: Float[Tensor, "n dim"], count: int) -> Float[Tensor, "count dim"]:
    """`count` rows of the points of all processes, as the first process would draw them from the
    joined points.
    """
    if processes.count() == 1:
        return random_rows(points, count)
    sizes = processes.numbers(len(points))
    chosen = processes.from_first(torch.randint(sum(sizes), (count,), device=points.device))
    own = chosen - sum(sizes[: processes.rank()])
    here = (own >= 0) & (own < len(points))
    rows = points[own.clamp(0, len(points) - 1)]
    return processes.summed(torch.where(here[:, None], rows, torch.zeros_like(rows)))


class _StraightThrough(torch.autograd.Function):
    """(codes, mean squared distance of the latents from them); one pass over the memory in each
    direction.
    """

    @staticmethod
    def forward(ctx, latents, codes):
        difference = latents - codes
        ctx.save_for_backward(difference)
        return codes.view_as(codes), torch.linalg.vector_norm(
            difference
        ).square() / difference.numel()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  # untyped decorator
        ctx, codes_slope, distance_slope
    ):
        (difference,) = ctx.saved_tensors
        return (difference * (2 / difference.numel() * distance_slope)).add_(codes_slope), None


def straight_through(
    latents: Float[Tensor, "batch dim rows cols"], codes: Float[Tensor, "batch dim rows cols"]
) -> tuple[Float[Tensor, "batch dim rows cols"], Float[Tensor, ""]]:
    """The codes, with the gradient passed unchanged to the latents.

    Args:
        latents: output of the encoder.
        codes: the nearest code of each latent; they receive no gradient.

    Returns:
        (codes, their mean squared distance from the latents: the third term of eq. 3 before its
        weight, which passes a gradient of its own to the latents).

    Reference:
        Neural Discrete Representation Learning (van den Oord 2017, arXiv 1711.00937), section 3.2.
    """
    return _StraightThrough.apply(latents, codes.detach())


def rotate(
    latents: Float[Tensor, "batch dim rows cols"], codes: Float[Tensor, "batch dim rows cols"]
) -> tuple[Float[Tensor, "batch dim rows cols"], Float[Tensor, ""]]:
    """The codes, with the gradient passed to the latents turned and scaled as each code must be to
    lie on its latent.

    codes = (|e| / |z|) R z with the rotation R = I - 2 r rᵀ + 2 ê ẑᵀ, r along ẑ + ê, held constant.
    So the angle between gradient and code is the angle between the passed gradient and the latent.

    Args:
        latents: output of the encoder.
        codes: the nearest code of each latent; they receive no gradient.

    Returns:
        (codes, their mean squared distance from the latents), as `straight_through`.

    Reference:
        Restructuring Vector Quantization with the Rotation Trick (Fifty 2024, arXiv 2410.06424),
        section 4.2.
    """
    fixed, codes = latents.detach(), codes.detach()
    z, e = F.normalize(fixed, dim=1), F.normalize(codes, dim=1)
    r = F.normalize(z + e, dim=1)
    turned = (
        latents
        - 2 * r * (r * latents).sum(1, keepdim=True)
        + 2 * e * (z * latents).sum(1, keepdim=True)
    )
    moved = turned * (
        codes.norm(dim=1, keepdim=True) / fixed.norm(dim=1, keepdim=True).clamp(min=1e-6)
    )
    # exactly the codes, also for latents near zero or opposite to their code
    passed = moved + (codes - moved).detach()
    return passed, F.mse_loss(latents, codes)


class VectorQuantizer(nn.Module):
    """A codebook that quantises latents and learns from them.

    Processes that train together keep one codebook, which learns from the joined batch.

    Args:
        n_codes: K, number of codes.
        code_dim: D, dimensions of a code.
        decay: d of the moving averages, in [0, 1); 0 keeps the last batch only.
        commitment: beta, weight of the commitment loss (eq. 3).
        revive_below: a code whose average use falls below this fraction of the mean use is replaced
            by a latent of the batch; 0: never.
        cosine: latents and codes are scaled to length sqrt(D) first.
        learning: "ema", moving averages of the latents (appendix A.1), or "gradient", a parameter
            with the second term of eq. 3.
        gradient: past the arg min, "straight-through" or "rotation".
        kmeans_init: initialise the codes with k-means centres of the first batch.
    """

    codebook: Tensor
    counts: Tensor  # N_k of appendix A.1
    sums: Tensor  # m_k
    started: Tensor  # saved, so that a loaded codebook is not initialised again
    uses: Tensor  # of each code since train() was called

    def __init__(
        self,
        n_codes: int,
        code_dim: int,
        *,
        decay: float = 0.99,
        commitment: float = 0.25,
        revive_below: float = 0.03,
        cosine: bool = False,
        learning: str = "ema",
        gradient: str = "straight-through",
        kmeans_init: bool = True,
    ):
        super().__init__()
        self.n_codes, self.code_dim = n_codes, code_dim
        self.decay, self.commitment, self.revive_below = decay, commitment, revive_below
        self.cosine, self.learning, self.kmeans_init = cosine, learning, kmeans_init
        self.past_argmin = {"straight-through": straight_through, "rotation": rotate}[gradient]
        if learning == "gradient":
            self.codebook = nn.Parameter(
                torch.empty(n_codes, code_dim).uniform_(-1 / n_codes, 1 / n_codes)
            )
        else:
            self.register_buffer("codebook", torch.randn(n_codes, code_dim))
        self.register_buffer("counts", torch.zeros(n_codes))
        self.register_buffer("sums", torch.zeros(n_codes, code_dim))
        self.register_buffer("started", torch.tensor(False))
        self.register_buffer("uses", torch.zeros(n_codes), persistent=False)
        # host copy of `started`: reading the buffer would stall a GPU each step
        self.is_started = False

    def _load_from_state_dict(self, *args, **kwargs):
        super()._load_from_state_dict(*args, **kwargs)
        self.is_started = bool(self.started)

    def train(self, mode: bool = True) -> VectorQuantizer:
        """As for every module; training mode also starts a new count of `uses`."""
        if mode:
            self.uses.zero_()
        return super().train(mode)

    def forward(self, latents: Float[Tensor, "batch dim rows cols"]) -> Quantized:
        """Quantise; in training mode also move the codebook towards the latents.

        Args:
            latents: output of the encoder, code_dim numbers for each cell.

        Returns:
            The codes, their indices and the loss.
        """
        with torch.autocast(latents.device.type, enabled=False):
            latents = self.normalize(latents.float(), dim=1)
            flat = self.flatten(latents)
            if self.training and not self.is_started:
                self._start(flat)
            flat_indices = nearest_code(flat, self.codebook)
            indices = flat_indices.view(len(latents), *latents.shape[2:])
            codes = F.embedding(indices, self.codebook).permute(0, 3, 1, 2)
            passed, distance = self.past_argmin(latents, codes)
            loss = self.commitment * distance  # third term of eq. 3
            if self.learning == "gradient":
                # second term of eq. 3; with moving averages it is not needed
                loss = loss + F.mse_loss(codes, latents.detach())
            if self.training:
                self._update(flat, flat_indices)
            return Quantized(passed, indices, loss)

    def nearest_among(
        self, latents: Float[Tensor, "batch dim rows cols"], allowed: Int[Tensor, " n"]
    ) -> Int[Tensor, "batch rows cols"]:
        """Indices of the nearest codes when only some codes may be used."""
        chosen = nearest_code(
            self.flatten(self.normalize(latents.float(), dim=1)), self.codebook[allowed]
        )
        return allowed[chosen].view(len(latents), *latents.shape[2:])

    def flatten(self, latents: Float[Tensor, "batch dim rows cols"]) -> Float[Tensor, "n dim"]:
        """One row a cell, without gradient."""
        return latents.detach().permute(0, 2, 3, 1).reshape(-1, self.code_dim)

    def lookup(
        self, indices: Int[Tensor, "batch rows cols"]
    ) -> Float[Tensor, "batch dim rows cols"]:
        """The codes at these indices; ValueError for an index outside [0, n_codes)."""
        low, high = (int(v) for v in indices.aminmax())
        if low < 0 or high >= self.n_codes:
            raise ValueError(
                f"indices must be in [0, {self.n_codes}), but range from {low} to {high}"
            )
        return F.embedding(indices, self.codebook).permute(0, 3, 1, 2)

    def normalize(self, vectors: Tensor, dim: int) -> Tensor:
        """Length sqrt(D) for cosine codes (so that each component has unit scale), else
        unchanged.
        """
        return F.normalize(vectors, dim=dim) * self.code_dim**0.5 if self.cosine else vectors

    @torch.no_grad()
    def _start(self, flat: Float[Tensor, "n dim"]) -> None:
        """Initialise the codes: k-means centres of the first batch, or random as they are."""
        flat = processes.gathered_rows(flat)
        centres = self.normalize(
            kmeans(flat, self.n_codes) if self.kmeans_init else self.codebook.detach(), dim=1
        )
        centres = processes.from_first(centres.clone())
        share = torch.full_like(self.counts, len(flat) / self.n_codes)
        self.codebook.copy_(centres)
        self.counts.copy_(share)
        self.sums.copy_(centres * share[:, None])
        self.started.fill_(True)
        self.is_started = True

    @torch.no_grad()
    def _update(self, flat: Float[Tensor, "n dim"], indices: Int[Tensor, " n"]) -> None:
        """N_k and m_k are moving averages, e_k = m_k / N_k (appendix A.1, eq. 6 to 8).

        Args:
            flat: the latents of a batch, one row a cell.
            indices: the nearest code of each.
        """
        counts = processes.summed(
            torch.zeros_like(self.counts).index_add_(0, indices, torch.ones_like(flat[:, 0]))
        )
        self.uses += counts
        self.counts.lerp_(counts, 1 - self.decay)
        if self.learning == "ema":
            sums = processes.summed(torch.zeros_like(self.sums).index_add_(0, indices, flat))
            self.sums.lerp_(sums, 1 - self.decay)
            used = (self.counts > 1e-5)[:, None]  # an unused code stays where it is
            means = self.sums / self.counts.clamp(min=1e-5)[:, None]
            self.codebook.copy_(torch.where(used, self.normalize(means, dim=1), self.codebook))
        if self.revive_below > 0:
            self._revive(flat, counts.sum() / self.n_codes)

    def _revive(self, flat: Float[Tensor, "n dim"], mean_use: Float[Tensor, ""]) -> None:
        """Replace unused codes by latents of this batch and restart their averages, without waiting
        for a GPU.
        """
        unused = self.counts < self.revive_below * mean_use
        replacement = random_rows_of_all(flat, self.n_codes)
        # enough that the code stays for some batches without being chosen
        restart = 1.5 * self.revive_below * mean_use
        self.codebook.copy_(torch.where(unused[:, None], replacement, self.codebook))
        self.sums.copy_(torch.where(unused[:, None], replacement * restart, self.sums))
        self.counts.copy_(torch.where(unused, restart, self.counts))
