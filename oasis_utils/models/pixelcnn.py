"""Gated PixelCNN over index maps, conditioned on the slice position and the subject's age.

Conditional Image Generation with PixelCNN Decoders (van den Oord 2016, arXiv 1606.05328): a
vertical stack sees all rows above, a horizontal stack the cells to the left, so there is no blind
spot; gates of equation 2, conditions of equation 4. One addition: a learned bias for every cell of
the map, because brains are centred in their frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from oasis_utils.config import PixelCNNConfig
from oasis_utils.models.cached_sampling import KeptSteps, RowCache
from oasis_utils.models.drawing import (
    AS_LEARNED,
    SamplingOptions,
    draw,
    great_circle,
    uniform_noise,
)

# additions to a block's vertical and horizontal gate, (batch, 2 channels, 1, 1)
Condition = tuple[Tensor, Tensor]


class AgeFeatures(nn.Module):
    """Years as a few smooth features; a learned vector stands for an unknown age."""

    def __init__(self, config: PixelCNNConfig):
        super().__init__()
        self.mean, self.std = config.age_mean, config.age_std
        self.spread = nn.Linear(1, config.age_features)
        self.unknown = nn.Parameter(torch.zeros(config.age_features))

    def forward(self, ages: Float[Tensor, " batch"]) -> Float[Tensor, "batch features"]:
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
        return added[:, :, None, None].chunk(2, dim=1)

    def forward(
        self,
        vertical: Float[Tensor, "batch channels rows cols"],
        horizontal: Float[Tensor, "batch channels rows cols"],
        condition: Condition,
        bias: Tensor | float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        rows, cols, side = vertical.shape[2], vertical.shape[3], self.width // 2
        for_vertical, for_horizontal = condition
        above = F.pad(vertical, (side, side, self.height - (0 if self.first else 1), 0))
        above = self.vertical(above)[:, :, :rows] + bias
        left = F.pad(horizontal, (self.look_back - (0 if self.first else 1), 0, 0, 0))
        left = self.horizontal(left)[:, :, :, :cols]
        gated = self.gate(left + self.vertical_to_horizontal(above) + for_horizontal)
        out = self.output(self.dropout(gated))
        return self.gate(above + for_vertical), out if self.first else horizontal + out


class PixelCNN(nn.Module):
    """p(indices | position, age) = product over cells, in raster order, of p(index | indices before
    it, ...).

    ages are years, nan where unknown; None means that all are unknown.
    """

    Config = PixelCNNConfig
    version = 1  # of this code and all it uses: raise it when tests/test_golden.py says so
    phases = ("likelihood",)
    monitor = ("nats_per_code", "min")
    supports_options = supports_completion = True  # see `prior.Prior`
    gradual = False

    def __init__(self, config: PixelCNNConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.n_codes, config.channels)
        self.cell_bias = nn.Parameter(torch.zeros(2 * config.channels, config.grid, config.grid))
        self.age_features = AgeFeatures(config) if config.knows_age else None
        self.blocks = nn.ModuleList(GatedBlock(config, first=i == 0) for i in range(config.blocks))
        self.head = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(config.channels, config.hidden, 1),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Conv2d(config.hidden, config.n_codes, 1),
        )
        self.kept_steps = KeptSteps()
        self.to(memory_format=torch.channels_last)

    def conditions(
        self, positions: Int[Tensor, " batch"], ages: Float[Tensor, " batch"] | None
    ) -> list[Condition]:
        """The conditions of each block's gates."""
        features = None
        if self.age_features is not None:
            features = self.age_features(
                torch.full_like(positions, math.nan, dtype=torch.float32) if ages is None else ages
            )
        return [block.conditions(positions, features) for block in self.blocks]

    def forward(
        self,
        indices: Int[Tensor, "batch rows cols"],
        positions: Int[Tensor, " batch"],
        ages: Float[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch n_codes rows cols"]:
        """Logits of every cell given the cells before it. A model trained without ages
        ignores them.
        """
        vertical = horizontal = self.embedding(indices).permute(0, 3, 1, 2)
        for block, condition in zip(self.blocks, self.conditions(positions, ages), strict=True):
            vertical, horizontal = block(
                vertical, horizontal, condition, self.cell_bias if block.first else 0.0
            )
        logits = self.head(horizontal)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    # ------------------------------------------------------------ training

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"likelihood": list(self.parameters())}

    def step(self, batch: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Negative log-likelihood of one batch {"indices", "positions", and "ages" if known}, in
        nats per code. Some ages are hidden, so that the model also learns what to do without.
        """
        ages = batch.get("ages")
        if ages is not None and self.training and self.config.knows_age:
            ages = torch.where(torch.rand_like(ages) < self.config.age_dropout, math.nan, ages)
        return {
            "loss": F.cross_entropy(
                self(batch["indices"], batch["positions"], ages), batch["indices"]
            )
        }

    @torch.no_grad()
    def surprise(
        self,
        indices: Int[Tensor, "batch rows cols"],
        positions: Int[Tensor, " batch"],
        ages: Float[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch rows cols"]:
        """-log p of every cell, in nats."""
        return F.cross_entropy(self(indices, positions, ages), indices, reduction="none")

    @torch.no_grad()
    def validate(self, batches) -> dict[str, float]:
        total, cells = 0.0, 0
        for batch in batches:
            nats = self.surprise(batch["indices"], batch["positions"], batch.get("ages"))
            total, cells = total + float(nats.double().sum()), cells + nats.numel()
        return {"nats_per_code": total / cells}

    # ------------------------------------------------------------ sampling

    def noise(self, seeds: list[int]) -> Float[Tensor, "batch rows cols"]:
        """Uniform noise in [0, 1) for each seed, the same on every device and in every batch."""
        return uniform_noise(seeds, self.config.grid).to(self.cell_bias.device)

    def noise_path(self, ends: tuple[int, int], steps: int) -> Float[Tensor, "steps rows cols"]:
        """Uniform noise between that of two seeds: a great circle through the normal quantiles."""
        uniform = uniform_noise(list(ends), self.config.grid).double().clamp(1e-9, 1 - 1e-9)
        path = great_circle(torch.special.ndtri(uniform), steps)
        return torch.special.ndtr(path).float().clamp(max=1 - 2**-24).to(self.cell_bias.device)

    @torch.no_grad()
    def sample(
        self,
        positions: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch rows cols"],
        options: SamplingOptions = AS_LEARNED,
        given: Int[Tensor, "_ _ _"] | None = None,
        keep: Bool[Tensor, "_ _ _"] | None = None,
        on_row: Callable[[int, Tensor], None] | None = None,
        ages: Float[Tensor, " batch"] | None = None,
    ) -> Int[Tensor, "batch rows cols"]:
        """Index maps, each cell computed once.

        Args:
            positions: slice positions in [0, n_positions).
            noise: uniform in [0, 1), as from `noise` or `noise_path`.
            options: temperature, top-k and top-p.
            given, keep: cells of `given` where `keep` is true are taken over; the other cells
                depend on those before them only, see `complete`.
            on_row: called as on_row(row, maps so far) after each row.
            ages: years, nan where unknown; None: all unknown.

        Raises:
            ValueError: for an unknown position, age, code or shape.
        """
        self._check(positions, ages, given, keep, noise)
        grid = self.config.grid
        maps = torch.zeros(len(positions), grid, grid, dtype=torch.long, device=positions.device)
        with self.kept_steps.step(self, positions, ages, options) as step:
            for row in range(grid):
                step.cache.start_row(row, maps[:, row - 1] if row else None)
                for col in range(grid):
                    kept = () if keep is None else (given[:, row, col], keep[:, row, col])
                    maps[:, row, col] = step(noise[:, row, col], *kept)
                if on_row:
                    on_row(row, maps)
        return maps

    @torch.no_grad()
    def sample_naive(
        self,
        positions: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch rows cols"],
        options: SamplingOptions = AS_LEARNED,
        ages: Float[Tensor, " batch"] | None = None,
    ) -> Int[Tensor, "batch rows cols"]:
        """The textbook way, one whole forward pass for each cell: the reference for `sample`."""
        self._check(positions, ages, None, None, noise)
        maps = torch.zeros(noise.shape, dtype=torch.long, device=positions.device)
        for row in range(maps.shape[1]):
            for col in range(maps.shape[2]):
                maps[:, row, col] = draw(
                    self(maps, positions, ages)[:, :, row, col], noise[:, row, col], options
                )
        return maps

    @torch.no_grad()
    def complete(
        self,
        positions: Int[Tensor, " batch"],
        seeds: list[int],
        given: Int[Tensor, "_ _ _"],
        keep: Bool[Tensor, "_ _ _"],
        options: SamplingOptions = AS_LEARNED,
        ages: Float[Tensor, " batch"] | None = None,
        particles: int = 16,
        on_row: Callable[[int, Tensor], None] | None = None,
    ) -> Int[Tensor, "batch rows cols"]:
        """Fill the cells where `keep` is false, consistent also with given cells after a hole.

        A particle filter (Gordon 1993, doi 10.1049/ip-f-2.1993.0015): `particles` proposals for
        each map are drawn in raster order and weighted by the likelihood of the given cells they
        meet; after a row, proposals that fit badly are replaced by copies of those that fit well;
        at the end one is chosen by weight. One particle is plain `sample`. An approximation that
        improves with the number of particles. on_row(row, one proposal for each map) is called
        after each row.
        """
        if particles < 1:
            raise ValueError(f"particles must be 1 or more, not {particles}")
        self._check(positions, ages, given, keep)
        grid, generators = self.config.grid, [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = torch.cat([torch.rand(particles, grid, grid, generator=g) for g in generators]).to(
            positions.device
        )
        picks = torch.stack([torch.rand(grid, generator=g) for g in generators]).to(
            positions.device
        )
        positions, given, keep = (
            x.repeat_interleave(particles, 0) for x in (positions, given, keep)
        )
        cache = RowCache(
            self, positions, None if ages is None else ages.repeat_interleave(particles, 0)
        )
        maps, weights = (
            torch.zeros_like(given),
            torch.zeros(len(seeds), particles, device=given.device),
        )
        for row in range(grid):
            cache.start_row(row, maps[:, row - 1] if row else None)
            for col in range(grid):
                logits, kept = cache.logits(), keep[:, row, col]
                code = torch.where(
                    kept, given[:, row, col], draw(logits, noise[:, row, col], options)
                )
                fit = -F.cross_entropy(logits.float(), code, reduction="none")
                weights += torch.where(kept, fit, 0).view_as(weights)
                maps[:, row, col] = code
                cache.accept(code)
            parents, weights = resample(weights, picks[:, row], last=row == grid - 1)
            maps = maps[parents]
            cache.keep_only(parents)
            if on_row:
                on_row(row, maps[::particles])
        return maps[::particles]

    def _check(self, positions, ages, given, keep, noise=None) -> None:
        grid, size = self.config.grid, (len(positions), self.config.grid, self.config.grid)
        if (
            len(positions) == 0
            or int(positions.min()) < 0
            or int(positions.max()) >= self.config.n_positions
        ):
            raise ValueError(
                f"positions must be in [0, {self.config.n_positions}), got {positions.tolist()[:8]}"
            )
        if ages is not None and not self.config.knows_age:
            raise ValueError(
                "this PixelCNN was trained without ages: leave the age out, or train on data with"
                " ages (participants.tsv)"
            )
        if noise is not None and noise.shape != size:
            raise ValueError(f"noise must have shape {size}, not {tuple(noise.shape)}")
        if (given is None) != (keep is None):
            raise ValueError(
                "completion needs both `given` codes and a `keep` mask of the cells to take over"
            )
        if keep is None:
            return
        if given.shape != size or keep.shape != size:
            raise ValueError(
                f"given and keep must have shape {size}, one {grid}x{grid} map for each position,"
                f" not {tuple(given.shape)} and {tuple(keep.shape)}"
            )
        if ((given[keep] < 0) | (given[keep] >= self.config.n_codes)).any():
            raise ValueError(f"given codes must be in [0, {self.config.n_codes})")


def resample(
    weights: Float[Tensor, "batch particles"], picks: Float[Tensor, " batch"], last: bool = False
) -> tuple[Int[Tensor, " flat"], Float[Tensor, "batch particles"]]:
    """(rows of the flattened batch to go on with, new log weights). Systematic resampling of the
    maps whose effective number of particles fell below half; with `last`, one particle of each map,
    chosen by weight.
    """
    batch, particles = weights.shape
    shares = weights.softmax(1)
    own = torch.arange(particles, device=weights.device).expand(batch, particles)
    points = (picks[:, None] + (0 if last else own)) / (1 if last else particles)
    reached = shares.cumsum(1)
    reached = reached / reached[:, -1:]
    points = points.expand(batch, particles).contiguous()
    drawn = torch.searchsorted(reached, points, right=True).clamp(max=particles - 1)
    uneven = (1 / shares.square().sum(1, keepdim=True) < particles / 2) | last
    chosen = (
        torch.where(uneven, drawn, own)
        + particles * torch.arange(batch, device=weights.device)[:, None]
    )
    return chosen.flatten(), torch.where(uneven, 0, weights)
