"""Use of a CUDA device: selection, float32 precision, locking, CUDA graphs, timing, free memory.

`exclusive_use`, `synchronize` and `timed` also work on the CPU, without CUDA. CUDA graphs: see
"CUDA semantics" in the documentation of torch. A process can make one capture at a time, so
captures and the computations of the panels' threads take one lock.
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
_LOCK = threading.RLock()  # reentrant: a thread that samples also decodes its finished rows
_STREAMS: dict[int, torch.cuda.Stream] = {}  # one for each device, for warm-up and capture


def cuda_device(name: str) -> torch.device:
    """A CUDA device, made current, with float32 as in `use_ieee_float32`.

    Args:
        name: "cuda" or "cuda:N".

    Raises:
        RuntimeError: There is no GPU, or none of that index.
    """
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"device {name!r} needs a GPU, but torch sees none: use device 'auto' or 'cpu'"
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
    """Compute float32 products and convolutions in float32, not in TF32 with its 10-bit mantissa.

    The cached sampler multiplies matrices and must agree with the network's convolutions. Training
    runs in bfloat16 under autocast and is not slowed. Only one of torch's two interfaces is used:
    reading one after writing the other raises.
    """
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        for operation in ("conv", "rnn"):
            getattr(torch.backends.cudnn, operation).fp32_precision = "ieee"
    else:
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


# ---------------------------------------------------------------- one at a time


@contextlib.contextmanager
def exclusive_use(device: torch.device) -> Iterator[None]:
    """Let one thread at a time use a CUDA device, which is made current; no effect on a CPU.

    It keeps out only threads that use this function too. A new thread starts with GPU 0 as its
    current device, whatever the others chose.
    """
    if device.type != "cuda":
        yield
        return
    with _LOCK, torch.cuda.device(device):
        yield


def exclusively(method: Callable) -> Callable:
    """Decorator of a method: it runs under `exclusive_use` of the `device` of its object."""

    @wraps(method)
    def alone(self, *args, **options):
        with exclusive_use(self.device):
            return method(self, *args, **options)

    return alone


# ---------------------------------------------------------------- CUDA graphs


def side_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream that all captures on a device share.

    Libraries keep work space for each stream, so one stream keeps it small.
    """
    index = torch.cuda.current_device() if device.index is None else device.index
    if index not in _STREAMS:
        _STREAMS[index] = torch.cuda.Stream(index)
    return _STREAMS[index]


def captured(work: Callable[[], Any], device: torch.device) -> tuple[Any, Any] | None:
    """A CUDA graph of a computation.

    The current stream is the same afterwards, also if the capture fails.

    Args:
        work: Reads and writes tensors at fixed addresses; called `WARM_UP` times before the
            capture.
        device: A CUDA device.

    Returns:
        (graph, result of `work`), where each `replay()` of the graph overwrites the result; None,
        with a warning, if `work` cannot be captured.
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
            # a capture that fails at its end leaves the side stream current
            torch.cuda.set_stream(before)
            _STREAMS.clear()
            warnings.warn(
                f"CUDA graph capture failed, going on without it, which is slower: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
            return None


# ---------------------------------------------------------------- time and memory


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished all work that is queued on it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    """The result of a computation and the seconds that it took.

    Args:
        work: The computation.
        device: Where it runs; work queued on a GPU is waited for before and after.

    Returns:
        (result of `work`, wall-clock seconds).
    """
    synchronize(device)
    start = time.perf_counter()
    result = work()
    synchronize(device)
    return result, time.perf_counter() - start


def free_memory(device: torch.device) -> int:
    """Bytes that new tensors can take on a CUDA device.

    They are free in the driver, or held unused by torch's allocator.
    """
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused
