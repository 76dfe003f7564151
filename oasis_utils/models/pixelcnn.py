"""The PixelCNN: likelihood, sampling and completion of index maps, conditioned on slice position
and age.

Conditional Image Generation with PixelCNN Decoders (van den Oord 2016, arXiv 1606.05328): a
vertical stack sees all rows above, a horizontal stack the cells to the left, so there is no blind
spot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from oasis_utils.config import PixelCNNConfig
from oasis_utils.models.cached_sampling import RowCache
from oasis_utils.models.codebook_start import start_from_codebook
from oasis_utils.models.drawing import (
    AS_LEARNED,
    SamplingOptions,
    draw,
    great_circle,
    uniform_noise,
)
from oasis_utils.models.kept_steps import KeptSteps
from oasis_utils.models.map_likelihood import MapLikelihood
from oasis_utils.models.prior import check_ages, check_positions
from oasis_utils.models.resampling import resample


class PixelCNN(MapLikelihood):
    """A distribution of index maps: p(indices | position, age) is the product over all cells, in
    raster order, of p(index | indices before it, position, age).

    Args:
        config: sizes of the network and of the maps, mean and spread of the ages.

    Reference:
        Conditional Image Generation with PixelCNN Decoders (van den Oord 2016, arXiv 1606.05328).
    """

    Config = PixelCNNConfig
    version = 1  # of this code and all it uses: raise it when tests/test_golden.py says so
    supports_options = supports_completion = True  # see `prior.Prior`
    gradual = settled = False

    def __init__(self, config: PixelCNNConfig):
        super().__init__(config)
        self.kept_steps = KeptSteps()
        self.to(memory_format=torch.channels_last)

    # ------------------------------------------------------------ training

    def step(self, batch: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Negative log-likelihood of one batch, in nats per code.

        Args:
            batch: "indices" and "positions", and "ages" in years if they are known. In training
                mode the share `age_dropout` of the ages is hidden, so that the model also learns to
                do without.
            phase: "likelihood".

        Returns:
            {"loss"}.
        """
        indices, positions, ages = batch["indices"], batch["positions"], self._some_ages(batch)
        layouts, _ = self._told_layouts(indices, positions, ages)
        logits = self(self._noisy(indices, self.config.context_noise), positions, ages, layouts)
        return {"loss": F.cross_entropy(logits, indices)}

    def use_maps(
        self,
        codebook: Float[Tensor, "n_codes dim"],
        indices: Int[Tensor, "n rows cols"],
        positions: Int[Tensor, " n"],
        ages: Float[Tensor, " n"] | None = None,
        n_plain: int | None = None,
    ) -> None:
        """Set the initial weights before the training: those of start="codebook" and the linear
        model of layouts, as far as the configuration has them.

        Args:
            codebook: the codes of the VQ-VAE.
            indices: training maps, codes in [0, n_codes).
            positions: slice position of each map, in [0, n_positions).
            ages: years, nan where unknown; None: all unknown.
            n_plain: so many of the first maps are of slices as they are. Default: all.
        """
        if self.config.start == "codebook":
            start_from_codebook(self, codebook, indices)
        if self.layout is not None:
            self.layout.fit(codebook, indices, positions, ages, n_plain)

    @torch.no_grad()
    def surprisal(
        self,
        indices: Int[Tensor, "batch rows cols"],
        positions: Int[Tensor, " batch"],
        ages: Float[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch rows cols"]:
        """Negative log-likelihood of every cell given those before it.

        With layouts it is a bound: given a layout near that of the map, and each cell bears its
        part of what telling the layout costs. The sum over a map is then, in the mean, no lower
        than the true value.

        Args:
            indices: codes in [0, n_codes).
            positions: slice positions in [0, n_positions).
            ages: years, nan where unknown; None: all unknown.

        Returns:
            -log p of each cell, in nats.

        Reference:
            Auto-Encoding Variational Bayes (Kingma 2013, arXiv 1312.6114), eq. 3.
        """
        layouts, cost = self._told_layouts(
            indices, positions, ages, torch.Generator().manual_seed(0)
        )
        nats = F.cross_entropy(self(indices, positions, ages, layouts), indices, reduction="none")
        if isinstance(cost, Tensor):
            nats = nats + (cost / self.config.grid**2)[:, None, None]
        return nats

    def surprisal_of(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch rows cols"]:
        """`surprisal` of a batch as for `step`."""
        return self.surprisal(batch["indices"], batch["positions"], batch.get("ages"))

    # ------------------------------------------------------------ sampling

    def noise(self, seeds: list[int]) -> Float[Tensor, "batch rows cols"]:
        """Uniform noise in [0, 1) for each seed, the same on every device and in every batch: one
        number for each cell and, in further rows, those of the layout.
        """
        return self._uniform(seeds).to(self.cell_bias.device)

    def _uniform(self, seeds: list[int]) -> Float[Tensor, "batch rows cols"]:
        grid = self.config.grid
        return uniform_noise(seeds, grid, grid + math.ceil(self.config.layout / grid))

    def noise_with_layouts(
        self,
        noise: Float[Tensor, "batch noise_rows cols"],
        layouts: Float[Tensor, "batch layout"] | None,
    ) -> Float[Tensor, "batch noise_rows cols"]:
        """The same noise of the cells, with that of these layouts; None changes nothing."""
        if layouts is None:
            return noise
        uniform = torch.special.ndtr(layouts.double()).float().clamp(max=1 - 2**-24)
        rest = noise[:, self.config.grid :].flatten(1)[:, self.config.layout :]
        rows = torch.cat([uniform.to(noise), rest], dim=1).view(len(noise), -1, self.config.grid)
        return torch.cat([noise[:, : self.config.grid], rows], dim=1)

    def noise_path(self, ends: tuple[int, int], steps: int) -> Float[Tensor, "steps rows cols"]:
        """Uniform noise between that of two seeds: a great circle through the normal quantiles."""
        uniform = self._uniform(list(ends)).double().clamp(1e-9, 1 - 1e-9)
        path = great_circle(torch.special.ndtri(uniform), steps)
        return torch.special.ndtr(path).float().clamp(max=1 - 2**-24).to(self.cell_bias.device)

    @torch.no_grad()
    def sample(
        self,
        positions: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch noise_rows cols"],
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
            given: maps of which some cells are taken over; None: no cell is.
            keep: true where a cell of `given` is taken over. The other cells depend on those before
                them only, see `complete`.
            on_row: called as on_row(row, maps so far) after each row.
            ages: years, nan where unknown; None: all unknown.

        Returns:
            Codes in [0, n_codes).

        Raises:
            ValueError: for an unknown position, age, code or shape.
        """
        self._check(positions, ages, given, keep, noise)
        grid = self.config.grid
        layouts = self._drawn_layouts(noise, positions, ages, given, keep)
        maps = torch.zeros(len(positions), grid, grid, dtype=torch.long, device=positions.device)
        with self.kept_steps.step(self, positions, ages, layouts, options) as step:
            for row in range(grid):
                step.cache.start_row(row, maps[:, row - 1] if row else None)
                for col in range(grid):
                    if given is None or keep is None:
                        maps[:, row, col] = step(noise[:, row, col])
                    else:
                        maps[:, row, col] = step(
                            noise[:, row, col], given[:, row, col], keep[:, row, col]
                        )
                if on_row:
                    on_row(row, maps)
        return maps

    @torch.no_grad()
    def sample_naive(
        self,
        positions: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch noise_rows cols"],
        options: SamplingOptions = AS_LEARNED,
        ages: Float[Tensor, " batch"] | None = None,
    ) -> Int[Tensor, "batch rows cols"]:
        """Index maps by one whole forward pass for each cell: the reference for `sample`.

        Args:
            positions: slice positions in [0, n_positions).
            noise: uniform in [0, 1), as from `noise` or `noise_path`.
            options: temperature, top-k and top-p.
            ages: years, nan where unknown; None: all unknown.

        Returns:
            Codes in [0, n_codes).
        """
        self._check(positions, ages, None, None, noise)
        grid = self.config.grid
        layouts = self._drawn_layouts(noise, positions, ages)
        maps = torch.zeros(len(positions), grid, grid, dtype=torch.long, device=positions.device)
        for row in range(grid):
            for col in range(grid):
                logits = self(maps, positions, ages, layouts)[:, :, row, col]
                maps[:, row, col] = draw(logits, noise[:, row, col], options)
        return maps

    def _drawn_layouts(
        self,
        noise: Tensor,
        positions: Tensor,
        ages: Tensor | None,
        given: Tensor | None = None,
        keep: Tensor | None = None,
    ) -> Float[Tensor, "batch layout"] | None:
        """Layouts from the rows of the noise that follow those of the cells; with given cells such
        layouts as these may have under the linear model.
        """
        if self.layout is None:
            return None
        uniform = noise[:, self.config.grid :].flatten(1)[:, : self.config.layout]
        normal = torch.special.ndtri(uniform.double().clamp(1e-9, 1 - 1e-9)).to(self.cell_bias)
        if given is None or keep is None:
            return self.layout.drawn(normal, positions, ages)
        mean, spread = self.layout.measure(given, positions, ages, keep)
        return mean + (spread @ normal[:, :, None])[:, :, 0]

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

        A particle filter: proposals for each map are drawn in raster order and weighted by the
        likelihood of the given cells they meet; after a row, proposals that fit badly are replaced
        by copies of those that fit well; at the end one is chosen by weight.

        Args:
            positions: slice positions in [0, n_positions).
            seeds: one for each map; the same seed gives the same map in any batch.
            given: maps of which some cells are taken over.
            keep: true where a cell of `given` is taken over.
            options: temperature, top-k and top-p.
            ages: years, nan where unknown; None: all unknown.
            particles: proposals for each map, 1 or more. The approximation improves with their
                number; one particle is plain `sample`.
            on_row: called as on_row(row, one proposal for each map) after each row.

        Returns:
            Codes in [0, n_codes), equal to `given` where `keep` is true.

        Raises:
            ValueError: particles is below 1; a position, age, code or shape is not known.

        Reference:
            Gordon 1993, doi 10.1049/ip-f-2.1993.0015.
        """
        if particles < 1:
            raise ValueError(f"particles must be 1 or more, not {particles}")
        self._check(positions, ages, given, keep)
        grid, generators = self.config.grid, [torch.Generator().manual_seed(seed) for seed in seeds]
        rows = grid + math.ceil(self.config.layout / grid)
        noise = torch.cat([torch.rand(particles, rows, grid, generator=g) for g in generators]).to(
            positions.device
        )
        picks = torch.stack([torch.rand(grid, generator=g) for g in generators]).to(
            positions.device
        )
        positions, given, keep = (
            x.repeat_interleave(particles, 0) for x in (positions, given, keep)
        )
        ages = None if ages is None else ages.repeat_interleave(particles, 0)
        layouts = self._drawn_layouts(noise, positions, ages, given, keep)
        cache = RowCache(self, positions, ages, layouts)
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

    def _check(
        self,
        positions: Tensor,
        ages: Tensor | None,
        given: Tensor | None,
        keep: Tensor | None,
        noise: Tensor | None = None,
    ) -> None:
        """ValueError for an unknown position, age, code or shape."""
        grid, size = self.config.grid, (len(positions), self.config.grid, self.config.grid)
        check_positions(positions, self.config.n_positions)
        check_ages(ages, self.config.knows_age, "PixelCNN")
        rows = grid + math.ceil(self.config.layout / grid)
        if noise is not None and noise.shape != (len(positions), rows, grid):
            wanted = (len(positions), rows, grid)
            raise ValueError(f"noise must have shape {wanted}, not {tuple(noise.shape)}")
        if (given is None) != (keep is None):
            raise ValueError(
                "completion needs both `given` codes and a `keep` mask of the cells to take over"
            )
        if given is None or keep is None:
            return
        if given.shape != size or keep.shape != size:
            raise ValueError(
                f"given and keep must have shape {size}, one {grid}x{grid} map for each position,"
                f" not {tuple(given.shape)} and {tuple(keep.shape)}"
            )
        if ((given[keep] < 0) | (given[keep] >= self.config.n_codes)).any():
            raise ValueError(f"given codes must be in [0, {self.config.n_codes})")
