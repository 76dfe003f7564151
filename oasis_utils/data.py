"""What is a sample? Discovery, checks, subject-safe splits, one memory-mapped uint8 cache, batches on the device.

A slice is uint8, square and grey; a subject owns its slices (case_441_slice_7.nii.png: subject 441, position 7); no
subject is in two splits. Models see float32 in [0, 1], shape (batch, 1, height, width).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from oasis_utils import synthetic
from oasis_utils.config import SPLITS, DataConfig, digest, to_dict
from oasis_utils.runtime import DataError, atomic, project_root, read_json, write_json

FILE_NAME = re.compile(r"case_(\d+)_slice_(\d+)(?:\.nii)?\.png")
FOLDER_NAMES = {"train": ("train",), "validate": ("validate", "val"), "test": ("test",)}
FOREGROUND = 16  # grey level of 255 above which a pixel belongs to the head
FORMAT = 1  # of the cache
OASIS_ACKNOWLEDGEMENT = (  # as the data use agreement words it
    "Data were provided by OASIS: Cross-Sectional: Principal Investigators: D. Marcus, R, Buckner, J, Csernansky "
    "J. Morris; P50 AG05681, P01 AG03991, P01 AG026276, R01 AG021910, P20 MH071616, U24 RR021382")


# ---------------------------------------------------------------- discovery


@dataclass(frozen=True)
class SliceFile:
    """One image file and what its name says."""

    path: Path
    split: str
    subject: int
    position: int


def find_slices(source: str | Path) -> list[SliceFile]:
    """All slices of a keras_png_slices tree, ordered by split, subject and position.

    `source` is keras_png_slices_data, its parent, or any folder that holds keras_png_slices_{train,validate,test}
    within two levels; `val` for `validate` and a slices/ level below or above are fine. Raises DataError.
    """
    source = Path(source)
    if not source.is_dir():
        raise DataError(f"no folder {source}: give the folder that holds keras_png_slices_train/; see README, Data")
    slices = [item for split in SPLITS for item in _split_files(source, split)]
    _check_subjects(slices)
    return slices


def _split_folder(source: Path, split: str) -> Path:
    names = [f"keras_png_slices_{name}" for name in FOLDER_NAMES[split]]
    for level in ("", "*/", "*/*/"):
        for name in names:
            for folder in sorted(source.glob(level + name)):
                return folder / "slices" if (folder / "slices").is_dir() else folder
    found = ", ".join(sorted(p.name for p in source.iterdir())[:5]) or "nothing"
    raise DataError(f"expected {names[0]}/ under {source}, found {found}; see README, Data")


def _split_files(source: Path, split: str) -> list[SliceFile]:
    folder = _split_folder(source, split)
    files = []
    for path in folder.iterdir():
        match = FILE_NAME.fullmatch(path.name)
        if match:
            files.append(SliceFile(path, split, int(match[1]), int(match[2])))
    if not files:
        raise DataError(f"no slices in {folder}: expected names such as case_001_slice_0.nii.png; see README, Data")
    files.sort(key=lambda f: (f.subject, f.position))
    for before, after in zip(files, files[1:], strict=False):
        if (before.subject, before.position) == (after.subject, after.position):
            raise DataError(f"{before.path.name} and {after.path.name} in {folder} are the same slice: keep one")
    return files


def _check_subjects(slices: list[SliceFile]) -> None:
    home: dict[int, str] = {}
    for item in slices:
        if home.setdefault(item.subject, item.split) != item.split:
            raise DataError(f"subject {item.subject} is in both {home[item.subject]} and {item.split} "
                            f"({item.path}): a subject may be in one split only, else every figure is too good")


def read_slice(path: Path) -> UInt8[np.ndarray, "height width"]:
    """One 8-bit grey image; equal colour channels count as grey. Raises DataError that names the file."""
    try:
        with Image.open(path) as file:
            file.load()
            bands, deep, pixels = file.getbands(), file.mode[0] in "IF", np.asarray(file)
    except (OSError, SyntaxError, ValueError, struct.error) as error:  # what Pillow raises for damaged files
        raise DataError(f"cannot read {path}: {error}; replace the file") from None
    if deep:
        raise DataError(f"{path} has more than 8 bits a pixel: convert it to 8-bit grey")
    if bands == ("R", "G", "B") and (pixels == pixels[..., :1]).all():
        return np.ascontiguousarray(pixels[..., 0])
    if bands != ("L",):
        raise DataError(f"{path} has channels {'+'.join(bands)}, expected one (grey): convert it to 8-bit grey")
    return pixels


def read_ages(source: Path) -> dict[int, float]:
    """Ages in years from participants.tsv (columns participant_id, age) beside the splits; empty without one."""
    tables = sorted(p for level in ("", "*/", "*/*/") for p in Path(source).glob(level + "participants.tsv"))
    if not tables:
        return {}
    header, *rows = [line.split("\t") for line in tables[0].read_text(encoding="utf-8").splitlines() if line]
    name, age = header.index("participant_id"), header.index("age")
    return {int(re.sub(r"\D", "", row[name])): float(row[age]) for row in rows}


def is_synthetic(source: Path) -> bool:
    """Whether a folder holds the project's own sample brains."""
    return any(True for level in ("", "*/", "*/*/") for _ in Path(source).glob(level + "sample_brains.json"))


