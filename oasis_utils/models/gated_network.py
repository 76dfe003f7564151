"""The network of the gated PixelCNN: two stacks of gated convolutions, conditioned on the slice
position and the subject's age.

Conditional Image Generation with PixelCNN Decoders (van den Oord 2016, arXiv 1606.05328): gates of
equation 2, conditions of equation 4, a layer as in figure 2.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from oasis_utils.config import PixelCNNConfig
from oasis_utils.models.layout import Layout

# additions to a block's vertical and horizontal gate, (batch, 2 channels, 1, 1)
Condition = tuple[Tensor, Tensor]


class AgeFeatures(nn.Module):
    """Years as a few smooth features; a learned vector stands for an unknown age.

    Args:
        config: mean and spread of the ages in years, number of features.
    """

    def __init__(self, config: PixelCNNConfig):
        super().__init__()
        self.mean, self.std = config.age_mean, config.age_std
        self.spread = nn.Linear(1, config.age_features)
        self.unknown = nn.Parameter(torch.zeros(config.age_features))

    def forward(self, ages: Float[Tensor, " batch"]) -> Float[Tensor, "batch features"]:
        """Features in [-1, 1] of ages in years, nan where unknown."""
        known = ages.isfinite()[:, None]
        standard = (ages.nan_to_num(self.mean) - self.mean) / self.std
        return torch.where(
            known, torch.tanh(self.spread(standard[:, None].to(self.unknown))), self.unknown
        )


class GatedBlock(nn.Module):
    """One layer of both stacks (figure 2 of the paper).

    The first block is causal by shifting: vertical features of row i see rows above i only,
    horizontal features of column j see columns left of j only. Later blocks may look at their own
    row and column of such features.

    Args:
        config: sizes of the network.
        first: whether this is the first block.

    Reference:
        Conditional Image Generation with PixelCNN Decoders (van den Oord 2016, arXiv 1606.05328),
        figure 2.
    """

    def __init__(self, config: PixelCNNConfig, first: bool):
        super().__init__()
        channels, width = config.channels, config.first_kernel if first else config.kernel
        self.first, self.width, self.height = first, width, width // 2 + (0 if first else 1)
        self.look_back = width // 2 + (0 if first else 1)  # columns read by the horizontal stack
        self.vertical = nn.Conv2d(channels, 2 * channels, (self.height, width))
        self.horizontal = nn.Conv2d(channels, 2 * channels, (1, self.look_back))
        self.vertical_to_horizontal = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.output = nn.Conv2d(channels, channels, 1)
        # V h of eq. 4, for both gates
        self.condition = nn.Embedding(config.n_positions, 4 * channels)
        self.age = (
            nn.Linear(config.age_features, 4 * channels, bias=False) if config.knows_age else None
        )
        self.dropout = nn.Dropout(config.dropout)

    @staticmethod
    def gate(
        x: Float[Tensor, "batch two_channels *cells"],
    ) -> Float[Tensor, "batch channels *cells"]:
        """tanh(first half) * sigmoid(second half) (eq. 2)."""
        a, b = x.chunk(2, dim=1)
        return torch.tanh(a) * torch.sigmoid(b)

    def conditions(
        self, positions: Int[Tensor, " batch"], age: Float[Tensor, "batch features"] | None
    ) -> Condition:
        """What position and age add to the gates (eq. 4)."""
        added = self.condition(positions) + (0 if self.age is None else self.age(age))
        for_vertical, for_horizontal = added[:, :, None, None].chunk(2, dim=1)
        return for_vertical, for_horizontal

    def forward(
        self,
        vertical: Float[Tensor, "batch channels rows cols"],
        horizontal: Float[Tensor, "batch channels rows cols"],
        condition: Condition,
        bias: Tensor | float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """The block's output of the vertical and of the horizontal stack.

        Args:
            vertical: features of the vertical stack.
            horizontal: features of the horizontal stack.
            condition: what position and age add to the gates, as from `conditions`.
            bias: added to the vertical features before the gates, one for each channel and cell.

        Returns:
            Both features, of the shapes of the inputs.
        """
        rows, cols, side = vertical.shape[2], vertical.shape[3], self.width // 2
        for_vertical, for_horizontal = condition
        above = F.pad(vertical, (side, side, self.height - (0 if self.first else 1), 0))
        above = self.vertical(above)[:, :, :rows] + bias
        left = F.pad(horizontal, (self.look_back - (0 if self.first else 1), 0, 0, 0))
        left = self.horizontal(left)[:, :, :, :cols]
        gated = self.gate(left + self.vertical_to_horizontal(above) + for_horizontal)
        out = self.output(self.dropout(gated))
        return self.gate(above + for_vertical), out if self.first else horizontal + out


class GatedNetwork(nn.Module):
    """Logits of every cell of an index map, given the cells before it in raster order.

    A bias for every cell is learned as well, because brains are centred in their frame.

    Args:
        config: sizes of the network and of the maps.
    """

    def __init__(self, config: PixelCNNConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.n_codes, config.channels)
        self.cell_bias = nn.Parameter(torch.zeros(2 * config.channels, config.grid, config.grid))
        self.layout = Layout(config) if config.layout else None
        self.age_features = AgeFeatures(config) if config.knows_age else None
        self.blocks = nn.ModuleList(GatedBlock(config, first=i == 0) for i in range(config.blocks))
        self.head = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(config.channels, config.hidden, 1),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Conv2d(config.hidden, config.n_codes, 1),
        )

    @property
    def gated_blocks(self) -> list[GatedBlock]:
        """The blocks in order."""
        return cast("list[GatedBlock]", list(self.blocks))

    def conditions(
        self, positions: Int[Tensor, " batch"], ages: Float[Tensor, " batch"] | None
    ) -> list[Condition]:
        """What position and age (years, nan where unknown) add to the gates of each block."""
        features = None
        if self.age_features is not None:
            features = self.age_features(
                torch.full_like(positions, math.nan, dtype=torch.float32) if ages is None else ages
            )
        return [block.conditions(positions, features) for block in self.gated_blocks]

    def at_cells(
        self, context: Any, positions: Int[Tensor, " batch"]
    ) -> tuple[Tensor, Tensor | None]:
        """What is added at every cell: to the gates of the first block, a learned bias and what the
        context tells, of shape (batch or 1, 2 channels, rows, cols); and to the features that the
        head reads, of shape (batch, channels, rows, cols), or None for nothing.

        Args:
            context: what is known of whole maps, here their layouts; None: nothing.
            positions: slice positions in [0, n_positions).
        """
        if self.layout is None or context is None:
            return self.cell_bias[None], None
        return self.cell_bias + self.layout(context, positions), None

    def forward(
        self,
        indices: Int[Tensor, "batch rows cols"],
        positions: Int[Tensor, " batch"],
        ages: Float[Tensor, " batch"] | None = None,
        layouts: Float[Tensor, "batch layout"] | None = None,
    ) -> Float[Tensor, "batch n_codes rows cols"]:
        """Logits of every cell given the cells before it and the layout.

        Args:
            indices: codes in [0, n_codes).
            positions: slice positions in [0, n_positions).
            ages: years, nan where unknown; None: all unknown. A model trained without ages ignores
                them.
            layouts: of the maps; None: those that the maps have, if the model knows layouts.

        Returns:
            Logits of each code, in float32 or finer.
        """
        if self.layout is not None and layouts is None:
            layouts, _ = self.layout.measure(indices, positions, ages)
        return self.logits(indices, positions, ages, layouts)

    def logits(
        self,
        indices: Int[Tensor, "batch rows cols"],
        positions: Int[Tensor, " batch"],
        ages: Float[Tensor, " batch"] | None,
        context: Any,
    ) -> Float[Tensor, "batch n_codes rows cols"]:
        """Logits of every cell given the cells before it and the context, see `at_cells`."""
        bias, skip = self.at_cells(context, positions)
        vertical = horizontal = self.embedding(indices).permute(0, 3, 1, 2)
        for block, condition in zip(
            self.gated_blocks, self.conditions(positions, ages), strict=True
        ):
            vertical, horizontal = block(
                vertical, horizontal, condition, bias if block.first else 0.0
            )
        logits = self.head(horizontal if skip is None else horizontal + skip)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))
