"""Reads the slices of a source one by one: image files in threads, volumes scan by scan."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from oasis_utils.data import volumes
from oasis_utils.data.image_files import quiet, read_picture
from oasis_utils.data.orientation import oriented
from oasis_utils.data.sources import Source
from oasis_utils.runtime import DataError

# Pillow decodes without holding Python's lock
READ_THREADS, FILES_PER_TASK, TASKS_AHEAD = 2, 8, 4

OnProgress = Callable[[int, int], None]  # called with (done, total)


@dataclass(frozen=True)
class ImportOptions:
    """How a source is read; the defaults are those of `run`.

    Attributes:
        split: shares of subjects for train, validate and test. Default: 0.8, 0.1, 0.1. A source
            with splits of its own keeps them.
        seed: 0 or more, of that random split.
        pattern: regular expression that names the subject in the paths of a folder of images or
            volumes. Default: the layouts that are known.
        slices: how volumes are cut; its `orient` holds for images as well.
        skip_bad: leave out what cannot be read and list it in the manifest. Default: stop there.
    """

    split: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0
    pattern: str | None = None
    slices: volumes.SliceOptions = field(default_factory=volumes.SliceOptions)
    skip_bad: bool = False


@dataclass(frozen=True)
class Reading:
    """One slice as it was read, before crop and resize.

    Attributes:
        series: index of its series in the source.
        position: of the slice in its series.
        where: the file, or words for a slice of a volume.
        image: grey levels.
        mask: labels of the same pixels, if the source has them.
        digest: SHA-256 of the pixels.
        notes: what was changed on reading, see `image_files`.
    """

    series: int
    position: int
    where: Path | str
    image: UInt8[np.ndarray, "height width"]
    mask: UInt8[np.ndarray, "height width"] | None
    digest: bytes
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unusable:
    """A file or scan that could not be used.

    Attributes:
        where: the file, or words for a scan.
        reason: what is wrong with it.
    """

    where: Path | str
    reason: DataError


def pixel_digest(image: np.ndarray) -> bytes:
    """SHA-256 of the pixels of a slice."""
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()


def size_text(shape: tuple[int, ...]) -> str:
    """The shape (height, width) as messages write it: width x height."""
    return f"{shape[1]}x{shape[0]}"


def read_source(
    source: Source, options: ImportOptions, progress: OnProgress | None = None
) -> Generator[Reading | Unusable, None, None]:
    """Every slice of a source.

    Args:
        source: files or volumes, see `sources.discover`.
        options: how they are read.
        progress: called with (done, total) after each file or volume.

    Yields:
        Slices, or why there is none: images in the order of series, volumes in any order.
    """
    if any(s.scan is not None for s in source.series):
        yield from _read_volumes(source, options, progress)
    else:
        yield from _read_files(source, options.slices.orient, progress)


@dataclass(frozen=True)
class _File:
    """An image file to read, and its mask."""

    series: int
    position: int
    path: Path
    mask: Path | None


def _read_files(
    source: Source, orient: str, progress: OnProgress | None
) -> Generator[Reading | Unusable, None, None]:
    files = [
        _File(i, s.positions[j], path, s.masks[j] if s.masks else None)
        for i, s in enumerate(source.series)
        for j, path in enumerate(s.files)
    ]
    tasks = (
        files[start : start + FILES_PER_TASK] for start in range(0, len(files), FILES_PER_TASK)
    )
    done, pool = 0, ThreadPoolExecutor(READ_THREADS)
    try:
        with quiet():
            results = _computed_ahead(
                pool, lambda part: [_read_file(file, orient) for file in part], tasks
            )
            for readings in results:
                for reading in readings:
                    done += 1
                    yield reading
                    if progress:
                        progress(done, len(files))
    finally:
        # a reader may be waiting for a network drive that does not answer
        pool.shutdown(wait=False, cancel_futures=True)


def _computed_ahead(pool: ThreadPoolExecutor, work: Callable, tasks: Iterable) -> Iterator:
    """The results of tasks in order, a few computed in advance."""
    tasks = iter(tasks)
    waiting = deque(pool.submit(work, task) for task in islice(tasks, TASKS_AHEAD))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(pool.submit(work, task) for task in islice(tasks, 1))


def _read_file(file: _File, orient: str) -> Reading | Unusable:
    try:
        picture = read_picture(file.path)
        image, mask = oriented(picture.pixels, orient), None
        if file.mask is not None:
            mask = oriented(read_picture(file.mask, mask=True).pixels, orient)
            if mask.shape != image.shape:
                raise DataError(
                    f"{file.mask} is {size_text(mask.shape)} pixels, but its slice"
                    f" {file.path.name} is {size_text(image.shape)}: a mask needs the size of its"
                    " slice"
                )
        return Reading(
            file.series,
            file.position,
            file.path,
            image,
            mask,
            pixel_digest(image),
            picture.notes,
        )
    except DataError as error:
        return Unusable(file.path, error)


def _read_volumes(
    source: Source, options: ImportOptions, progress: OnProgress | None
) -> Generator[Reading | Unusable, None, None]:
    index = {id(s.scan): i for i, s in enumerate(source.series)}
    unusable: list[Unusable] = []
    on_error = (
        (lambda scan, error: unusable.append(Unusable(scan.where, error)))
        if options.skip_bad
        else None
    )
    scans, done = [s.scan for s in source.series if s.scan is not None], 0
    for scan, images, masks in volumes.read_scans(scans, options.slices, on_error):
        for position, image in enumerate(images):
            yield Reading(
                index[id(scan)],
                position,
                f"{scan.where}, slice {position}",
                image,
                None if masks is None else masks[position],
                pixel_digest(image),
            )
        done += 1  # noqa: SIM113 (a volume that is left out is counted elsewhere)
        if progress:
            progress(done + len(unusable), len(scans))
    yield from unusable
