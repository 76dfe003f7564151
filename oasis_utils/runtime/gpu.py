"""Use of a CUDA device: its name, precision of float32, one user at a time, recorded kernels,
times, free memory.

On the CPU `exclusive_use`, `synchronize` and `timed` work as well and need nothing of CUDA. CUDA
graphs: see "CUDA semantics" in the documentation of torch. One capture may be under way in a
process, so captures and whatever the threads of the panels compute take one lock.
"""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import torch

WARM_UP = 3  # calls before a capture: libraries allocate their work space outside the graph
_LOCK = (
    threading.RLock()
)  # taken again by the thread that has it: a drawing decodes the rows that it has
_STREAMS: dict[
    int, torch.cuda.Stream
] = {}  # one side stream for each device, for warm-up and capture


def cuda_device(name: str) -> torch.device:
    """The CUDA device of that name ("cuda" or "cuda:N"), made current, with float32 as in
    `use_ieee_float32`.

    RuntimeError without a GPU, or for an index that does not exist.
    """
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"device {name!r} was asked for, but torch sees no GPU: use device 'auto' or 'cpu'"
        )
    index, count = name.partition(":")[2], torch.cuda.device_count()
    if index and int(index) >= count:
        raise RuntimeError(
            f"there is no device {name!r}: torch sees {count} GPU{'s' if count > 1 else ''}, "
            f"use {' or '.join(f'cuda:{i}' for i in range(count))}"
        )
    device = torch.device("cuda", int(index) if index else torch.cuda.current_device())
    torch.cuda.set_device(device)
    use_ieee_float32()
    return device


def use_ieee_float32() -> None:
    """Products and convolutions of float32 in float32, not in TF32, which keeps 10 bits of the
    mantissa.

    So the cached sampler, which multiplies matrices, agrees with the network's convolutions.
    Training runs in bfloat16 under autocast and loses nothing. Only one of torch's two interfaces
    is used: reading one after writing the other raises.
    """
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        torch.backends.cudnn.conv.fp32_precision = "ieee"
        torch.backends.cudnn.rnn.fp32_precision = "ieee"
    else:
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


# ---------------------------------------------------------------- one at a time


@contextlib.contextmanager
def exclusive_use(device: torch.device) -> Iterator[None]:
    """Keep other threads that ask for it off a CUDA device, which is made current; nothing on a
    CPU.

    A new thread starts with GPU 0 as its current device, whatever the others chose.
    """
    if device.type != "cuda":
        yield
        return
    with _LOCK, torch.cuda.device(device):
        yield


def exclusively(method: Callable) -> Callable:
    """A method of an object with a `device` under `exclusive_use` of it."""

    @wraps(method)
    def alone(self, *args, **options):
        with exclusive_use(self.device):
            return method(self, *args, **options)

    return alone


# ---------------------------------------------------------------- CUDA graphs


def side_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream that all captures on a device share: work space that libraries keep for each
    stream stays small.
    """
    index = torch.cuda.current_device() if device.index is None else device.index
    if index not in _STREAMS:
        _STREAMS[index] = torch.cuda.Stream(index)
    return _STREAMS[index]


def captured(work: Callable[[], Any], device: torch.device) -> tuple[Any, Any] | None:
    """(CUDA graph of `work`, what `work` returned); the result's memory is written by each
    `replay()`.

    `work` reads and writes tensors at fixed addresses; it is called `WARM_UP` times before. None,
    with a warning, where it cannot be captured. The current stream is the same afterwards in either
    case.
    """
    with exclusive_use(device):
        before, side = torch.cuda.current_stream(device), side_stream(device)
        try:
            side.wait_stream(before)
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    work()
            before.wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                result = work()
            return graph, result
        except RuntimeError as error:
            torch.cuda.set_stream(
                before
            )  # a capture that fails at its end leaves the side stream current
            _STREAMS.clear()
            warnings.warn(
                f"CUDA graph capture failed, going on without it, which is slower: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
            return None


# ---------------------------------------------------------------- time and memory


def synchronize(device: torch.device) -> None:
    """Wait until everything that was asked of a device is computed."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    """(what `work` returns, its seconds by the clock, including what it left running on the
    device).
    """
    synchronize(device)
    start = time.perf_counter()
    result = work()
    synchronize(device)
    return result, time.perf_counter() - start


def free_memory(device: torch.device) -> int:
    """Bytes that new tensors can take on a CUDA device: those that the driver has free, and those
    that torch's allocator holds without using them.
    """
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused
