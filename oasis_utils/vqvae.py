"""VQ-VAE: a convolutional encoder and decoder around a codebook.

Neural Discrete Representation Learning (van den Oord 2017, arXiv 1711.00937), section 3 and 4.1. Two changes, both for
speed and sharpness: images enter and leave through pixel shuffling instead of convolutions over one channel, and the
reconstruction loss is L1 + SSIM instead of squared error (SSIM loss: Zhao 2017, arXiv 1511.08861).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from oasis_utils import metrics
from oasis_utils.config import VQVAEConfig
from oasis_utils.quantizer import Quantized, VectorQuantizer

PATCH = 4  # pixels folded into channels at either end


class ResidualBlock(nn.Module):
    """x + conv1x1(relu(conv3x3(relu(x)))) (section 4.1)."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, channels // 2, 3, padding=1),
            nn.ReLU(), nn.Conv2d(channels // 2, channels, 1))

    def forward(self, x: Float[Tensor, "batch channels rows cols"]) -> Float[Tensor, "batch channels rows cols"]:
        return x + self.layers(x)


def _halvings(config: VQVAEConfig) -> int:
    return int(math.log2(config.downsampling // PATCH))


def build_encoder(config: VQVAEConfig) -> nn.Sequential:
    """Image (batch 1 size size) to latents (batch code_dim grid grid)."""
    channels, halvings = config.channels, _halvings(config)
    widths = [max(channels // 2 ** (halvings - i), 32) for i in range(halvings)] + [channels]
    layers: list[nn.Module] = [nn.PixelUnshuffle(PATCH), nn.Conv2d(PATCH**2, widths[0], 3, padding=1)]
    for narrow, wide in zip(widths, widths[1:], strict=False):
        layers += [ResidualBlock(narrow), nn.ReLU(), nn.Conv2d(narrow, wide, 4, stride=2, padding=1)]
    layers += [ResidualBlock(channels) for _ in range(config.residual_blocks)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(channels, config.code_dim, 1))


def build_decoder(config: VQVAEConfig) -> nn.Sequential:
    """Codes (batch code_dim grid grid) to image (batch 1 size size)."""
    channels, halvings = config.channels, _halvings(config)
    widths = [channels] + [max(channels // 2 ** (i + 1), 32) for i in range(halvings)]
    layers: list[nn.Module] = [nn.Conv2d(config.code_dim, channels, 3, padding=1)]
    layers += [ResidualBlock(channels) for _ in range(config.residual_blocks)]
    for wide, narrow in zip(widths, widths[1:], strict=False):
        layers += [nn.ReLU(), nn.Conv2d(wide, 4 * narrow, 3, padding=1), nn.PixelShuffle(2), ResidualBlock(narrow)]
    return nn.Sequential(
        *layers, nn.ReLU(), nn.Conv2d(widths[-1], 4 * 16, 3, padding=1), nn.PixelShuffle(2),
        nn.ReLU(), nn.Conv2d(16, 4, 3, padding=1), nn.PixelShuffle(2))


class VQVAE(nn.Module):
    """Images to index maps and back. Law: decode_indices(encode_indices(x)) == reconstruct(x)."""

    Config = VQVAEConfig
    phases = ("autoencoder",)
    monitor = ("ssim", "max")  # the validation figure that chooses the best checkpoint

    def __init__(self, config: VQVAEConfig):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = build_encoder(config), build_decoder(config)
        self.quantizer = VectorQuantizer(config.n_codes, config.code_dim, config.codebook_decay, config.commitment,
                                         config.revive_below, config.cosine)
        self.to(memory_format=torch.channels_last)

    # ------------------------------------------------------------ verbs

    def encode(self, images: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch dim rows cols"]:
        """Images in [0, 1] to continuous latents."""
        size = self.config.image_size
        if tuple(images.shape[-2:]) != (size, size):
            raise ValueError(f"this VQ-VAE takes {size}x{size} slices, not {images.shape[-2]}x{images.shape[-1]}: "
                             f"prepare the data with image_size={size}")
        return self.encoder(images.contiguous(memory_format=torch.channels_last))

    def quantize(self, latents: Float[Tensor, "batch dim rows cols"]) -> Quantized:
        return self.quantizer(latents)

    def decode(self, codes: Float[Tensor, "batch dim rows cols"]) -> Float[Tensor, "batch 1 height width"]:
        """Code vectors to images; nearly in [0, 1], not clamped."""
        return self.decoder(codes)

    def encode_indices(self, images: Float[Tensor, "batch 1 height width"]) -> Int[Tensor, "batch rows cols"]:
        return self.quantize(self.encode(images)).indices

    def decode_indices(self, indices: Int[Tensor, "batch rows cols"]) -> Float[Tensor, "batch 1 height width"]:
        """Index maps to images in [0, 1]; ValueError for an index outside [0, n_codes)."""
        return self.decode(self.quantizer.lookup(indices)).float().clamp(0, 1)

    def reconstruct(self, images: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 1 height width"]:
        """Images through the codes and back, in [0, 1]."""
        return self.decode_indices(self.encode_indices(images))

    # ------------------------------------------------------------ training

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"autoencoder": list(self.parameters())}

    def step(self, batch: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Losses of one batch {"images"}: L1 + ssim_weight (1 - SSIM) + commitment (eq. 3, first and third term)."""
        images = batch["images"]
        quantized = self.quantize(self.encode(images))
        output = self.decode(quantized.codes).float()
        absolute = F.l1_loss(output, images)
        structure = 1 - metrics.ssim(output, images).mean()
        loss = absolute + self.config.ssim_weight * structure + quantized.loss
        return {"loss": loss, "l1": absolute, "1-ssim": structure, "commitment": quantized.loss}

    @torch.no_grad()
    def validate(self, batches) -> dict[str, float]:
        """Mean SSIM and PSNR, and the codebook's use over the whole split."""
        totals, count = {"ssim": 0.0, "psnr": 0.0, "l1": 0.0}, 0
        uses = torch.zeros(self.config.n_codes, device=self.quantizer.codebook.device)
        for batch in batches:
            images = batch["images"]
            indices = self.encode_indices(images)
            output = self.decode_indices(indices)
            totals["ssim"] += float(metrics.ssim(output, images).sum())
            totals["psnr"] += float(metrics.psnr(output, images).clamp(max=metrics.PSNR_LIMIT).sum())
            totals["l1"] += float((output - images).abs().mean(dim=(1, 2, 3)).sum())
            uses += torch.bincount(indices.flatten(), minlength=self.config.n_codes)
            count += len(images)
        share = uses[uses > 0] / uses.sum()
        perplexity = float(torch.exp(-(share * share.log()).sum()))
        return {**{name: value / count for name, value in totals.items()},
                "used_fraction": float((uses > 0).float().mean()), "perplexity": perplexity}
