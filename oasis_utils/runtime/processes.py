"""The processes that train one model together: who this one is, sums and copies over all of them.

A launcher (torchrun, or the command `train`) starts them; on CPUs they talk by gloo, on GPUs by
NCCL. A process that works alone gets its own values back at once.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Item = TypeVar("Item")
_apart: list[bool] = []  # not empty within `alone`


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def count_here() -> int:
    """Number of processes that a launcher started on this machine, 1 without a launcher."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if launched() else 1


def own_device(name: str) -> str:
    """The device of this process, one GPU for each where there are GPUs.

    Args:
        name: As in `select_device`.

    Returns:
        A name that `select_device` takes.

    Raises:
        ValueError: All processes would share one GPU.
    """
    import torch

    if not launched() or name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return name
    here, gpus = count_here(), torch.cuda.device_count()
    if ":" in name or here > gpus:
        raise ValueError(
            f"{here} processes on this machine need a GPU each, but there are {gpus}: give fewer"
            " devices, or choose device cpu or auto"
        )
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


@contextlib.contextmanager
def in_group(device: torch.device) -> Iterator[None]:
    """Join the other processes of the launcher while the block runs; alone without a launcher.

    After an error the group is left as it is: the process ends, and waiting for the others, which
    may be dead, would hold it up.
    """
    if not launched():
        yield
        return
    import torch.distributed as dist

    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    yield
    dist.destroy_process_group()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Inside the block, sums and copies use this process's values only, so that work of one process
    does not wait for the others.
    """
    _apart.append(True)
    try:
        yield
    finally:
        _apart.pop()


def _group() -> Any:
    """torch.distributed where several processes are joined, else None."""
    dist = sys.modules.get("torch.distributed")
    if _apart or dist is None or not dist.is_available() or not dist.is_initialized():
        return None
    return dist if dist.get_world_size() > 1 else None


def count() -> int:
    """Number of processes, 1 without a group."""
    dist = _group()
    return dist.get_world_size() if dist else 1


def rank() -> int:
    """Number of this process, from 0."""
    dist = _group()
    return dist.get_rank() if dist else 0


def is_first() -> bool:
    """Whether this is the process that writes files and shows progress."""
    return rank() == 0


def summed(value: Tensor) -> Tensor:
    """The sum over all processes, in place; the value must be contiguous."""
    dist = _group()
    if dist:
        dist.all_reduce(value)
    return value


def mean(value: Tensor, rows: int) -> Tensor:
    """The mean over the rows of all processes, given the mean over the `rows` of this one."""
    if not _group():
        return value
    weight = value.new_tensor(rows)
    return summed((value * weight).contiguous()) / summed(weight)


def ratio(part: int | float, whole: int | float) -> float:
    """The sum of `part` over all processes, divided by that of `whole`."""
    parts, wholes = totals([part, whole])
    return parts / wholes


def totals(values: list[int | float]) -> list[int | float]:
    """The sum of each number over all processes, in double precision."""
    if not _group():
        return values
    import torch

    return summed(torch.tensor(values, dtype=torch.float64)).tolist()


def from_first(value: Tensor) -> Tensor:
    """As the first process has it, in place; the value must be contiguous."""
    dist = _group()
    if dist:
        dist.broadcast(value, src=0)
    return value


def make_equal(values: Iterable[Tensor]) -> None:
    """Give tensors of any layout the values that the first process has."""
    if not _group():
        return
    import torch

    for value in values:
        own = value.detach()
        plain = own.to(torch.uint8) if own.dtype == torch.bool else own.contiguous()
        own.copy_(from_first(plain))


def numbers(value: int) -> list[int]:
    """The number that each process gives, in order; a GPU is not waited for."""
    dist = _group()
    if not dist:
        return [value]
    import torch

    found = [torch.zeros(1, dtype=torch.long) for _ in range(dist.get_world_size())]
    dist.all_gather(found, torch.tensor([value]))
    return [int(number) for number in found]


def gathered_rows(rows: Tensor) -> Tensor:
    """The rows of all processes in the order of these, which may have different numbers of them."""
    dist = _group()
    if not dist:
        return rows
    import torch

    sizes = numbers(len(rows))
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [padded.new_empty(padded.shape) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def gathered(value: Any) -> list[Any]:
    """The JSON value of each process, in order."""
    if not _group():
        return [value]
    own = _as_bytes(value)
    texts = gathered_rows(own).numpy().tobytes()
    ends = itertools.accumulate(numbers(len(own)))
    return [json.loads(texts[a:b]) for a, b in itertools.pairwise([0, *ends])]


def agreed(value: Any) -> Any:
    """A JSON value as the first process has it."""
    return gathered(value if is_first() else None)[0]


def _as_bytes(value: Any) -> Tensor:
    import torch

    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def in_turn(batches: Iterable[Item]) -> Iterator[tuple[int, Item]]:
    """(number, batch) of the batches that this process takes: every n-th of n processes."""
    return itertools.islice(enumerate(batches), rank(), None, count())


def wait() -> None:
    """Wait until all processes are here."""
    dist = _group()
    if dist:
        dist.barrier()


def seed_own(seed: int, epoch: int) -> None:
    """Seed torch in this process, other numbers in each process and after each epoch.

    Args:
        seed: That of the training.
        epoch: Number of whole epochs so far.
    """
    import numpy as np
    import torch

    (own,) = np.random.SeedSequence([seed, rank(), epoch]).generate_state(1, np.uint64)
    torch.manual_seed(int(own) >> 1)  # torch takes 63 bits
