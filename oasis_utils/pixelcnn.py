"""Gated PixelCNN over index maps, told the slice position, with an exact cached sampler.

Conditional Image Generation with PixelCNN Decoders (van den Oord 2016, arXiv 1606.05328): a vertical stack sees all
rows above, a horizontal stack the cells to the left, so there is no blind spot; gates of equation 2, conditions of
equation 4. One addition: a learned bias for every cell of the map, because brains are centred in their frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from oasis_utils.config import PixelCNNConfig


def gate(x: Float[Tensor, "batch two_channels *cells"]) -> Float[Tensor, "batch channels *cells"]:
    """tanh(first half) * sigmoid(second half) (eq. 2)."""
    a, b = x.chunk(2, dim=1)
    return torch.tanh(a) * torch.sigmoid(b)


class GatedBlock(nn.Module):
    """One layer of both stacks (figure 2 of the paper).

    The first block is causal by shifting: vertical features of row i see rows above i only, horizontal features of
    column j see columns left of j only. Later blocks may look at their own row and column of such features.
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
        self.condition = nn.Embedding(config.n_positions, 4 * channels)  # V h of eq. 4, for both gates
        self.dropout = nn.Dropout(config.dropout)

    def conditions(self, positions: Int[Tensor, " batch"]) -> tuple[Tensor, Tensor]:
        """Additions to the vertical and the horizontal gate, (batch, 2 channels, 1, 1) each."""
        return self.condition(positions)[:, :, None, None].chunk(2, dim=1)

    def forward(self, vertical: Float[Tensor, "batch channels rows cols"],
                horizontal: Float[Tensor, "batch channels rows cols"],
                positions: Int[Tensor, " batch"], bias: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
        rows, cols, side = vertical.shape[2], vertical.shape[3], self.width // 2
        for_vertical, for_horizontal = self.conditions(positions)
        above = F.pad(vertical, (side, side, self.height - (0 if self.first else 1), 0))
        above = self.vertical(above)[:, :, :rows] + bias
        left = F.pad(horizontal, (self.look_back - (0 if self.first else 1), 0, 0, 0))
        left = self.horizontal(left)[:, :, :, :cols]
        gated = gate(left + self.vertical_to_horizontal(above) + for_horizontal)
        out = self.output(self.dropout(gated))
        return gate(above + for_vertical), out if self.first else horizontal + out


@dataclass(frozen=True)
class SamplingOptions:
    """How codes are drawn from the predicted distributions."""

    temperature: float = 1.0  # divides the logits; 0 takes the likeliest code
    top_k: int = 0  # keep the k likeliest codes; 0: all
    top_p: float = 1.0  # keep the likeliest codes that hold this much probability

    def __post_init__(self):
        if self.temperature < 0:
            raise ValueError(f"temperature must be 0 (likeliest code) or more, not {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (all codes) or more, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], not {self.top_p}")


def draw(logits: Float[Tensor, "batch n_codes"], noise: Float[Tensor, " batch"],
         options: SamplingOptions) -> Int[Tensor, " batch"]:
    """One code for each row by inverting the distribution function at `noise`, uniform in [0, 1)."""
    if options.temperature == 0:
        return logits.argmax(1)
    ordered, codes = (logits.float() / options.temperature).sort(dim=1, descending=True)
    shares = ordered.softmax(1)
    if 0 < options.top_k < shares.shape[1]:
        shares[:, options.top_k:] = 0
    if options.top_p < 1:
        before = shares.cumsum(1) - shares  # mass of the likelier codes: the first code always stays
        shares = torch.where(before < options.top_p * shares.sum(1, keepdim=True), shares, 0)
    reached = shares.cumsum(1)
    chosen = torch.searchsorted(reached, noise[:, None] * reached[:, -1:], right=True)
    chosen = torch.minimum(chosen, (shares > 0).sum(1, keepdim=True) - 1)  # rounding at the very end
    return codes.gather(1, chosen)[:, 0]


def uniform_noise(seeds: list[int], grid: int) -> Float[Tensor, "batch rows cols"]:
    """Noise that depends on each image's seed alone: the same image comes out in any batch and on any device."""
    maps = [torch.rand(grid, grid, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(maps)


class PixelCNN(nn.Module):
    """p(indices | position) = product over cells, in raster order, of p(index | indices before it, position)."""

    Config = PixelCNNConfig
    phases = ("likelihood",)
    monitor = ("nats_per_code", "min")

    def __init__(self, config: PixelCNNConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.n_codes, config.channels)
        self.cell_bias = nn.Parameter(torch.zeros(2 * config.channels, config.grid, config.grid))
        self.blocks = nn.ModuleList(GatedBlock(config, first=i == 0) for i in range(config.blocks))
        self.head = nn.Sequential(
            nn.ReLU(), nn.Conv2d(config.channels, config.hidden, 1),
            nn.ReLU(), nn.Dropout(config.dropout), nn.Conv2d(config.hidden, config.n_codes, 1))
        self.to(memory_format=torch.channels_last)

    def forward(self, indices: Int[Tensor, "batch rows cols"],
                positions: Int[Tensor, " batch"]) -> Float[Tensor, "batch n_codes rows cols"]:
        """Logits of every cell given the cells before it."""
        vertical = horizontal = self.embedding(indices).permute(0, 3, 1, 2)
        for block in self.blocks:
            vertical, horizontal = block(vertical, horizontal, positions, self.cell_bias if block.first else 0.0)
        logits = self.head(horizontal)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    # ------------------------------------------------------------ training

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"likelihood": list(self.parameters())}

    def step(self, batch: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Negative log-likelihood of one batch {"indices", "positions"}, in nats per code."""
        return {"loss": F.cross_entropy(self(batch["indices"], batch["positions"]), batch["indices"])}

    @torch.no_grad()
    def surprise(self, indices: Int[Tensor, "batch rows cols"],
                 positions: Int[Tensor, " batch"]) -> Float[Tensor, "batch rows cols"]:
        """-log p of every cell, in nats."""
        return F.cross_entropy(self(indices, positions), indices, reduction="none")

    @torch.no_grad()
    def validate(self, batches) -> dict[str, float]:
        total, cells = 0.0, 0
        for batch in batches:
            nats = self.surprise(batch["indices"], batch["positions"])
            total, cells = total + float(nats.double().sum()), cells + nats.numel()
        return {"nats_per_code": total / cells}

    # ------------------------------------------------------------ sampling

    def check_positions(self, positions: Int[Tensor, " batch"]) -> None:
        if len(positions) == 0 or int(positions.min()) < 0 or int(positions.max()) >= self.config.n_positions:
            raise ValueError(f"positions must be in [0, {self.config.n_positions}), got {positions.tolist()[:8]}")

    @torch.no_grad()
    def sample(self, positions: Int[Tensor, " batch"], noise: Float[Tensor, "batch rows cols"],
               options: SamplingOptions = SamplingOptions(), given: Int[Tensor, "batch rows cols"] | None = None,
               keep: Bool[Tensor, "batch rows cols"] | None = None,
               on_row: Callable[[int, Tensor], None] | None = None) -> Int[Tensor, "batch rows cols"]:
        """Index maps, each cell computed once. given, keep: cells of `given` where `keep` is true are not drawn but
        taken over (completion). on_row(row, maps so far) is called after each row.
        """
        self.check_positions(positions)
        grid = self.config.grid
        if noise.shape != (len(positions), grid, grid):
            raise ValueError(f"noise must have shape {(len(positions), grid, grid)}, not {tuple(noise.shape)}")
        if (given is None) != (keep is None):
            raise ValueError("completion needs both `given` codes and a `keep` mask of the cells to take over")
        if keep is not None and ((given[keep] < 0) | (given[keep] >= self.config.n_codes)).any():
            raise ValueError(f"given codes must be in [0, {self.config.n_codes})")
        cache = RowCache(self, positions)
        maps = torch.zeros(len(positions), grid, grid, dtype=torch.long, device=positions.device)
        for row in range(grid):
            cache.start_row(row)
            for col in range(grid):
                code = draw(cache.logits(col), noise[:, row, col], options)
                if keep is not None:
                    code = torch.where(keep[:, row, col], given[:, row, col], code)
                maps[:, row, col] = code
                cache.put(col, code)
            if on_row:
                on_row(row, maps)
        return maps

    @torch.no_grad()
    def sample_naive(self, positions: Int[Tensor, " batch"], noise: Float[Tensor, "batch rows cols"],
                     options: SamplingOptions = SamplingOptions()) -> Int[Tensor, "batch rows cols"]:
        """The textbook way, one whole forward pass for each cell: the yardstick of `sample`."""
        self.check_positions(positions)
        maps = torch.zeros(noise.shape, dtype=torch.long, device=positions.device)
        for row in range(maps.shape[1]):
            for col in range(maps.shape[2]):
                maps[:, row, col] = draw(self(maps, positions)[:, :, row, col], noise[:, row, col], options)
        return maps


class RowCache:
    """The state of an incremental forward pass: the vertical stack runs once a row, the horizontal one once a cell.

    Rows of the vertical stack depend only on finished rows, so one row of each layer is computed before the row's
    first cell; it leaves, per layer, the horizontal gate's input except for the share of the cells to the left.
    """

    def __init__(self, model: PixelCNN, positions: Int[Tensor, " batch"]):
        self.model, self.batch, self.grid = model, len(positions), model.config.grid
        channels, weight = model.config.channels, model.embedding.weight
        self.conditions = [block.conditions(positions) for block in model.blocks]
        # rows of each layer's vertical input that are still needed, the newest last
        self.rows = [weight.new_zeros(self.batch, channels, block.height, self.grid) for block in model.blocks]
        self.codes = weight.new_zeros(self.batch, channels, 1, self.grid)  # embedded codes of the running row
        # inputs of each layer's horizontal stack along the running row, after `pad` columns of zeros
        self.pads = [block.look_back - (0 if block.first else 1) for block in model.blocks]
        self.lines = [weight.new_zeros(self.batch, pad + self.grid, channels) for pad in self.pads]
        self.ready: list[Tensor] = []
        self.weights = [self._flat_weights(block) for block in model.blocks]
        self.head = [(conv.weight[:, :, 0, 0].t(), conv.bias) for conv in (model.head[1], model.head[4])]

    @staticmethod
    def _flat_weights(block: GatedBlock) -> tuple[Tensor, Tensor, Tensor]:
        """Horizontal kernel as (columns * channels, 2 channels), then weight and bias of the 1x1 output."""
        kernel = block.horizontal.weight[:, :, 0].permute(2, 1, 0).flatten(0, 1).contiguous()
        return kernel, block.output.weight[:, :, 0, 0].t().contiguous(), block.output.bias

    def start_row(self, row: int) -> None:
        """Run the vertical stack of this row through all layers."""
        self.ready, fresh = [], self.codes.clone()
        for i, block in enumerate(self.model.blocks):
            for_vertical, for_horizontal = self.conditions[i]
            if not (block.first and row == 0):  # the first block reads finished rows only
                self.rows[i] = torch.cat([self.rows[i][:, :, 1:], fresh], dim=2)
            side = block.width // 2
            above = block.vertical(F.pad(self.rows[i], (side, side)))
            if block.first:
                above = above + self.model.cell_bias[:, row:row + 1]
            ready = block.vertical_to_horizontal(above) + for_horizontal + block.horizontal.bias[:, None, None]
            self.ready.append(ready[:, :, 0].permute(2, 0, 1).contiguous())
            fresh = gate(above + for_vertical)

    def logits(self, col: int) -> Float[Tensor, "batch n_codes"]:
        """Distribution of the cell at `col`, from the cells already put."""
        x = None
        for i, block in enumerate(self.model.blocks):
            kernel, weight, bias = self.weights[i]
            line, pad = self.lines[i], self.pads[i]
            if not block.first:
                line[:, pad + col] = x
            window = line[:, col:col + block.look_back].reshape(self.batch, -1)
            out = torch.addmm(bias, gate(torch.addmm(self.ready[i][col], window, kernel)), weight)
            x = out if block.first else x + out
        (hidden, hidden_bias), (last, last_bias) = self.head
        return torch.addmm(last_bias, torch.relu(torch.addmm(hidden_bias, torch.relu(x), hidden)), last)

    def put(self, col: int, code: Int[Tensor, " batch"]) -> None:
        """Make the chosen code known to the cells that follow."""
        embedded = self.model.embedding(code)
        self.codes[:, :, 0, col] = embedded
        self.lines[0][:, self.pads[0] + col] = embedded


def receptive_field(model: PixelCNN, row: int, col: int) -> Bool[Tensor, "rows cols"]:
    """The cells that the prediction of one cell depends on: those whose embedding has a non-zero gradient."""
    grid, device = model.config.grid, model.cell_bias.device
    seen: list[Tensor] = []
    was_training = model.training
    model.eval()
    hook = model.embedding.register_forward_hook(lambda _module, _args, out: seen.append(out.requires_grad_()))
    try:
        zeros = torch.zeros(1, grid, grid, dtype=torch.long, device=device)
        logits = model(zeros, zeros[0, 0, :1])
    finally:
        hook.remove()
        model.train(was_training)
    (slope,) = torch.autograd.grad(logits[0, :, row, col].square().sum(), seen[0])
    return slope[0].abs().sum(-1) > 0
