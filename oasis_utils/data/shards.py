"""Rows of tensors in shards: safetensors files of bounded size, and an index.json beside them.

A row is a slice or a code map with what is known of it. The tensors of an opened shard are mapped
by safetensors, so memory holds the rows that were read, and a shard that is closed leaves it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from oasis_utils.config import digest
from oasis_utils.data.cache_folder import SHARDS_INDEX as INDEX
from oasis_utils.data.cache_folder import SHARDS_LOCK, refuse_foreign_to_shards, shard_files
from oasis_utils.runtime import DataError, atomic, exclusive, read_json, write_json

SHARDS_FORMAT = 1
SHARD_BYTES = 2**25  # of a shard, unless asked otherwise
AGAIN = "run the command that wrote the shards again, it replaces those that are not sound"
Rows = Mapping[str, np.ndarray]  # arrays of one length by name


def rows_of_shard(row: Rows, most_bytes: int = SHARD_BYTES) -> int:
    """How many rows a shard holds, at least one.

    Args:
        row: arrays whose first axis is that of the rows.
        most_bytes: size of a shard.
    """
    return max(most_bytes // sum(a.nbytes // max(len(a), 1) for a in row.values()), 1)


# ---------------------------------------------------------------- writing


class ShardWriter:
    """Writes shards in turn; what an interrupted writer of the same source finished is kept.

    Args:
        folder: where shards and index are written.
        about: what the rows are made from; with other contents than those of shards that are
            there, these are replaced.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]):
        self.folder, self.about = folder, dict(about)
        self.identity = digest({"format": SHARDS_FORMAT, **self.about})
        self.entries: list[dict[str, Any]] = []

    def keep(self, rows: int) -> bool:
        """Go on to the next shard if this one was finished before.

        Args:
            rows: that it must hold.

        Returns:
            Whether it is there and sound; otherwise `write` it.
        """
        path = self.folder / _name(len(self.entries))
        try:
            with safe_open(path, "pt") as file:
                known = file.metadata() or {}
            if known.get("identity") != self.identity or known.get("rows") != str(rows):
                return False
            checksum = _checksum(_mapped(path))
        except (OSError, SafetensorError):
            return False
        if checksum != known.get("sha256"):
            return False
        self._list(path, rows, checksum)
        return True

    def write(self, rows: Rows) -> None:
        """Write the next shard, completely or not at all.

        Args:
            rows: arrays of one length.
        """
        path = self.folder / _name(len(self.entries))
        arrays = {name: np.ascontiguousarray(values) for name, values in rows.items()}
        n = len(next(iter(arrays.values())))
        checksum = _checksum(arrays)
        about = {"identity": self.identity, "rows": str(n), "sha256": checksum}
        with atomic(path) as partial:
            save_file(arrays, partial, about)
        self._list(path, n, checksum)

    def _list(self, path: Path, rows: int, checksum: str) -> None:
        size = path.stat().st_size
        self.entries.append({"file": path.name, "rows": rows, "bytes": size, "sha256": checksum})

    def finish(self) -> None:
        """Write the index, from which moment the shards count, and remove any beyond the last."""
        index = {"format": SHARDS_FORMAT, "about": self.about, "shards": self.entries}
        write_json(self.folder / INDEX, index)
        own = {INDEX, *(entry["file"] for entry in self.entries)}
        for name in shard_files(self.folder):
            if name not in own:
                (self.folder / name).unlink()

    def discard(self) -> None:
        """Remove index and shards, where their source turned out to be another."""
        for name in reversed(shard_files(self.folder)):  # the index first
            (self.folder / name).unlink()


def _name(number: int) -> str:
    return f"{number:06d}.safetensors"


@contextlib.contextmanager
def writing(folder: Path, about: Mapping[str, Any]) -> Iterator[ShardWriter]:
    """A writer of shards, whose index is written when the block ends without an error.

    Interrupted at any moment, it leaves whole shards without an index. The next writer of the same
    source keeps them; nobody else reads them.

    Args:
        folder: of the shards; it is made if it does not exist.
        about: see `ShardWriter`.

    Raises:
        DataError: the folder holds foreign files.
        FolderInUse: another process writes there.
        StorageError: there is no room or no permission.
    """
    refuse_foreign_to_shards(folder)
    with exclusive(folder / SHARDS_LOCK, folder):
        for name in shard_files(folder):
            if name.endswith(".partial"):  # of a killed writer
                (folder / name).unlink()
        if not _describes(folder, about):
            (folder / INDEX).unlink(missing_ok=True)
        writer = ShardWriter(folder, about)
        yield writer
        writer.finish()


def _describes(folder: Path, about: Mapping[str, Any]) -> bool:
    """Whether the index in a folder is of the same source."""
    try:
        return read_json(folder / INDEX)["about"] == json.loads(json.dumps(about))
    except (DataError, KeyError, TypeError):
        return False


