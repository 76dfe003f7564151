"""The cache opened: a data set with its splits, and batches of it on the device.

A slice is uint8, square and grey; a subject owns its slices; no subject is in two splits. Models
see float32 in [0, 1], shape (batch, 1, height, width). How a source becomes a cache: sources.py,
importing.py.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from oasis_utils.config import BRAIN_LEVEL, SPLITS, DataConfig, digest
from oasis_utils.data import synthetic
from oasis_utils.data.orientation import AUTO, agreement, oriented, turned_back
from oasis_utils.data.prepare import (
    FOREGROUND,
    FORMAT,
    ImportOptions,
    clear,
    import_source,
    is_cache,
)
from oasis_utils.runtime import DataError, atomic, gpu, project_root, read_json, write_json
from oasis_utils.runtime.symmetry import LEFT_RIGHT, Symmetry

__all__ = [
    "FOREGROUND",
    "Batches",
    "DataError",
    "Dataset",
    "Split",
    "Streamed",
    "build_cache",
    "free_memory",
    "is_cache",
    "open_cache",
    "open_or_build",
    "sample_brains",
    "thinned",
]

IDENTITY = (
    "format",
    "config",
    "crop",
    "orientation",
    "symmetry",
    "content",
    "subjects",
)  # what pixels depend on
NAMES = {
    "keras": "PNG slices",
    "oasis": "OASIS-1 volumes",
    "nifti": "T1 volumes",
    "images": "slices",
}  # by kind
SHARE_OF_MEMORY = 0.6  # of what is free on a device: slices that need more are streamed
GIB = 2**30


# ---------------------------------------------------------------- cache


@dataclass(frozen=True)
class Split:
    """The slices of one split, still on disk."""

    name: str
    images: UInt8[np.ndarray, "n height width"]
    subjects: np.ndarray  # int64 (n,)
    positions: np.ndarray  # int64 (n,)
    ages: np.ndarray  # float32 (n,), years, nan where unknown
    masks: UInt8[np.ndarray, "n height width"] | None = (
        None  # labels of the same pixels, where the source has them
    )
    series: np.ndarray | None = (
        None  # int64 (n,), one number for each session of a subject; default: the subject's
    )
    symmetry: Symmetry = LEFT_RIGHT  # how slices may be mirrored
    content: str = (
        "brain"  # what is not background: "brain" (skull-stripped) or "head" (with skull and scalp)
    )

    def __post_init__(self):
        if self.series is None:
            object.__setattr__(self, "series", self.subjects)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def region_name(self) -> str:
        """What `region` holds: "brain", or "head" where the skull is on and no masks say where the
        brain is.
        """
        return "brain" if self.content == "brain" or self.masks is not None else "head"

    def region(self, rows: np.ndarray | slice = slice(None)) -> Bool[np.ndarray, "k height width"]:
        """The pixels of the chosen slices that belong to the brain (to the head, see
        `region_name`).
        """
        if self.content == "head" and self.masks is not None:
            return np.asarray(self.masks[rows]) > 0
        return np.asarray(self.images[rows]) > BRAIN_LEVEL * 255

    def to(self, device: torch.device, stream: bool | None = None) -> dict[str, Any]:
        """Tensors for `Batches`, on the device at once (604 MiB for all of OASIS at 256² as uint8).

        Images that need more than 60 % of the device's free memory stay in the memory map, see
        `Streamed`; `stream` decides it by hand.
        """
        need, free = self.images.nbytes / GIB, free_memory(device) / GIB
        chosen = need > SHARE_OF_MEMORY * free if stream is None else stream
        if chosen or device.type != "cpu":
            how = "stream from the memory map" if chosen else "are held at once"
            print(f"{self.name}: {need:.2f} GiB of slices {how}, {device} has {free:.1f} GiB free")
        images = Streamed(self.images, device) if chosen else _tensor(self.images).to(device)
        return {
            "images": images,
            "subjects": torch.from_numpy(self.subjects).to(device),
            "positions": torch.from_numpy(self.positions).to(device),
        }

    def floats(self) -> Float[Tensor, "n 1 height width"]:
        """All images as float32 in [0, 1] on the CPU."""
        return _tensor(self.images).float().div_(255)

    def inside(self) -> Bool[Tensor, "n 1 height width"]:
        """`region` of all slices, beside `floats`."""
        return torch.from_numpy(self.region())[:, None]


def thinned(split: Split, limit: int, seed: int = 0) -> Split:
    """A split of at most `limit` slices, spread evenly over its subjects: one of each of `limit`
    equal stretches.

    For validation while a model trains, where all slices of many people cost more than they tell.
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


