"""The number of threads of torch, kept where another library would change it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def kept_threads() -> Iterator[None]:
    """torch has as many threads after the block as before it.

    numba starts as many OpenMP threads as there are cores and so sets the number for torch, too,
    whatever OMP_NUM_THREADS says. A training after it can then take many times as long: one thread
    more than the cores that are free is enough (libgomp's threads spin while they wait).
    """
    import torch

    count = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(count)
