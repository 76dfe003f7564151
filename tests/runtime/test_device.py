"""Choice of device, precision and seed."""

import platform
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from oasis_utils import runtime
from oasis_utils.runtime import (
    device,
    seed_everything,
    select_device,
    select_dtype,
)

CPU = torch.device("cpu")


def test_cuda_without_a_gpu_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="torch sees none: use device 'auto' or 'cpu'"):
        select_device("cuda")
    assert select_device("auto") == CPU


def test_named_device_is_taken():
    assert select_device("cpu") == CPU


@pytest.mark.parametrize(("amx", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_cpu_precision_follows_the_hardware(monkeypatch, amx, dtype):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert select_dtype(CPU) == dtype
    with runtime.autocast(CPU):
        assert torch.is_autocast_enabled("cpu") == amx


def draws():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_seed_everything_repeats_python_numpy_and_torch():
    seed_everything(5)
    first = draws()
    seed_everything(5)
    second = draws()
    seed_everything(6)
    third = draws()
    assert first == second
    assert all(a != b for a, b in zip(first, third, strict=True))


def test_seed_beyond_numpys_range_is_taken():
    seed_everything(2**32 + 1)
    large = draws()
    seed_everything(2**32 + 1)
    assert draws() == large


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_freed_memory_is_kept_for_the_next_tensor():
    """Fresh pages are counted, in another process, before and after the call."""
    script = """
import resource, torch
from oasis_utils.runtime import keep_freed_memory
def fresh_mib():
    for _ in range(10):
        torch.ones(2**24)  # 64 MiB, freed at once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(2**24)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return faults * resource.getpagesize() / 5 / 2**20
print(fresh_mib(), keep_freed_memory(), fresh_mib())
"""
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    given_back, changed, kept = found.stdout.split()
    assert changed == "True" and float(kept) < 1 < 60 < float(given_back)


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(device.ctypes, "CDLL", lambda _: pytest.fail("called"))
    assert runtime.keep_freed_memory() is False
