"""Collects the slices of a source in a raw file, checks them and counts what was changed."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from oasis_utils.config import SPLITS
from oasis_utils.data.grey_levels import foreground
from oasis_utils.data.image_files import quiet, read_picture
from oasis_utils.data.orientation import MEASURED_SLICES, SliceGeometry, measure, oriented
from oasis_utils.data.reading import (
    ImportOptions,
    OnProgress,
    Reading,
    Unusable,
    read_source,
    size_text,
)
from oasis_utils.data.resize import mapped
from oasis_utils.data.sources import Source
from oasis_utils.runtime import DataError

SIZE_SAMPLES = 9  # files whose most frequent size is the size of the set
BLACK = "black slices, kept"
REPEATED = "slices that occur twice within their split, kept"
PADDED = "oblong slices, centred on a black square"
NO_MASKS = "slices without a mask, so no masks are used"
EMPTY_MASKS = "masks that mark nothing, not used"


class StoredSlice(NamedTuple):
    """A slice in the raw file; sorted by position within its series."""

    position: int
    row: int  # of the raw file
    digest: bytes  # of its pixels


class SliceCollector:
    """Slices on their way into the cache: checked, counted, and appended to a raw file.

    Args:
        source: what is read.
        skip_bad: list what cannot be used in `skipped`. Default: DataError for the first.
        raw: file to which slices are appended as uint8.
        raw_masks: the same for masks, as long as each slice has one.
    """

    def __init__(self, source: Source, skip_bad: bool, raw: BinaryIO, raw_masks: BinaryIO):
        self.source, self.skip_bad, self.raw, self.raw_masks = source, skip_bad, raw, raw_masks
        self.notes: Counter[str] = Counter(source.notes)
        self.skipped: list[dict[str, str]] = []
        self.stored: list[list[StoredSlice]] = [[] for _ in source.series]
        self.n_black = [0] * len(source.series)
        self.first_seen: dict[bytes, tuple[str | None, Path | str]] = {}  # by digest
        self.example: Path | str = ""  # a slice of the expected shape
        self.n = self.n_train = self.n_masks = 0
        self.any_mask = False  # whether a mask marks anything
        self._shape: tuple[int, int] | None = None
        self._heads: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels of every slice as it was read."""
        if self._shape is None:
            raise DataError(f"no slice of {self.source.path} was read")
        return self._shape

    @property
    def size(self) -> int:
        """Pixels of a side in the raw file, where all slices are square."""
        return max(self.shape)

    @property
    def heads(self) -> np.ndarray:
        """int32 (size, size): the number of training slices in which a pixel is foreground."""
        if self._heads is None:
            self._heads = np.zeros((self.size, self.size), np.int32)
        return self._heads

    @property
    def masks(self) -> bool:
        """Whether there is a mask for every slice, and some mark a brain."""
        return self.n > 0 and self.n_masks == self.n and self.any_mask

    def read(self, options: ImportOptions, progress: OnProgress | None = None) -> None:
        """Append all slices of the source.

        A slice that cannot be used is a DataError, unless those are skipped; so is an empty split.

        Args:
            options: how the source is read.
            progress: called with (done, total) after each file or volume.
        """
        for error in self.source.unreadable:
            self._refuse(self.source.path, error)
        self._find_size(options.slices.orient)
        with closing(read_source(self.source, options, progress)) as readings:
            for reading in readings:
                if isinstance(reading, Unusable):
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
        self._refuse_black_series()
        self._refuse_empty_splits()
        if any(self.n_black):
            self.notes[BLACK] = sum(self.n_black)
        if 0 < self.n_masks < self.n:
            self.notes[NO_MASKS] = self.n - self.n_masks
        if self.n_masks == self.n and not self.any_mask:
            self.notes[EMPTY_MASKS] = self.n_masks

    def _find_size(self, orient: str) -> None:
        """Expect the size that most of a few files have, so that messages name the odd file."""
        files = [path for s in self.source.series for path in s.files]
        sizes: dict[tuple[int, ...], list[Path]] = {}
        with quiet():
            for path in files[:: max(len(files) // SIZE_SAMPLES, 1)]:
                with suppress(DataError):
                    shape = oriented(read_picture(path).pixels, orient).shape
                    sizes.setdefault(shape, []).append(path)
        if sizes:
            shape = max(sizes, key=lambda one: len(sizes[one]))
            self._expect(shape, sizes[shape][0])

    def _expect(self, shape: tuple[int, ...], example: Path | str) -> None:
        height, width = shape
        if height != width and self.source.kind != "images":
            raise DataError(f"{example} is {size_text(shape)} pixels: slices must be square")
        self._shape, self.example = (height, width), example

    def _check(self, reading: Reading) -> None:
        if self._shape is None:
            self._expect(reading.image.shape, reading.where)
        if reading.image.shape != self.shape:
            raise DataError(
                f"{reading.where} is {size_text(reading.image.shape)} pixels, but"
                f" {Path(self.example).name} is {size_text(self.shape)}: all slices need one size"
            )
        if not reading.image.any():  # the ends of a stack are black, and alike in all subjects
            self.n_black[reading.series] += 1
            return
        split = self.source.series[reading.series].split
        first, where = self.first_seen.setdefault(reading.digest, (split, reading.where))
        if first != split:
            raise DataError(
                f"{where} in {first} and {reading.where} in {split} are the same picture: metrics"
                " on slices seen in training are too good; keep one of them"
            )
        if where is not reading.where:
            self.notes[REPEATED] += 1

    def _append(self, reading: Reading) -> None:
        image, mask = self._squared(reading.image), reading.mask
        self.notes.update(reading.notes)
        if image.shape != self.shape:
            self.notes[PADDED] += 1
        if self.source.series[reading.series].split == "train":
            np.add(self.heads, foreground(image), out=self.heads)
            self.n_train += 1
        self.raw.write(image.data)
        if mask is not None:
            if self.n_masks == self.n:  # so far each slice has one
                self.raw_masks.write(self._squared(mask).data)
            self.n_masks += 1
            self.any_mask = self.any_mask or bool(mask.any())
        self.stored[reading.series].append(StoredSlice(reading.position, self.n, reading.digest))
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

    def _refuse_black_series(self) -> None:
        """Refuse, or leave out, a session of black slices alone, in which nothing is measured."""
        for number, (series, stored) in enumerate(
            zip(self.source.series, self.stored, strict=True)
        ):
            if not stored or self.n_black[number] < len(stored):
                continue
            name = " ".join(filter(None, (series.name, series.session)))
            self._refuse(
                f"subject {name}",
                DataError(
                    f"all slices of subject {name} are black: check the scaling of its images"
                ),
            )
            self.n_train -= len(stored) if series.split == "train" else 0
            self.n_black[number] = 0
            stored.clear()

    def _refuse_empty_splits(self) -> None:
        full = {
            s.split for s, stored in zip(self.source.series, self.stored, strict=True) if stored
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
        return np.array([one.row for stored in self.stored for one in sorted(stored)])

    def measured(self) -> SliceGeometry:
        """Orientation, symmetry and content of the training slices, from an even choice of them."""
        train = [
            (one.position, one.row)
            for series, stored in zip(self.source.series, self.stored, strict=True)
            if series.split == "train"
            for one in sorted(stored)
        ]
        chosen = np.linspace(0, len(train) - 1, min(MEASURED_SLICES, len(train)))
        positions, rows = np.array(train)[chosen.round().astype(int)].T
        stack = mapped(self.raw, self.size, self.n)
        return measure((stack[row] for row in rows), positions)

    def entries(self) -> list[dict[str, Any]]:
        """The manifest's entries, one a series; `sha256` is of its pixels before the crop."""
        return [
            {
                "subject": s.subject,
                "name": s.name,
                "session": s.session,
                "split": s.split,
                "age": s.person.age,
                "sex": s.person.sex,
                "cdr": s.person.cdr,
                "positions": [one.position for one in sorted(stored)],
                "sha256": _digest_of_series(stored),
            }
            for s, stored in zip(self.source.series, self.stored, strict=True)
            if stored
        ]


def _digest_of_series(stored: list[StoredSlice]) -> str:
    digests = b"".join(one.digest for one in sorted(stored))
    return hashlib.sha256(digests).hexdigest()[:16]
