"""Batches from shards, for data that do not fit into memory.

torch's DataLoader reads the batches, ahead of the training where it has worker processes; what is
drawn is decided by the order alone. On a GPU, batches are read by two workers into pinned memory
and copied while the device computes; this was not run on a GPU.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from oasis_utils.data.batches import batches_in_epoch, own_rows, rows_of_process, smallest_batch
from oasis_utils.data.grey_levels import to_float
from oasis_utils.data.shards import Shards, concatenated
from oasis_utils.data.shards_order import BLOCK, BlockOrder, MixedOrder, Order, Part
from oasis_utils.runtime import DataError
from oasis_utils.runtime.symmetry import Symmetry

CPU = torch.device("cpu")
GPU_WORKERS = 2


class ShardedBatches:
    """Batches as those of `Batches`, read from shards in bounded memory.

    Args:
        shards: with images (n, height, width) uint8 or index maps under "indices", and columns.
        batch_size: rows of each batch.
        seed: 0 or more, of the default order.
        mirror: symmetry across which half of the images, chosen at random, are mirrored.
            Default: none are.
        device: where the batches are sent.
        order: of the rows. Default: `BlockOrder`, shuffled in each epoch.
        workers: processes that read ahead. Default: two for a GPU, none for the CPU.
    """

    def __init__(
        self,
        shards: Shards,
        batch_size: int,
        seed: int = 0,
        mirror: Symmetry | None = None,
        device: torch.device = CPU,
        order: Order | None = None,
        workers: int | None = None,
    ):
        self.order = order or BlockOrder(shards.sizes, seed)
        self.shards, self.batch_size, self.mirror, self.device = shards, batch_size, mirror, device
        gpu_workers = GPU_WORKERS if device.type == "cuda" else 0
        self.workers = gpu_workers if workers is None else workers
        self.process: tuple[int, int] = (0, 1)  # number, and number of all
        self.neighbours: tuple[str, int] | None = None
        shards.most_open = max(shards.most_open, self.order.most_open)

    def __len__(self) -> int:
        """Batches in an epoch; a shuffled epoch has at least one, which may be smaller."""
        return batches_in_epoch(self.order.size, self.batch_size, self.order.shuffled)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self.epoch(0)

    def shared(
        self, rank: int, count: int, neighbours: tuple[str, int] | None = None
    ) -> ShardedBatches:
        """The same batches, of which each process takes a part of the rows, see `Batches.shared`.

        Args:
            rank: number of the process, from 0.
            count: of all processes; with 1 the batches are as before.
            neighbours: (key, n): the rows of a batch are sorted by this key first, and about n
                neighbours stay in one process.

        Returns:
            Batches of the same number and `batch_size`.

        Raises:
            DataError: a batch has fewer rows, or groups of neighbours, than there are processes.
        """
        part = copy.copy(self)
        part.process, part.neighbours = (rank, count), neighbours if count > 1 else None
        least = smallest_batch(self.order.size, self.batch_size, self.order.shuffled)
        rows_of_process(least, rank, count, neighbours[1] if neighbours else 1)  # refuses too few
        return part

    def epoch(self, number: int, start_batch: int = 0) -> Iterator[dict[str, Tensor]]:
        """The batches of one epoch.

        Args:
            number: 0 or more; with the seed it determines the order and the mirrored images.
            start_batch: batches of the epoch to leave out, where a training goes on in the middle
                of it. They are not read.

        Yields:
            One tensor of `batch_size` rows for each key, on the device: images as float32 in
            [0, 1] of shape (batch, 1, height, width), indices as int64.
        """
        loader = DataLoader(
            _Reader(self),
            batch_size=None,  # a batch is read at once
            sampler=_Parts(self, number, start_batch),
            num_workers=self.workers,
            collate_fn=_as_it_is,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator().manual_seed(number),  # not the one of the training
        )
        try:
            for batch in loader:
                yield self._on_device(batch)
        except DataError as error:
            raise DataError(_own_words(error)) from None

    def _on_device(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        batch = {name: t.to(self.device, non_blocking=True) for name, t in batch.items()}
        if "indices" in batch:
            batch["indices"] = batch["indices"].long()
        if "images" in batch:
            batch["images"] = to_float(batch["images"][:, None])
        return batch


class _Parts(Sampler[Part]):
    """Which rows each batch of an epoch has."""

    def __init__(self, batches: ShardedBatches, epoch: int, start: int):
        self.batches, self.epoch, self.start = batches, epoch, start

    def __len__(self) -> int:
        return max(len(self.batches) - self.start, 0)

    def __iter__(self) -> Iterator[Part]:
        size = self.batches.batch_size
        for i in range(self.start, len(self.batches)):
            yield self.batches.order.part(self.epoch, i * size, (i + 1) * size)


class _Reader(Dataset[dict[str, Tensor]]):
    """Reads the rows of a batch that belong to this process."""

    def __init__(self, batches: ShardedBatches):
        self.shards, self.mirror = batches.shards, batches.mirror
        self.process, self.neighbours = batches.process, batches.neighbours

    def __getitem__(self, part: Part) -> dict[str, Tensor]:
        rows, flips = part
        if self.process != (0, 1):
            own = own_rows(
                len(rows),
                self.process,
                self.neighbours,
                lambda key: self.shards.read(rows, [key])[key],
            ).numpy()
            rows, flips = rows[own], flips[own]
        batch = self.shards.read(rows)
        if self.mirror and "images" in batch:
            for i in flips.nonzero()[0].tolist():  # torch.where takes many times as long
                batch["images"][i] = self.mirror.mirror(batch["images"][i])
        return batch


def _as_it_is(batch: Any) -> Any:
    return batch


def _own_words(error: DataError) -> str:
    """The message without the traceback that `DataLoader` puts before that of a worker."""
    return str(error).rpartition(f"{DataError.__name__}: ")[2].strip()


def mixed(
    sets: Sequence[tuple[Shards, float | int]], batch_size: int, seed: int = 0, **options: Any
) -> ShardedBatches:
    """Batches that draw from several sets of shards in given shares, see `MixedOrder`.

    No command or notebook does; it is for own scripts.

    Args:
        sets: (shards, weight) of each, with rows of one kind.
        batch_size: rows of each batch.
        seed: 0 or more, of the orders.
        options: `mirror`, `device` and `workers` of `ShardedBatches`.

    Returns:
        Batches; an epoch has as many whole batches as all sets together.
    """
    parts, weights = zip(*sets, strict=True)
    block = max(BLOCK // len(parts), 1)  # so that memory holds as much as of one set
    orders = [BlockOrder(part.sizes, seed, block) for part in parts]
    sizes = [len(part) for part in parts]
    whole = max(sum(sizes) // batch_size, 1) * batch_size
    order = MixedOrder(orders, sizes, weights, seed, whole)
    return ShardedBatches(concatenated(parts), batch_size, order=order, **options)
