"""Batches of tensors on the device, or of images streamed from the memory map of a cache."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

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

    def __len__(self) -> int:
        """Batches in an epoch; a shuffled epoch has at least one, which may be smaller."""
        if self.shuffle:
            return max(self.size // self.batch_size, 1)
        return -(-self.size // self.batch_size)

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
        order_on_device, flips = order.to(device), flips.to(device)
        for i in range(len(self)):
            part = slice(i * self.batch_size, (i + 1) * self.batch_size)
            rows = order_on_device[part]
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
                batch["images"] = to_float(images)
            yield batch
