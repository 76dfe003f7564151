"""How fast, how lean and how exact is the vector quantiser? Ours beside the textbook form, MONAI's
and lucidrains'.

    OMP_NUM_THREADS=1 python benchmarks/quantizer.py [--rounds 7] [--device auto]

Forward, backward and moving averages over 65,536 vectors of 64 numbers and 512 codes. Wrong indices
are counted on unclustered data, where neighbours are nearly equally near, against distances in
float64.
"""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from measure import (
    GEMM,
    Work,
    alternate,
    begin,
    ceilings,
    growth,
    installed,
    peak_mib,
    ratio,
    record,
)
from torch import Tensor, nn

from oasis_utils.models.quantizer import VectorQuantizer, nearest_code

VECTORS, DIM, CODES = 65_536, 64, 512


class Textbook(nn.Module):
    """The form of most public code: all distances, a one-hot matrix, two products with it."""

    def __init__(
        self, n_codes: int = CODES, dim: int = DIM, decay: float = 0.99, commitment: float = 0.25
    ):
        super().__init__()
        self.decay, self.commitment = decay, commitment
        self.register_buffer("codebook", torch.randn(n_codes, dim))
        self.register_buffer("counts", torch.zeros(n_codes))
        self.register_buffer("sums", self.codebook.clone())

    def nearest(self, flat: Tensor) -> Tensor:
        distances = (
            flat.square().sum(1, keepdim=True)
            + self.codebook.square().sum(1)
            - 2 * flat @ self.codebook.t()
        )
        return distances.argmin(1)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        x = latents.permute(0, 2, 3, 1).contiguous()
        flat = x.view(-1, x.shape[-1])
        one_hot = F.one_hot(self.nearest(flat), len(self.codebook)).to(flat.dtype)
        codes = (one_hot @ self.codebook).view(x.shape)
        if self.training:
            self._update(flat.detach(), one_hot)
        loss = self.commitment * F.mse_loss(codes.detach(), x)
        return (x + (codes - x).detach()).permute(0, 3, 1, 2), loss

    @torch.no_grad()
    def _update(self, flat: Tensor, one_hot: Tensor) -> None:
        self.counts.mul_(self.decay).add_(one_hot.sum(0), alpha=1 - self.decay)
        self.sums.mul_(self.decay).add_(one_hot.t() @ flat, alpha=1 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + 1e-5) / (total + len(self.counts) * 1e-5) * total
        self.codebook.copy_(self.sums / smoothed[:, None])


def ours(n_codes: int = CODES) -> VectorQuantizer:
    return VectorQuantizer(n_codes, DIM, kmeans_init=False)


def trained(quantizer: nn.Module, latents: Tensor) -> Work:
    """A call that quantises the latents and runs backward through codes and loss."""

    def work() -> None:
        x = latents.detach().requires_grad_()
        found = quantizer(x)
        codes, loss = (found.codes, found.loss) if hasattr(found, "codes") else (found[0], found[1])
        (codes.sum() + loss).backward()

    return work


class Lucidrains(nn.Module):
    def __init__(self):
        super().__init__()
        from vector_quantize_pytorch import VectorQuantize

        self.layer = VectorQuantize(
            dim=DIM, codebook_size=CODES, decay=0.99, commitment_weight=0.25, accept_image_fmap=True
        )

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        codes, _, loss = self.layer(latents)
        return codes, loss.sum()


def monai() -> nn.Module:
    from monai.networks.layers.vector_quantizer import EMAQuantizer

    return EMAQuantizer(
        spatial_dims=2, num_embeddings=CODES, embedding_dim=DIM, decay=0.99, embedding_init="normal"
    )


def peers() -> dict[str, nn.Module]:
    """The layers of other libraries, as far as they are installed."""
    known = {"monai": ("monai", monai), "lucidrains": ("vector_quantize_pytorch", Lucidrains)}
    return {name: make() for name, (package, make) in known.items() if installed(package)}


def latent_map(vectors: int, device: torch.device) -> Tensor:
    return torch.randn(vectors // 4096, DIM, 64, 64, device=device).contiguous(
        memory_format=torch.channels_last
    )


def wrong_indices(device: torch.device) -> dict[str, int]:
    """Of 65,536 vectors, how many get another code than in float64: ours and the textbook, plain
    and under autocast.
    """
    torch.manual_seed(0)
    flat, textbook = torch.randn(VECTORS, DIM, device=device), Textbook().to(device)
    exact = torch.cat(
        [
            torch.cdist(part.double(), textbook.codebook.double()).argmin(1)
            for part in flat.split(4096)
        ]
    )
    found = {}
    for suffix, autocast in (("", False), ("_autocast", True)):
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast), torch.no_grad():
            found["ours" + suffix] = int((nearest_code(flat, textbook.codebook) != exact).sum())
            found["textbook" + suffix] = int((textbook.nearest(flat) != exact).sum())
    return found


def sized(vectors: int, codes: int, device: torch.device) -> Work:
    return trained(ours(codes).to(device), latent_map(vectors, device))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = begin(options.device)
    latents = latent_map(VECTORS, device)
    models = {"ours": ours(), "textbook": Textbook()} | peers()
    cases = {name: trained(model.to(device).train(), latents) for name, model in models.items()}
    times = alternate(cases, options.rounds, device)
    figures = {f"vs_{peer}": ratio(times, peer) for peer in list(models)[1:]}
    grown = growth(
        {
            "vectors": ([16_384, 32_768, 65_536, 131_072], lambda n: sized(n, CODES, device)),
            "codes": ([256, 512, 1024, 2048], lambda n: sized(VECTORS, n, device)),
        },
        device,
        calls=7,
    )
    memory, wrong = (
        {name: peak_mib(work, device) for name, work in cases.items()},
        wrong_indices(device),
    )
    milliseconds = {name: sorted(values)[len(values) // 2] * 1e3 for name, values in times.items()}
    work, limits = (
        2 * VECTORS * CODES * DIM / 1e9,
        ceilings(device),
    )  # the distances; nothing else multiplies matrices
    record(
        "quantizer",
        {
            **{name: value["median"] for name, value in figures.items()},
            "extra_mib": memory["ours"],
            "wrong_indices": wrong["ours"] + wrong["ours_autocast"],
            "spread": figures,
            "milliseconds": milliseconds,
            "gflop": work,
            "ceilings": limits,
            "share_of_gemm": 1e3 * work / milliseconds["ours"] / limits[GEMM],
            "mib": memory,
            "wrong": wrong,
            "vectors": VECTORS,
            "dim": DIM,
            "codes": CODES,
            "growth": grown,
        },
        device,
    )


if __name__ == "__main__":
    main()
