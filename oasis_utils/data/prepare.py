"""Any source in, one cache out: a manifest and memory-mapped uint8 arrays (slices.npy, masks.npy),
made by streaming.

Slices are read once into a nameless temporary file in the cache's folder, which the system frees
even when the process is killed. The crop window is fitted to the training slices meanwhile; then
chunks are cut, resized and written. Memory holds one chunk and a 32-byte hash a slice, however long
the source is.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import Int, UInt8

from oasis_utils.config import SPLITS, DataConfig, to_dict
from oasis_utils.data import volumes
from oasis_utils.data.image_files import quiet, read_picture
from oasis_utils.data.orientation import AUTO, SAMPLE, Lie, measure, oriented
from oasis_utils.data.sources import Source, discover, with_splits
from oasis_utils.runtime import DataError, atomic, read_json, write_json

FOREGROUND = 16  # grey level of 255 above which a pixel belongs to the head
FORMAT = 3  # of the cache; 3: upright, with its symmetry
CHUNK = 64  # slices resized at a time
THREADS, FILES_A_TASK, TASKS_AHEAD = 2, 16, 4  # Pillow decodes without holding Python's lock
PROBES = 9  # files that vote on the size of a set
BLACK = "black slices, kept"
REPEATED = "slices that occur twice within their split, kept"
PADDED = "oblong slices, centred on a black square"


@dataclass(frozen=True)
class ImportOptions:
    """How a source is read; the defaults are those of `run`."""

    split: tuple[float, float, float] = (
        0.8,
        0.1,
        0.1,
    )  # shares of subjects where the source has no splits of its own
    seed: int = 0  # of that random split
    pattern: str | None = None  # names the subject in the paths of a folder of images or volumes
    slices: volumes.SliceOptions = field(
        default_factory=volumes.SliceOptions
    )  # of volumes; orient: of images as well
    skip_bad: bool = False  # go on without what cannot be read, and list it in the manifest


@dataclass(frozen=True)
class Reading:
    """One slice as it was read, before crop and resize."""

    series: int  # index
    position: int
    where: Path | str
    image: UInt8[np.ndarray, "height width"]
    mask: UInt8[np.ndarray, "height width"] | None
    digest: bytes  # of the pixels
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bad:
    """A file or scan that could not be used, and why."""

    where: Path | str
    reason: DataError


def is_cache(folder: str | Path) -> bool:
    """Whether a folder holds a finished import; the manifest is written last."""
    return (Path(folder) / "manifest.json").exists() and (Path(folder) / "slices.npy").exists()


def import_source(
    path: str | Path,
    folder: str | Path,
    config: DataConfig,
    options: ImportOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Read, check, split, crop and resize everything in `path` into `folder`; an up-to-date cache
    is left alone.

    An interrupted import leaves no manifest, and the next one starts afresh. Raises DataError.
    """
    path, folder, options = Path(path), Path(folder), options or ImportOptions()
    found = discover(path, options.pattern)
    _refuse_idle(found, options)
    source = with_splits(found, options.split, options.seed)
    refuse_inside(path, folder)
    about = {
        "format": FORMAT,
        "kind": source.kind,
        "files": source.state,
        "config": to_dict(config),
        "options": to_dict(options),
    }
    if is_cache(folder):
        manifest = read_json(folder / "manifest.json")
        if all(manifest.get(key) == value for key, value in about.items()):
            return
    clear(folder)
    with tempfile.TemporaryFile(dir=folder) as raw, tempfile.TemporaryFile(dir=folder) as raw_masks:
        stack = Stack(source, options.skip_bad, raw, raw_masks)
        stack.read(options, progress)
        lie, orient = stack.lie(), options.slices.orient
        measured = orient == AUTO and options.slices.plane == "axial"
        turn = lie.orient if measured else "as-is"  # any other was applied while reading
        crop = fit_window(oriented(stack.heads, turn), stack.n_train, config)
        rows = stack.rows()
        with atomic(folder / "slices.npy") as partial:
            write_resized(partial, raw, stack.size, rows, crop, config.image_size, turn)
        if stack.masks:
            with atomic(folder / "masks.npy") as partial:
                write_resized(
                    partial,
                    raw_masks,
                    stack.size,
                    rows,
                    crop,
                    config.image_size,
                    turn,
                    nearest=True,
                )
    write_json(
        folder / "manifest.json",
        {
            **about,
            "source": str(path.resolve()),
            "source_size": stack.size,
            "crop": dict(zip(("top", "left", "side"), crop, strict=True)),
            "masks": stack.masks,
            "orientation": {
                "turned": turn if orient == AUTO else orient,
                "measured": measured,
                "correlations": lie.to_dict(),
            },
            "symmetry": {"axis": lie.turned(turn).axis},
            "content": lie.content,
            "notes": dict(stack.notes),
            "skipped": stack.skipped,
            "subjects": stack.entries(),
        },
    )


