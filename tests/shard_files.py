"""Small sets of shards for the tests of shards, and what is in them."""

import itertools
from functools import lru_cache

import numpy as np
import torch

from oasis_utils.data.shards import open_shards, writing
from oasis_utils.data.shards_order import Part


def numbered_rows(n, first=0, size=4):
    """n different pictures, darker on the right half, with their number as position."""
    numbers = np.arange(first, first + n)
    images = np.random.default_rng(first).integers(128, 256, (n, size, size), dtype=np.uint8)
    images[..., size // 2 :] //= 4
    return {"images": images, "positions": numbers, "subjects": numbers // 8}


def write_numbered(folder, sizes, first=0, size=4):
    """Shards of these sizes; returns them opened, and all their rows."""
    rows = numbered_rows(sum(sizes), first, size)
    starts = np.cumsum([0, *sizes]).tolist()
    with writing(folder, {"first": first, "sizes": list(sizes)}) as writer:
        for start, stop in itertools.pairwise(starts):
            if not writer.keep(stop - start):
                writer.write({name: values[start:stop] for name, values in rows.items()})
    return open_shards(folder), rows


class WholeOrder:
    """The order of `Batches`: all rows are shuffled at once, or none."""

    most_open = 8

    def __init__(self, size, seed=0, shuffled=True):
        self.size, self.seed, self.shuffled = size, seed, shuffled
        self._epoch = lru_cache(maxsize=1)(self._drawn)

    def _drawn(self, epoch):
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        rows = torch.arange(self.size)
        if self.shuffled:
            rows = torch.randperm(self.size, generator=generator)
        flips = torch.rand(self.size, generator=generator) < 0.5
        return Part(rows.numpy(), flips[rows].numpy())

    def part(self, epoch, start, stop):
        drawn = self._epoch(epoch)
        return Part(drawn.rows[start:stop], drawn.flips[start:stop])