def sample_brains(config: DataConfig, seed: int = 0, progress: Callable[[int, int], None] | None = None) -> Path:
    """The synthetic sample brains of a profile, made on first use and shared by all runs."""
    counts = config.train_subjects, config.validate_subjects, config.test_subjects
    root = project_root() / "data" / f"sample_brains_{'_'.join(map(str, counts))}_seed{seed}"
    return synthetic.write_sample_brains(root, *counts, seed=seed, progress=progress)


# ---------------------------------------------------------------- cache


@dataclass(frozen=True)
class Split:
    """The slices of one split, still on disk."""

    name: str
    images: UInt8[np.ndarray, "n height width"]
    subjects: np.ndarray  # int64 (n,)
    positions: np.ndarray  # int64 (n,)
    ages: np.ndarray  # float32 (n,), years, nan where unknown

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> dict[str, Tensor]:
        """Everything on the device at once: 604 MiB for all of OASIS at 256² as uint8."""
        return {"images": torch.from_numpy(np.array(self.images))[:, None].to(device),
                "subjects": torch.from_numpy(self.subjects).to(device),
                "positions": torch.from_numpy(self.positions).to(device)}

    def floats(self) -> Float[Tensor, "n 1 height width"]:
        """All images as float32 in [0, 1] on the CPU."""
        return torch.from_numpy(np.array(self.images))[:, None].float() / 255


