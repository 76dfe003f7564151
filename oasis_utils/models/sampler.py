"""Generates slices: positions, ages and seeds in, decoded slices out, with any prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from torch import Tensor

from oasis_utils.models.checkpoints import CheckpointError, load_model, weights_digest
from oasis_utils.models.codes import decode_maps
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.drawing import AS_LEARNED, SamplingOptions
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.prior import Prior
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import Progress, RunFolder, atomic, project_root
from oasis_utils.runtime.gpu import exclusively
from oasis_utils.runtime.symmetry import Symmetry

PRIORS = {"pixelcnn": PixelCNN, "dcgan": DCGAN}
REGIONS = ("upper half", "lower half", "left half", "right half", "all but a hole")
BATCH = 64  # maps drawn at once


@dataclass(frozen=True)
class Samples:
    """Generated slices and the codes they were decoded from."""

    images: UInt8[np.ndarray, "n height width"]
    indices: Integer[np.ndarray, "n rows cols"]  # in [0, n_codes)
    positions: Integer[np.ndarray, " n"]  # the slice positions asked for
    # the ages asked for, in years, nan for none; None: nan everywhere
    ages: Float[np.ndarray, " n"] | None = None

    def __post_init__(self):
        if self.ages is None:
            object.__setattr__(self, "ages", np.full(len(self.positions), np.nan, np.float32))

    def save(self, path: str | Path) -> None:
        """An .npz file with the keys images, indices, positions, ages."""
        with atomic(path) as partial, open(partial, "wb") as file:
            np.savez_compressed(
                file,
                images=self.images,
                indices=self.indices,
                positions=self.positions,
                ages=self.ages,
            )

    @classmethod
    def load(cls, path: str | Path) -> Samples:
        """A file that `save` wrote; files of earlier versions have no ages."""
        with np.load(path, allow_pickle=False) as file:
            return cls(
                file["images"],
                file["indices"],
                file["positions"],
                file.get("ages", None),
            )


def image_seeds(seed: int, n: int) -> list[int]:
    """One seed for each of n images; seed i does not depend on n."""
    return [seed * 1_000_003 + i for i in range(n)]


def spread_positions(n: int, n_positions: int) -> Integer[np.ndarray, " n"]:
    """n slice positions that cover all of them as evenly as n allows."""
    return np.arange(n) * n_positions // n if n < n_positions else np.arange(n) % n_positions


def region(name: str, grid: int) -> Bool[np.ndarray, "grid grid"]:
    """The cells of a map that a completion keeps.

    Args:
        name: one of `REGIONS`; the hole is a square of half the map's side in its middle.
        grid: cells a side.

    Returns:
        True where a cell is kept.
    """
    keep, half, quarter = np.zeros((grid, grid), bool), grid // 2, grid // 4
    where = {
        "upper half": np.s_[:half],
        "lower half": np.s_[half:],
        "left half": np.s_[:, :half],
        "right half": np.s_[:, half:],
        "all but a hole": np.s_[quarter : quarter + half, quarter : quarter + half],
    }
    keep[where[name]] = True
    return ~keep if name == "all but a hole" else keep


def hemisphere(symmetry: Symmetry) -> str:
    """Name of the region on one side of the mid-line.

    Args:
        symmetry: of the slices.

    Returns:
        One of `REGIONS`.

    Raises:
        ValueError: the slices have no mid-line.
    """
    if not symmetry:
        raise ValueError(
            "these slices have no mid-line, so they show no hemispheres: ask `if symmetry` first"
        )
    return "right half" if symmetry.axis == -1 else "lower half"


class BrainSampler:
    """A VQ-VAE and a prior trained on its codes.

    Several threads may draw and decode; on a GPU they take turns.

    Args:
        vqvae: decodes index maps.
        prior: draws index maps, on the device of the VQ-VAE.
    """

    def __init__(self, vqvae: VQVAE, prior: Prior):
        self.vqvae, self.prior = vqvae.eval(), prior.eval()
        self.device = vqvae.quantizer.codebook.device

    @property
    def name(self) -> str:
        return type(self.prior).__name__

    @property
    def n_positions(self) -> int:
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
            given, keep: cells of `given` where `keep` is true are taken over, if the prior supports
                completion. The other cells depend on those before them only; see `complete`.
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
            given=self._tensor(given, np.int64),
            keep=self._tensor(keep, np.bool_),
            on_row=on_row,
            ages=self._tensor(ages, np.float32),
        )
        return drawn.cpu().numpy()

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
            positions, seeds, options, on_row, ages: as in `draw`.
            given: index maps, one for each position.
            keep: true where the cells of `given` are taken over.
            particles: proposals for each map; more of them suit the given cells better.

        Returns:
            Indices in [0, n_codes), equal to `given` where `keep` is true.

        Raises:
            ValueError: the prior does not support completion.
        """
        if not self.prior.supports_completion:
            raise ValueError("completion needs the PixelCNN: a DCGAN draws whole maps at once")
        return (
            self.prior.complete(
                self._tensor(positions, np.int64),
                seeds,
                self._tensor(given, np.int64),
                self._tensor(keep, np.bool_),
                options or AS_LEARNED,
                self._tensor(ages, np.float32),
                particles,
                on_row,
            )
            .cpu()
            .numpy()
        )

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
            options, on_row: as in `draw`.

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
        return drawn.cpu().numpy()

    def _tensor(self, values: np.ndarray | None, dtype: type) -> Tensor | None:
        return (
            None
            if values is None
            else torch.from_numpy(np.asarray(values).astype(dtype)).to(self.device)
        )

    @exclusively
    def decode(
        self, indices: Integer[np.ndarray, "n rows cols"]
    ) -> UInt8[np.ndarray, "n height width"]:
        """Index maps to uint8 slices."""
        return decode_maps(self.vqvae, indices)

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
            positions, seeds, options, ages: as in `draw`.
            progress: updated with the number of slices drawn so far.

        Returns:
            The slices and their codes.
        """
        maps, rows = [], self.prior.config.grid
        for start in range(0, len(positions), BATCH):
            part = slice(start, start + BATCH)

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

    Raises:
        ValueError: the prior is unknown.
        CheckpointError: the prior was trained on the codes of another VQ-VAE.
    """
    if prior not in PRIORS:
        raise ValueError(f"unknown prior {prior!r}: choose one of {', '.join(PRIORS)}")
    vqvae, _ = load_model(run.checkpoint("vqvae"), VQVAE, device)
    model, about = load_model(run.checkpoint(prior), PRIORS[prior], device)
    if about.get("inputs", {}).get("vqvae") != weights_digest(vqvae):
        raise CheckpointError(
            f"{run.checkpoint(prior)} was trained on the codes of another VQ-VAE: "
            "run its notebook again"
        )
    return BrainSampler(vqvae, model)


def shipped() -> RunFolder:
    """The project itself as a run: its checkpoints/ holds models trained on synthetic sample
    brains.
    """
    return RunFolder(project_root())


def run_or_shipped(run: RunFolder) -> RunFolder:
    """`run` if it holds trained models, else the shipped ones; prints when it falls back."""
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
