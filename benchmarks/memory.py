"""What does it gain to keep freed memory (`runtime.keep_freed_memory`) on a CPU? Each case with and without it.

    OMP_NUM_THREADS=1 python benchmarks/memory.py [--rounds 5]

Kept memory cannot be unlearned, so each measurement is a process of its own; the two ways alternate. Ratios are of the
processor's time, the operating system's share included; fresh pages are counted by it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys

import numpy as np
import torch
from measure import Work, record, seconds, spread
from train_step import demo_trainings

from oasis_utils.features import learned
from oasis_utils.runtime import keep_freed_memory

CPU, CALLS = torch.device("cpu"), 20
WAYS = ("kept", "given back")


def cases() -> dict[str, Work]:
    """A training step of either model of the demo, and features of 32 slices."""
    slices = np.random.default_rng(0).integers(0, 256, (32, 128, 128), dtype=np.uint8)
    steps = {f"{name}_step": step for name, step in demo_trainings().items()}
    return steps | {"features": lambda: learned(slices, CPU)}


def child(way: str) -> dict[str, dict[str, float]]:
    """{case: seconds and fresh MiB of a call} of this process."""
    torch.set_num_threads(1)
    if way == "kept":
        keep_freed_memory()
    found = {}
    for name, work in cases().items():
        for _ in range(3):
            work()
        calls = max(CALLS // (10 if name == "features" else 1), 1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        spent = sum(seconds(work, CPU) for _ in range(calls)) / calls
        pages = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / calls
        found[name] = {"seconds": spent, "fresh_mib": pages * resource.getpagesize() / 2**20}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child)))
        return
    rounds: dict[str, list] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way in WAYS:
            again = [sys.executable, __file__, "--child", way]
            rounds[way].append(json.loads(subprocess.run(again, capture_output=True, text=True, check=True).stdout))
    figures = {}
    for name in rounds["kept"][0]:
        gain = spread([theirs[name]["seconds"] / ours[name]["seconds"]
                       for ours, theirs in zip(rounds["kept"], rounds["given back"], strict=True)])
        fresh = {way: sorted(found[name]["fresh_mib"] for found in rounds[way])[options.rounds // 2] for way in WAYS}
        figures[name] = {"gain": gain["median"], "spread": gain, "fresh_mib_a_call": fresh}
        print(f"{name}: {gain['median']:.2f} times as fast ({gain['lowest']:.2f} to {gain['highest']:.2f}); "
              f"fresh memory a call {fresh['given back']:.1f} MiB, kept {fresh['kept']:.1f} MiB")
    record("memory", figures, CPU)


if __name__ == "__main__":
    main()