@dataclass(frozen=True)
class Dataset:
    """A cache: one uint8 array on disk and the manifest that says what is in it."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def identity(self) -> str:
        """Changes when any pixel, split or crop does; checkpoints carry it."""
        return digest({k: self.manifest[k] for k in ("format", "config", "crop", "subjects")})

    @property
    def synthetic(self) -> bool:
        return self.manifest["synthetic"]

    @property
    def description(self) -> str:
        """The data in words, for titles and captions."""
        return "synthetic sample brains (from Colin27, not OASIS)" if self.synthetic else self.manifest["source"]

    @property
    def n_positions(self) -> int:
        return 1 + max(max(entry["positions"]) for entry in self.manifest["subjects"])

    def split(self, name: str) -> Split:
        if name not in SPLITS:
            raise ValueError(f"unknown split {name!r}: choose one of {', '.join(SPLITS)}")
        array = np.load(self.folder / "slices.npy", mmap_mode="r")
        subjects, positions, ages, start, first = [], [], [], 0, None
        for entry in self.manifest["subjects"]:
            n = len(entry["positions"])
            if entry["split"] == name:
                first = start if first is None else first
                subjects += [entry["subject"]] * n
                positions += entry["positions"]
                ages += [np.nan if entry["age"] is None else entry["age"]] * n
            start += n
        return Split(name, array[first:first + len(subjects)], np.array(subjects), np.array(positions),
                     np.array(ages, dtype=np.float32))


def open_cache(folder: str | Path) -> Dataset:
    """A cache made by `build_cache`; DataError if there is none."""
    folder = Path(folder)
    if not is_cache(folder):
        raise DataError(f"no prepared data in {folder}: run notebook 01 or `python -m oasis_utils prepare` first")
    manifest = read_json(folder / "manifest.json")
    if manifest["format"] != FORMAT:
        raise DataError(f"{folder} was prepared by another version of oasis_utils: delete it and prepare again")
    return Dataset(folder, manifest)


def is_cache(folder: str | Path) -> bool:
    return (Path(folder) / "manifest.json").exists() and (Path(folder) / "slices.npy").exists()


def open_or_build(source: str | Path, folder: str | Path, config: DataConfig,
                  progress: Callable[[int, int], None] | None = None) -> Dataset:
    """A run's cache: linked to a folder that `prepare` made, or built from a folder of slices."""
    source, folder = Path(source), Path(folder)
    if not is_cache(source):
        return build_cache(source, folder, config, progress)
    dataset = open_cache(source)
    size = dataset.manifest["config"]["image_size"]
    if size != config.image_size:
        raise DataError(f"{source} was prepared at {size} pixels, this profile takes {config.image_size}: "
                        f"prepare again with --size {config.image_size}")
    (folder / "manifest.json").unlink(missing_ok=True)
    with atomic(folder / "slices.npy") as partial:
        try:
            os.link(source / "slices.npy", partial)
        except OSError:  # another file system
            shutil.copyfile(source / "slices.npy", partial)
    write_json(folder / "manifest.json", dataset.manifest)
    return open_cache(folder)


def build_cache(source: str | Path, folder: str | Path, config: DataConfig,
                progress: Callable[[int, int], None] | None = None) -> Dataset:
    """Read, check, crop and resize all slices of `source` into `folder`; an up-to-date cache is only opened.

    The manifest is written last, so a cache that was interrupted is never taken for a whole one.
    """
    source, folder = Path(source), Path(folder)
    files = find_slices(source)
    state = digest([[f.path.name, f.path.stat().st_size, f.path.stat().st_mtime_ns] for f in files])
    if is_cache(folder):
        dataset = open_cache(folder)
        if dataset.manifest["files"] == state and dataset.manifest["config"] == to_dict(config):
            return dataset
    (folder / "manifest.json").unlink(missing_ok=True)
    raw, hashes = _read_all(files, progress)
    crop = fit_window(raw[:sum(f.split == "train" for f in files)], config)
    with atomic(folder / "slices.npy") as partial:
        _write_resized(partial, raw, crop, config.image_size)
    write_json(folder / "manifest.json", {
        "format": FORMAT, "source": str(source.resolve()), "synthetic": is_synthetic(source),
        "source_size": raw.shape[1], "crop": dict(zip(("top", "left", "side"), crop, strict=True)),
        "config": to_dict(config), "files": state,
        "subjects": _subject_entries(files, hashes, read_ages(source))})
    return open_cache(folder)


def _read_all(files: list[SliceFile], progress) -> tuple[np.ndarray, list[str]]:
    """All slices as they are, and the hash of each file's pixels."""
    first = read_slice(files[0].path)
    if first.shape[0] != first.shape[1]:
        raise DataError(f"{files[0].path} is {first.shape[1]}x{first.shape[0]} pixels: slices must be square")
    raw, hashes = np.empty((len(files), *first.shape), np.uint8), []
    for i, file in enumerate(files):
        image = read_slice(file.path)
        if image.shape != first.shape:
            raise DataError(f"{file.path} is {image.shape[1]}x{image.shape[0]} pixels, but {files[0].path.name} is "
                            f"{first.shape[1]}x{first.shape[0]}: all slices need one size")
        raw[i] = image
        hashes.append(hashlib.sha256(raw[i].tobytes()).hexdigest())
        if progress:
            progress(i + 1, len(files))
    return raw, hashes


