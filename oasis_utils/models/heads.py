"""Generates whole heads: stacks of slices that belong together, one for each seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from oasis_utils.models.checkpoints import CheckpointError, input_of, load_model, weights_digest
from oasis_utils.models.codes import decode_maps
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.drawing import AS_LEARNED, SamplingOptions
from oasis_utils.models.head_priors import (
    DCGANHeads,
    GaussianHeads,
    HeadPrior,
    OnSlices,
    PixelCNNHeads,
)
from oasis_utils.models.neighbour_pixelcnn import NeighbourPixelCNN
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.sampler import DRAWN_AT_ONCE, load_sampler
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import Progress, RunFolder, atomic
from oasis_utils.runtime.gpu import exclusively

HEADS_AT_ONCE = 32
HEAD_PRIORS = ("pixelcnn", "dcgan", "gaussian")
NEIGHBOUR = "pixelcnn_neighbour"  # name of the checkpoint of the PixelCNN told the next slice


@dataclass(frozen=True)
class Heads:
    """Generated heads, each a stack of slices from the lowest to the highest position.

    Attributes:
        images: grey levels in [0, 255].
        indices: the codes, in [0, n_codes).
        ages: the ages asked for, in years, nan for none.
    """

    images: UInt8[np.ndarray, "heads positions height width"]
    indices: Integer[np.ndarray, "heads positions rows cols"]
    ages: Float[np.ndarray, " heads"]

    def save(self, path: str | Path) -> None:
        """An .npz file with the keys images, indices, ages."""
        with atomic(path) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, images=self.images, indices=self.indices, ages=self.ages)


class HeadSampler:
    """A VQ-VAE and a distribution of heads in its codes.

    Args:
        vqvae: decodes index maps.
        prior: draws heads, on the device of the VQ-VAE.
    """

    def __init__(self, vqvae: VQVAE, prior: HeadPrior):
        self.vqvae, self.prior = vqvae.eval(), prior
        self.device = vqvae.quantizer.codebook.device

    @property
    def name(self) -> str:
        """Name of the prior, for titles."""
        return self.prior.name

    @property
    def n_positions(self) -> int:
        """Slices of a head."""
        return self.prior.config.n_positions

    @property
    def knows_age(self) -> bool:
        """Whether an age can be asked for."""
        return self.prior.config.knows_age

    @exclusively
    @torch.inference_mode()
    def draw(
        self,
        seeds: list[int],
        options: SamplingOptions | None = None,
        ages: Float[np.ndarray, " heads"] | None = None,
        on_slices: OnSlices = lambda _: None,
    ) -> Integer[np.ndarray, "heads positions rows cols"]:
        """Heads as stacks of index maps.

        Args:
            seeds: one for each head; the same seed gives the same head in any batch.
            options: temperature, top-k and top-p, if the prior supports them.
            ages: years, nan where unknown; None: all unknown.
            on_slices: called with the number of slices drawn so far.

        Returns:
            Indices in [0, n_codes).
        """
        known = None if ages is None else torch.from_numpy(np.asarray(ages, np.float32))
        known = None if known is None else known.to(self.device)
        drawn = self.prior.draw(seeds, known, options or AS_LEARNED, on_slices)
        return self._settled(drawn).cpu().numpy()

    def _settled(self, heads: Tensor) -> Tensor:
        """The codes of the decoded maps, if the prior is one whose maps are settled."""
        if not self.prior.settled:
            return heads
        parts = heads.flatten(0, 1).split(DRAWN_AT_ONCE)
        maps = [self.vqvae.encode_indices(self.vqvae.decode_indices(part)) for part in parts]
        return torch.cat(maps).view_as(heads)

    def sample(
        self,
        seeds: list[int],
        options: SamplingOptions | None = None,
        progress: Progress | None = None,
        ages: Float[np.ndarray, " heads"] | None = None,
    ) -> Heads:
        """Heads at these ages, one for each seed.

        Args:
            seeds: one for each head; the same seed gives the same head in any batch.
            options: temperature, top-k and top-p, if the prior supports them.
            progress: updated with the number of slices drawn so far.
            ages: years, nan where unknown; None: all unknown.

        Returns:
            The decoded slices and their codes.
        """
        parts = []
        for begin in range(0, len(seeds), HEADS_AT_ONCE):
            part = slice(begin, begin + HEADS_AT_ONCE)

            def report(slices: int, before: int = begin * self.n_positions) -> None:
                if progress:
                    progress.update(before + slices)

            asked = None if ages is None else ages[part]
            parts.append(self.draw(seeds[part], options, asked, report))
            report(len(parts[-1]) * self.n_positions)
        indices = np.concatenate(parts)
        flat = decode_maps(self.vqvae, indices.reshape(-1, *indices.shape[2:]))
        wanted = np.full(len(seeds), np.nan) if ages is None else np.asarray(ages)
        return Heads(
            flat.reshape(*indices.shape[:2], *flat.shape[1:]), indices, wanted.astype(np.float32)
        )


def load_head_sampler(run: RunFolder, prior: str, device: torch.device) -> HeadSampler:
    """The VQ-VAE of a run and what draws heads in its codes.

    Args:
        run: folder with the checkpoints.
        prior: "pixelcnn", "dcgan" or "gaussian".
        device: where the models are placed.

    Returns:
        A sampler of heads.

    Raises:
        ValueError: the prior is unknown.
        CheckpointError: a model is missing, or was trained with another one.
    """
    if prior not in HEAD_PRIORS:
        raise ValueError(f"unknown prior {prior!r}: choose one of {', '.join(HEAD_PRIORS)}")
    if prior == "dcgan":
        sampler = load_sampler(run, "dcgan", device)
        return HeadSampler(sampler.vqvae, DCGANHeads(cast("DCGAN", sampler.prior)))
    sampler = load_sampler(run, "pixelcnn", device)
    start, path = cast("PixelCNN", sampler.prior), run.checkpoint(NEIGHBOUR)
    if not path.exists():
        raise CheckpointError(f"{path} is missing: run notebook 10_whole_heads of this run first")
    neighbour, about = load_model(path, NeighbourPixelCNN, device)
    if input_of(about, "pixelcnn") != weights_digest(start):
        raise CheckpointError(
            f"{path} was trained from another PixelCNN: run notebook 10_whole_heads again"
        )
    if prior == "gaussian":
        return HeadSampler(sampler.vqvae, GaussianHeads(neighbour.eval()))
    return HeadSampler(sampler.vqvae, PixelCNNHeads(start, neighbour.eval()))
