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
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from oasis_utils.config import VQVAEConfig
from oasis_utils.metrics import image_quality as metrics
from oasis_utils.models.quantizer import Quantized, VectorQuantizer
from oasis_utils.models.trainable import Trainable
from oasis_utils.runtime import processes

FOLDED_PIXELS = 4  # a side, into channels, at either end


class ResidualBlock(nn.Module):
    """x + conv1x1(relu(conv3x3(relu(x)))) (section 4.1).

    Args:
        channels: of the input and the output.
    """

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
        """The features with what the two convolutions add to them."""
        return x + self.layers(x)


def _halvings(config: VQVAEConfig) -> int:
    return int(math.log2(config.downsampling // FOLDED_PIXELS))


def build_encoder(config: VQVAEConfig) -> nn.Sequential:
    """Image (batch 1 size size) to latents (batch code_dim grid grid).

    Args:
        config: sizes of the network.

    Returns:
        The layers in order; strided convolutions only where `downsampling` is above 4.
    """
    channels, halvings = config.channels, _halvings(config)
    widths = [max(channels // 2 ** (halvings - i), 32) for i in range(halvings)] + [channels]
    layers: list[nn.Module] = [
        nn.PixelUnshuffle(FOLDED_PIXELS),
        nn.Conv2d(FOLDED_PIXELS**2, widths[0], 3, padding=1),
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
    """Codes (batch code_dim grid grid) to image (batch 1 size size).

    Args:
        config: sizes of the network.

    Returns:
        The layers in order; each pixel shuffle doubles the grid.
    """
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
        nn.PixelUnshuffle(FOLDED_PIXELS),
        nn.Conv2d(FOLDED_PIXELS**2, 32, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(64, 1, 3, padding=1),
    )


class VQVAE(Trainable):
    """Images to index maps and back; decode_indices(encode_indices(x)) == reconstruct(x).

    Args:
        config: sizes of the network and of the codebook, weights of the losses.

    Reference:
        Neural Discrete Representation Learning (van den Oord 2017, arXiv 1711.00937).
    """

    Config = VQVAEConfig
    version = 1  # of this code and all it uses: raise it when tests/test_golden.py says so
    monitor = ("ssim", "max")
    steps: Tensor  # made so far; only with a discriminator
    _reconstructions: Tensor  # of the last step of the autoencoder

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
            kmeans_init=config.kmeans,
        )
        self.phases = ("autoencoder",)
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
        """Images to continuous latents.

        Args:
            images: grey levels in [0, 1], of the size that the model was made for.

        Returns:
            code_dim numbers for each cell of the code grid.

        Raises:
            ValueError: the images have another size.
        """
        size = self.config.image_size
        if tuple(images.shape[-2:]) != (size, size):
            raise ValueError(
                f"this VQ-VAE takes {size}x{size} slices, not"
                f" {images.shape[-2]}x{images.shape[-1]}: prepare the data with image_size={size}"
            )
        return self.encoder(images.contiguous(memory_format=torch.channels_last))

    def quantize(self, latents: Float[Tensor, "batch dim rows cols"]) -> Quantized:
        """The nearest code of each latent; in training mode the codebook learns from them."""
        return self.quantizer(latents)

    def decode(
        self, codes: Float[Tensor, "batch dim rows cols"]
    ) -> Float[Tensor, "batch 1 height width"]:
        """Code vectors to images; nearly in [0, 1], not clamped."""
        return self.decoder(codes)

    def encode_indices(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> Int[Tensor, "batch rows cols"]:
        """Images in [0, 1] to index maps with codes in [0, n_codes)."""
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
        """The parameters of the autoencoder, codebook included, and of the discriminator."""
        discriminator = (
            list(self.discriminator.parameters()) if "discriminator" in self.phases else []
        )
        others = {id(parameter) for parameter in discriminator}
        return {
            "autoencoder": [p for p in self.parameters() if id(p) not in others],
            "discriminator": discriminator,
        }

    def hidden_kernels(self) -> list[Tensor]:
        """Kernels of encoder and decoder, but those that meet the pixels."""
        layers = [*self.encoder.modules(), *self.decoder.modules()]
        return [layer.weight for layer in layers if isinstance(layer, nn.Conv2d)][1:-1]

    def step(self, batch: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Losses of one batch: reconstruction and commitment (first and third term of eq. 3).

        Args:
            batch: "images" in [0, 1].
            phase: "autoencoder" or "discriminator".

        Returns:
            Of the autoencoder what `losses` returns, and with a discriminator also "adversarial"
            and "adversarial_weight"; of the discriminator "loss" and "accuracy".
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
        """The loss of the autoencoder and its terms.

        Args:
            output: reconstructions, not clamped, so that no gradient is lost.
            images: originals in [0, 1].
            quantized: the codes that the reconstructions were decoded from.

        Returns:
            "loss", the sum; its terms before their weights: "l1" or "mse", "1-ssim"; and the
            weighted "commitment".

        Reference:
            van den Oord 2017 (arXiv 1711.00937), eq. 3; SSIM loss: Zhao 2017 (arXiv 1511.08861).
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
        self._reconstructions = output.detach()  # for the discriminator's turn
        adversarial = -self.discriminator(output).float().mean()
        last = self.decoder[-2]
        assert isinstance(last, nn.Conv2d)
        gradients = (
            torch.autograd.grad(term, last.weight, retain_graph=True)[0]
            for term in (loss, adversarial)
        )
        of_loss, of_adversarial = (processes.mean(g, len(output)).norm() for g in gradients)
        gate = (self.steps >= self.config.adversarial_start).float()
        ratio = (of_loss / (of_adversarial + 1e-4)).clamp(max=1e4)
        weight = gate * self.config.adversarial_weight * ratio
        self.steps += 1
        return {
            "loss": loss + weight * adversarial,
            "adversarial": adversarial,
            "adversarial_weight": weight,
        }

    def _discriminator_step(self, images: Tensor) -> dict[str, Tensor]:
        """Hinge loss on the images and on what the autoencoder made of them a moment ago."""
        real, fake = (
            self.discriminator(images).float(),
            self.discriminator(self._reconstructions).float(),
        )
        loss = 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
        return {
            "loss": loss,
            "accuracy": 0.5 * ((real > 0).float().mean() + (fake < 0).float().mean()),
        }

    @torch.no_grad()
    def validate(self, batches: Iterable[dict[str, Tensor]]) -> dict[str, float]:
        """Means over the whole split, and how the codebook is used.

        Args:
            batches: of the held-out split.

        Returns:
            ssim, psnr (dB) and validation_loss: means over all images.
            used_fraction and perplexity: of the codes of the split; with the prefix "training_" of
                those since training mode was set.
        """
        sums: dict[str, float] = dict.fromkeys(("ssim", "psnr", "validation_loss"), 0.0)
        count = 0
        uses = torch.zeros_like(self.quantizer.uses)
        for _, batch in processes.in_turn(batches):
            images = batch["images"]
            quantized = self.quantize(self.encode(images))
            raw = self.decode(self.quantizer.lookup(quantized.indices)).float()
            output = raw.clamp(0, 1)
            found = {
                "ssim": metrics.ssim(output, images).sum(),
                "psnr": metrics.psnr(output, images).clamp(max=metrics.PSNR_LIMIT).sum(),
                "validation_loss": self.losses(raw, images, quantized)["loss"] * len(images),
            }
            sums = {name: sums[name] + float(value) for name, value in found.items()}
            uses += torch.bincount(quantized.indices.flatten(), minlength=self.config.n_codes)
            count += len(images)
        count, *values = processes.totals([count, *sums.values()])
        means = dict(zip(sums, (value / count for value in values), strict=True))
        means |= _use(processes.summed(uses))
        if self.quantizer.uses.any():
            means |= {
                f"training_{name}": value for name, value in _use(self.quantizer.uses).items()
            }
        return means


def _use(counts: Float[Tensor, " n_codes"]) -> dict[str, float]:
    """Share of codes that occur, and exp(entropy) of their shares."""
    share = counts[counts > 0] / counts.sum()
    return {
        "used_fraction": float((counts > 0).float().mean()),
        "perplexity": float(torch.exp(-(share * share.log()).sum())),
    }
