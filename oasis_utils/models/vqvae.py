"""VQ-VAE: a convolutional encoder and decoder around a codebook.

Neural Discrete Representation Learning (van den Oord 2017, arXiv 1711.00937), section 3 and 4.1.
Two changes, both for speed and sharpness: images enter and leave through pixel shuffling instead of
convolutions over one channel, and the reconstruction loss is L1 + SSIM instead of squared error
(SSIM loss: Zhao 2017, arXiv 1511.08861). On request a patch discriminator sharpens the decoder
(VQGAN: Esser 2021, arXiv 2012.09841, section 3.1 and eq. 7).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from oasis_utils.config import VQVAEConfig
from oasis_utils.metrics import image_quality as metrics
from oasis_utils.models.quantizer import Quantized, VectorQuantizer

PATCH = 4  # pixels folded into channels at either end


class ResidualBlock(nn.Module):
    """x + conv1x1(relu(conv3x3(relu(x)))) (section 4.1)."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels // 2, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels // 2, channels, 1),
        )

    def forward(
        self, x: Float[Tensor, "batch channels rows cols"]
    ) -> Float[Tensor, "batch channels rows cols"]:
        return x + self.layers(x)


def _halvings(config: VQVAEConfig) -> int:
    return int(math.log2(config.downsampling // PATCH))


def build_encoder(config: VQVAEConfig) -> nn.Sequential:
    """Image (batch 1 size size) to latents (batch code_dim grid grid)."""
    channels, halvings = config.channels, _halvings(config)
    widths = [max(channels // 2 ** (halvings - i), 32) for i in range(halvings)] + [channels]
    layers: list[nn.Module] = [
        nn.PixelUnshuffle(PATCH),
        nn.Conv2d(PATCH**2, widths[0], 3, padding=1),
    ]
    for narrow, wide in itertools.pairwise(widths):
        layers += [
            ResidualBlock(narrow),
            nn.ReLU(),
            nn.Conv2d(narrow, wide, 4, stride=2, padding=1),
        ]
    layers += [ResidualBlock(channels) for _ in range(config.residual_blocks)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(channels, config.code_dim, 1))


def build_decoder(config: VQVAEConfig) -> nn.Sequential:
    """Codes (batch code_dim grid grid) to image (batch 1 size size)."""
    channels, halvings = config.channels, _halvings(config)
    widths = [channels] + [max(channels // 2 ** (i + 1), 32) for i in range(halvings)]
    layers: list[nn.Module] = [nn.Conv2d(config.code_dim, channels, 3, padding=1)]
    layers += [ResidualBlock(channels) for _ in range(config.residual_blocks)]
    for wide, narrow in itertools.pairwise(widths):
        layers += [
            nn.ReLU(),
            nn.Conv2d(wide, 4 * narrow, 3, padding=1),
            nn.PixelShuffle(2),
            ResidualBlock(narrow),
        ]
    return nn.Sequential(
        *layers,
        nn.ReLU(),
        nn.Conv2d(widths[-1], 4 * 16, 3, padding=1),
        nn.PixelShuffle(2),
        nn.ReLU(),
        nn.Conv2d(16, 4, 3, padding=1),
        nn.PixelShuffle(2),
    )


def build_discriminator() -> nn.Sequential:
    """Image (batch 1 size size) to a map of scores, higher is more real; each sees a patch of 28
    pixels (PatchGAN: Isola 2017, arXiv 1611.07004). No normalisation, as there are few images in a
    batch.
    """
    return nn.Sequential(
        nn.PixelUnshuffle(PATCH),
        nn.Conv2d(PATCH**2, 32, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 1, 3, padding=1),
    )


class VQVAE(nn.Module):
    """Images to index maps and back. Law: decode_indices(encode_indices(x)) == reconstruct(x)."""

    Config = VQVAEConfig
    version = 1  # of this code and all it uses: raise it when tests/test_golden.py says so
    monitor = ("ssim", "max")  # the validation metric that chooses the best checkpoint

    def __init__(self, config: VQVAEConfig):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = build_encoder(config), build_decoder(config)
        self.quantizer = VectorQuantizer(
            config.n_codes,
            config.code_dim,
            decay=config.codebook_decay,
            commitment=config.commitment,
            revive_below=config.revive_below,
            cosine=config.cosine,
            learning=config.codebook,
            gradient=config.gradient,
            start=config.kmeans,
        )
        self.phases: tuple[str, ...] = ("autoencoder",)
        if config.adversarial_weight:
            self.phases += ("discriminator",)
            self.discriminator = build_discriminator()
            # saved, so that the warm-up is not repeated
            self.register_buffer("steps", torch.tensor(0))
        self.to(memory_format=torch.channels_last)

    # ------------------------------------------------------------ verbs

    def encode(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, "batch dim rows cols"]:
        """Images in [0, 1] to continuous latents."""
        size = self.config.image_size
        if tuple(images.shape[-2:]) != (size, size):
            raise ValueError(
                f"this VQ-VAE takes {size}x{size} slices, not"
                f" {images.shape[-2]}x{images.shape[-1]}: prepare the data with image_size={size}"
            )
        return self.encoder(images.contiguous(memory_format=torch.channels_last))

    def quantize(self, latents: Float[Tensor, "batch dim rows cols"]) -> Quantized:
        return self.quantizer(latents)

    def decode(
        self, codes: Float[Tensor, "batch dim rows cols"]
    ) -> Float[Tensor, "batch 1 height width"]:
        """Code vectors to images; nearly in [0, 1], not clamped."""
        return self.decoder(codes)

    def encode_indices(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> Int[Tensor, "batch rows cols"]:
        return self.quantize(self.encode(images)).indices

    def decode_indices(
        self, indices: Int[Tensor, "batch rows cols"]
    ) -> Float[Tensor, "batch 1 height width"]:
        """Index maps to images in [0, 1]; ValueError for an index outside [0, n_codes)."""
        return self.decode(self.quantizer.lookup(indices)).float().clamp(0, 1)

    def reconstruct(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, "batch 1 height width"]:
        """Images through the codes and back, in [0, 1]."""
        return self.decode_indices(self.encode_indices(images))

    # ------------------------------------------------------------ training

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        discriminator = (
            list(self.discriminator.parameters()) if "discriminator" in self.phases else []
        )
        others = {id(parameter) for parameter in discriminator}
        return {
            "autoencoder": [p for p in self.parameters() if id(p) not in others],
            "discriminator": discriminator,
        }

    def step(self, batch: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Losses of one batch {"images"}: reconstruction and commitment (first and third term of
        eq. 3).
        """
        images = batch["images"]
        if phase == "discriminator":
            return self._discriminator_step(images)
        quantized = self.quantize(self.encode(images))
        output = self.decode(quantized.codes).float()
        losses = self.losses(output, images, quantized)
        if "discriminator" in self.phases:
            losses |= self._adversarial(output, losses["loss"])
        return losses

    def losses(
        self,
        output: Float[Tensor, "batch 1 height width"],
        images: Float[Tensor, "batch 1 height width"],
        quantized: Quantized,
    ) -> dict[str, Tensor]:
        """{"loss", its pixel term by name, "1-ssim", "commitment"}; `output` is not clamped, so no
        gradient is lost.
        """
        pixels = (F.l1_loss if self.config.pixel_loss == "l1" else F.mse_loss)(output, images)
        structure = 1 - metrics.ssim(output, images).mean()
        loss = pixels + self.config.ssim_weight * structure + quantized.loss
        return {
            "loss": loss,
            self.config.pixel_loss: pixels,
            "1-ssim": structure,
            "commitment": quantized.loss,
        }

    def _adversarial(self, output: Tensor, loss: Tensor) -> dict[str, Tensor]:
        """The loss with the adversarial term, scaled by the gradients at the last layer (VQGAN,
        eq. 7).
        """
        self._output = output.detach()  # for the discriminator's turn
        adversarial = -self.discriminator(output).float().mean()
        last = self.decoder[-2].weight
        ours, theirs = (
            torch.autograd.grad(term, last, retain_graph=True)[0].norm()
            for term in (loss, adversarial)
        )
        gate = (self.steps >= self.config.adversarial_start).float()
        weight = gate * self.config.adversarial_weight * (ours / (theirs + 1e-4)).clamp(max=1e4)
        self.steps += 1
        return {
            "loss": loss + weight * adversarial,
            "opinion": adversarial,  # names of the history files
            "opinion_weight": weight,
        }

    def _discriminator_step(self, images: Tensor) -> dict[str, Tensor]:
        """Hinge loss on the images and on what the autoencoder made of them a moment ago."""
        real, fake = self.discriminator(images).float(), self.discriminator(self._output).float()
        loss = 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
        return {
            "loss": loss,
            "accuracy": 0.5 * ((real > 0).float().mean() + (fake < 0).float().mean()),
        }

    @torch.no_grad()
    def validate(self, batches) -> dict[str, float]:
        """Means over the whole split, and the codebook's use over it and over the training since
        `train()`.
        """
        sums, count = {}, 0
        uses = torch.zeros_like(self.quantizer.uses)
        for batch in batches:
            images = batch["images"]
            quantized = self.quantize(self.encode(images))
            raw = self.decode(self.quantizer.lookup(quantized.indices)).float()
            output = raw.clamp(0, 1)
            found = {
                "ssim": metrics.ssim(output, images).sum(),
                "psnr": metrics.psnr(output, images).clamp(max=metrics.PSNR_LIMIT).sum(),
                "validation_loss": self.losses(raw, images, quantized)["loss"] * len(images),
            }
            sums = {name: sums.get(name, 0.0) + float(value) for name, value in found.items()}
            uses += torch.bincount(quantized.indices.flatten(), minlength=self.config.n_codes)
            count += len(images)
        figures = {name: value / count for name, value in sums.items()} | _use(uses)
        if self.quantizer.uses.any():
            figures |= {
                f"training_{name}": value for name, value in _use(self.quantizer.uses).items()
            }
        return figures


def _use(counts: Float[Tensor, " n_codes"]) -> dict[str, float]:
    """Share of codes that occur, and exp(entropy) of their shares."""
    share = counts[counts > 0] / counts.sum()
    return {
        "used_fraction": float((counts > 0).float().mean()),
        "perplexity": float(torch.exp(-(share * share.log()).sum())),
    }
