"""How many times faster do processes train together than one alone, on one thread each?

    python benchmarks/data_parallel.py [--processes 2] [--rounds 10] [--times 4]

Training steps of the demo's three models, of one joined batch with --times the profile's rows. The
ways alternate in one run: the
first process trains alone on the whole batch while the others wait, then all train on their parts.
Time is that of the clock, so the machine must be calm. The time that a process computes (of the
slowest one) says what is possible where each has a core of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from measure import record, spread
from torch import Tensor

from oasis_utils.config import load_profile
from oasis_utils.data.batches import Batches
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import processes, read_json, select_device, write_json
from oasis_utils.training.trainer import Trainer

CPU = torch.device("cpu")
MODELS = {"vqvae": VQVAE, "pixelcnn": PixelCNN, "dcgan": DCGAN}
STEPS = {"vqvae": 10, "pixelcnn": 4, "dcgan": 4}  # of a round, about two seconds each


def trainer_of(name: str) -> Trainer:
    demo = load_profile("demo")
    torch.manual_seed(0)
    model = MODELS[name](getattr(demo, name)).train()
    return Trainer(model, getattr(demo, f"{name}_training"), total_steps=1000)


def batch_of(name: str, rank: int, count: int, times: int) -> dict[str, Tensor]:
    """The part of a process of one batch of the demo."""
    demo, generator = load_profile("demo"), torch.Generator().manual_seed(1)
    n, side, grid = (
        times * getattr(demo, f"{name}_training").batch_size,
        demo.vqvae.image_size,
        demo.vqvae.grid,
    )
    images = torch.randint(256, (n, 1, side, side), generator=generator, dtype=torch.uint8)
    indices = torch.randint(demo.vqvae.n_codes, (n, grid, grid), generator=generator)
    given = {
        "vqvae": {"images": images},
        "pixelcnn": {"indices": indices, "positions": torch.arange(n) // 4},
    }
    given["dcgan"] = given["pixelcnn"]
    batches = Batches(given[name], n).shared(rank, count, MODELS[name].neighbours)
    return next(iter(batches))


def seconds_of_step(trainer: Trainer, batch: dict[str, Tensor], steps: int) -> list[float]:
    """Of the clock, and computed by this process."""
    start = time.perf_counter(), time.process_time()
    for _ in range(steps):
        trainer.step(batch)
    end = time.perf_counter(), time.process_time()
    return [(after - before) / steps for before, after in zip(start, end, strict=True)]


def measured(name: str, rounds: int, times: int) -> dict[str, list[list[float]]]:
    """{way: both times of a step in each round, of the slowest process}; the first round is not
    counted.
    """
    alone, together = trainer_of(name), trainer_of(name)
    whole = batch_of(name, 0, 1, times)
    part = batch_of(name, processes.rank(), processes.count(), times)
    found: dict[str, list[list[float]]] = {"alone": [], "together": []}
    for _ in range(rounds + 1):
        if processes.is_first():
            with processes.alone():
                found["alone"].append(seconds_of_step(alone, whole, STEPS[name]))
        processes.wait()
        all_times = processes.gathered(seconds_of_step(together, part, STEPS[name]))
        found["together"].append([max(column) for column in zip(*all_times, strict=True)])
    return {way: seconds[1:] for way, seconds in found.items()}


def work(rank: int, count: int, rounds: int, times: int, folder: str) -> None:
    """What each process does."""
    torch.set_num_threads(1)
    select_device("cpu")
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=count
    )
    found = {name: measured(name, rounds, times) for name in MODELS}
    if rank == 0:
        write_json(Path(folder) / "found.json", found)
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--times", type=int, default=1, help="rows, as a multiple of the profile's")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arguments = (options.processes, options.rounds, options.times, folder)
        torch.multiprocessing.spawn(work, arguments, nprocs=options.processes)
        found = read_json(Path(folder) / "found.json")
    figures = {name: summary(times) for name, times in found.items()}
    for name, values in figures.items():
        gain, own = values["spread"], values["spread_of_computing"]
        print(
            f"{name}: {gain['median']:.2f} times as fast by the clock ({gain['lowest']:.2f} to"
            f" {gain['highest']:.2f}), a process computes {own['median']:.2f} times less"
            f" ({own['lowest']:.2f} to {own['highest']:.2f}); milliseconds of a step"
            f" {values['milliseconds']}"
        )
    subject = "data_parallel" if options.times == 1 else f"data_parallel_{options.times}_times"
    record(subject, {"processes": options.processes, **figures}, CPU)


def summary(times: dict[str, list[list[float]]]) -> dict:
    """Ratios of each round, of the clock and of computing, and the medians of the times."""
    clock, computing = (
        spread([a[i] / t[i] for a, t in zip(times["alone"], times["together"], strict=True)])
        for i in range(2)
    )
    return {
        "speed_up": clock["median"],
        "spread": clock,
        "spread_of_computing": computing,
        "milliseconds": {
            way: round(1e3 * spread([value[0] for value in values])["median"], 1)
            for way, values in times.items()
        },
    }


if __name__ == "__main__":
    main()