def one_each(split: Split, position: int, limit: int) -> np.ndarray:
    """Rows of one slice each of at most `limit` subjects, spread evenly over them, at the position
    or the nearest one that the split has.
    """
    place = split.positions[np.abs(split.positions - position).argmin()]
    here = np.flatnonzero(split.positions == place)
    rows = here[np.unique(split.subjects[here], return_index=True)[1]]
    return rows[np.linspace(0, len(rows) - 1, min(limit, len(rows))).round().astype(int)]


def _tensor(images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(images))[:, None]


def free_memory(device: torch.device) -> int:
    """Bytes that new tensors can take on a device."""
    if device.type == "cuda":
        return gpu.free_memory(device)
    try:
        lines = dict(
            line.split(":")
            for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        )
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):  # no Linux: half of the machine's memory
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


@dataclass(frozen=True)
class Dataset:
    """A cache: one uint8 array on disk and the manifest that says what is in it."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def identity(self) -> str:
        """Changes when any pixel, split or crop does; checkpoints carry it."""
        return digest({k: self.manifest[k] for k in IDENTITY})

    @property
    def synthetic(self) -> bool:
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
        """How the slices lie and what they show, in one line."""
        asked = self.manifest["options"]["slices"]["orient"] != AUTO
        how = (
            "as asked"
            if asked
            else "as measured"
            if self.manifest["orientation"]["measured"]
            else "not axial"
        )
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
        """Slices of this data set, or generated from it, turned back as the source's lie."""
        return turned_back(images, self.orient)

    def aligned(
        self, images: UInt8[np.ndarray, "n height width"]
    ) -> UInt8[np.ndarray, "n rows columns"]:
        """Slices from elsewhere, turned as this data set was if they then look more like its
        training slices.
        """
        if self.orient == "as-is":
            return images
        train, turned = self.split("train").images, oriented(images, self.orient)
        mean = train[np.linspace(0, len(train) - 1, min(256, len(train))).astype(int)].mean(0) / 255
        return turned if agreement(turned, mean) > agreement(images, mean) else images

    @property
    def description(self) -> str:
        """The data in words, for titles and captions."""
        if self.synthetic:
            return "synthetic sample brains (from Colin27, not OASIS)"
        return f"{NAMES[self.manifest['kind']]} of {Path(self.manifest['source']).name}"

    @property
    def n_positions(self) -> int:
        return 1 + max(max(entry["positions"]) for entry in self.manifest["subjects"])

    def split(self, name: str) -> Split:
        if name not in SPLITS:
            raise ValueError(f"unknown split {name!r}: choose one of {', '.join(SPLITS)}")
        array = np.load(self.folder / "slices.npy", mmap_mode="r")
        subjects, positions, ages, series, start, first = [], [], [], [], 0, None
        for number, entry in enumerate(self.manifest["subjects"]):
            n = len(entry["positions"])
            if entry["split"] == name:
                first = start if first is None else first
                subjects += [entry["subject"]] * n
                positions += entry["positions"]
                ages += [np.nan if entry["age"] is None else entry["age"]] * n
                series += [number] * n
            start += n
        rows = slice(first, first + len(subjects))
        masks = (
            np.load(self.folder / "masks.npy", mmap_mode="r")[rows]
            if self.manifest["masks"]
            else None
        )
        return Split(
            name,
            array[rows],
            np.array(subjects),
            np.array(positions),
            np.array(ages, dtype=np.float32),
            masks,
            np.array(series),
            self.symmetry,
            self.content,
        )


def open_cache(folder: str | Path) -> Dataset:
    """A cache made by `build_cache`; DataError if there is none."""
    folder = Path(folder)
    if not is_cache(folder):
        raise DataError(
            f"no prepared data in {folder}: run notebook 01 or `python -m oasis_utils prepare`"
            " first"
        )
    manifest = read_json(folder / "manifest.json")
    if manifest["format"] != FORMAT:
        raise DataError(
            f"{folder} was prepared by another version of oasis_utils: delete it and prepare again"
        )
    return Dataset(folder, manifest)


