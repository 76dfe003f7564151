"""The order in which rows of shards come in an epoch: a function of (seed, epoch) alone.

Any part of an epoch is found without going through what is before it, so a training goes on in
mid-epoch at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from oasis_utils.runtime import DataError

BLOCK = 4  # shards whose rows are shuffled together
PERIOD = 4096  # rows in which the sets of a mixture have their shares exactly


class Part(NamedTuple):
    """Some rows of an epoch, in its order.

    Attributes:
        rows: int64 numbers of the rows.
        flips: bool, which of them are mirrored.
    """

    rows: np.ndarray
    flips: np.ndarray


@runtime_checkable
class Order(Protocol):
    """The order of the rows of an epoch.

    Attributes:
        size: rows of an epoch.
        shuffled: whether each epoch has a new order; its last, smaller batch is left out.
        most_open: shards that a few successive batches read.
    """

    size: int
    shuffled: bool
    most_open: int

    def part(self, epoch: int, start: int, stop: int) -> Part:
        """Rows `start` to `stop` of an epoch; its end cuts them off."""
        ...


class BlockOrder:
    """Shards in a new order each epoch, and the rows of a few successive ones shuffled together.

    A disk reads shard after shard, and memory holds the order of one block.

    Args:
        sizes: rows of each shard.
        seed: 0 or more.
        block: shards whose rows are shuffled together.
    """

    shuffled = True

    def __init__(self, sizes: Sequence[int], seed: int = 0, block: int = BLOCK):
        self.starts = np.cumsum([0, *sizes])
        self.sizes, self.seed, self.block = np.asarray(sizes), seed, block
        self.size, self.most_open = int(self.starts[-1]), block
        self._shards = lru_cache(maxsize=2)(self._drawn_shards)
        self._rows = lru_cache(maxsize=2)(self._drawn_rows)

    def _drawn_shards(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The shards in order, and where in the epoch each block begins."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.sizes))
        ends = np.cumsum(self.sizes[order])
        return order, np.concatenate([[0], ends[self.block - 1 :: self.block], ends[-1:]])

    def _drawn_rows(self, epoch: int, number: int) -> Part:
        order, _ = self._shards(epoch)
        random = np.random.default_rng([self.seed, epoch, number + 1])
        shards = order[number * self.block : (number + 1) * self.block].tolist()
        starts = self.starts.tolist()
        rows = np.concatenate([np.arange(starts[s], starts[s + 1]) for s in shards])
        return Part(random.permutation(rows), random.random(len(rows)) < 0.5)

    def part(self, epoch: int, start: int, stop: int) -> Part:
        """Rows `start` to `stop` of an epoch; its end cuts them off."""
        _, begins = self._shards(epoch)
        stop, parts = min(stop, self.size), []
        while start < stop:
            number = int(np.searchsorted(begins, start, side="right")) - 1
            first, end = int(begins[number]), min(int(begins[number + 1]), stop)
            block = self._rows(epoch, number)
            parts.append(Part(*(values[start - first : end - first] for values in block)))
            start = end
        return _together(parts)


class MixedOrder:
    """Rows of several sets in given shares; each set goes through its own epochs as they end.

    In every 4096 rows the sets have their shares exactly, in random order. Within its own epoch,
    each row of a set comes once. Both hold across epochs of the mixture, and for batches of a
    training if `size` is a multiple of their size, as in `mixed`.

    Args:
        orders: of the sets, whose rows are numbered one set after the other.
        sizes: rows of each set.
        weights: above 0, of any sum.
        seed: 0 or more.
        size: rows of an epoch. Default: the rows of all sets.

    Raises:
        DataError: a weight is not above 0, or its share is below 1 in 4096.
    """

    shuffled = True

    def __init__(
        self,
        orders: Sequence[Order],
        sizes: Sequence[int],
        weights: Sequence[float | int],
        seed: int = 0,
        size: int | None = None,
    ):
        shares = np.asarray(weights, dtype=float)
        if not (len(shares) == len(orders) and np.isfinite(shares).all() and shares.min() > 0):
            raise DataError(f"each set needs a weight above 0, not {list(weights)}")
        self.counts = _whole_counts(shares / shares.sum())
        if self.counts.min() == 0:
            raise DataError(
                f"weights {list(weights)} differ too much: the smallest share is 1 in {PERIOD}"
            )
        self.orders, self.seed, self.starts = list(orders), seed, np.cumsum([0, *sizes])
        self.size = int(self.starts[-1]) if size is None else size
        self.most_open = sum(order.most_open for order in orders)
        self._period = lru_cache(maxsize=2)(self._drawn_period)

    def _drawn_period(self, number: int) -> np.ndarray:
        sets = np.repeat(np.arange(len(self.counts)), self.counts)
        return np.random.default_rng([self.seed, number]).permutation(sets)

    def part(self, epoch: int, start: int, stop: int) -> Part:
        """Rows `start` to `stop` of an epoch; its end cuts them off."""
        start, stop = (epoch * self.size + min(i, self.size) for i in (start, stop))
        periods = range(start // PERIOD, -(-stop // PERIOD))
        sets = np.concatenate([self._period(number) for number in periods] or [np.empty(0, int)])
        before = sets[: start - periods.start * PERIOD]
        sets = sets[len(before) : len(before) + stop - start]
        rows, flips = np.empty(len(sets), np.int64), np.empty(len(sets), bool)
        for number, order in enumerate(self.orders):
            here = sets == number
            first = periods.start * int(self.counts[number]) + int((before == number).sum())
            part = _endless(order, first, first + int(here.sum()))
            rows[here], flips[here] = part.rows + self.starts[number], part.flips
        return Part(rows, flips)


def _whole_counts(shares: np.ndarray) -> np.ndarray:
    """Rows of each set in a period: largest remainders are rounded up."""
    counts = np.floor(shares * PERIOD).astype(int)
    for i in np.argsort(counts - shares * PERIOD, kind="stable")[: PERIOD - counts.sum()]:
        counts[i] += 1
    return counts


def _endless(order: Order, start: int, stop: int) -> Part:
    """Rows of the epochs of a set, one after the other."""
    parts = []
    while start < stop:
        epoch, first = divmod(start, order.size)
        part = order.part(epoch, first, min(first + stop - start, order.size))
        parts.append(part)
        start += len(part.rows)
    return _together(parts)


def _together(parts: list[Part]) -> Part:
    if not parts:
        return Part(np.empty(0, np.int64), np.empty(0, bool))
    return Part(*(np.concatenate(values) for values in zip(*parts, strict=True)))
