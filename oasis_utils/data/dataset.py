"""A prepared data set, opened from its cache, and its splits.

A slice is uint8, square and grey; a subject owns its slices; no subject is in two splits. Models
see float32 in [0, 1], shape (batch, 1, height, width). prepare.py makes a cache of a source,
batches.py makes batches of a split.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from oasis_utils.config import BRAIN_LEVEL, SPLITS, DataConfig, digest
from oasis_utils.data.batches import Streamed, free_memory
from oasis_utils.data.cache_folder import (
    MANIFEST,
    MASKS,
    SLICES,
    finish_replacement,
    is_cache,
    link_or_copy,
    link_shards,
    replaced_cache,
)
from oasis_utils.data.grey_levels import to_float, with_channel
from oasis_utils.data.manifest import checked_arrays
from oasis_utils.data.orientation import AUTO, correlation_with_mean, oriented, turned_back
from oasis_utils.data.prepare import import_source
from oasis_utils.data.reading import ImportOptions
from oasis_utils.runtime import DataError, read_json, refuse_inside, write_json
from oasis_utils.runtime.symmetry import LEFT_RIGHT, Symmetry

IDENTITY_KEYS = ("format", "config", "crop", "orientation", "symmetry", "content", "subjects")
KIND_NAMES = {
    "keras": "PNG slices",
    "oasis": "OASIS-1 volumes",
    "nifti": "T1 volumes",
    "images": "slices",
}
MAX_MEMORY_SHARE = 0.6  # of what is free on a device: slices that need more are streamed
GIB = 2**30
ALIGNMENT_SLICES = 256  # training slices in the mean that other slices are compared with


@dataclass(frozen=True)
class Split:
    """The slices of one split, still on disk.

    Attributes:
        name: "train", "validate" or "test".
        images: uint8, shape (n, height, width), usually a memory map.
        subjects: int64, shape (n,), the number of the subject.
        positions: int64, shape (n,), counted from 0 for the lowest slice.
        ages: float32, shape (n,), years, nan where unknown.
        masks: uint8 labels of the same pixels, 0 outside the brain. Default: there are none.
        series: int64, shape (n,), a number for each session. Default: the subjects.
        symmetry: how slices may be mirrored. Default: left-right.
        content: what is not background: "brain" (default) or "head", with skull and scalp.
    """

    name: str
    images: UInt8[np.ndarray, "n height width"]
    subjects: np.ndarray
    positions: np.ndarray
    ages: np.ndarray
    masks: UInt8[np.ndarray, "n height width"] | None = None
    series: np.ndarray | None = None
    symmetry: Symmetry = LEFT_RIGHT
    content: str = "brain"

    def __post_init__(self):
        if self.series is None:
            object.__setattr__(self, "series", self.subjects)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def region_name(self) -> Literal["brain", "head"]:
        """What `region` holds: "brain", or "head" for whole heads without masks."""
        return "brain" if self.content == "brain" or self.masks is not None else "head"

    def region(self, rows: np.ndarray | slice = slice(None)) -> Bool[np.ndarray, "k height width"]:
        """The pixels of slices that belong to the brain, or to the head, see `region_name`.

        Args:
            rows: which slices, as indices or a slice. Default: all.
        """
        if self.content == "head" and self.masks is not None:
            return np.asarray(self.masks[rows]) > 0
        return np.asarray(self.images[rows]) > BRAIN_LEVEL * 255

    def to(self, device: torch.device, stream: bool | None = None) -> dict[str, Any]:
        """Tensors for `Batches`; as uint8 at 256², all of OASIS takes 604 MiB.

        Args:
            device: where the tensors are needed.
            stream: leave the images in the memory map, see `Streamed`. Default: only if they need
                more than 60 % of the device's free memory.

        Returns:
            "images" (n, 1, height, width) uint8, "subjects" and "positions" (n,) int64.
        """
        need, free = self.images.nbytes / GIB, free_memory(device) / GIB
        chosen = need > MAX_MEMORY_SHARE * free if stream is None else stream
        if chosen or device.type != "cpu":
            how = "stream from the memory map" if chosen else "are held at once"
            print(f"{self.name}: {need:.2f} GiB of slices {how}, {device} has {free:.1f} GiB free")
        images = Streamed(self.images, device) if chosen else with_channel(self.images).to(device)
        return {
            "images": images,
            "subjects": torch.from_numpy(self.subjects).to(device),
            "positions": torch.from_numpy(self.positions).to(device),
        }

    def floats(self) -> Float[Tensor, "n 1 height width"]:
        """All images as float32 in [0, 1] on the CPU."""
        return to_float(with_channel(self.images))

    def inside(self) -> Bool[Tensor, "n 1 height width"]:
        """`region` of all slices, in the shape of `floats`."""
        return torch.from_numpy(self.region())[:, None]


def subsample(split: Split, limit: int, seed: int = 0) -> Split:
    """Fewer slices of a split for quick validation, spread evenly over its subjects.

    One slice is drawn from each of `limit` stretches of equal length.

    Args:
        split: the split to take slices from.
        limit: most slices to keep; a split that has no more is returned as it is.
        seed: 0 or more, of the draw.

    Returns:
        A split of `limit` slices in memory.
    """
    if len(split) <= limit:
        return split
    edges = np.linspace(0, len(split), limit + 1).astype(int)
    rows = np.random.default_rng(seed).integers(edges[:-1], edges[1:])
    parts = {
        name: None if (values := getattr(split, name)) is None else np.array(values[rows])
        for name in ("images", "subjects", "positions", "ages", "masks", "series")
    }
    return replace(split, **parts)


def one_slice_per_subject(split: Split, position: int, limit: int) -> np.ndarray:
    """One slice each of several subjects, which are spread evenly over the split.

    Args:
        split: the split to choose from.
        position: position of the slices; if the split lacks it, the nearest that it has.
        limit: most subjects to choose.

    Returns:
        int64 row numbers of the split, at most `limit`.
    """
    nearest = split.positions[np.abs(split.positions - position).argmin()]
    candidates = np.flatnonzero(split.positions == nearest)
    rows = candidates[np.unique(split.subjects[candidates], return_index=True)[1]]
    return rows[np.linspace(0, len(rows) - 1, min(limit, len(rows))).round().astype(int)]


@dataclass(frozen=True)
class Dataset:
    """A cache: one uint8 array on disk and the manifest that describes it.

    Attributes:
        folder: holds slices.npy, manifest.json and, where the source has masks, masks.npy.
        manifest: content of manifest.json, see `prepare.import_source`.
        arrays: memory maps by name of the file. They stay those of the manifest when the cache is
            replaced.
    """

    folder: Path
    manifest: dict[str, Any]
    arrays: dict[str, UInt8[np.ndarray, "n height width"]]

    @property
    def identity(self) -> str:
        """Hash of what pixels and splits depend on; checkpoints carry it."""
        return digest({k: self.manifest[k] for k in IDENTITY_KEYS})

    @property
    def synthetic(self) -> bool:
        """Whether these are sample brains instead of scans of people."""
        return self.manifest["kind"] == "synthetic"

    @property
    def symmetry(self) -> Symmetry:
        """How slices may be mirrored, as measured on the training split."""
        return Symmetry(self.manifest["symmetry"]["axis"])

    @property
    def content(self) -> str:
        """What is not background: "brain" or "head", as measured on the training split."""
        return self.manifest["content"]

    @property
    def orient(self) -> str:
        """How the source's slices were turned, such as "rot90", see `orientation.oriented`."""
        return self.manifest["orientation"]["turned"]

    @property
    def geometry(self) -> str:
        """The turn, the symmetry and the content of the slices, in one line."""
        if self.manifest["options"]["slices"]["orient"] != AUTO:
            how = "as asked"
        else:
            how = "as measured" if self.manifest["orientation"]["measured"] else "not axial"
        turn = "not turned" if self.orient == "as-is" else f"turned by {self.orient}"
        mirror = {
            -1: "mirrored left-right in training",
            -2: "mirrored top-bottom in training",
            None: "never mirrored, no mid-line was found",
        }[self.symmetry.axis]
        content = {"brain": "brains without the skull", "head": "whole heads"}[self.content]
        return f"{turn} ({how}); {mirror}; {content}"

    def as_source(
        self, images: UInt8[np.ndarray, "*stack height width"]
    ) -> UInt8[np.ndarray, "*stack rows columns"]:
        """Slices of this data set, or generated from it, turned back to the source's orientation.

        Args:
            images: one slice or a stack of them, uint8.
        """
        return turned_back(images, self.orient)

    def aligned(
        self, images: UInt8[np.ndarray, "n height width"]
    ) -> UInt8[np.ndarray, "n rows columns"]:
        """Slices of another source, turned as this data set was if that makes them more similar.

        Args:
            images: the slices; they are compared with the mean of some training slices.
        """
        if self.orient == "as-is":
            return images
        train, turned = self.split("train").images, oriented(images, self.orient)
        rows = np.linspace(0, len(train) - 1, min(ALIGNMENT_SLICES, len(train))).astype(int)
        mean = train[rows].mean(0) / 255
        return (
            turned
            if correlation_with_mean(turned, mean) > correlation_with_mean(images, mean)
            else images
        )

    @property
    def description(self) -> str:
        """The data in words, for titles and captions."""
        if self.synthetic:
            return "synthetic sample brains (from Colin27, not OASIS)"
        return f"{KIND_NAMES[self.manifest['kind']]} of {Path(self.manifest['source']).name}"

    @property
    def n_positions(self) -> int:
        """One more than the highest position of any slice."""
        return 1 + max(max(entry["positions"]) for entry in self.manifest["subjects"])

    def split(self, name: str) -> Split:
        """The slices of one split.

        Args:
            name: "train", "validate" or "test".

        Returns:
            Memory maps of its images and masks, and what is known of each.

        Raises:
            ValueError: there is no such split.
        """
        if name not in SPLITS:
            raise ValueError(f"unknown split {name!r}: choose one of {', '.join(SPLITS)}")
        entries = self.manifest["subjects"]
        numbers = [i for i, entry in enumerate(entries) if entry["split"] == name]
        chosen = [entries[i] for i in numbers]
        lengths = [len(entry["positions"]) for entry in chosen]
        first = sum(len(entry["positions"]) for entry in entries[: numbers[0]])
        rows = slice(first, first + sum(lengths))
        ages = [np.nan if entry["age"] is None else entry["age"] for entry in chosen]
        return Split(
            name,
            self.arrays[SLICES][rows],
            np.repeat([entry["subject"] for entry in chosen], lengths),
            np.array([position for entry in chosen for position in entry["positions"]]),
            np.repeat(np.array(ages, dtype=np.float32), lengths),
            self.arrays[MASKS][rows] if self.manifest["masks"] else None,
            np.repeat(numbers, lengths),
            self.symmetry,
            self.content,
        )


