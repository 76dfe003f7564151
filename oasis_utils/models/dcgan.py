"""DCGAN that generates maps of code vectors, which are quantised to the nearest codes, so every map
can be decoded.

Architecture: Radford 2015 (arXiv 1511.06434). Loss: relativistic pairing with R1 and R2 penalties
(R3GAN, Huang 2024, arXiv 2501.05441, eq. 2 and section 3). Generator and discriminator meet in the
embedding space of the codebook, where near means similar; index numbers have no such meaning. Real
and generated maps pass through the same codebook, so quantisation does not tell them apart. The
generator starts from a linear model of the training maps and learns what is not linear. Index
numbers as output (space="index") and the classical and the hinge loss serve as comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from oasis_utils.config import DCGANConfig
from oasis_utils.metrics.kernel import kernel_distance
from oasis_utils.models.adversarial import Discriminator, Generator
from oasis_utils.models.drawing import AS_LEARNED, SamplingOptions, great_circle
from oasis_utils.models.quantizer import nearest_code

# real minus drawn score (odds of 55 to 1) from which the discriminator overpowers the generator
MARGIN = 4.0
FITTED = 8192  # training maps at most that the linear model is fitted to
VARIETY = 0.3  # share of the real variety at one position below which drawn maps are nearly alike


class DCGAN(nn.Module):
    """Both networks and the codebook between them.

    The generator draws maps in the output space: vectors near `output_codes`, or, with
    space="index", a grey picture whose range [-1, 1] is cut into one bin for each index number.
    """

    Config = DCGANConfig
    version = 1  # of this code and all it uses: raise it when tests/test_golden.py says so
    phases = ("discriminator", "generator")
    monitor = ("kernel_distance", "min")
    supports_options = supports_completion = False  # see `prior.Prior`
    gradual = True

    def __init__(self, config: DCGANConfig):
        super().__init__()
        self.config = config
        self.generator, self.discriminator = Generator(config), Discriminator(config)
        # standardised, see `use_codebook`
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
        self, codebook: Float[Tensor, "n_codes dim"], counts: Float[Tensor, " n_codes"]
    ) -> None:
        """Take the VQ-VAE's codes, scaled so that the maps of the training data (code counts) have
        unit variance.

        One scale for all dimensions: which code is nearest must not change.
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
    ) -> None:
        """Fit the linear model to training maps, after `use_codebook`; the untrained generator then
        draws the maps of the linear model. Does nothing without one (start="blank",
        space="index").
        """
        if not self.config.linear:
            return
        some = torch.randperm(len(indices), generator=torch.Generator().manual_seed(0))[:FITTED].to(
            indices.device
        )
        standard = self.standardize_ages(ages)
        self.generator.linear.fit(
            self.embed(indices[some]), positions[some], None if standard is None else standard[some]
        )
        self.discriminator.mean.copy_(self.generator.linear.mean)
        nn.init.zeros_(self.generator.layers[-1].weight)
        nn.init.zeros_(self.generator.layers[-1].bias)

    def embed(
        self, indices: Int[Tensor, "batch rows cols"]
    ) -> Float[Tensor, "batch dim rows cols"]:
        return F.embedding(indices, self.output_codes).permute(0, 3, 1, 2)

    def quantize(
        self, maps: Float[Tensor, "batch dim rows cols"]
    ) -> Int[Tensor, "batch rows cols"]:
        """Indices in [0, n_codes) of the nearest codes (of the bins, with space="index")."""
        flat = maps.detach().permute(0, 2, 3, 1).reshape(-1, self.config.canvas_dim)
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

    @staticmethod
    def with_ages(
        noise: Float[Tensor, "batch noise_size"], standard: Float[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch noise_size"]:
        """The noise with the known ages as its first numbers."""
        if standard is None:
            return noise
        return torch.cat(
            [torch.where(standard.isfinite(), standard, noise[:, 0])[:, None], noise[:, 1:]], dim=1
        )

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
            options, given, keep: only of the PixelCNN; refused unless they ask for nothing.
            on_row: never called, since all rows are drawn at once.

        Raises:
            ValueError: options or completion were asked for, a position is unknown, or ages were
                given to a model trained without.
        """
        if options != AS_LEARNED or given is not None or keep is not None:
            raise ValueError(
                "temperature, top-k, top-p and completion need the PixelCNN: a DCGAN draws"
                " whole maps at once; choose prior pixelcnn or leave them out"
            )
        if ages is not None and not self.config.knows_age:
            raise ValueError(
                "this DCGAN was trained without ages: leave the age out, or train on data with ages"
                " (participants.tsv)"
            )
        if (
            len(positions) == 0
            or int(positions.min()) < 0
            or int(positions.max()) >= self.config.n_positions
        ):
            raise ValueError(
                f"positions must be in [0, {self.config.n_positions}), got {positions.tolist()[:8]}"
            )
        return self.quantize(
            self.generator(self.with_ages(noise, self.standardize_ages(ages)), positions)
        )

    # ------------------------------------------------------------ training

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {
            "discriminator": list(self.discriminator.parameters()),
            "generator": list(self.generator.parameters()),
        }

    def step(self, batch: Mapping[str, Tensor], phase: str) -> dict[str, Tensor]:
        """Losses of one batch {"indices", "positions", and "ages" if known} for one of the two
        networks; in float32 because of the penalties.
        """
        order = batch["positions"].argsort(stable=True)  # so that packs hold neighbours
        indices, positions = batch["indices"][order], batch["positions"][order]
        ages = self.standardize_ages(batch["ages"][order] if "ages" in batch else None)
        with torch.autocast(positions.device.type, enabled=False):
            real = self.embed(indices)
            noise = self.with_ages(
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
        self, real: Tensor, fake: Tensor, *condition: Tensor | None
    ) -> dict[str, Tensor]:
        real_score = self.discriminator(real, *condition)
        fake_score = self.discriminator(fake, *condition)
        loss = discriminator_loss(self.config.loss, real_score, fake_score)
        margin = real_score - fake_score
        found = {"margin": margin.mean(), "accuracy": (margin > 0).float().mean()}
        if self.config.loss == "relativistic":
            found["penalty"] = self.penalty(real, fake, *condition)
            loss = loss + 0.5 * self.config.gamma * found["penalty"]
        return {"loss": loss, **found}

    def penalty(
        self,
        real: Float[Tensor, "batch dim rows cols"],
        fake: Float[Tensor, "batch dim rows cols"],
        positions: Int[Tensor, " batch"],
        ages: Float[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, ""]:
        """R1 + R2: mean squared slope of the score at real and at drawn maps; a stretch of
        `penalty_share` of the batch stands for all of it, because second derivatives are most of a
        step's cost.
        """
        count = math.ceil(self.config.penalty_share * len(real))
        first = int(torch.randint(len(real) - count + 1, ()))
        part = slice(first, first + count)
        maps = [x[part].detach().requires_grad_() for x in (real, fake)]
        condition = positions[part], None if ages is None else ages[part]
        scores = [self.discriminator(x, *condition).sum() for x in maps]
        slopes = torch.autograd.grad(scores, maps, create_graph=True)
        return sum(slope.square().sum(dim=(1, 2, 3)).mean() for slope in slopes)

    @torch.no_grad()
    def validate(self, batches) -> dict[str, float]:
        """Drawn against held-out maps at the same positions and ages.

        kernel_distance: in the embedding space, 0 for the same distribution. code_divergence: of
        the code histograms. variety: of the drawn maps at one position, 1 as much as in held-out
        ones; absent if no position occurs twice. held_out_accuracy: how often the discriminator
        prefers a held-out map to a drawn one.
        """
        real, drawn, positions, preferred = [], [], [], []
        for i, batch in enumerate(batches):
            seeds = list(
                range(i * batches.batch_size, i * batches.batch_size + len(batch["positions"]))
            )
            ages = batch.get("ages") if self.config.knows_age else None
            maps = self.sample(batch["positions"], self.noise(seeds), ages)
            condition = self.standardize_ages(ages)
            scores = [
                self.discriminator(self.embed(x), batch["positions"], condition)
                for x in (batch["indices"], maps)
            ]
            for parts, part in zip(
                (real, drawn, positions, preferred),
                (batch["indices"], maps, batch["positions"], scores[0] > scores[1]),
                strict=True,
            ):
                parts.append(part)
        real, drawn, positions, preferred = (
            torch.cat(parts) for parts in (real, drawn, positions, preferred)
        )
        vectors = [F.embedding(maps, self.codebook).flatten(1) for maps in (real, drawn)]
        spread = [position_spread(x, positions) for x in vectors]
        return {
            "kernel_distance": kernel_distance(*vectors),
            "code_divergence": code_divergence(real, drawn, self.config.n_codes),
            "distinct_codes": float(drawn.unique().numel()),
            "held_out_accuracy": float(preferred.float().mean()),
            **({"variety": spread[1] / spread[0]} if spread[0] > 0 else {}),
        }


# ---------------------------------------------------------------- losses


def discriminator_loss(
    kind: str, real: Float[Tensor, " batch"], fake: Float[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """What the discriminator minimises, from its scores of real and drawn maps."""
    if kind == "relativistic":  # R3GAN, eq. 2
        return F.softplus(fake - real).mean()
    if kind == "hinge":  # Miyato 2018, SN-GAN (arXiv 1802.05957), eq. 16
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    # Goodfellow 2014 (arXiv 1406.2661): cross-entropy of real and drawn
    return (F.softplus(-real) + F.softplus(fake)).mean()


def generator_loss(
    kind: str, real: Float[Tensor, " batch"], fake: Float[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """What the generator minimises; only the relativistic loss looks at the real maps."""
    if kind == "relativistic":
        return F.softplus(real - fake).mean()
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()


# ---------------------------------------------------------------- diagnostics


def symptoms(history: Sequence[Mapping[str, float]]) -> list[str]:
    """Signs of a failing adversarial training.

    Args:
        history: records of the epochs so far, as from `DCGAN.step` and `DCGAN.validate`.

    Returns:
        A sentence for each problem after the last epoch, with what to try; empty if there is none.
    """
    found, last = [], history[-1]
    if last.get("discriminator_margin", 0.0) > MARGIN and last.get("held_out_accuracy", 0.0) > 0.95:
        found.append(
            "the discriminator overpowers the generator: try a larger gamma, a smaller"
            " learning_rate or loss='relativistic'"
        )
    if len(history) > 1 and last.get("variety", 1.0) < min(
        VARIETY, history[-2].get("variety", 1.0)
    ):
        found.append(
            "the drawn maps of one position are nearly alike, and ever more so (collapse): try "
            "loss='relativistic', a larger gamma or a larger batch_size"
        )
    return found


def position_spread(vectors: Float[Tensor, "n dim"], positions: Int[Tensor, " n"]) -> float:
    """Unbiased variance within a position, summed over dimensions, mean over rows; 0 if no position
    occurs twice.
    """
    positions = positions.unique(return_inverse=True)[1]
    counts = torch.bincount(positions)
    means = torch.zeros(len(counts), vectors.shape[1], device=vectors.device, dtype=vectors.dtype)
    means = means.index_add_(0, positions, vectors) / counts[:, None]
    squares = (vectors - means[positions]).square().sum()
    return float(squares / (counts - 1).sum().clamp(min=1))


def code_divergence(a: Int[Tensor, ...], b: Int[Tensor, ...], n_codes: int) -> float:
    """Jensen-Shannon divergence of two code histograms in nats, in [0, ln 2]."""
    p, q = (torch.bincount(x.flatten(), minlength=n_codes).double() / x.numel() for x in (a, b))
    middle = (p + q) / 2
    return float(sum(torch.xlogy(x, x / middle.clamp(min=1e-30)).sum() for x in (p, q)) / 2)