def _mapped(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a shard; nothing but the header is read yet, as safetensors maps tensors."""
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118


def _checksum(arrays: Rows) -> str:
    """SHA-256 of names, types, shapes and values."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        values = arrays[name]
        found.update(f"{name} {values.dtype} {values.shape}".encode())
        found.update(values.data)
    return found.hexdigest()


# ---------------------------------------------------------------- reading


@dataclass(frozen=True)
class ShardFile:
    """One shard as its index describes it.

    Attributes:
        path: of the safetensors file.
        rows: how many it holds.
        sha256: of its tensors.
    """

    path: Path
    rows: int
    sha256: str


class Shards:
    """The rows of one or several sets of shards.

    Args:
        files: the shards in order.
        about: what the rows are made from.
    """

    def __init__(self, files: Sequence[ShardFile], about: Mapping[str, Any]):
        self.files, self.about = list(files), dict(about)
        self.most_open = 4
        self.starts = np.cumsum([0] + [file.rows for file in self.files])
        # shared, so that the processes of a DataLoader check a shard only once
        self._checked = torch.zeros(len(self.files), dtype=torch.uint8).share_memory_()
        self._opened: dict[int, dict[str, np.ndarray]] = {}  # the one used last at the end

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}}

    @property
    def sizes(self) -> list[int]:
        """Rows of each shard."""
        return [file.rows for file in self.files]

    @property
    def identity(self) -> str:
        """Digest of what the rows are made from."""
        return digest(self.about)

    def read(self, rows: np.ndarray, names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Some rows, in the order asked for.

        Args:
            rows: int64 numbers in [0, len(self)), at least one.
            names: of the tensors. Default: all.

        Returns:
            Copies of the rows, on the CPU.

        Raises:
            DataError: a shard is missing or damaged.
        """
        of = self.starts.searchsorted(rows, side="right") - 1
        opened = {number: self.opened(number) for number in dict.fromkeys(of.tolist())}
        found = {
            name: np.empty((len(rows), *values.shape[1:]), values.dtype)
            for name, values in next(iter(opened.values())).items()
            if names is None or name in names
        }
        places = zip(of.tolist(), (rows - self.starts[of]).tolist(), strict=True)
        for i, (number, row) in enumerate(places):  # torch and numpy need longer to gather them
            arrays = opened[number]
            for name, values in found.items():
                values[i] = arrays[name][row]
        return {name: torch.from_numpy(values) for name, values in found.items()}

    def opened(self, number: int) -> dict[str, np.ndarray]:
        """The arrays of a shard, mapped from its file; at most `most_open` shards stay open.

        Args:
            number: of the shard, from 0.
        """
        arrays = self._opened.pop(number, None)
        if arrays is None:
            while len(self._opened) >= self.most_open:
                self._opened.pop(next(iter(self._opened)))
            arrays = self._open(number)
        self._opened[number] = arrays
        return arrays

    def _open(self, number: int) -> dict[str, np.ndarray]:
        shard = self.files[number]
        try:
            arrays = _mapped(shard.path)
        except (OSError, SafetensorError) as error:
            raise DataError(f"{shard.path} is damaged ({error}): {AGAIN}") from None
        if not self._checked[number]:
            rows = {len(values) for values in arrays.values()}
            if rows != {shard.rows} or _checksum(arrays) != shard.sha256:
                raise DataError(f"{shard.path} is damaged (its checksum differs): {AGAIN}")
            self._checked[number] = 1
        return arrays

    def close(self) -> None:
        """Close all shards."""
        self._opened.clear()


def concatenated(sets: Sequence[Shards]) -> Shards:
    """The rows of several sets, one after the other.

    Args:
        sets: with tensors of the same names, types and shapes of a row.

    Raises:
        DataError: they differ in these.
    """
    kinds = [
        {name: (str(a.dtype), a.shape[1:]) for name, a in one.opened(0).items()} for one in sets
    ]
    for one, kind in zip(sets, kinds, strict=True):
        one.close()
        if kind != kinds[0]:
            raise DataError(
                f"{one.files[0].path.parent} and {sets[0].files[0].path.parent} hold rows of"
                f" different kinds ({kind} and {kinds[0]}): prepare both alike"
            )
    files = [file for one in sets for file in one.files]
    return Shards(files, {"joined": [one.about for one in sets]})


def open_shards(folder: str | Path) -> Shards:
    """Open the shards of a folder.

    Args:
        folder: which holds index.json.

    Returns:
        Its rows; nothing but the index is read yet.

    Raises:
        DataError: writing was not finished, another version wrote it, or a shard is missing or has
            another size. Each shard is checked against its checksum when it is first opened.
    """
    folder = Path(folder)
    path = folder / INDEX
    if not path.exists():
        raise DataError(f"{folder} holds no finished shards ({INDEX} is missing): {AGAIN}")
    index = read_json(path)
    if not isinstance(index, dict) or index.get("format") != SHARDS_FORMAT:
        raise DataError(f"{path} was written by another version of oasis_utils: {AGAIN}")
    try:
        about, entries = dict(index["about"]), index["shards"]
        files = [ShardFile(folder / e["file"], int(e["rows"]), str(e["sha256"])) for e in entries]
        sizes = [int(entry["bytes"]) for entry in entries]
        if not files or min(file.rows for file in files) < 1:
            raise ValueError("no rows")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}): {AGAIN}") from None
    for file, size in zip(files, sizes, strict=True):
        found = os.path.getsize(file.path) if file.path.is_file() else None
        if found != size:
            have = "is missing" if found is None else f"has {found} bytes instead of {size}"
            raise DataError(f"{file.path} {have}: {AGAIN}")
    return Shards(files, about)