def build_cache(
    source: str | Path,
    folder: str | Path,
    config: DataConfig,
    progress: Callable[[int, int], None] | None = None,
    options: ImportOptions | None = None,
) -> Dataset:
    """A cache of any source, see `importing.import_source`; one that is up to date is only
    opened.
    """
    import_source(source, folder, config, options, progress)
    return open_cache(folder)


def open_or_build(
    source: str | Path,
    folder: str | Path,
    config: DataConfig,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """A run's cache: linked to a folder that `prepare` made, or built from any source."""
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
    clear(folder)
    for name in ("slices.npy", "masks.npy") if dataset.manifest["masks"] else ("slices.npy",):
        with atomic(folder / name) as partial:
            try:
                os.link(source / name, partial)
            except OSError:  # another file system
                shutil.copyfile(source / name, partial)
    write_json(folder / "manifest.json", dataset.manifest)
    return open_cache(folder)


def sample_brains(
    config: DataConfig, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Path:
    """The synthetic sample brains of a profile, made on first use and shared by all runs."""
    counts = config.train_subjects, config.validate_subjects, config.test_subjects
    root = (
        project_root() / "data" / f"sample_brains_{'_'.join(map(str, counts))}_seed{seed}_format2"
    )
    return synthetic.write_sample_brains(root, *counts, seed=seed, progress=progress)


# ---------------------------------------------------------------- batches


class Streamed:
    """Images (n, 1, height, width) that stay in the memory map: each batch is read, pinned and sent
    when it is due.
    """

    def __init__(self, images: UInt8[np.ndarray, "n height width"], device: torch.device):
        self.images, self.device = images, device

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Tensor) -> UInt8[Tensor, "batch 1 height width"]:
        """The rows (on the CPU) on the device; the copy runs beside what the device does."""
        batch = torch.empty(
            len(rows),
            *self.images.shape[1:],
            dtype=torch.uint8,
            pin_memory=self.device.type == "cuda",
        )
        np.take(
            self.images, rows.numpy(), axis=0, out=batch.numpy(), mode="clip"
        )  # other modes buffer the output
        return batch[:, None].to(self.device, non_blocking=True)


class Batches:
    """Batches of tensors that live on the device, or are `Streamed`; uint8 images become float32 in
    [0, 1].

    The order depends on (seed, epoch) alone, so an epoch can be repeated. mirror: the symmetry
    across which half of the images are mirrored at random; none are without one.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor | Streamed],
        batch_size: int,
        shuffle: bool = False,
        mirror: Symmetry | None = None,
        seed: int = 0,
    ):
        sizes = {len(t) for t in tensors.values()}
        if len(sizes) != 1 or 0 in sizes:
            raise DataError(f"batches need tensors of one length above 0, not {sorted(sizes)}")
        self.tensors, self.batch_size, self.seed = tensors, batch_size, seed
        self.shuffle, self.mirror, self.size = shuffle, mirror, sizes.pop()

    def __len__(self) -> int:
        """Batches in an epoch; a shuffled epoch drops the last, smaller batch unless it is the only
        one.
        """
        return (
            max(self.size // self.batch_size, 1)
            if self.shuffle
            else -(-self.size // self.batch_size)
        )

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self.epoch(0)

    def epoch(self, number: int) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + number)
        order = (
            torch.randperm(self.size, generator=generator)
            if self.shuffle
            else torch.arange(self.size)
        )
        flips = torch.rand(self.size, generator=generator) < 0.5
        device = next(iter(self.tensors.values())).device
        order_there, flips = order.to(device), flips.to(device)
        for i in range(len(self)):
            part = slice(i * self.batch_size, (i + 1) * self.batch_size)
            rows = order_there[part]
            batch = {
                name: (
                    tensor.read(order[part])
                    if isinstance(tensor, Streamed)
                    else tensor.index_select(0, rows)
                )
                for name, tensor in self.tensors.items()
            }
            if "images" in batch:
                images = batch["images"]
                if self.mirror:
                    images = torch.where(
                        flips[rows][:, None, None, None], self.mirror.mirror(images), images
                    )
                batch["images"] = images.float().div_(255)
            yield batch
