"""DCGAN that generates maps of code vectors, which are quantised to the nearest codes, so every map
can be decoded.

Architecture: Radford 2015 (arXiv 1511.06434). Loss: relativistic pairing with R1 and R2 penalties
(R3GAN, Huang 2024, arXiv 2501.05441, eq. 2 and section 3). Generator and discriminator meet in the
embedding space of the codebook, where near means similar; index numbers have no such meaning. Real
and generated maps pass through the same codebook, so quantisation does not tell them apart. The
generator starts from a linear model of the training maps and learns what is not linear. Index
numbers as output (space="index") and the classical loss serve as comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Real
from torch import Tensor, nn

from oasis_utils.config import DCGANConfig
from oasis_utils.metrics.kernel_distance import kernel_distance
from oasis_utils.models.adversarial import (
    PACK_SIZE,
    Discriminator,
    Generator,
    discriminator_loss,
    generator_loss,
)
from oasis_utils.models.diagnostics import code_divergence, position_spread
from oasis_utils.models.drawing import AS_LEARNED, SamplingOptions, great_circle
from oasis_utils.models.linear_maps import fitted_rows, with_first
from oasis_utils.models.prior import check_ages, check_positions
from oasis_utils.models.quantizer import nearest_code
from oasis_utils.models.trainable import SizedBatches, Trainable
from oasis_utils.runtime import processes


class DCGAN(Trainable):
    """Both networks and the codebook between them.

    The generator draws maps in the output space: vectors near `output_codes`, or, with
    space="index", a grey picture whose range [-1, 1] is cut into one bin for each index number.

    Args:
        config: sizes of the networks, of the maps and of the noise; output space, start and loss.

    Reference:
        Radford 2015 (arXiv 1511.06434); R3GAN (Huang 2024, arXiv 2501.05441).
    """

    codebook: Tensor  # standardised, see `use_codebook`
    bins: Tensor  # the middle of each bin; only with space="index"

    Config = DCGANConfig
    version = 1  # of this code and all it uses: raise it when tests/test_golden.py says so
    phases = ("discriminator", "generator")
    monitor = ("kernel_distance", "min")
    neighbours = ("positions", PACK_SIZE)  # the packs that the discriminator sees together
    supports_options = supports_completion = False  # see `prior.Prior`
    gradual = True

    def __init__(self, config: DCGANConfig):
        super().__init__()
        self.config, self.settled = config, config.settled
        self.generator, self.discriminator = Generator(config), Discriminator(config)
        self.register_buffer("codebook", torch.randn(config.n_codes, config.code_dim))
        if config.space == "index":
            centres = (2 * torch.arange(config.n_codes) + 1) / config.n_codes - 1
            self.register_buffer("bins", centres[:, None], persistent=False)

    @property
    def output_codes(self) -> Float[Tensor, "n_codes dim"]:
        """The vector of each code in the output space of the generator."""
        return self.bins if self.config.space == "index" else self.codebook

    @torch.no_grad()
    def use_codebook(
        self, codebook: Float[Tensor, "n_codes dim"], counts: Real[Tensor, " n_codes"]
    ) -> None:
        """Take the VQ-VAE's codes, scaled so that the training maps have unit variance.

        All dimensions have one scale, so that the nearest code of a vector stays the same.

        Args:
            codebook: the codes of the VQ-VAE.
            counts: how often each code occurs in the training maps.

        Raises:
            ValueError: the training maps use a single code.
        """
        weights = (counts / counts.sum())[:, None]
        mean = (weights * codebook).sum(0)
        scale = (weights * (codebook - mean).square()).sum().div(self.config.code_dim).sqrt()
        if not scale > 0:
            raise ValueError(
                "the training maps use a single code: the codebook has collapsed, train the VQ-VAE"
                " again"
            )
        self.codebook.copy_((codebook - mean) / scale)

    @torch.no_grad()
    def use_maps(
        self,
        indices: Int[Tensor, "n rows cols"],
        positions: Int[Tensor, " n"],
        ages: Float[Tensor, " n"] | None = None,
        n_plain: int | None = None,
    ) -> None:
        """Fit the linear model to training maps, after `use_codebook`; the untrained generator then
        draws the maps of the linear model. Does nothing without one (start="blank",
        space="index").

        Args:
            indices: training maps, codes in [0, n_codes).
            positions: slice position of each map, in [0, n_positions).
            ages: years, nan where unknown; None: all unknown.
            n_plain: so many of the first maps are of slices as they are. Default: all.
        """
        if not self.config.linear:
            return
        some, plain = fitted_rows(len(indices), indices.device, n_plain)
        standard = self.standardize_ages(ages)
        self.generator.linear.fit(
            self.embed(indices[some]),
            positions[some],
            None if standard is None else standard[some],
            plain,
        )
        self.discriminator.mean.copy_(self.generator.linear.mean)
        last = self.generator.layers[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None  # there is no tanh after it
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def embed(
        self, indices: Int[Tensor, "batch rows cols"]
    ) -> Float[Tensor, "batch dim rows cols"]:
        """Index maps as vectors in the output space, see `output_codes`."""
        return F.embedding(indices, self.output_codes).permute(0, 3, 1, 2)

    def quantize(
        self, maps: Float[Tensor, "batch dim rows cols"]
    ) -> Int[Tensor, "batch rows cols"]:
        """Indices in [0, n_codes) of the nearest codes (of the bins, with space="index")."""
        flat = maps.detach().permute(0, 2, 3, 1).reshape(-1, self.config.output_dim)
        return nearest_code(flat, self.output_codes).view(len(maps), *maps.shape[2:])

    def noise(self, seeds: list[int]) -> Float[Tensor, "batch noise_size"]:
        """One noise vector for each seed, the same on every device and in every batch."""
        rows = [
            torch.randn(self.config.noise_size, generator=torch.Generator().manual_seed(s))
            for s in seeds
        ]
        return torch.stack(rows).to(self.codebook.device)

    def noise_path(self, ends: tuple[int, int], steps: int) -> Float[Tensor, "steps noise_size"]:
        """Noise between that of two seeds, along a great circle."""
        return great_circle(self.noise(list(ends)), steps)

    def standardize_ages(self, ages: Float[Tensor, " n"] | None) -> Float[Tensor, " n"] | None:
        """Years as deviations from the training subjects' mean, in their standard deviations; None
        for a model without ages.
        """
        if ages is None or not self.config.knows_age:
            return None
        return (ages - self.config.age_mean) / self.config.age_std

    @torch.no_grad()
    def sample(
        self,
        positions: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch noise_size"],
        ages: Float[Tensor, " batch"] | None = None,
        options: SamplingOptions = AS_LEARNED,
        given: Int[Tensor, "_ _ _"] | None = None,
        keep: Bool[Tensor, "_ _ _"] | None = None,
        on_row: Callable[[int, Tensor], None] | None = None,
    ) -> Int[Tensor, "batch rows cols"]:
        """Index maps of whole slices, drawn at once.

        Args:
            positions: slice positions in [0, n_positions).
            noise: one vector for each map, as from `noise` or `noise_path`.
            ages: years, nan where unknown; None: all unknown.
            options: only the default; others need the PixelCNN.
            given: only None; completion needs the PixelCNN.
            keep: only None, as `given`.
            on_row: never called, since all rows are drawn at once.

        Returns:
            Codes in [0, n_codes).

        Raises:
            ValueError: options or completion were asked for, a position is unknown, or ages were
                given to a model trained without.
        """
        if options != AS_LEARNED or given is not None or keep is not None:
            raise ValueError(
                "temperature, top-k, top-p and completion need the PixelCNN: a DCGAN draws"
                " whole maps at once; choose prior pixelcnn or leave them out"
            )
        check_ages(ages, self.config.knows_age, "DCGAN")
        check_positions(positions, self.config.n_positions)
        return self.quantize(
            self.generator(with_first(noise, self.standardize_ages(ages)), positions)
        )

    @torch.no_grad()
    def realism(
        self,
        indices: Int[Tensor, "batch rows cols"],
        positions: Int[Tensor, " batch"],
        ages: Float[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """How real the discriminator thinks index maps are.

        Args:
            indices: codes in [0, n_codes).
            positions: slice positions in [0, n_positions), neighbours side by side.
            ages: years, nan where unknown; None: all unknown.

        Returns:
            A score of any sign; higher is more real.
        """
        return self.discriminator(self.embed(indices), positions, self.standardize_ages(ages))

    # ------------------------------------------------------------ training

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of each network."""
        return {
            "discriminator": list(self.discriminator.parameters()),
            "generator": list(self.generator.parameters()),
        }

    def step(self, batch: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Losses of one batch for one of the two networks, in float32 because of the penalties.

        Args:
            batch: "indices" and "positions", and "ages" in years if they are known.
            phase: "discriminator" or "generator".

        Returns:
            "loss"; of the discriminator also its "margin" (real minus drawn score), "accuracy" and,
            with the relativistic loss, "penalty"; of the generator also "commitment".
        """
        order = batch["positions"].argsort(stable=True)  # so that packs hold neighbours
        indices, positions = batch["indices"][order], batch["positions"][order]
        ages = self.standardize_ages(batch["ages"][order] if "ages" in batch else None)
        with torch.autocast(positions.device.type, enabled=False):
            real = self.embed(indices)
            noise = with_first(
                torch.randn(len(positions), self.config.noise_size, device=positions.device), ages
            )
            if phase == "discriminator":
                with torch.no_grad():
                    fake = self.embed(self.quantize(self.generator(noise, positions)))
                return self._discriminator_step(real, fake, positions, ages)
            drawn = self.generator(noise, positions)
            codes = self.embed(self.quantize(drawn))
            fake = drawn + (codes - drawn).detach()  # straight through the quantisation
            with torch.no_grad():
                real_score = self.discriminator(real, positions, ages)
            fake_score = self.discriminator(fake, positions, ages)
            commitment = F.mse_loss(drawn, codes)
            loss = (
                generator_loss(self.config.loss, real_score, fake_score)
                + self.config.commitment * commitment
            )
            return {"loss": loss, "commitment": commitment}

    def _discriminator_step(
        self, real: Tensor, fake: Tensor, positions: Tensor, ages: Tensor | None
    ) -> dict[str, Tensor]:
        real_score = self.discriminator(real, positions, ages)
        fake_score = self.discriminator(fake, positions, ages)
        loss = discriminator_loss(self.config.loss, real_score, fake_score)
        margin = real_score - fake_score
        found = {"margin": margin.mean(), "accuracy": (margin > 0).float().mean()}
        if self.config.loss == "relativistic":
            found["penalty"] = self.penalty(real, fake, positions, ages)
            loss = loss + 0.5 * self.config.gamma * found["penalty"]
        return {"loss": loss, **found}

    def penalty(
        self,
        real: Float[Tensor, "batch dim rows cols"],
        fake: Float[Tensor, "batch dim rows cols"],
        positions: Int[Tensor, " batch"],
        ages: Float[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, ""]:
        """R1 + R2: mean squared slope of the score at real and at drawn maps.

        The share `penalty_share` of the batch, from a random row on, stands for all of it, because
        second derivatives are most of a step's cost.

        Args:
            real: maps of the batch as vectors.
            fake: drawn maps as vectors.
            positions: slice positions in [0, n_positions) of both.
            ages: standardised, nan where unknown; None: all unknown.

        Returns:
            The sum of both penalties, before its weight gamma / 2.

        Reference:
            R3GAN (Huang 2024, arXiv 2501.05441), section 3.
        """
        count = math.ceil(self.config.penalty_share * len(real))
        first = int(torch.randint(len(real) - count + 1, ()))
        part = slice(first, first + count)
        maps = [x[part].detach().requires_grad_() for x in (real, fake)]
        condition = positions[part], None if ages is None else ages[part]
        scores = [self.discriminator(x, *condition).sum() for x in maps]
        slopes = torch.autograd.grad(scores, maps, create_graph=True)
        r1, r2 = (slope.square().sum(dim=(1, 2, 3)).mean() for slope in slopes)
        return r1 + r2

    @torch.no_grad()
    def validate(self, batches: SizedBatches) -> dict[str, float]:
        """Drawn against held-out maps at the same positions and ages.

        Args:
            batches: of the held-out split, as `Batches`.

        Returns:
            kernel_distance: in the embedding space, 0 for the same distribution.
            code_divergence: of the code histograms, in nats.
            distinct_codes: number of codes that the drawn maps use.
            held_out_accuracy: how often the discriminator prefers a held-out map to a drawn one.
            variety: of the drawn maps at one position, relative to that of held-out ones; absent if
                no position occurs twice.
        """
        side = self.config.grid
        # a row for each map: its number in the split, position and score, both maps
        found = [torch.empty(0, 3 + 2 * side**2, dtype=torch.long, device=self.codebook.device)]
        for i, batch in processes.in_turn(batches):
            first = i * batches.batch_size
            seeds = list(range(first, first + len(batch["positions"])))
            ages = batch.get("ages") if self.config.knows_age else None
            maps = self.sample(batch["positions"], self.noise(seeds), ages)
            scores = [self.realism(x, batch["positions"], ages) for x in (batch["indices"], maps)]
            numbers = torch.arange(first, first + len(maps), device=maps.device)
            better = (scores[0] > scores[1]).long()
            columns = torch.stack([numbers, batch["positions"], better], dim=1)
            found.append(torch.cat([columns, batch["indices"].flatten(1), maps.flatten(1)], dim=1))
        rows = processes.gathered_rows(torch.cat(found))
        rows = rows[rows[:, 0].argsort()]
        positions, preferred = rows[:, 1], rows[:, 2]
        real, drawn = rows[:, 3:].unflatten(1, (2, side, side)).unbind(1)
        vectors = [F.embedding(maps, self.codebook).flatten(1) for maps in (real, drawn)]
        spread = [position_spread(x, positions) for x in vectors]
        return {
            "kernel_distance": kernel_distance(*vectors),
            "code_divergence": code_divergence(real, drawn, self.config.n_codes),
            "distinct_codes": float(drawn.unique().numel()),
            "held_out_accuracy": float(preferred.float().mean()),
            **({"variety": spread[1] / spread[0]} if spread[0] > 0 else {}),
        }
