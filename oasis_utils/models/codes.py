"""Slices to index maps and back, and the file of index maps on which the priors are trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from oasis_utils.config import SPLITS, CodesConfig, digest
from oasis_utils.data.dataset import Dataset
from oasis_utils.models.checkpoints import weights_digest
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import DataError, Progress, atomic, read_arrays, require_arrays
from oasis_utils.runtime.symmetry import Symmetry

CODED_AT_ONCE = 64  # slices
CODES_FORMAT = 2  # of the file; 2: with ages
ENCODE_AGAIN = "run notebook 03_codebook_analysis again, it encodes the slices again"
SPLIT_ARRAYS = ("indices", "positions", "subjects", "ages")


@dataclass(frozen=True)
class CodeMaps:
    """Index maps of all splits, and what they were made from.

    Attributes:
        indices: maps of each split, codes in [0, n_codes) as uint16; train holds all variants.
        positions: slice position of each map.
        subjects: number of the subject of each map.
        ages: years, nan where unknown.
        about: n_codes, variants, identities of VQ-VAE and data.
    """

    indices: dict[str, Integer[np.ndarray, "n rows cols"]]
    positions: dict[str, Integer[np.ndarray, " n"]]
    subjects: dict[str, Integer[np.ndarray, " n"]]
    ages: dict[str, Float[np.ndarray, " n"]]
    about: dict[str, Any]

    @property
    def n_codes(self) -> int:
        """K, size of the codebook."""
        return self.about["n_codes"]

    @property
    def n_plain(self) -> int:
        """So many of the first training maps are of slices as they are, not mirrored or shifted."""
        return len(self.indices["train"]) // self.about["variants"]

    @property
    def identity(self) -> str:
        """Digest of what the maps were made from."""
        return digest(self.about)

    def to(self, split: str, device: torch.device) -> dict[str, Tensor]:
        """A split as tensors.

        Args:
            split: "train", "validate" or "test".
            device: where the tensors are placed.

        Returns:
            "indices", "positions" and "subjects" as int64, "ages" as float32.
        """
        return {
            "indices": torch.from_numpy(self.indices[split].astype(np.int64)).to(device),
            "positions": torch.from_numpy(self.positions[split].astype(np.int64)).to(device),
            "subjects": torch.from_numpy(self.subjects[split].astype(np.int64)).to(device),
            "ages": torch.from_numpy(self.ages[split].astype(np.float32)).to(device),
        }

    def some(self, split: str, device: torch.device, n: int, seed: int = 0) -> dict[str, Tensor]:
        """Some maps of a split, drawn at random because the first ones are of the first subjects.

        Args:
            split: "train", "validate" or "test".
            device: where the tensors are placed.
            n: number of maps; all, where there are fewer.
            seed: of the draw, which is without replacement.

        Returns:
            Tensors as from `to`.
        """
        size = len(self.indices[split])
        rows = np.sort(np.random.default_rng(seed).permutation(size)[:n])
        return {
            name: values[torch.from_numpy(rows).to(device)]
            for name, values in self.to(split, device).items()
        }

    def age_scale(self) -> dict[str, float]:
        """{"age_mean", "age_std"} of the training subjects in years; both 0 where no two ages are
        known.
        """
        _, first = np.unique(self.subjects["train"], return_index=True)
        ages = self.ages["train"][first]
        known = ages[np.isfinite(ages)].astype(np.float64)
        if len(known) < 2 or np.ptp(known) == 0:
            return {"age_mean": 0.0, "age_std": 0.0}
        return {"age_mean": float(known.mean()), "age_std": float(known.std())}


def shifted(
    images: Float[Tensor, "n 1 height width"], rows: int, cols: int
) -> Float[Tensor, "n 1 height width"]:
    """Slices moved down and right by whole pixels; the border is repeated.

    Args:
        images: of any range.
        rows: pixels down; negative: up.
        cols: pixels to the right; negative: to the left.
    """
    reach = max(abs(rows), abs(cols))
    if reach == 0:
        return images
    height, width = images.shape[-2:]
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    return padded[..., reach - rows : reach - rows + height, reach - cols : reach - cols + width]


def variant(
    images: Float[Tensor, "n 1 height width"],
    number: int,
    config: CodesConfig,
    symmetry: Symmetry,
    series: Integer[np.ndarray, " n"],
    seed: int = 0,
) -> Float[Tensor, "n 1 height width"]:
    """Slices changed as the training split is for its variants.

    Args:
        images: of any range.
        number: 0 is plain, 1 is mirrored, later ones are small shifts of either in turn. Slices
            without a symmetry are only shifted.
        config: with the largest shift in pixels.
        symmetry: across which slices are mirrored.
        series: a number for the session of each slice. All slices of a session are shifted alike,
            so that they still lie above each other.
        seed: of the shifts, which depend on it, the session and the variant alone.
    """
    if number % 2 and symmetry:
        images = symmetry.mirror(images)
    if not is_shifted(number, symmetry):
        return images
    moved = torch.empty_like(images)
    for session in np.unique(series):
        own = torch.from_numpy(series == session).to(images.device)
        random = np.random.default_rng([x % 2**64 for x in (seed, number, int(session))])
        rows, cols = random.integers(-config.max_shift, config.max_shift + 1, 2).tolist()
        moved[own] = shifted(images[own], rows, cols)
    return moved


def is_shifted(number: int, symmetry: Symmetry) -> bool:
    """Whether the slices of a variant are shifted: without a symmetry all but the plain ones."""
    return number > (1 if symmetry else 0)


@torch.inference_mode()
def encode_images(
    vqvae: VQVAE,
    images: UInt8[np.ndarray, "n height width"],
    device: torch.device,
    change: Callable[[Tensor, slice], Tensor] = lambda batch, rows: batch,
) -> Integer[np.ndarray, "n rows cols"]:
    """Index maps of slices.

    Args:
        vqvae: the encoder and its codebook.
        images: grey levels in [0, 255].
        device: where the VQ-VAE is.
        change: called as change(batch, rows) with each float batch in [0, 1] and its rows of
            `images`; returns what is encoded.

    Returns:
        uint16 indices in [0, n_codes).
    """
    maps = []
    for start in range(0, len(images), CODED_AT_ONCE):
        rows = slice(start, start + CODED_AT_ONCE)
        batch = torch.from_numpy(np.array(images[rows]))[:, None].to(device).float() / 255
        maps.append(vqvae.encode_indices(change(batch, rows)).cpu().numpy().astype(np.uint16))
    return np.concatenate(maps)


@torch.inference_mode()
def decode_maps(
    vqvae: VQVAE, indices: Integer[np.ndarray, "n rows cols"]
) -> UInt8[np.ndarray, "n height width"]:
    """Slices decoded from index maps, in batches.

    Args:
        vqvae: the decoder and its codebook.
        indices: in [0, n_codes).

    Returns:
        Grey levels in [0, 255].
    """
    maps = torch.from_numpy(indices.astype(np.int64)).to(vqvae.quantizer.codebook.device)
    return np.concatenate(
        [to_uint8(vqvae.decode_indices(part)[:, 0]) for part in maps.split(CODED_AT_ONCE)]
    )


def to_uint8(images: Tensor) -> UInt8[np.ndarray, ...]:
    """Floats to 8-bit grey levels.

    Args:
        images: of any shape, in [0, 1]; values beyond are clamped.

    Returns:
        Grey levels in [0, 255], on the CPU.
    """
    return (images * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def encode_dataset(
    vqvae: VQVAE,
    dataset: Dataset,
    config: CodesConfig,
    path: Path,
    device: torch.device,
    seed: int = 0,
) -> CodeMaps:
    """Encode all splits, the training split in several variants; up-to-date maps are only loaded.

    Args:
        vqvae: the trained model.
        dataset: its slices.
        config: number of variants and their largest shift in pixels.
        path: file of the index maps, loaded if it holds maps of the same models and data.
        device: where the VQ-VAE is.
        seed: of the shifts.

    Returns:
        The index maps of all splits.
    """
    about = describe(vqvae, dataset, config, seed)
    if path.exists() and (known := _known(path)) and known.about == about:
        print(f"loaded {path.name}: encoded before with this VQ-VAE and data")
        return known
    indices, positions, subjects, ages = {}, {}, {}, {}
    with Progress("encoding", len(SPLITS) - 1 + config.variants) as progress:
        for split in SPLITS:
            slices = dataset.split(split)
            copies = config.variants if split == "train" else 1
            assert slices.series is not None  # `Split.__post_init__` sets it
            maps = []
            for number in range(copies):

                def change(
                    batch: Tensor, rows: slice, k: int = number, series: np.ndarray = slices.series
                ) -> Tensor:
                    return variant(batch, k, config, dataset.symmetry, series[rows], seed)

                maps.append(encode_images(vqvae, slices.images, device, change))
                progress.update(progress.done + 1, split)
            indices[split] = np.concatenate(maps)
            positions[split] = np.tile(slices.positions, copies)
            subjects[split] = np.tile(slices.subjects, copies)
            ages[split] = np.tile(slices.ages, copies)
    codes = CodeMaps(indices, positions, subjects, ages, about)
    save_codes(path, codes)
    return codes


def _known(path: Path) -> CodeMaps | None:
    """The maps of a file; None for a damaged one or one of another version, which is made again."""
    try:
        return load_codes(path)
    except DataError as error:
        print(f"{error} (done now)")
        return None


def describe(vqvae: VQVAE, dataset: Dataset, config: CodesConfig, seed: int) -> dict[str, Any]:
    """What the maps are made from: code maps with an equal description need not be made again."""
    some_shifted = is_shifted(config.variants - 1, dataset.symmetry)
    return {
        "format": CODES_FORMAT,
        "n_codes": vqvae.config.n_codes,
        "grid": vqvae.config.grid,
        "variants": config.variants,
        "max_shift": config.max_shift,
        "vqvae": weights_digest(vqvae),
        "data": dataset.identity,
        "seed": seed,
        **({"shifts": "of a session"} if some_shifted else {}),
    }


def save_codes(path: Path, codes: CodeMaps) -> None:
    """Write index maps and their description into one .npz file."""
    arrays = {
        f"{kind}_{split}": getattr(codes, kind)[split] for kind in SPLIT_ARRAYS for split in SPLITS
    }
    with atomic(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, about=np.array(json.dumps(codes.about)), **arrays)


def load_codes(path: Path) -> CodeMaps:
    """Read the index maps that `save_codes` wrote.

    Args:
        path: of the file.

    Returns:
        The index maps of all splits.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: another version wrote it, or it is damaged.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: run notebook 03_codebook_analysis with the same run folder first"
        )
    arrays = read_arrays(path, ENCODE_AGAIN)
    about = _about(arrays, path)
    if about.get("format") != CODES_FORMAT:
        raise DataError(
            f"{path} was written by another version of oasis_utils (format"
            f" {about.get('format', 1)}, this one reads {CODES_FORMAT}): {ENCODE_AGAIN}"
        )
    require_arrays(arrays, tuple(_names()), path)
    _refuse_altered(arrays, about, path)
    return CodeMaps(
        **{kind: {split: arrays[f"{kind}_{split}"] for split in SPLITS} for kind in SPLIT_ARRAYS},
        about=about,
    )


