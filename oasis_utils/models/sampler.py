"""Generates slices: positions, ages and seeds in, decoded slices out, with any prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor

from oasis_utils.models.checkpoints import (
    CheckpointError,
    input_of,
    load_model,
    weights_digest,
)
from oasis_utils.models.codes import decode_maps, encode_images
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.drawing import AS_LEARNED, SamplingOptions
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.prior import CompletingPrior, Prior
from oasis_utils.models.samples import Samples
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import (
    Progress,
    RunFolder,
    project_root,
)
from oasis_utils.runtime.gpu import exclusively

PRIORS: dict[str, type[PixelCNN] | type[DCGAN]] = {"pixelcnn": PixelCNN, "dcgan": DCGAN}
DRAWN_AT_ONCE = 64  # maps


class BrainSampler:
    """A VQ-VAE and a prior trained on its codes.

    Several threads may draw and decode; on a GPU they take turns.

    Args:
        vqvae: decodes index maps.
        prior: draws index maps, on the device of the VQ-VAE.
    """

    def __init__(self, vqvae: VQVAE, prior: Prior):
        self.vqvae: VQVAE = vqvae.eval()
        self.prior: Prior = prior.eval()
        self.device = vqvae.quantizer.codebook.device

    @property
    def name(self) -> str:
        """Name of the prior's class."""
        return type(self.prior).__name__

    @property
    def n_positions(self) -> int:
        """Number of slice positions that the prior knows."""
        return self.prior.config.n_positions

    @property
    def knows_age(self) -> bool:
        """Whether an age can be asked for."""
        return self.prior.config.knows_age

    @exclusively
    @torch.inference_mode()
    def draw(
        self,
        positions: Integer[np.ndarray, " n"],
        seeds: list[int],
        options: SamplingOptions | None = None,
        given: Integer[np.ndarray, "_ _ _"] | None = None,
        keep: Bool[np.ndarray, "_ _ _"] | None = None,
        on_row: Callable[[int, Tensor], None] | None = None,
        ages: Float[np.ndarray, " n"] | None = None,
    ) -> Integer[np.ndarray, "n rows cols"]:
        """Index maps, one for each seed.

        Args:
            positions: slice positions in [0, n_positions).
            seeds: one for each map; the same seed gives the same map in any batch.
            options: temperature, top-k and top-p, if the prior supports them.
            given: maps of which some cells are taken over, if the prior supports completion.
            keep: true where a cell of `given` is taken over. The other cells depend on those before
                them only; see `complete`.
            on_row: called as on_row(row, maps so far) by a prior that draws row by row.
            ages: years, nan where unknown; None: all unknown.

        Returns:
            Indices in [0, n_codes).

        Raises:
            ValueError: the prior does not know the position or does not support what is asked for.
        """
        drawn = self.prior.sample(
            self._tensor(positions, np.int64),
            self.prior.noise(seeds),
            options=options or AS_LEARNED,
            given=None if given is None else self._tensor(given, np.int64),
            keep=None if keep is None else self._tensor(keep, np.bool_),
            on_row=on_row,
            ages=None if ages is None else self._tensor(ages, np.float32),
        )
        return self._settled(drawn).cpu().numpy()

    @exclusively
    @torch.inference_mode()
    def complete(
        self,
        positions: Integer[np.ndarray, " n"],
        seeds: list[int],
        given: Integer[np.ndarray, "_ _ _"],
        keep: Bool[np.ndarray, "_ _ _"],
        options: SamplingOptions | None = None,
        ages: Float[np.ndarray, " n"] | None = None,
        particles: int = 16,
        on_row: Callable[[int, Tensor], None] | None = None,
    ) -> Integer[np.ndarray, "n rows cols"]:
        """Index maps whose cells outside `keep` are filled in to suit the given cells before and
        after them, by a particle filter; see `PixelCNN.complete`.

        Args:
            positions: slice positions in [0, n_positions).
            seeds: one for each map; the same seed gives the same map in any batch.
            given: index maps, one for each position.
            keep: true where the cells of `given` are taken over.
            options: temperature, top-k and top-p.
            ages: years, nan where unknown; None: all unknown.
            particles: proposals for each map; more of them suit the given cells better.
            on_row: called as on_row(row, one proposal for each map) after each row.

        Returns:
            Indices in [0, n_codes), equal to `given` where `keep` is true.

        Raises:
            ValueError: the prior does not support completion.
        """
        if not self.prior.supports_completion:
            raise ValueError("completion needs the PixelCNN: a DCGAN draws whole maps at once")
        drawn = cast("CompletingPrior", self.prior).complete(
            self._tensor(positions, np.int64),
            seeds,
            self._tensor(given, np.int64),
            self._tensor(keep, np.bool_),
            options or AS_LEARNED,
            None if ages is None else self._tensor(ages, np.float32),
            particles,
            on_row,
        )
        return drawn.cpu().numpy()

    @exclusively
    @torch.inference_mode()
    def walk(
        self,
        position: int,
        ends: tuple[int, int],
        steps: int,
        options: SamplingOptions | None = None,
        on_row: Callable[[int, Tensor], None] | None = None,
    ) -> Integer[np.ndarray, "steps rows cols"]:
        """Index maps on the way between the noises of two seeds, along a great circle.

        A DCGAN changes gradually. The PixelCNN walks between the normal quantiles of its uniform
        noise, and jumps: where one cell changes to another code, all later cells follow.

        Args:
            position: slice position in [0, n_positions).
            ends: the two seeds.
            steps: number of maps, those of both seeds included.
            options: temperature, top-k and top-p, if the prior supports them.
            on_row: called as on_row(row, maps so far) by a prior that draws row by row.

        Returns:
            Indices in [0, n_codes).

        Reference:
            Sampling Generative Networks (White 2016, arXiv 1609.04468).
        """
        drawn = self.prior.sample(
            self._tensor(np.full(steps, position), np.int64),
            self.prior.noise_path(ends, steps),
            options=options or AS_LEARNED,
            on_row=on_row,
        )
        return self._settled(drawn).cpu().numpy()

    def _settled(self, drawn: Tensor) -> Tensor:
        """The codes of the decoded maps, if the prior is one whose maps are settled."""
        if not self.prior.settled:
            return drawn
        parts = drawn.split(DRAWN_AT_ONCE)
        return torch.cat([self.vqvae.encode_indices(self.vqvae.decode_indices(p)) for p in parts])

    def _tensor(self, values: np.ndarray, dtype: type) -> Tensor:
        return torch.from_numpy(np.asarray(values).astype(dtype)).to(self.device)

    @exclusively
    def decode(
        self, indices: Integer[np.ndarray, "n rows cols"]
    ) -> UInt8[np.ndarray, "n height width"]:
        """Index maps to uint8 slices."""
        return decode_maps(self.vqvae, indices)

    @exclusively
    def encode(
        self, images: UInt8[np.ndarray, "n height width"]
    ) -> Integer[np.ndarray, "n rows cols"]:
        """uint8 slices to index maps."""
        return encode_images(self.vqvae, images, self.device)

    def sample(
        self,
        positions: Integer[np.ndarray, " n"],
        seeds: list[int],
        options: SamplingOptions | None = None,
        progress: Progress | None = None,
        ages: Float[np.ndarray, " n"] | None = None,
    ) -> Samples:
        """Slices at these positions and ages, one for each seed.

        Args:
            positions: slice positions in [0, n_positions).
            seeds: one for each map; the same seed gives the same map in any batch.
            options: temperature, top-k and top-p, if the prior supports them.
            progress: updated with the number of slices drawn so far.
            ages: years, nan where unknown; None: all unknown.

        Returns:
            The slices and their codes.
        """
        maps, rows = [], self.prior.config.grid
        for start in range(0, len(positions), DRAWN_AT_ONCE):
            part = slice(start, start + DRAWN_AT_ONCE)

            def report(row: int, drawn: Any, start: int = start) -> None:
                if progress:
                    progress.update(start + len(drawn) * (row + 1) // rows)

            maps.append(
                self.draw(
                    positions[part],
                    seeds[part],
                    options,
                    on_row=report,
                    ages=None if ages is None else ages[part],
                )
            )
            report(rows - 1, maps[-1])  # a prior that draws all rows at once reports none
        indices = np.concatenate(maps)
        return Samples(
            self.decode(indices),
            indices,
            np.asarray(positions),
            None if ages is None else np.asarray(ages, np.float32),
        )


def load_sampler(run: RunFolder, prior: str, device: torch.device) -> BrainSampler:
    """The VQ-VAE and a prior of a run.

    Args:
        run: folder with the checkpoints.
        prior: one of `PRIORS`.
        device: where both models are placed.

    Returns:
        A sampler of both.

    Raises:
        ValueError: the prior is unknown.
        CheckpointError: the prior was trained on the codes of another VQ-VAE.
    """
    if prior not in PRIORS:
        raise ValueError(f"unknown prior {prior!r}: choose one of {', '.join(PRIORS)}")
    vqvae, _ = load_model(run.checkpoint("vqvae"), VQVAE, device)
    model, about = load_model(run.checkpoint(prior), PRIORS[prior], device)
    drawn, decoded = model.config, vqvae.config
    fits = (drawn.grid, drawn.n_codes) == (decoded.grid, decoded.n_codes)
    if input_of(about, "vqvae") != weights_digest(vqvae) or not fits:
        raise CheckpointError(
            f"{run.checkpoint(prior)} was trained on the codes of another VQ-VAE: "
            "run its notebook again"
        )
    return BrainSampler(vqvae, model)


def shipped() -> RunFolder:
    """The project itself as a run.

    Returns:
        A run folder whose checkpoints/ holds models trained on synthetic sample brains.
    """
    return RunFolder(project_root())


def run_or_shipped(run: RunFolder) -> RunFolder:
    """The run if it holds trained models, else the shipped ones; prints which when it falls back.

    Args:
        run: folder that may hold checkpoints of the VQ-VAE and of all `PRIORS`.

    Returns:
        A folder that holds a checkpoint of the VQ-VAE.

    Raises:
        CheckpointError: the run lacks models and none are shipped.
    """
    needed = [run.checkpoint(name) for name in ("vqvae", *PRIORS)]
    if all(path.exists() for path in needed):
        return run
    missing = ", ".join(path.stem for path in needed if not path.exists())
    spare = shipped()
    if not spare.checkpoint("vqvae").exists():
        raise CheckpointError(
            f"{run.root} has no {missing}: run notebooks 02 to 05 with the same run folder first"
        )
    print(
        f"{run.root.name} has no {missing} yet: using the shipped models, trained on synthetic"
        " sample brains"
    )
    return spare
