"""Kernel distance of two sets: unbiased squared maximum mean discrepancy, polynomial kernel.

MMD²: Gretton 2012 (JMLR 13, 723-773); on features of images it is called KID: Binkowski 2018 (arXiv
1801.01401). Slices of one subject are not independent: pairs of them are left out, and every
interval draws whole subjects with replacement. Generated slices are independent, each its own
group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from oasis_utils.metrics.bootstrap import Weights, bootstrap, number_groups
from oasis_utils.metrics.slices import require_enough


def polynomial_kernel(x: Float[Tensor, "n dim"], y: Float[Tensor, "m dim"]) -> Float[Tensor, "n m"]:
    """(x·y / dim + 1)³ of every pair, in double precision."""
    return (x.double() @ y.double().t() / x.shape[1] + 1) ** 3


def kernel_distance(a: Float[Tensor, "n dim"], b: Float[Tensor, "m dim"]) -> float:
    """Unbiased MMD² of two sets of independent rows.

    Args:
        a: Rows of the one set, at least 2.
        b: Rows of the other, at least 2.

    Returns:
        0 is expected for one distribution, so the value may be negative.

    Raises:
        ValueError: For a set of fewer than 2 rows.

    Reference:
        Gretton 2012, JMLR 13, 723-773, lemma 6; kernel of Binkowski 2018, arXiv 1801.01401.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(
            f"a kernel distance needs at least 2 rows on either side, not {len(a)} and {len(b)}"
        )

    def off_diagonal_mean(gram: Tensor) -> Tensor:
        n = len(gram)
        return (gram.sum() - gram.diagonal().sum()) / (n * (n - 1))

    aa, bb, ab = polynomial_kernel(a, a), polynomial_kernel(b, b), polynomial_kernel(a, b)
    return float(off_diagonal_mean(aa) + off_diagonal_mean(bb) - 2 * ab.mean())


@dataclass(frozen=True)
class KernelBlocks:
    """Kernel sums over each pair of groups: a resample of groups then costs a few small products.

    Pairs within a group are left out on both sides. Slices of one person resemble each other,
    generated slices have no such partners, and a perfect generator would seem nearer to real people
    than real people are to one another. In a resample, the copies of a group that is drawn twice
    are two people; a row is never paired with itself.

    Attributes:
        aa: Sums within the first set; the diagonal holds pairs of different rows of one group.
        ab: Sums across the sets.
        bb: Sums within the second set.
        sizes_a: Rows of each group of the first set.
        sizes_b: Rows of each group of the second set.
    """

    aa: Float[np.ndarray, "A A"]
    ab: Float[np.ndarray, "A B"]
    bb: Float[np.ndarray, "B B"]
    sizes_a: Integer[np.ndarray, " A"]
    sizes_b: Integer[np.ndarray, " B"]

    @classmethod
    def of(
        cls,
        a: Float[np.ndarray, "n dim"],
        b: Float[np.ndarray, "m dim"],
        groups_a: Integer[np.ndarray, " n"],
        groups_b: Integer[np.ndarray, " m"],
    ) -> KernelBlocks:
        """ValueError if a side holds a single group: it has no pairs of different people."""
        x, y = (torch.from_numpy(np.ascontiguousarray(rows)) for rows in (a, b))
        hot_a, hot_b = (
            np.eye(groups.max() + 1)[groups] for groups in map(number_groups, (groups_a, groups_b))
        )
        for hot in (hot_a, hot_b):
            if hot.shape[1] < 2:
                raise ValueError(
                    "a kernel distance compares slices of different people, and a side holds 1: use"
                    " more subjects, or give every independent row a group of its own"
                )
        aa, bb = (
            hot.T @ polynomial_kernel(rows, rows).fill_diagonal_(0).numpy() @ hot
            for hot, rows in ((hot_a, x), (hot_b, y))
        )
        sizes_a, sizes_b = (hot.sum(0).astype(np.int64) for hot in (hot_a, hot_b))
        return cls(aa, hot_a.T @ polynomial_kernel(x, y).numpy() @ hot_b, bb, sizes_a, sizes_b)

    def distance(self, weights_a: Weights | None = None, weights_b: Weights | None = None) -> float:
        """The unbiased squared maximum mean discrepancy of the resample; nan where it holds a
        single row.
        """
        a = np.ones(len(self.sizes_a)) if weights_a is None else weights_a
        b = np.ones(len(self.sizes_b)) if weights_b is None else weights_b
        across = (a @ self.ab @ b) / ((a @ self.sizes_a) * (b @ self.sizes_b))
        return float(
            _pair_mean(self.aa, self.sizes_a, a) + _pair_mean(self.bb, self.sizes_b, b) - 2 * across
        )


def _pair_mean(sums: np.ndarray, sizes: np.ndarray, weights: np.ndarray) -> float:
    """Mean over pairs of different rows of different groups, or of different copies of one."""
    pairs, times = np.outer(sizes, sizes), np.outer(weights, weights)
    np.fill_diagonal(pairs, sizes * (sizes - 1))
    np.fill_diagonal(times, weights * (weights - 1))
    count = (times * pairs).sum()
    return float((times * sums).sum() / count) if count else float("nan")


def kid(
    a: Float[np.ndarray, "n dim"],
    b: Float[np.ndarray, "m dim"],
    groups_a: Integer[np.ndarray, " n"] | None = None,
    groups_b: Integer[np.ndarray, " m"] | None = None,
) -> float:
    """Kernel distance of two sets of features; 0 is expected for one distribution, so it may be
    negative.

    groups: people; pairs of slices of one person are left out. None: every row is an independent
    draw. ValueError for fewer than 16 rows or a single group on a side.
    """
    require_enough(len(a), len(b))
    return KernelBlocks.of(a, b, _groups(a, groups_a), _groups(b, groups_b)).distance()


def _groups(rows: np.ndarray, groups: np.ndarray | None) -> Integer[np.ndarray, " n"]:
    return np.arange(len(rows)) if groups is None else groups


def kid_interval(
    a: Float[np.ndarray, "n dim"],
    b: Float[np.ndarray, "m dim"],
    groups_a: Integer[np.ndarray, " n"],
    groups_b: Integer[np.ndarray, " m"],
    rounds: int,
) -> tuple[float, float]:
    """Central 95 % of the kernel distance over resamples of whole groups of both sides, recentred
    on the estimate: copies of a group that is drawn twice add a bias.
    """
    blocks = KernelBlocks.of(a, b, groups_a, groups_b)
    return bootstrap(
        blocks.distance, len(blocks.sizes_a), len(blocks.sizes_b), rounds, centre=blocks.distance()
    )