def _refuse_altered(arrays: dict[str, np.ndarray], about: dict[str, Any], path: Path) -> None:
    """DataError for arrays that differ from their description or from one another."""
    numbers = [about.get(name) for name in ("grid", "n_codes", "variants")]
    if not all(type(number) is int and number > 0 for number in numbers):
        raise DataError(f"{path} is damaged (it does not say what its maps are): {ENCODE_AGAIN}")
    grid, n_codes, _ = numbers
    for split in SPLITS:
        indices, *others = (arrays[f"{kind}_{split}"] for kind in SPLIT_ARRAYS)
        agree = (
            indices.dtype.kind in "iu"
            and indices.ndim == 3
            and indices.shape[1:] == (grid, grid)
            and all(other.shape == indices.shape[:1] for other in others)
        )
        if not agree or (indices.size and not 0 <= indices.min() <= indices.max() < n_codes):
            raise DataError(
                f"{path} is damaged (its {split} maps are not what it says of them): {ENCODE_AGAIN}"
            )


def _names() -> Iterator[str]:
    return (f"{kind}_{split}" for kind in SPLIT_ARRAYS for split in SPLITS)


def _about(arrays: dict[str, np.ndarray], path: Path) -> dict[str, Any]:
    require_arrays(arrays, ("about",), path)
    try:
        return dict(json.loads(str(arrays["about"])))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}): {ENCODE_AGAIN}") from None
