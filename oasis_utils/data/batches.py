"""Batches of tensors on the device, or of images streamed from the memory map of a cache."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from oasis_utils.data.grey_levels import to_float
from oasis_utils.runtime import DataError, gpu
from oasis_utils.runtime.symmetry import Symmetry


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


class Streamed:
    """Images that stay in the memory map; each batch is read, pinned and sent when it is needed.

    Args:
        images: uint8, shape (n, height, width), usually a memory map.
        device: where the batches are sent.
    """

    def __init__(self, images: UInt8[np.ndarray, "n height width"], device: torch.device):
        self.images, self.device = images, device

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: Tensor) -> UInt8[Tensor, "batch 1 height width"]:
        """Some images on the device; on a GPU the copy runs while the device computes.

        Args:
            rows: int64, shape (batch,), on the CPU: which images, in this order.
        """
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


@runtime_checkable
class TrainingBatches(Protocol):
    """What the training loop asks of the batches of a training split.

    Attributes:
        batch_size: rows of a batch, over all processes that train together.
    """

    batch_size: int

    def __len__(self) -> int: ...

    def epoch(self, number: int) -> Iterator[dict[str, Tensor]]:
        """The len(self) batches of one epoch, the same whenever it is asked for."""
        ...

    def shared(
        self, rank: int, count: int, neighbours: tuple[str, int] | None = None
    ) -> TrainingBatches:
        """The same batches, of which a process gets its part of the rows, as `Batches.shared`."""
        ...


def first_of(part: int, parts: int, n: int) -> int:
    """The first of n things that belongs to a part, where `parts` parts are as equal as can be and
    the first ones the larger, as `torch.tensor_split` makes them.
    """
    return part * (n // parts) + min(part, n % parts)


def rows_of_process(n: int, rank: int, count: int, together: int = 1) -> slice:
    """The rows of a batch of n that a process takes.

    Args:
        n: rows of the batch.
        rank: number of the process.
        count: of all processes.
        together: so many neighbours, or a few more, stay in one process: those of a part of
            `tensor_split(n // together)`.

    Returns:
        Rows from one to another.

    Raises:
        DataError: there are fewer such groups of rows than processes.
    """
    groups = max(n // together, 1)
    if groups < count:
        kept = "" if together == 1 else f", of which {together} neighbours stay together,"
        raise DataError(
            f"a batch of {n} rows{kept} is too small for {count} processes: train with at most"
            f" {groups}, or with a larger batch_size"
        )
    ends = (first_of(first_of(r, count, groups), groups, n) for r in (rank, rank + 1))
    return slice(*ends)


def own_rows(
    n: int,
    process: tuple[int, int],
    neighbours: tuple[str, int] | None,
    keys: Callable[[str], Tensor],
) -> Tensor:
    """The rows of a batch of n that a process takes, sorted by their keys where there are some.

    Args:
        n: rows of the batch.
        process: its number, and number of all.
        neighbours: (key, number that stays together), see `Batches.shared`.
        keys: the values of a key for the n rows.

    Returns:
        int64, on the CPU.
    """
    order, together = torch.arange(n), 1
    if neighbours:
        key, together = neighbours
        order = keys(key).argsort(stable=True).cpu()
    return order[rows_of_process(n, *process, together)]


def batches_in_epoch(size: int, batch_size: int, shuffled: bool) -> int:
    """Batches in an epoch of `size` rows; a shuffled epoch has at least one, which may be smaller,
    and leaves out its last, smaller batch.
    """
    return max(size // batch_size, 1) if shuffled else -(-size // batch_size)


def smallest_batch(size: int, batch_size: int, shuffled: bool) -> int:
    """Rows of the smallest batch of an epoch of `size` rows."""
    rest = 0 if shuffled else size % batch_size
    return rest or min(size, batch_size)


class Batches:
    """Batches in an order that depends on (seed, epoch) alone, so an epoch can be repeated.

    Iterating gives the batches of epoch 0: dictionaries with the keys of `tensors`.

    Args:
        tensors: tensors of one length on one device, or `Streamed` images. The images, uint8 of
            shape (n, 1, height, width) under the key "images", come out as float32 in [0, 1].
        batch_size: rows of each batch.
        shuffle: draw a new order in each epoch and leave out its last, smaller batch. Default:
            the order of the tensors, with the smaller batch.
        mirror: symmetry across which half of the images, chosen at random, are mirrored.
            Default: none are.
        seed: 0 or more, of the order and of the choice of mirrored images.

    Raises:
        DataError: the tensors differ in length, or are empty.
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
        self.process: tuple[int, int] = (0, 1)  # number, and number of all
        self.neighbours: tuple[str, int] | None = None

    def shared(self, rank: int, count: int, neighbours: tuple[str, int] | None = None) -> Batches:
        """The same batches, of which each process takes a part of the rows: together they take all
        rows once.

        Args:
            rank: number of the process, from 0.
            count: of all processes; with 1 the batches are as before.
            neighbours: (key, n): the rows of a batch are sorted by this key first, and about n
                neighbours stay in one process, see `rows_of_process`. Default: rows are
                independent, and stay in order.

        Returns:
            Batches of the same number and `batch_size`.

        Raises:
            DataError: a batch has fewer rows, or groups of neighbours, than there are processes.
        """
        part = copy.copy(self)
        part.process, part.neighbours = (rank, count), neighbours if count > 1 else None
        least = smallest_batch(self.size, self.batch_size, self.shuffle)
        rows_of_process(least, rank, count, neighbours[1] if neighbours else 1)  # refuses too few
        return part

    def _rows_of(self, rows: Tensor) -> Tensor:
        """Those rows of a batch, on the CPU, that this process takes."""
        if self.process == (0, 1):
            return rows

        def keys(name: str) -> Tensor:
            values = self.tensors[name]
            assert isinstance(values, Tensor)  # streamed images are no key
            return values.index_select(0, rows.to(values.device))

        return rows[own_rows(len(rows), self.process, self.neighbours, keys)]

    def __len__(self) -> int:
        """Batches in an epoch; a shuffled epoch has at least one, which may be smaller."""
        return batches_in_epoch(self.size, self.batch_size, self.shuffle)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self.epoch(0)

    def epoch(self, number: int) -> Iterator[dict[str, Tensor]]:
        """The batches of one epoch.

        Args:
            number: 0 or more; with the seed it determines the order and the mirrored images.

        Yields:
            One tensor of `batch_size` rows for each key, on the device.
        """
        generator = torch.Generator().manual_seed(self.seed * 100_003 + number)
        order = (
            torch.randperm(self.size, generator=generator)
            if self.shuffle
            else torch.arange(self.size)
        )
        flips = torch.rand(self.size, generator=generator) < 0.5
        device = next(iter(self.tensors.values())).device
        alone = self.process == (0, 1)
        order_on_device, flips = order.to(device), flips.to(device)
        for i in range(len(self)):
            part = slice(i * self.batch_size, (i + 1) * self.batch_size)
            chosen = self._rows_of(order[part])
            rows = order_on_device[part] if alone else chosen.to(device)
            batch = {
                name: (
                    tensor.read(chosen)
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
                batch["images"] = to_float(images)
            yield batch
