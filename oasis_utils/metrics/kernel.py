"""The polynomial kernel and the unbiased squared maximum mean discrepancy (MMD², called KID on
features of images).

Binkowski 2018 (arXiv 1801.01401); MMD: Gretton 2012 (JMLR 13, 723-773). Rows are taken as
independent draws here; `distances.KernelBlocks` leaves out the pairs of one person.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def polynomial_kernel(x: Float[Tensor, "n dim"], y: Float[Tensor, "m dim"]) -> Float[Tensor, "n m"]:
    """(x·y / dim + 1)³ of every pair, in double precision."""
    return (x.double() @ y.double().t() / x.shape[1] + 1) ** 3


def kernel_distance(a: Float[Tensor, "n dim"], b: Float[Tensor, "m dim"]) -> float:
    """Unbiased MMD² of two sets of independent rows: 0 is expected for one distribution, so it may
    be negative.

    ValueError for a set of fewer than 2 rows.
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
