"""How the benchmarks measure: cases taken in turn, spent time, peak memory, what the machine can
do, one record each.

On a CPU, time is that of this process on one thread; on a GPU, that between two events on the
device. Cases alternate within a round (A B C A B C), and ratios are taken round by round, so that a
slow moment of the machine hits all.
"""

from __future__ import annotations

import importlib.util
import os
import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from oasis_utils.runtime import (
    hardware,
    keep_freed_memory,
    project_root,
    read_json,
    revision,
    select_device,
    select_dtype,
    write_json,
)

RESULTS = project_root() / "benchmarks/results"
Work = Callable[[], Any]
GEMM = "gemm_float32_gflops"  # of `ceilings`


def begin(name: str) -> torch.device:
    """The device, on one thread. The C library is left as it comes, for all: the package's habit of
    keeping freed memory would help its peers, too.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    device = select_device(name)
    keep_freed_memory(False)
    return device


def installed(peer: str) -> bool:
    """Whether a package to be measured beside is here; says so if not, and what comes of it."""
    if importlib.util.find_spec(peer):
        return True
    print(f"{peer} is not installed: it is left out (pip install -e '.[bench]')", flush=True)
    return False


def seconds(work: Work, device: torch.device) -> float:
    """What one call costs."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1000
    start = time.process_time()
    work()
    return time.process_time() - start


def alternate(
    cases: Mapping[str, Work], rounds: int, device: torch.device, warm: int = 2
) -> dict[str, list[float]]:
    """{case: seconds of each round}, after a few calls that are not counted."""
    for work in cases.values():
        for _ in range(warm):
            work()
    times: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds):
        for name, work in cases.items():
            times[name].append(seconds(work, device))
        latest = ", ".join(f"{name} {values[-1] * 1e3:.1f} ms" for name, values in times.items())
        print(f"round {number + 1}: {latest}", flush=True)
    return times


def ratio(times: Mapping[str, list[float]], peer: str, ours: str = "ours") -> dict[str, float]:
    """How many times longer the peer takes: median and range over the rounds."""
    return spread([p / o for p, o in zip(times[peer], times[ours], strict=True)])


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def peak_mib(work: Work, device: torch.device) -> float:
    """The most memory that a call holds beyond what was held before it, in MiB, from the
    allocator's own events.
    """
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        work()
    events = sorted(
        (e.start_ns(), e.nbytes())
        for e in profile.profiler.kineto_results.events()
        if e.name() == "[memory]"
    )
    held = peak = 0
    for _, change in events:
        held += change
        peak = max(peak, held)
    return peak / 2**20


def gflop(work: Work) -> float:
    """Floating-point operations of a call, of its products and convolutions, in units of 1e9."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9


def ceilings(device: torch.device, rounds: int = 5) -> dict[str, float]:
    """What the machine reaches at best: matrix products and a convolution in GFLOP/s, copies in
    GB/s.
    """
    size, batch, channels, side = (
        (8192, 64, 256, 64) if device.type == "cuda" else (1024, 8, 128, 64)
    )
    found = {}
    for dtype in {torch.float32, select_dtype(device)}:
        name = str(dtype).removeprefix("torch.")
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        x = torch.randn(batch, channels, side, side, device=device, dtype=dtype).to(
            memory_format=torch.channels_last
        )
        kernel = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype).to(
            memory_format=torch.channels_last
        )
        works = {
            f"gemm_{name}_gflops": (lambda a=a, b=b: a @ b, 2 * size**3),
            f"conv_{name}_gflops": (
                lambda x=x, kernel=kernel: F.conv2d(x, kernel, padding=1),
                2 * batch * side**2 * channels**2 * 9,
            ),
        }
        for what, (work, flops) in works.items():
            work()
            found[what] = flops / 1e9 / min(seconds(work, device) for _ in range(rounds))
    source = torch.empty(2**28 if device.type == "cuda" else 2**25, device=device).fill_(1)
    target = torch.empty_like(source)
    copies = [seconds(lambda: target.copy_(source), device) for _ in range(rounds)]
    return found | {"copy_gb_per_s": 2 * source.nbytes / 1e9 / min(copies)}


def growth(
    curves: Mapping[str, tuple[list[int], Callable[[int], Work]]], device: torch.device, calls: int
) -> dict[str, dict[str, Any]]:
    """{curve: sizes, and for each the quickest of some calls, its peak memory, and the exponent of
    the time}. A curve is its sizes and what makes the call of one size.
    """
    found = {}
    for name, (sizes, make) in curves.items():
        rows: dict[str, Any] = {"sizes": sizes, "seconds": [], "mib": []}
        for size in sizes:
            work = make(size)
            work()
            rows["seconds"].append(min(seconds(work, device) for _ in range(calls)))
            rows["mib"].append(peak_mib(work, device))
        found[name] = rows | {"exponent": growth_exponent(sizes, rows["seconds"])}
    return found


def growth_exponent(sizes: list[float], costs: list[float]) -> float:
    """Slope of log cost over log size: 1 for a cost that grows linearly."""
    x, y = (torch.tensor(values, dtype=torch.float64).log() for values in (sizes, costs))
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / (x * x).sum())


def machine(device: torch.device) -> str:
    """The processor in words, a CPU with its number of cores."""
    name = hardware(device)
    return name if device.type == "cuda" else f"{name.partition(',')[0]}, {os.cpu_count()} cores"


def results_file(device: torch.device) -> Path:
    """The machine's own file, named after its processor."""
    return RESULTS / (re.sub(r"[^a-z0-9]+", "_", machine(device).lower()).strip("_") + ".json")


def record(subject: str, figures: Mapping[str, Any], device: torch.device) -> None:
    """Put one subject's figures in the machine's file, beside the others."""
    path = results_file(device)
    before = read_json(path) if path.exists() else {}
    write_json(
        path,
        before
        | {
            subject: {**figures, "commit": revision()},
            "machine": machine(device),
            "torch": torch.__version__,
            "commit": revision(),
        },
    )
    print(f"recorded in {path.relative_to(project_root())}")
