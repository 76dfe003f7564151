"""An exact incremental sampler for the gated PixelCNN.

Fast Generation for Convolutional Autoregressive Models (Ramachandran 2017, arXiv 1704.06001): what
finished rows and cells have computed is kept. The vertical stack runs once a row, the horizontal
stack once a cell, on tensors whose shapes and addresses never change, so that a GPU can replay the
step of one cell as a CUDA graph.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from oasis_utils.models.gated_network import Condition, GatedBlock, GatedNetwork


class ScaledGate:
    """The gate tanh(a) * sigmoid(b) of rows [-2 a, b], as tanh(a) = 1 - 2 sigmoid(-2 a): two
    kernels where the plain form needs three, and a CPU computes a sigmoid three times faster than a
    tanh. The scale is folded into weights. The sigmoids have fixed memory: for one cell, cutting a
    new tensor in halves takes longer than computing it.

    Args:
        memory: receives the sigmoids; of the shape of the inputs.
    """

    def __init__(self, memory: Float[Tensor, "batch two_channels"]):
        self.sigmoids = memory
        self.halves = memory.chunk(2, dim=1)

    def __call__(self, x: Float[Tensor, "batch two_channels"]) -> Float[Tensor, "batch channels"]:
        """The gated values; read them before the next call, which uses their memory again."""
        torch.sigmoid(x, out=self.sigmoids)
        a, b = self.halves
        return torch.addcmul(b, a, b, value=-2)


class RowCache:
    """The state of an incremental forward pass over a batch of maps.

    Rows of the vertical stack depend on finished rows only, so `start_row` computes one row of
    every layer; it leaves `ready`, the horizontal gates' inputs without the share of the row's own
    cells. `logits` adds that share for the next cell, layer by layer; `accept` takes the chosen
    code over and moves one column on.

    Args:
        model: the network whose logits are computed; its weights are copied.
        positions: slice positions in [0, n_positions), one for each map of the batch.
        ages: years, nan where unknown; None: all unknown.
        context: what is known of the whole maps, see `GatedNetwork.at_cells`.
    """

    conditions: list[Condition]
    bias: Tensor  # what the first block adds, (rows, cols, batch or 1, 2 channels)
    skip: Tensor | None  # what is added before the head, (rows, cols, batch, channels)

    def __init__(
        self,
        model: GatedNetwork,
        positions: Int[Tensor, " batch"],
        ages: Float[Tensor, " batch"] | None = None,
        context: Any = None,
    ):
        self.model, self.batch, self.grid = model, len(positions), model.config.grid
        self.blocks = model.gated_blocks
        self.first, *self.others = self.blocks
        channels, weight = model.config.channels, model.embedding.weight
        blank = weight.new_zeros
        # each layer's vertical input, padded in width: columns first, so that a shift by a column
        # is a plain slice; the channels hold the rows that are still needed, the newest last
        self.rows = [
            blank(self.grid + 2 * (block.width // 2), self.batch, block.height * channels)
            for block in self.blocks
        ]
        self.ready_first = blank(self.grid, self.batch, 2 * channels)
        self.ready = blank(self.grid, len(self.others), self.batch, 2 * channels)
        # embedded codes left of the next cell, and the layers' horizontal inputs there, newest last
        self.codes_left = blank(self.batch, self.first.look_back * channels)
        self.inputs_left = blank(
            len(self.others), self.batch, (model.config.kernel // 2) * channels
        )
        self.inputs = blank(len(self.others), self.batch, channels)  # of the cell itself
        self.row_gate = ScaledGate(blank(self.grid * self.batch, 2 * channels))
        self.cell_gate = ScaledGate(blank(self.batch, 2 * channels))
        self._flatten_weights()
        self.begin(positions, ages, context)

    def begin(
        self,
        positions: Int[Tensor, " batch"],
        ages: Float[Tensor, " batch"] | None = None,
        context: Any = None,
    ) -> None:
        """Start new maps, as many as before, in the same memory.

        Args:
            positions: slice positions in [0, n_positions).
            ages: years, nan where unknown; None: all unknown.
            context: what is known of the whole maps, see `GatedNetwork.at_cells`.
        """
        self.conditions = self.model.conditions(positions, ages)
        bias, skip = self.model.at_cells(context, positions)
        self.bias = bias.permute(2, 3, 0, 1) * self.scale
        self.skip = None if skip is None else skip.permute(2, 3, 0, 1).to(self.inputs).contiguous()
        for rows in self.rows:
            rows.zero_()
        self.row = self.col = 0

    def _flatten_weights(self) -> None:
        """Kernels as matrices; what enters a gate is scaled, see `ScaledGate`."""
        blocks, channels = self.blocks, self.model.config.channels
        scale = torch.cat([torch.full((channels,), -2.0), torch.ones(channels)]).to(self.rows[0])
        self.scale = scale

        # (2 channels, channels, 1, columns) to (columns * channels, 2 channels)
        def flat(kernel: Tensor) -> Tensor:
            return (kernel[:, :, 0].permute(2, 1, 0).flatten(0, 1) * scale).contiguous()

        # (rows * channels, 2 channels) for each column of the kernel
        def columns(block: GatedBlock) -> list[Tensor]:
            return [
                (column.permute(2, 1, 0).flatten(0, 1) * scale).contiguous()
                for column in block.vertical.weight.unbind(3)
            ]

        kernels = [flat(block.horizontal.weight) for block in blocks]
        self.kernel_first = kernels[0]
        if self.others:
            self.kernel_left = torch.stack([k[:-channels] for k in kernels[1:]])
        self.kernels_here = [k[-channels:].contiguous() for k in kernels[1:]]
        self.outputs = [
            (block.output.weight[:, :, 0, 0].t().contiguous(), bias_of(block.output))
            for block in blocks
        ]
        self.verticals = [(bias_of(block.vertical) * scale, *columns(block)) for block in blocks]
        self.to_horizontal = [
            (
                (block.vertical_to_horizontal.weight[:, :, 0, 0] / scale).t().contiguous() * scale,
                (bias_of(block.vertical_to_horizontal) + bias_of(block.horizontal)) * scale,
            )
            for block in blocks
        ]
        self.head = [
            (conv.weight[:, :, 0, 0].t().contiguous(), bias_of(conv))
            for conv in self.model.head
            if isinstance(conv, nn.Conv2d)
        ]

    def start_row(self, row: int, above: Int[Tensor, "batch cols"] | None = None) -> None:
        """Run the vertical stack of this row through all layers.

        Args:
            row: number of the row; rows are started in order.
            above: codes of the row before; None for row 0.
        """
        fresh = None if above is None else self.model.embedding(above.t())
        for i, block in enumerate(self.blocks):
            if fresh is not None:  # the first block reads finished rows only
                self._push(i, fresh)
            seen = self._seen(i)
            if block.first:
                seen = seen + self.bias[row]
            for_vertical, for_horizontal = (x[:, :, 0, 0] * self.scale for x in self.conditions[i])
            matrix, bias = self.to_horizontal[i]
            ready = self.ready_first if block.first else self.ready[:, i - 1]
            torch.add(
                torch.addmm(bias, seen.flatten(0, 1), matrix).view_as(seen),
                for_horizontal,
                out=ready,
            )
            fresh = self.row_gate((seen + for_vertical).flatten(0, 1)).view(
                self.grid, self.batch, -1
            )
        self.codes_left.zero_()
        self.inputs_left.zero_()
        self.row, self.col = row, 0

    def _push(self, layer: int, fresh: Float[Tensor, "cols batch channels"]) -> None:
        """Append a finished row of this layer and drop its oldest one."""
        rows, channels = self.rows[layer], fresh.shape[2]
        if rows.shape[2] > channels:
            rows[:, :, :-channels] = rows[:, :, channels:].clone()
        side = (len(rows) - self.grid) // 2
        rows[side : side + self.grid, :, -channels:] = fresh

    def _seen(self, layer: int) -> Float[Tensor, "cols batch two_channels"]:
        """One row of the vertical convolution: a matrix product for each column of its kernel."""
        rows, (bias, *kernels) = self.rows[layer], self.verticals[layer]
        seen = bias.expand(self.grid * self.batch, -1)
        for shift, kernel in enumerate(kernels):
            seen = torch.addmm(seen, rows[shift : shift + self.grid].flatten(0, 1), kernel)
        return seen.view(self.grid, self.batch, -1)

    def logits(self) -> Float[Tensor, "batch n_codes"]:
        """Logits of the next cell of the row, given the cells accepted so far."""
        return self._logits(self.ready_first[self.col], self.ready[self.col], self.skip_here)

    @property
    def skip_here(self) -> Tensor | None:
        """What is added before the head at the next cell, (batch, channels)."""
        return None if self.skip is None else self.skip[self.row, self.col]

    def accept(self, code: Int[Tensor, " batch"]) -> None:
        """Make the code of the cell known to those that follow it."""
        self._shift(code)
        self.col += 1

    def _logits(self, ready_first: Tensor, ready: Tensor, skip: Tensor | None) -> Tensor:
        gated = self.cell_gate(torch.addmm(ready_first, self.codes_left, self.kernel_first))
        matrix, bias = self.outputs[0]
        x = torch.addmm(bias, gated, matrix)
        if self.others:
            shares = torch.baddbmm(ready, self.inputs_left, self.kernel_left).unbind()
            inputs = []
            for share, kernel, (matrix, bias) in zip(
                shares, self.kernels_here, self.outputs[1:], strict=True
            ):
                inputs.append(x)
                x = torch.addmm(x + bias, self.cell_gate(torch.addmm(share, x, kernel)), matrix)
            torch.stack(inputs, out=self.inputs)
        x = x if skip is None else x + skip
        (hidden, hidden_bias), (last, last_bias) = self.head
        return torch.addmm(
            last_bias, torch.relu(torch.addmm(hidden_bias, torch.relu(x), hidden)), last
        )

    def _shift(self, code: Tensor) -> None:
        for left, new in (
            (self.codes_left, self.model.embedding(code)),
            (self.inputs_left, self.inputs),
        ):
            kept = left.shape[-1] - new.shape[-1]
            if kept > 0:
                left[..., :kept] = left[..., -kept:].clone()
            if kept >= 0:  # kernels of width 1 look at their own column only
                left[..., kept:] = new

    def keep_only(self, parents: Int[Tensor, " batch"]) -> None:
        """Replace the maps of the batch by some of them, between two rows.

        Args:
            parents: rows of the batch to keep, repeats allowed (resampling of proposals).
        """
        self.rows = [rows[:, parents] for rows in self.rows]
        if self.bias.shape[2] > 1:
            self.bias = self.bias[:, :, parents]
        if self.skip is not None:
            self.skip = self.skip[:, :, parents]


def bias_of(layer: nn.Conv2d) -> Tensor:
    """The bias of a convolution that has one."""
    assert layer.bias is not None, "the convolutions of the network have a bias"
    return layer.bias
