"""The training slices of a cache as shards, and the batches of a training, in memory or not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from jaxtyping import UInt8

from oasis_utils.data.batches import Batches, TrainingBatches, free_memory
from oasis_utils.data.cache_folder import SHARDS, SLICES, shard_files
from oasis_utils.data.dataset import GIB, MAX_MEMORY_SHARE, Dataset, Split, open_cache
from oasis_utils.data.shards import SHARD_BYTES, Shards, open_shards, rows_of_shard, writing
from oasis_utils.data.shards_batches import ShardedBatches
from oasis_utils.runtime import DataError, processes

COLUMNS = ("subjects", "positions", "ages")


def write_shards(
    dataset: Dataset,
    split: str = "train",
    folder: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Path:
    """Write the slices of a split as shards; sound ones that are there are kept.

    Memory holds one shard.

    Args:
        dataset: its cache.
        split: "train", "validate" or "test".
        folder: of the shards. Default: "shards" in the folder of the cache.
        progress: called with (done, total) shards.
        shard_bytes: about the size of a shard.

    Returns:
        The folder.

    Raises:
        DataError: the folder holds foreign files, or the cache was replaced by one of other data
            meanwhile.
        FolderInUse: another process writes there.
        StorageError: there is no room or no permission.
    """
    slices, folder = dataset.split(split), Path(folder or dataset.folder / SHARDS)
    count = rows_of_shard({"images": slices.images[:1]}, shard_bytes)
    starts = range(0, len(slices), count)
    about = _about(dataset, slices) | {"rows_of_shard": count}
    with _opened_slices(dataset) as file, writing(folder, about) as writer:
        for done, start in enumerate(starts, start=1):
            part = slice(start, min(start + count, len(slices)))
            if not writer.keep(part.stop - part.start):
                writer.write(
                    {"images": read_images(slices.images, part, file)}
                    | {name: getattr(slices, name)[part] for name in COLUMNS}
                )
            if progress:
                progress(done, len(starts))
        try:
            _refuse_replaced(dataset)
        except DataError:
            writer.discard()
            raise
    return folder


@contextlib.contextmanager
def _opened_slices(dataset: Dataset) -> Iterator[IO[bytes]]:
    """The file of the slices, which stays that of the data set if its cache is replaced."""
    with open(dataset.folder / SLICES, "rb") as file:
        _refuse_replaced(dataset)
        yield file


def _refuse_replaced(dataset: Dataset) -> None:
    if open_cache(dataset.folder).identity != dataset.identity:
        raise DataError(
            f"{dataset.folder} was replaced meanwhile: open it and write the shards again"
        )


def _about(dataset: Dataset, split: Split) -> dict[str, Any]:
    return {"kind": "slices", "data": dataset.identity, "split": split.name}


def read_images(
    images: UInt8[np.ndarray, "n height width"], part: slice, file: IO[bytes]
) -> UInt8[np.ndarray, "k height width"]:
    """Some successive slices, which are read from the file of a memory map.

    Pages of a map that were read once count as memory of the process; bytes of a file do not.

    Args:
        images: a memory map or a part of one, or an array.
        part: from one row up to another.
        file: that is mapped, opened.
    """
    if not isinstance(images, np.memmap):
        return images[part]
    whole: Any = images
    while isinstance(whole.base, np.memmap):
        whole = whole.base
    skipped = images.ctypes.data - whole.ctypes.data + part.start * images[0].nbytes
    count = (part.stop - part.start) * images[0].size
    file.seek(whole.offset + skipped)
    return np.fromfile(file, np.uint8, count).reshape(-1, *images.shape[1:])


def shards_of(dataset: Dataset, split: str = "train") -> Shards | None:
    """The shards in the folder of a cache; None without any.

    Args:
        dataset: its cache.
        split: that they must be of.

    Raises:
        DataError: they are not finished, damaged, or of other data.
    """
    folder = dataset.folder / SHARDS
    if not shard_files(folder):
        return None
    shards = open_shards(folder)
    if not _about(dataset, dataset.split(split)).items() <= shards.about.items():
        raise DataError(
            f"the shards in {folder} are of other data than the cache beside them: run `prepare"
            " --shards` again, or remove them"
        )
    return shards


def training_batches(
    dataset: Dataset,
    device: torch.device,
    batch_size: int,
    seed: int = 0,
    from_shards: bool | None = None,
) -> TrainingBatches:
    """Shuffled batches of the training slices, half of them mirrored.

    Slices from shards come in another order than those in memory, and the configuration of a
    training does not tell which it was.

    Args:
        dataset: its cache.
        device: where the batches are needed.
        batch_size: rows of each batch.
        seed: 0 or more, of order and mirroring.
        from_shards: read the slices from the shards beside the cache. Default: only if there are
            some, and the slices need more than 60 % of the device's free memory; on a CPU, those
            of all processes on this machine. Processes that train together all read them if one
            of them has too little memory.

    Returns:
        `ShardedBatches`, or `Batches` of slices in memory; without shards, large sets are streamed
        from the memory map.

    Raises:
        DataError: the shards are not finished, damaged, or of other data; or they are asked for
            and not there.
    """
    train = dataset.split("train")
    copies = processes.count_here() if device.type == "cpu" else 1
    size, free = train.images.nbytes / GIB, free_memory(device) / GIB
    short = copies * size > MAX_MEMORY_SHARE * free
    large = any(processes.gathered(short))  # orders must not differ
    shards = shards_of(dataset) if from_shards or (large and from_shards is None) else None
    if shards is None:
        if from_shards:
            raise DataError(f"{dataset.folder} holds no shards: run `prepare --shards` first")
        return Batches(train.to(device, large), batch_size, True, train.symmetry, seed)
    if processes.is_first():
        each = f" for each of {copies} processes" if copies > 1 else ""
        memory = f"{device} has {free:.1f} GiB free"
        print(f"train: {size:.2f} GiB of slices{each} are read from shards, {memory}")
    return ShardedBatches(shards, batch_size, seed, train.symmetry, device)
