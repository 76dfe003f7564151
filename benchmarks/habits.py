"""What do three habits gain on a CPU: to keep freed memory (`runtime.keep_freed_memory`), to leave
the cores to busy processes (`runtime.sharing`), and to compile long trainings?

    OMP_NUM_THREADS=1 python benchmarks/habits.py [--rounds 5]

Measured on training steps of the demo's models and on features of the image network. Kept memory
cannot be unlearned, so each measurement of it is a process of its own; the two ways alternate.
Fresh pages are counted by the system. The sharing of cores is measured in steps of the VQ-VAE a
second of the clock, with as many threads as cores, alone and beside as many busy processes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from measure import Work, alternate, begin, record, seconds, spread

from oasis_utils.config import load_profile
from oasis_utils.metrics.features import learned
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import keep_freed_memory
from oasis_utils.runtime.sharing import share_cores
from oasis_utils.training.compiling import compiled
from oasis_utils.training.trainer import Trainer

CPU = torch.device("cpu")
WAYS = ("kept", "given back")
WAITING = ("default", "share_cores", "OMP_WAIT_POLICY=PASSIVE")
SETTLED, TIMED = 5.0, 10.0  # seconds before and while steps are counted
SPIN = "while True: pass"


def trainings() -> dict[str, Trainer]:
    """Of the demo's models that torch.compile can follow."""
    demo = load_profile("demo")
    return {
        "vqvae": Trainer(VQVAE(demo.vqvae).train(), demo.vqvae_training, total_steps=1000),
        "pixelcnn": Trainer(
            PixelCNN(demo.pixelcnn).train(), demo.pixelcnn_training, total_steps=1000
        ),
    }


def step(trainer: Trainer, n: int = 8) -> Work:
    """A training step on n slices, or their maps."""
    config = load_profile("demo").vqvae
    batch = {
        "images": torch.rand(n, 1, config.image_size, config.image_size),
        "indices": torch.randint(config.n_codes, (n, config.grid, config.grid)),
        "positions": torch.zeros(n, dtype=torch.long),
    }
    return lambda: trainer.step(batch)


def cases() -> dict[str, Work]:
    """What memory is measured on: training steps, and features of 32 slices."""
    slices = np.random.default_rng(0).integers(0, 256, (32, 128, 128), dtype=np.uint8)
    steps = {f"{name}_step": step(trainer) for name, trainer in trainings().items()}
    return steps | {"features": lambda: learned(slices, CPU)}


def child(way: str) -> dict[str, dict[str, float]]:
    """{case: seconds and fresh MiB of a call} of this process."""
    torch.set_num_threads(1)  # not `begin`, which touches the memory's habits
    if way == "kept":
        keep_freed_memory()
    found = {}
    for name, work in cases().items():
        for _ in range(3):
            work()
        calls = 2 if name == "features" else 20
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        spent = sum(seconds(work, CPU) for _ in range(calls)) / calls
        pages = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / calls
        found[name] = {"seconds": spent, "fresh_mib": pages * resource.getpagesize() / 2**20}
    return found


def steps_a_second(way: str) -> float:
    """Training steps of the VQ-VAE a second of the clock, in this process on all its threads."""
    if way == "share_cores":
        share_cores()
    work = step(trainings()["vqvae"])
    for limit in (SETTLED, TIMED):
        start, steps = time.perf_counter(), 0
        while time.perf_counter() < start + limit:
            work()
            steps += 1
    return steps / (time.perf_counter() - start)


def waiting(rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """{load: {way: spread of the steps a second}}; the ways alternate."""
    cores, found = len(os.sched_getaffinity(0)), {}
    for load, others in (("calm", 0), ("busy", cores)):
        rates: dict[str, list[float]] = {way: [] for way in WAITING}
        for _ in range(rounds):
            busy = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(others)]
            try:
                for way in WAITING:
                    rates[way].append(_rate(way, cores))
            finally:
                for process in busy:
                    process.kill()
        found[load] = {way: spread(values) for way, values in rates.items()}
        print(f"{load}: " + ", ".join(f"{w} {v['median']:.1f}" for w, v in found[load].items()))
    return found


def _rate(way: str, threads: int) -> float:
    setting = {"OMP_WAIT_POLICY": "PASSIVE"} if way == WAITING[-1] else {}
    done = subprocess.run(
        [sys.executable, __file__, "--child", way],
        env=os.environ | {"OMP_NUM_THREADS": str(threads)} | setting,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def compiling(rounds: int = 20) -> dict[str, dict[str, float]]:
    """{model of the demo: seconds that torch.compile takes on a CPU, milliseconds that it saves a
    step}.
    """
    found, plain = {}, trainings()
    for name, trainer in trainings().items():
        trainer.model_step = compiled(trainer.model.step)
        ways = {"plain": step(plain[name]), "compiled": step(trainer)}
        start = time.perf_counter()
        ways["compiled"]()
        first = time.perf_counter() - start
        times = alternate(ways, rounds, CPU)
        saved = spread(
            [1e3 * (p - c) for p, c in zip(times["plain"], times["compiled"], strict=True)]
        )
        found[name] = {
            "seconds_to_compile": first,
            "milliseconds_saved": saved["median"],
            "spread": saved,
        }
    return found


def memory(rounds: int) -> dict[str, dict]:
    """{case: how many times longer it takes when memory is given back, and fresh memory a call of
    both ways}.
    """
    found: dict[str, list] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            again = [sys.executable, __file__, "--child", way]
            found[way].append(
                json.loads(subprocess.run(again, capture_output=True, text=True, check=True).stdout)
            )
    figures = {}
    for name in found["kept"][0]:
        gain = spread(
            [
                theirs[name]["seconds"] / ours[name]["seconds"]
                for ours, theirs in zip(found["kept"], found["given back"], strict=True)
            ]
        )
        fresh = {
            way: sorted(values[name]["fresh_mib"] for values in found[way])[rounds // 2]
            for way in WAYS
        }
        figures[name] = {"gain": gain["median"], "spread": gain, "fresh_mib_a_call": fresh}
        print(
            f"{name}: {gain['median']:.2f} times as fast ({gain['lowest']:.2f} to"
            f" {gain['highest']:.2f}); fresh memory a call {fresh['given back']:.1f} MiB, kept"
            f" {fresh['kept']:.1f} MiB"
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", choices=WAYS + WAITING, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measured = child if options.child in WAYS else steps_a_second
        print(json.dumps(measured(options.child)))
        return
    figures = {"waiting": waiting(options.rounds), "memory": memory(options.rounds)}
    begin("cpu")
    record("habits", figures | {"compiling": compiling()}, CPU)


if __name__ == "__main__":
    main()