def open_cache(folder: str | Path) -> Dataset:
    """Open a cache that `build_cache` made.

    Args:
        folder: the folder with manifest.json and slices.npy.

    Returns:
        The data set; its slices stay on disk.

    Raises:
        DataError: there is no cache, another version of this package made it, or it is damaged,
            see `manifest.checked_arrays`.
    """
    folder = Path(folder)
    if not is_cache(folder):
        raise DataError(
            f"no prepared data in {folder}: run notebook 01 or `python -m oasis_utils prepare`"
            " first"
        )
    finish_replacement(folder)
    manifest = read_json(folder / MANIFEST)
    while True:
        try:
            return Dataset(folder, manifest, checked_arrays(folder, manifest))
        except DataError:
            seen, manifest = manifest, read_json(folder / MANIFEST)
            if manifest == seen:
                raise  # else the cache was replaced in between


def build_cache(
    source: str | Path,
    folder: str | Path,
    config: DataConfig,
    progress: Callable[[int, int], None] | None = None,
    options: ImportOptions | None = None,
) -> Dataset:
    """Make a cache of any source, see `prepare.import_source`, or open one that is up to date.

    Args:
        source: a folder, archive or file of slices or volumes.
        folder: where the cache is written; not inside the source.
        config: size and crop of the slices.
        progress: called with (done, total) after each file.
        options: how the source is read. Default: as `run` does.

    Returns:
        The opened cache.
    """
    import_source(source, folder, config, options, progress)
    return open_cache(folder)


def open_or_build(
    source: str | Path,
    folder: str | Path,
    config: DataConfig,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """The cache of a run: linked to one that `prepare` made, or built from any source.

    Args:
        source: a cache, or a source as `build_cache` takes it.
        folder: where the run keeps its cache.
        config: size and crop of the slices; a cache must have this size.
        progress: called with (done, total) after each file of a source.

    Returns:
        The opened cache.

    Raises:
        DataError: the cache `source` has slices of another size, or `folder` lies inside it or
            holds files of other origin.
    """
    source, folder = Path(source), Path(folder)
    if not is_cache(source):
        return build_cache(source, folder, config, progress)
    dataset = open_cache(source)
    size = dataset.manifest["config"]["image_size"]
    if size != config.image_size:
        raise DataError(
            f"{source} was prepared at {size} pixels, this profile takes {config.image_size}: "
            f"prepare again with --size {config.image_size}"
        )
    if folder.exists() and folder.samefile(source):
        return dataset
    refuse_inside(source, folder)
    with replaced_cache(folder) as draft:
        for name in dataset.arrays:
            link_or_copy(source / name, draft / name)
        link_shards(source, draft)
        write_json(draft / MANIFEST, dataset.manifest)
    return open_cache(folder)
