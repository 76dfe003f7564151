"""The torch device, its precision and its memory, and the random seed."""

from __future__ import annotations

import ctypes
import platform
import re

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3), in bytes


DEVICES = "auto, cpu, cuda or cuda:N (GPU number N)"


def is_device_name(name: str) -> bool:
    """Whether the name has a form that `select_device` accepts."""
    return re.fullmatch(r"auto|cpu|cuda(:\d+)?", name) is not None


def select_device(name: str = "auto"):
    """The torch device of that name, made ready for use.

    A GPU becomes the current device and computes float32 as IEEE float32, see
    `gpu.use_ieee_float32`. The C library keeps freed memory, see `keep_freed_memory`, and threads
    that wait leave the cores to other processes, see `sharing.share_cores`.

    Args:
        name: auto (CUDA if there is a GPU, else the CPU), cpu, cuda, or cuda:N (GPU number N).

    Returns:
        A `torch.device`.

    Raises:
        ValueError: The name has another form.
        RuntimeError: There is no such GPU.
    """
    import torch

    from oasis_utils.runtime import gpu, sharing

    if not is_device_name(name):
        raise ValueError(f"unknown device {name!r}: choose {DEVICES}")
    keep_freed_memory()
    sharing.share_cores()
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    return gpu.cuda_device("cuda" if name == "auto" else name)


def keep_freed_memory(keep: bool = True) -> bool:
    """Let the C library keep freed memory for the next tensors.

    Returned memory comes again as fresh pages, which the kernel clears one by one: up to a tenth of
    a training step and a third of the image network's time on a CPU (benchmarks/habits.py).

    Args:
        keep: False restores the default, which returns memory to the kernel; memory kept until
            then may stay.

    Returns:
        Whether the setting took effect; False where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # False: the values at which glibc's own adaptation ends
    own, spare = (2**28, 2**31 - 1) if keep else (2**25, 2**26)
    # 2**25 is the most that old versions accept
    taken = mallopt(M_MMAP_THRESHOLD, own) or mallopt(M_MMAP_THRESHOLD, 2**25)
    return bool(taken and mallopt(M_TRIM_THRESHOLD, spare))


def select_dtype(device):
    """bfloat16 where the hardware multiplies it natively, else float32.

    Emulated bfloat16 is ten times slower on AVX2.
    """
    import torch

    if device.type == "cuda":
        return (
            torch.bfloat16
            if torch.cuda.is_bf16_supported(including_emulation=False)
            else torch.float32
        )
    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    return torch.bfloat16 if amx else torch.float32


def autocast(device):
    """Mixed precision for the convolutions of a training step."""
    import torch

    dtype = select_dtype(device)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
