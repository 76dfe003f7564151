"""Where do new brains come from? One interface for both priors: positions and seeds in, decoded slices out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Integer, UInt8
from torch import Tensor

from oasis_utils.checkpoints import CheckpointError, load_model, weights_digest
from oasis_utils.dcgan import DCGAN
from oasis_utils.pixelcnn import PixelCNN, SamplingOptions, uniform_noise
from oasis_utils.runtime import Progress, RunFolder, atomic, project_root
from oasis_utils.vqvae import VQVAE

PRIORS = {"pixelcnn": PixelCNN, "dcgan": DCGAN}
BATCH = 64  # maps drawn at once


@dataclass(frozen=True)
class Samples:
    """Generated slices and the codes they were decoded from."""

    images: UInt8[np.ndarray, "n height width"]
    indices: Integer[np.ndarray, "n rows cols"]  # in [0, n_codes)
    positions: Integer[np.ndarray, " n"]  # the slice positions asked for

    def save(self, path: str | Path) -> None:
        """An .npz file with the keys images, indices, positions."""
        with atomic(path) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, images=self.images, indices=self.indices, positions=self.positions)

    @classmethod
    def load(cls, path: str | Path) -> Samples:
        with np.load(path, allow_pickle=False) as file:
            return cls(file["images"], file["indices"], file["positions"])


def image_seeds(seed: int, n: int) -> list[int]:
    """One seed for each image; image i of seed s is the same whatever n is."""
    return [seed * 1_000_003 + i for i in range(n)]


def spread_positions(n: int, n_positions: int) -> Integer[np.ndarray, " n"]:
    """n slice positions that cover all of them as evenly as n allows."""
    return np.arange(n) * n_positions // n if n < n_positions else np.arange(n) % n_positions


class BrainSampler:
    """A VQ-VAE and a prior trained on its codes."""

    def __init__(self, vqvae: VQVAE, prior: PixelCNN | DCGAN):
        self.vqvae, self.prior = vqvae.eval(), prior.eval()
        self.device = vqvae.quantizer.codebook.device

    @property
    def name(self) -> str:
        return type(self.prior).__name__

    @property
    def n_positions(self) -> int:
        return self.prior.config.n_positions

    @torch.inference_mode()
    def draw(self, positions: Integer[np.ndarray, " n"], seeds: list[int],
             options: SamplingOptions | None = None, given: Integer[np.ndarray, "n rows cols"] | None = None,
             keep: Bool[np.ndarray, "n rows cols"] | None = None,
             on_row: Callable[[int, Tensor], None] | None = None) -> Integer[np.ndarray, "n rows cols"]:
        """Index maps. temperature, top-k, top-p and completion (given, keep) exist for the PixelCNN only."""
        where = torch.as_tensor(np.asarray(positions), dtype=torch.long, device=self.device)
        if isinstance(self.prior, DCGAN):
            if options not in (None, SamplingOptions()) or keep is not None:
                raise ValueError("temperature, top-k, top-p and completion need the PixelCNN: a DCGAN draws whole maps "
                                 "at once; choose prior pixelcnn or leave them out")
            return self.prior.sample(where, self.prior.noise(seeds)).cpu().numpy()
        noise = uniform_noise(seeds, self.prior.config.grid).to(self.device)
        if keep is not None:
            given, keep = (torch.as_tensor(x, device=self.device) for x in (given.astype(np.int64), keep))
        return self.prior.sample(where, noise, options or SamplingOptions(), given, keep, on_row).cpu().numpy()

    @torch.inference_mode()
    def decode(self, indices: Integer[np.ndarray, "n rows cols"]) -> UInt8[np.ndarray, "n height width"]:
        """Index maps to uint8 slices."""
        maps = torch.as_tensor(indices.astype(np.int64), device=self.device)
        parts = [self.vqvae.decode_indices(part)[:, 0] for part in maps.split(BATCH)]
        return to_uint8(torch.cat(parts))

    def sample(self, positions: Integer[np.ndarray, " n"], seeds: list[int],
               options: SamplingOptions | None = None, progress: Progress | None = None) -> Samples:
        """Slices at these positions, one for each seed."""
        maps = []
        for start in range(0, len(positions), BATCH):
            part = slice(start, start + BATCH)
            maps.append(self.draw(positions[part], seeds[part], options))
            if progress:
                progress.update(min(start + BATCH, len(positions)))
        indices = np.concatenate(maps)
        return Samples(self.decode(indices), indices, np.asarray(positions))


def to_uint8(images: Tensor) -> UInt8[np.ndarray, ...]:
    """Floats in [0, 1] to 8-bit grey levels."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def load_sampler(run: RunFolder, prior: str, device: torch.device) -> BrainSampler:
    """The VQ-VAE and a prior of a run. ValueError for an unknown prior, CheckpointError if the two do not fit."""
    if prior not in PRIORS:
        raise ValueError(f"unknown prior {prior!r}: choose one of {', '.join(PRIORS)}")
    vqvae, _ = load_model(run.checkpoint("vqvae"), VQVAE, device)
    model, about = load_model(run.checkpoint(prior), PRIORS[prior], device)
    if about.get("inputs", {}).get("vqvae") != weights_digest(vqvae):
        raise CheckpointError(f"{run.checkpoint(prior)} was trained on the codes of another VQ-VAE: "
                              "run its notebook again")
    return BrainSampler(vqvae, model)


def shipped() -> RunFolder:
    """The project itself as a run: its checkpoints/ holds models trained on synthetic sample brains."""
    return RunFolder(project_root())


def run_or_shipped(run: RunFolder) -> RunFolder:
    """`run` if it holds trained models, else the shipped ones; says so when it falls back."""
    needed = [run.checkpoint(name) for name in ("vqvae", *PRIORS)]
    if all(path.exists() for path in needed):
        return run
    missing = ", ".join(path.stem for path in needed if not path.exists())
    spare = shipped()
    if not spare.checkpoint("vqvae").exists():
        raise CheckpointError(f"{run.root} has no {missing}: run notebooks 02 to 05 with the same run folder first")
    print(f"{run.root.name} has no {missing} yet: using the shipped models, trained on synthetic sample brains")
    return spare
