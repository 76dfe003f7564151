"""A PixelCNN that is told the map of a neighbouring slice, so that its slices can be stacked to a
head.

The neighbouring map is known as a whole, so its network needs no mask: it adds features to the
gates of the first block and to those that the head reads, at every cell. Everything else is the
gated PixelCNN (van den Oord 2016, arXiv 1606.05328), whose trained weights it starts from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from oasis_utils.config import NeighbourConfig, PixelCNNConfig
from oasis_utils.models.drawing import AS_LEARNED, SamplingOptions, uniform_noise
from oasis_utils.models.kept_steps import KeptSteps
from oasis_utils.models.map_likelihood import MapLikelihood
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.prior import check_ages, check_positions
from oasis_utils.models.stack_layouts import StackLayouts

BELOW, ABOVE = 0, 1  # sides on which a neighbour lies
NO_SLICE = -1  # in all cells of a neighbour that does not exist
MEASURED_AT_ONCE = 1024  # maps whose layouts are measured


class Neighbours(NamedTuple):
    """Maps of neighbouring slices, one for each map of a batch.

    Attributes:
        indices: codes in [0, n_codes).
        sides: `BELOW` or `ABOVE`, where the neighbour lies.
        layouts: of the maps that are predicted; None: only for a model without layouts.
    """

    indices: Int[Tensor, "batch rows cols"]
    sides: Int[Tensor, " batch"]
    layouts: Float[Tensor, "batch layout"] | None = None


class NeighbourNetwork(nn.Module):
    """Features of a neighbouring map at every cell.

    Args:
        config: number of codes and of channels.
    """

    def __init__(self, config: PixelCNNConfig):
        super().__init__()
        channels = config.channels
        self.embedding = nn.Embedding(config.n_codes, channels)
        self.side = nn.Embedding(2, channels)
        self.first = nn.Conv2d(channels, channels, 5, padding=2)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.to_gates = nn.Conv2d(channels, 2 * channels, 1)
        self.to_head = nn.Conv2d(2 * channels, channels, 1)

    def forward(
        self, neighbours: Neighbours
    ) -> tuple[
        Float[Tensor, "batch two_channels rows cols"], Float[Tensor, "batch channels rows cols"]
    ]:
        """What neighbours add to the gates of the first block, and before the head."""
        codes = self.embedding(neighbours.indices).permute(0, 3, 1, 2)
        features = torch.relu(self.first(codes) + self.side(neighbours.sides)[:, :, None, None])
        features = features + torch.relu(self.second(features))
        return self.to_gates(features), self.to_head(torch.cat([codes, features], dim=1))


class NeighbourPixelCNN(MapLikelihood):
    """A distribution of index maps given the map of the slice below or above: p(indices | position,
    age, neighbour) is the product over all cells, in raster order. As in `PixelCNN`, a layout may
    describe the whole map.

    Args:
        config: sizes of the network and of the maps.

    Reference:
        Conditional Image Generation with PixelCNN Decoders (van den Oord 2016, arXiv 1606.05328).
    """

    Config = NeighbourConfig
    version = 1  # of this code and all it uses: raise it when tests/test_golden.py says so

    def __init__(self, config: NeighbourConfig):
        super().__init__(config)
        self.config: NeighbourConfig = config
        self.neighbour_network = NeighbourNetwork(config)
        self.stack_layouts = StackLayouts(config) if config.layout else None
        self.kept_steps = KeptSteps()
        self.to(memory_format=torch.channels_last)

    # ------------------------------------------------------------ start

    @torch.no_grad()
    def start_from(self, pixelcnn: PixelCNN) -> None:
        """Take over the weights and layouts of a trained PixelCNN.

        Args:
            pixelcnn: of the same sizes.

        Raises:
            ValueError: its sizes, or the mean and spread of its ages, differ.
        """
        known, mine = pixelcnn.state_dict(), self.state_dict()
        added = ("neighbour_network.", "stack_layouts.")
        own = {name for name in mine if not name.startswith(added)}
        if set(known) != own or any(known[name].shape != mine[name].shape for name in own):
            raise ValueError(
                "this PixelCNN has other sizes: use the configuration that it was trained with"
            )
        theirs, ours = pixelcnn.config, self.config
        if (theirs.age_mean, theirs.age_std) != (ours.age_mean, ours.age_std):
            raise ValueError(
                "this PixelCNN counts ages from another mean or in another spread: use the"
                " configuration that it was trained with"
            )
        self.load_state_dict(known, strict=False)
        self.neighbour_network.embedding.weight.copy_(pixelcnn.embedding.weight)

    @torch.no_grad()
    def use_stacks(
        self,
        indices: Int[Tensor, "n rows cols"],
        positions: Int[Tensor, " n"],
        ages: Float[Tensor, " n"] | None,
        stacks: Int[Tensor, " n"],
    ) -> None:
        """Fit the distribution of the layouts of whole stacks; does nothing without layouts.

        Args:
            indices: training maps, codes in [0, n_codes).
            positions: slice position of each map.
            ages: years, nan where unknown; None: all unknown.
            stacks: number of the stack that each map belongs to.
        """
        if self.layout is None or self.stack_layouts is None:
            return
        numbers = []
        for rows in torch.arange(len(indices), device=indices.device).split(MEASURED_AT_ONCE):
            known = None if ages is None else ages[rows]
            numbers.append(self.layout.measure(indices[rows], positions[rows], known)[0])
        standard = self.layout.standardize(ages, positions)
        self.stack_layouts.fit(torch.cat(numbers), positions, standard, stacks)

    def layouts_of_heads(
        self, seeds: list[int], ages: Float[Tensor, " heads"] | None
    ) -> Float[Tensor, "heads positions layout"] | None:
        """The layouts of all slices of new heads, one for each seed; None without layouts."""
        check_ages(ages, self.config.knows_age, "PixelCNN")
        if self.layout is None or self.stack_layouts is None:
            return None
        size = self.stack_layouts.noise_size
        normal = [
            torch.randn(size, generator=torch.Generator().manual_seed(seed)) for seed in seeds
        ]
        at = torch.zeros(len(seeds), dtype=torch.long, device=self.cell_bias.device)
        standard = self.layout.standardize(ages, at)
        return self.stack_layouts(torch.stack(normal).to(self.cell_bias), standard)

    # ------------------------------------------------------------ network

    def at_cells(
        self, context: Neighbours, positions: Int[Tensor, " batch"]
    ) -> tuple[Tensor, Tensor | None]:
        """What neighbours and layouts add at every cell, see `GatedNetwork.at_cells`."""
        if self.layout is not None and context.layouts is None:
            raise ValueError(
                "this model is told the layout of each map: give `layouts`, such as those of"
                " layouts_of_heads"
            )
        bias, _ = super().at_cells(context.layouts, positions)
        gates, before_head = self.neighbour_network(context)
        return bias + gates, before_head

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # neighbours, not layouts
        self,
        indices: Int[Tensor, "batch rows cols"],
        positions: Int[Tensor, " batch"],
        ages: Float[Tensor, " batch"] | None,
        neighbours: Neighbours,
    ) -> Float[Tensor, "batch n_codes rows cols"]:
        """Logits of every cell given the cells before it and the whole neighbouring map.

        Args:
            indices: codes in [0, n_codes).
            positions: slice positions in [0, n_positions).
            ages: years, nan where unknown; None: all unknown.
            neighbours: maps of the slices below or above.

        Returns:
            Logits of each code, in float32 or finer.
        """
        return self.logits(indices, positions, ages, neighbours)

    # ------------------------------------------------------------ training

    def hidden_kernels(self) -> list[Tensor]:
        """Kernels of the neighbours' network, of all blocks and of the head's first layer."""
        layers = self.neighbour_network.modules()
        told = [layer.weight for layer in layers if isinstance(layer, nn.Conv2d)]
        return told + super().hidden_kernels()

    def step(self, batch: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Negative log-likelihood of one batch given a neighbour of each map, in nats per code.

        Args:
            batch: "indices", "positions", "below" and "above" (maps, `NO_SLICE` where there is no
                such slice), and "ages" in years if they are known. In training mode a neighbour is
                chosen at random where there are two, some of its codes are made random, and the
                share `age_dropout` of the ages is hidden.
            phase: "likelihood".

        Returns:
            {"loss"}.
        """
        indices, positions, ages = batch["indices"], batch["positions"], self._some_ages(batch)
        upwards = torch.rand(len(indices), device=indices.device) < 0.5
        told = chosen_neighbours(batch, upwards if self.training else None)
        layouts, _ = self._told_layouts(indices, positions, ages)
        noisy = self._noisy(told.indices, self.config.neighbour_noise)
        read = self._noisy(indices, self.config.context_noise)
        told = Neighbours(noisy, told.sides, layouts)
        return {"loss": F.cross_entropy(self(read, positions, ages, told), indices)}

    @torch.no_grad()
    def surprisal_of(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch rows cols"]:
        """Negative log-likelihood of every cell given those before it and the slice below (above,
        where there is none below). With layouts it is a bound, as `PixelCNN.surprisal`.

        Args:
            batch: as for `step`.

        Returns:
            -log p of each cell, in nats.
        """
        known = batch["indices"], batch["positions"], batch.get("ages")
        layouts, cost = self._told_layouts(*known, torch.Generator().manual_seed(0))
        told = chosen_neighbours(batch)._replace(layouts=layouts)
        nats = F.cross_entropy(self(*known, told), batch["indices"], reduction="none")
        if isinstance(cost, Tensor):
            nats = nats + (cost / self.config.grid**2)[:, None, None]
        return nats

    # ------------------------------------------------------------ sampling

    def noise(self, seeds: list[int]) -> Float[Tensor, "batch rows cols"]:
        """Uniform noise in [0, 1) for each seed, the same on every device and in every batch."""
        return uniform_noise(seeds, self.config.grid).to(self.cell_bias.device)

    @torch.no_grad()
    def sample(
        self,
        positions: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch rows cols"],
        neighbours: Neighbours,
        options: SamplingOptions = AS_LEARNED,
        ages: Float[Tensor, " batch"] | None = None,
        on_row: Callable[[int, Tensor], None] | None = None,
    ) -> Int[Tensor, "batch rows cols"]:
        """Index maps that suit their neighbours, each cell computed once.

        Args:
            positions: slice positions in [0, n_positions), of the maps to draw.
            noise: uniform in [0, 1), as from `noise`.
            neighbours: a map for each position, the side on which it lies, and the layout of the
                map to draw.
            options: temperature, top-k and top-p.
            ages: years, nan where unknown; None: all unknown.
            on_row: called as on_row(row, maps so far) after each row.

        Returns:
            Codes in [0, n_codes).

        Raises:
            ValueError: for an unknown position, age or code, shapes that disagree, or missing
                layouts.
        """
        self._check(positions, noise, neighbours, ages)
        grid = self.config.grid
        maps = torch.zeros_like(neighbours.indices)
        with self.kept_steps.step(self, positions, ages, neighbours, options) as step:
            for row in range(grid):
                step.cache.start_row(row, maps[:, row - 1] if row else None)
                for col in range(grid):
                    maps[:, row, col] = step(noise[:, row, col])
                if on_row:
                    on_row(row, maps)
        return maps

    def _check(
        self, positions: Tensor, noise: Tensor, neighbours: Neighbours, ages: Tensor | None
    ) -> None:
        """ValueError for an unknown position, age or code, or shapes that disagree."""
        check_positions(positions, self.config.n_positions)
        check_ages(ages, self.config.knows_age, "PixelCNN")
        size = (len(positions), self.config.grid, self.config.grid)
        maps, sides, _ = neighbours
        if noise.shape != size or maps.shape != size or sides.shape != positions.shape:
            raise ValueError(
                f"noise and neighbours must have shape {size}, one map for each position, not"
                f" {tuple(noise.shape)} and {tuple(maps.shape)}"
            )
        if int(maps.min()) < 0 or int(maps.max()) >= self.config.n_codes:
            raise ValueError(f"codes of neighbours must be in [0, {self.config.n_codes})")


def chosen_neighbours(batch: Mapping[str, Tensor], upwards: Tensor | None = None) -> Neighbours:
    """A neighbour of each map.

    Args:
        batch: "below" and "above", maps with `NO_SLICE` where there is no such slice.
        upwards: where the slice above is wanted; None: nowhere. A map that lacks the wanted slice
            gets the other one.

    Returns:
        Maps and their sides.
    """
    below, above = batch["below"].long(), batch["above"].long()
    has_below, has_above = below[:, 0, 0] != NO_SLICE, above[:, 0, 0] != NO_SLICE
    wanted = torch.zeros_like(has_below) if upwards is None else upwards
    from_above = torch.where(has_below & has_above, wanted, has_above)
    return Neighbours(
        torch.where(from_above[:, None, None], above, below), from_above.long() * ABOVE
    )