def clear(folder: Path) -> None:
    """Take a cache away, and what a killed import left."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (
        "manifest.json",
        "slices.npy",
        "masks.npy",
    ):  # the manifest first: without it there is no cache
        (folder / name).unlink(missing_ok=True)
        for partial in folder.glob(f"{name}.*.partial"):
            partial.unlink(missing_ok=True)


def refuse_inside(path: Path, folder: Path) -> None:
    """DataError for a folder to write to that lies in the source."""
    if path.is_dir() and folder.resolve().is_relative_to(path.resolve()):
        raise DataError(
            f"{folder} lies inside the source {path}, which is never written to: choose another"
            " folder"
        )


def _refuse_idle(source: Source, options: ImportOptions) -> None:
    """DataError for an option that this source would leave without effect."""
    if source.series[0].split is not None and options.split != ImportOptions.split:
        raise DataError(f"{source.path} has splits of its own, which are kept: leave out --split")
    if (
        source.series[0].scan is None
        and replace(options.slices, orient=AUTO) != volumes.SliceOptions()
    ):
        raise DataError(
            f"{source.path} holds images: --plane, --slices, --every and --count are for volumes"
        )


# ---------------------------------------------------------------- reading


def read_source(
    source: Source, options: ImportOptions, progress: Callable[[int, int], None] | None = None
) -> Iterator[Reading | Bad]:
    """Every slice of a source, or why there is none; images in the order of series, volumes in any
    order.
    """
    if any(s.scan is not None for s in source.series):
        yield from _read_volumes(source, options, progress)
        return
    files = [
        (i, s.positions[j], path, s.masks[j] if s.masks else None)
        for i, s in enumerate(source.series)
        for j, path in enumerate(s.files)
    ]
    orient, done = options.slices.orient, 0
    pool = ThreadPoolExecutor(THREADS)
    try:
        with quiet():
            parts = (
                files[start : start + FILES_A_TASK] for start in range(0, len(files), FILES_A_TASK)
            )
            for readings in _ahead(
                pool, lambda part: [_read_file(*file, orient) for file in part], parts
            ):
                for reading in readings:
                    done += 1
                    yield reading
                    if progress:
                        progress(done, len(files))
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(pool: ThreadPoolExecutor, work: Callable, tasks: Iterable) -> Iterator:
    """The results of tasks in order, a few computed in advance."""
    tasks = iter(tasks)
    waiting = deque(pool.submit(work, task) for task in islice(tasks, TASKS_AHEAD))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(pool.submit(work, task) for task in islice(tasks, 1))


def _read_file(
    series: int, position: int, path: Path, mask_path: Path | None, orient: str
) -> Reading | Bad:
    try:
        picture = read_picture(path)
        image, mask = oriented(picture.pixels, orient), None
        if mask_path is not None:
            mask = oriented(read_picture(mask_path, mask=True).pixels, orient)
            if mask.shape != image.shape:
                raise DataError(
                    f"{mask_path} is {_size(mask)} pixels, but its slice {path.name} is"
                    f" {_size(image)}: a mask needs the size of its slice"
                )
        return Reading(
            series, position, path, image, mask, hashlib.sha256(image).digest(), picture.notes
        )
    except DataError as error:
        return Bad(path, error)


def _read_volumes(source: Source, options: ImportOptions, progress) -> Iterator[Reading | Bad]:
    index = {id(s.scan): i for i, s in enumerate(source.series)}
    bad: list[Bad] = []
    on_error = (
        (lambda scan, error: bad.append(Bad(scan.where, error))) if options.skip_bad else None
    )
    scans, done = [s.scan for s in source.series], 0
    for scan, images, masks in volumes.read_scans(scans, options.slices, on_error):
        for position, image in enumerate(images):
            yield Reading(
                index[id(scan)],
                position,
                f"{scan.where}, slice {position}",
                image,
                None if masks is None else masks[position],
                hashlib.sha256(image).digest(),
            )
        done += 1  # noqa: SIM113 (a volume that is left out is counted elsewhere)
        if progress:
            progress(done + len(bad), len(scans))
    yield from bad


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


class Stack:
    """Slices on their way into the cache: checked, counted, and appended to a raw file."""

    def __init__(self, source: Source, skip_bad: bool, raw: BinaryIO, raw_masks: BinaryIO):
        self.source, self.skip_bad, self.raw, self.raw_masks = source, skip_bad, raw, raw_masks
        self.notes: Counter[str] = Counter(source.notes)
        self.skipped: list[dict[str, str]] = []
        self.places: list[list[tuple[int, int, bytes]]] = [
            [] for _ in source.series
        ]  # position, raw row, digest
        self.seen: dict[bytes, tuple[str, Path | str]] = {}  # digest: first split and place
        self.shape: tuple[int, int] | None = None
        self.model: Path | str = ""  # a slice of the expected shape
        self.n = self.n_train = self.n_masks = 0

    @property
    def size(self) -> int:
        return max(self.shape)

    @property
    def masks(self) -> bool:
        """Whether there is a mask for every slice."""
        return self.n > 0 and self.n_masks == self.n

    def read(
        self, options: ImportOptions, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Take in all slices; DataError for the first bad one unless those are skipped, or for an
        empty split.
        """
        self._probe(options.slices.orient)
        with closing(read_source(self.source, options, progress)) as readings:
            for reading in readings:
                if isinstance(reading, Bad):
                    self._refuse(reading.where, reading.reason)
                    continue
                try:
                    self._check(reading)
                except DataError as error:
                    self._refuse(reading.where, error)
                    continue
                self._append(reading)
        self.raw.flush()
        self.raw_masks.flush()
        self._refuse_empty_splits()
        if 0 < self.n_masks < self.n:
            self.notes["slices without a mask, so no masks are used"] = self.n - self.n_masks

    def _probe(self, orient: str) -> None:
        """The size that most of a few files have, so that it is the odd file that is named, or
        skipped.
        """
        files = [path for s in self.source.series for path in s.files]
        sizes: dict[tuple[int, int], list[Path]] = {}
        with quiet():
            for path in files[:: max(len(files) // PROBES, 1)]:
                with suppress(DataError):
                    shape = oriented(read_picture(path).pixels, orient).shape
                    sizes.setdefault(shape, []).append(path)
        if sizes:
            self._expect(
                *max(
                    ((shape, paths[0]) for shape, paths in sizes.items()),
                    key=lambda x: len(sizes[x[0]]),
                )
            )

    def _expect(self, shape: tuple[int, int], model: Path | str) -> None:
        if shape[0] != shape[1] and self.source.kind != "images":
            raise DataError(f"{model} is {shape[1]}x{shape[0]} pixels: slices must be square")
        self.shape, self.model = shape, model
        self.heads = np.zeros(
            (self.size, self.size), np.int32
        )  # training slices in which a pixel is foreground

    def _check(self, reading: Reading) -> None:
        if self.shape is None:
            self._expect(reading.image.shape, reading.where)
        if reading.image.shape != self.shape:
            raise DataError(
                f"{reading.where} is {_size(reading.image)} pixels, but {Path(self.model).name} is "
                f"{self.shape[1]}x{self.shape[0]}: all slices need one size"
            )
        if not reading.image.any():
            self.notes[BLACK] += 1  # the ends of a stack are black, and alike in all subjects
            return
        split = self.source.series[reading.series].split
        first, where = self.seen.setdefault(reading.digest, (split, reading.where))
        if first != split:
            raise DataError(
                f"{where} in {first} and {reading.where} in {split} are the same picture: a figure"
                " on slices seen in training is too good; keep one of them"
            )
        if where is not reading.where:
            self.notes[REPEATED] += 1

    def _append(self, reading: Reading) -> None:
        image, mask = self._squared(reading.image), reading.mask
        self.notes.update(reading.notes)
        if image.shape != self.shape:
            self.notes[PADDED] += 1
        if self.source.series[reading.series].split == "train":
            np.add(self.heads, image > FOREGROUND, out=self.heads)
            self.n_train += 1
        self.raw.write(image)
        if mask is not None:
            if self.n_masks == self.n:  # so far each slice has one
                self.raw_masks.write(self._squared(mask))
            self.n_masks += 1
        self.places[reading.series].append((reading.position, self.n, reading.digest))
        self.n += 1

    def _squared(self, image: np.ndarray) -> np.ndarray:
        """Black added evenly along the shorter axis."""
        if image.shape == (self.size, self.size):
            return np.ascontiguousarray(image)
        square = np.zeros((self.size, self.size), np.uint8)
        top, left = ((self.size - n) // 2 for n in image.shape)
        square[top : top + image.shape[0], left : left + image.shape[1]] = image
        return square

    def _refuse(self, where: Path | str, error: DataError) -> None:
        if not self.skip_bad:
            raise DataError(f"{error} (`prepare --skip-bad` goes on without such files)") from None
        name = os.path.relpath(where, self.source.path) if isinstance(where, Path) else where
        self.skipped.append({"file": str(name), "reason": str(error)})

    def _refuse_empty_splits(self) -> None:
        full = {
            s.split for s, places in zip(self.source.series, self.places, strict=True) if places
        }
        for split in SPLITS:
            if split not in full:
                reason = (
                    f"; first of {len(self.skipped)} skipped: {self.skipped[0]['reason']}"
                    if self.skipped
                    else ""
                )
                raise DataError(f"the {split} split of {self.source.path} would be empty{reason}")

    def rows(self) -> np.ndarray:
        """Raw rows in the order of the cache: splits, then subjects, sessions and positions."""
        return np.array([row for places in self.places for _, row, _ in sorted(places)])

    def lie(self) -> Lie:
        """How the training slices lie, from some of them, evenly chosen."""
        train = [
            (position, row)
            for series, places in zip(self.source.series, self.places, strict=True)
            if series.split == "train"
            for position, row, _ in sorted(places)
        ]
        chosen = np.linspace(0, len(train) - 1, min(SAMPLE, len(train))).round().astype(int)
        positions, rows = np.array(train)[chosen].T
        stack = _mapped(self.raw, self.size, self.n)
        return measure((stack[row] for row in rows), positions)

    def entries(self) -> list[dict[str, Any]]:
        """One entry a series for the manifest; `sha256` is of its slices' pixels before the
        crop.
        """
        return [
            {
                "subject": s.subject,
                "name": s.name,
                "session": s.session,
                "split": s.split,
                "age": s.age,
                "sex": s.sex,
                "cdr": s.cdr,
                "positions": [position for position, _, _ in sorted(places)],
                "sha256": (
                    hashlib.sha256(b"".join(digest for _, _, digest in sorted(places))).hexdigest()[
                        :16
                    ]
                ),
            }
            for s, places in zip(self.source.series, self.places, strict=True)
            if places
        ]


# ---------------------------------------------------------------- crop and resize


def fit_window(
    heads: Int[np.ndarray, "size size"], n: int, config: DataConfig
) -> tuple[int, int, int]:
    """(top, left, side) of the square that holds the training heads, not cut below image_size (no
    upsampling).

    `heads` counts, for each pixel, in how many of the n training slices it is brighter than
    FOREGROUND.
    """
    size = len(heads)
    seen = heads > 0.002 * n  # ignores the odd bright pixel
    if not seen.any():
        raise DataError(
            f"all {n} training slices are black (no pixel above {FOREGROUND} of 255): "
            "check the scaling of the images"
        )
    if not config.fit_crop or size <= config.image_size:
        return 0, 0, size
    rows, cols = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    extent = max(rows[-1] - rows[0], cols[-1] - cols[0]) + 1
    side = int(min(size, max(config.image_size, round(extent * (1 + 2 * config.crop_margin)))))
    top, left = (
        int(np.clip((edge[0] + edge[-1] + 1 - side) // 2, 0, size - side)) for edge in (rows, cols)
    )
    return top, left, side


def _mapped(raw: BinaryIO, size: int, n: int) -> UInt8[np.ndarray, "n size size"]:
    return np.memmap(raw, np.uint8, "r", shape=(n, size, size))


def write_resized(
    path: Path,
    raw: BinaryIO,
    source_size: int,
    rows: np.ndarray,
    crop: tuple[int, int, int],
    size: int,
    turn: str = "as-is",
    nearest: bool = False,
) -> None:
    """Chosen rows of a raw file as a .npy array of shape (n, size, size), turned, cut and resized
    chunk by chunk.
    """
    top, left, side = crop
    with open(path, "wb") as file:
        np.lib.format.write_array_header_2_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (len(rows), size, size)}
        )
        for start in range(0, len(rows), CHUNK):
            stack = oriented(
                _mapped(raw, source_size, int(rows.max()) + 1)[rows[start : start + CHUNK]], turn
            )
            part = np.ascontiguousarray(stack[:, top : top + side, left : left + side])
            file.write(
                part if side == size else _resized(torch.from_numpy(part), size, nearest).numpy()
            )


def _resized(
    part: UInt8[torch.Tensor, "n side side"], size: int, nearest: bool
) -> UInt8[torch.Tensor, "n size size"]:
    if nearest:
        return torch.nn.functional.interpolate(part[:, None], (size, size), mode="nearest-exact")[
            :, 0
        ].contiguous()
    from torchvision.transforms.v2.functional import resize  # slow to import, and needed only here

    return resize(part[:, None], [size, size], antialias=True)[:, 0].contiguous()