def fit_window(train: UInt8[np.ndarray, "n height width"], config: DataConfig) -> tuple[int, int, int]:
    """(top, left, side) of the square that holds the training heads, not cut below image_size (no upsampling)."""
    size = train.shape[1]
    seen = (train > FOREGROUND).mean(0) > 0.002  # ignores the odd bright pixel
    if not seen.any():
        raise DataError(f"all {len(train)} training slices are black (no pixel above {FOREGROUND} of 255): "
                        "check the scaling of the images")
    if not config.fit_crop or size <= config.image_size:
        return 0, 0, size
    rows, cols = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    extent = max(rows[-1] - rows[0], cols[-1] - cols[0]) + 1
    side = int(min(size, max(config.image_size, round(extent * (1 + 2 * config.crop_margin)))))
    top, left = (int(np.clip((edge[0] + edge[-1] + 1 - side) // 2, 0, size - side)) for edge in (rows, cols))
    return top, left, side


def _write_resized(path: Path, raw: np.ndarray, crop: tuple[int, int, int], size: int) -> None:
    from torchvision.transforms.v2.functional import resize  # slow to import, and needed only here

    top, left, side = crop
    with open(path, "wb") as file:
        np.lib.format.write_array_header_2_0(file, {"descr": "|u1", "fortran_order": False,
                                                    "shape": (len(raw), size, size)})
        for start in range(0, len(raw), 256):
            part = torch.from_numpy(raw[start:start + 256, top:top + side, left:left + side])
            if side != size:
                part = resize(part[:, None], [size, size], antialias=True)[:, 0]
            file.write(part.contiguous().numpy().tobytes())


def _subject_entries(files: list[SliceFile], hashes: list[str], ages: dict[int, float]) -> list[dict[str, Any]]:
    grouped: dict[tuple[str, int], list[int]] = defaultdict(list)
    for i, file in enumerate(files):
        grouped[file.split, file.subject].append(i)
    return [{"subject": subject, "split": split, "age": ages.get(subject),
             "positions": [files[i].position for i in rows],
             "sha256": hashlib.sha256("".join(hashes[i] for i in rows).encode()).hexdigest()[:16]}
            for (split, subject), rows in grouped.items()]


# ---------------------------------------------------------------- batches


class Batches:
    """Batches of tensors that already live on the device; uint8 images become float32 in [0, 1] on the way out.

    The order depends on (seed, epoch) alone, so an epoch can be repeated. mirror: flip half of the images left-right.
    """

    def __init__(self, tensors: dict[str, Tensor], batch_size: int, shuffle: bool = False, mirror: bool = False,
                 seed: int = 0):
        sizes = {len(t) for t in tensors.values()}
        if len(sizes) != 1 or 0 in sizes:
            raise DataError(f"batches need tensors of one length above 0, not {sorted(sizes)}")
        self.tensors, self.batch_size, self.seed = tensors, batch_size, seed
        self.shuffle, self.mirror, self.size = shuffle, mirror, sizes.pop()

    def __len__(self) -> int:
        """Batches in an epoch; a shuffled epoch drops the last, smaller batch unless it is the only one."""
        return max(self.size // self.batch_size, 1) if self.shuffle else -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self.epoch(0)

    def epoch(self, number: int) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + number)
        order = torch.randperm(self.size, generator=generator) if self.shuffle else torch.arange(self.size)
        flips = torch.rand(self.size, generator=generator) < 0.5
        device = next(iter(self.tensors.values())).device
        order, flips = order.to(device), flips.to(device)
        for i in range(len(self)):
            rows = order[i * self.batch_size:(i + 1) * self.batch_size]
            batch = {name: tensor[rows] for name, tensor in self.tensors.items()}
            if "images" in batch:
                images = batch["images"].float() / 255
                if self.mirror:
                    images = torch.where(flips[rows][:, None, None, None], images.flip(-1), images)
                batch["images"] = images
            yield batch
