"""Distributions of whole heads as stacks of index maps: by a PixelCNN that is told the neighbouring
slice, by a DCGAN with one noise vector a head, and by a Gaussian distribution as reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from oasis_utils.config import DCGANConfig, PixelCNNConfig
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.drawing import AS_LEARNED, SamplingOptions
from oasis_utils.models.neighbour_pixelcnn import ABOVE, BELOW, NeighbourPixelCNN, Neighbours
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.quantizer import nearest_code

SEEDS_OF_A_HEAD = 10_007  # more than any head has slices
SEED_OF_LAYOUTS = SEEDS_OF_A_HEAD - 1  # beyond those of the slices

OnSlices = Callable[[int], None]  # called with the number of slices drawn so far


@runtime_checkable
class HeadPrior(Protocol):
    """A distribution of heads as stacks of index maps."""

    @property
    def settled(self) -> bool:
        """Whether a sampler decodes the drawn maps and encodes them again."""
        ...

    @property
    def name(self) -> str:
        """For titles."""
        ...

    @property
    def config(self) -> Any:
        """With n_positions and knows_age."""
        ...

    def draw(
        self,
        seeds: list[int],
        ages: Float[Tensor, " heads"] | None,
        options: SamplingOptions,
        on_slices: OnSlices,
    ) -> Int[Tensor, "heads positions rows cols"]:
        """One head for each seed, the same in any batch up to rounding."""
        ...


@dataclass(frozen=True)
class PixelCNNHeads:
    """The slice of one position from a PixelCNN, then its neighbours one by one, upwards and
    downwards, each told the slice drawn before it.

    Attributes:
        start: draws the first slice.
        neighbour: draws all others.
        first: position of the first slice; None: the middle of the stack.
    """

    start: PixelCNN
    neighbour: NeighbourPixelCNN
    first: int | None = None
    settled = False
    name = "PixelCNN"

    @property
    def config(self) -> PixelCNNConfig:
        """Of the network that draws the first slice."""
        return self.start.config

    @torch.no_grad()
    def draw(
        self,
        seeds: list[int],
        ages: Float[Tensor, " heads"] | None = None,
        options: SamplingOptions = AS_LEARNED,
        on_slices: OnSlices = lambda _: None,
    ) -> Int[Tensor, "heads positions rows cols"]:
        """One head for each seed."""
        config, device = self.start.config, self.start.cell_bias.device
        first = config.n_positions // 2 if self.first is None else self.first
        heads = torch.zeros(
            len(seeds), config.n_positions, config.grid, config.grid, dtype=torch.long
        ).to(device)
        at_first = torch.full((len(seeds),), first, device=device)
        layouts = self.neighbour.layouts_of_heads(seeds_of_slices(seeds, SEED_OF_LAYOUTS), ages)
        noise = self.start.noise_with_layouts(
            self.start.noise(seeds_of_slices(seeds, first)),
            None if layouts is None else layouts[:, first],
        )
        heads[:, first] = self.start.sample(at_first, noise, options, ages=ages)
        drawn = len(seeds)
        for away in range(1, config.n_positions):
            ends = [(first - away, ABOVE), (first + away, BELOW)]
            ends = [(at, side) for at, side in ends if 0 <= at < config.n_positions]
            if not ends:
                break
            maps = self._beside(heads, ends, layouts, seeds, ages, options)
            for (position, _), told in zip(ends, maps, strict=True):
                heads[:, position] = told
            drawn += len(seeds) * len(ends)
            on_slices(drawn)
        return heads

    def _beside(
        self,
        heads: Tensor,
        ends: list[tuple[int, int]],
        layouts: Tensor | None,
        seeds: list[int],
        ages: Tensor | None,
        options: SamplingOptions,
    ) -> list[Tensor]:
        """Maps at these positions, each told the drawn neighbour on that side."""
        known = [heads[:, at + (1 if side == ABOVE else -1)] for at, side in ends]
        each = torch.full((len(seeds),), 1, device=heads.device)
        told = Neighbours(
            torch.cat(known),
            torch.cat([side * each for _, side in ends]),
            None if layouts is None else torch.cat([layouts[:, at] for at, _ in ends]),
        )
        maps = self.neighbour.sample(
            torch.cat([at * each for at, _ in ends]),
            self.neighbour.noise([s for at, _ in ends for s in seeds_of_slices(seeds, at)]),
            told,
            options,
            ages=None if ages is None else ages.repeat(len(ends)),
        )
        return list(maps.split(len(seeds)))


@dataclass(frozen=True)
class DCGANHeads:
    """All slices of a head from one noise vector; the spatial noise changes along the stack, as an
    autoregressive process of order 1.

    Attributes:
        dcgan: draws all slices.
        correlation: of the spatial noise of neighbouring slices, in [0, 1].
    """

    dcgan: DCGAN
    correlation: float = 1.0
    name = "DCGAN"

    @property
    def config(self) -> DCGANConfig:
        """Of the DCGAN."""
        return self.dcgan.config

    @property
    def settled(self) -> bool:
        """Whether drawn maps are decoded and encoded again."""
        return self.dcgan.settled

    @torch.no_grad()
    def draw(
        self,
        seeds: list[int],
        ages: Float[Tensor, " heads"] | None = None,
        options: SamplingOptions = AS_LEARNED,
        on_slices: OnSlices = lambda _: None,
    ) -> Int[Tensor, "heads positions rows cols"]:
        """One head for each seed; ValueError for options other than the default."""
        positions, drawn = self.dcgan.config.n_positions, []
        noise = self.dcgan.noise(seeds_of_slices(seeds, 0))
        spatial, fresh = slice(self.dcgan.config.noise_dim, None), (1 - self.correlation**2) ** 0.5
        for position in range(positions):
            if position:
                new = self.dcgan.noise(seeds_of_slices(seeds, position))[:, spatial]
                kept = self.correlation * noise[:, spatial]
                noise = torch.cat([noise[:, : spatial.start], kept + fresh * new], dim=1)
            at = torch.full((len(seeds),), position, device=noise.device)
            drawn.append(self.dcgan.sample(at, noise, ages, options))
            on_slices(len(seeds) * (position + 1))
        return torch.stack(drawn, dim=1)


@dataclass(frozen=True)
class GaussianHeads:
    """The reference that needs no training: a Gaussian distribution of the layouts of all slices,
    whose linear maps are rounded to the nearest codes.

    Attributes:
        model: whose layouts are drawn.

    Reference:
        Volokitin 2020, Modelling the distribution of 3D brain MRI using a 2D slice VAE, arXiv
        2007.04780.
    """

    model: NeighbourPixelCNN
    settled = False
    name = "slice Gaussian"

    @property
    def config(self) -> PixelCNNConfig:
        """Of the model whose layouts are drawn."""
        return self.model.config

    @torch.no_grad()
    def draw(
        self,
        seeds: list[int],
        ages: Float[Tensor, " heads"] | None = None,
        options: SamplingOptions = AS_LEARNED,
        on_slices: OnSlices = lambda _: None,
    ) -> Int[Tensor, "heads positions rows cols"]:
        """One head for each seed; ValueError for a model without layouts, or options other than the
        default.
        """
        if options != AS_LEARNED:
            raise ValueError(
                "temperature, top-k and top-p need the PixelCNN: the reference rounds linear maps;"
                " choose prior pixelcnn or leave them out"
            )
        layouts = self.model.layouts_of_heads(seeds_of_slices(seeds, SEED_OF_LAYOUTS), ages)
        layout = self.model.layout
        if layouts is None or layout is None:
            raise ValueError("the reference needs a PixelCNN with layouts: train it with layout=32")
        drawn = []
        for position in range(layouts.shape[1]):
            at = torch.full((len(seeds),), position, device=layouts.device)
            vectors = layout.linear(layouts[:, position], at).permute(0, 2, 3, 1)
            codes = nearest_code(vectors.flatten(0, 2), layout.codebook)
            drawn.append(codes.view(vectors.shape[:3]))
            on_slices(len(seeds) * (position + 1))
        return torch.stack(drawn, dim=1)


def seeds_of_slices(seeds: list[int], position: int) -> list[int]:
    """The seed of one slice of each head, in [0, 2^63)."""
    return [(seed * SEEDS_OF_A_HEAD + position) % 2**63 for seed in seeds]
