"""How fast are data? Core-seconds to build a cache, and images a second out of it, beside
torchvision's ImageFolder.

    OMP_NUM_THREADS=1 python benchmarks/data.py [--n 9664] [--repeats 3]

The slices are sample brains with a few pixels of each changed, so no two are alike. ImageFolder +
DataLoader do the same job: grey 256² pictures as float32 in [0, 1], shuffled. Times are CPU time of
this process and its workers; each round measures all of them one after the other, and ratios are
taken round by round.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measure import ceilings, growth_exponent, record, spread
from PIL import Image
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from oasis_utils import data
from oasis_utils.config import PROFILES, SPLITS, DataConfig
from oasis_utils.data import reading
from oasis_utils.data.image_files import read_slice
from oasis_utils.data.prepare import import_source
from oasis_utils.data.sources import discover

POSITIONS, BATCH, CPU = 32, 64, torch.device("cpu")


def write_tree(root: Path, n: int) -> Path:
    """At least n slices in the layout of keras_png_slices, 80 : 10 : 10."""
    brains = discover(data.sample_brains(PROFILES["smoke"].data)).series
    subjects = max(-(-n // POSITIONS), 10)
    for subject in range(subjects):
        split = SPLITS[0 if subject < 0.8 * subjects else 1 if subject < 0.9 * subjects else 2]
        folder = root / f"keras_png_slices_{split}"
        folder.mkdir(parents=True, exist_ok=True)
        for position, path in enumerate(brains[subject % len(brains)].files):
            picture = read_slice(path).copy()
            picture[100, 100:104] = np.frombuffer(subject.to_bytes(4), np.uint8)
            Image.fromarray(picture).save(
                folder / f"case_{subject:03d}_slice_{position}.nii.png", compress_level=1
            )
    return root


def core_seconds(job: Callable[[], None]) -> float:
    """CPU time of a job, its threads and its finished child processes."""

    def spent() -> float:
        uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(use.ru_utime + use.ru_stime for use in uses)

    start = spent()
    job()
    return spent() - start


def build(tree: Path, threads: int) -> float:
    reading.READ_THREADS = threads
    with tempfile.TemporaryDirectory() as folder:
        return core_seconds(lambda: import_source(tree, folder, DataConfig(image_size=256)))


def drain(batches) -> None:
    for _ in batches:
        pass


def rate(n: int, job: Callable[[], None]) -> float:
    """Images a second and core."""
    return n / core_seconds(job)


def image_folder(tree: Path, n: int, workers: int) -> DataLoader:
    grey = transforms.Compose([transforms.Grayscale(), transforms.ToTensor()])
    return DataLoader(
        Subset(ImageFolder(tree, grey), range(n)), BATCH, shuffle=True, num_workers=workers
    )


def growth(folder: Path) -> dict[str, dict[str, list[float]]]:
    """Cost of building a cache over the number of slices."""
    sizes = [640, 1280, 2560, 5120]
    trees = [write_tree(folder / f"growing_{n}", n) for n in sizes]
    costs = [build(tree, 1) for tree in trees]
    return {"slices": {"sizes": sizes, "seconds": costs, "exponent": growth_exponent(sizes, costs)}}


def measure(n: int, repeats: int, folder: Path) -> dict[str, dict[str, float]]:
    tree, rows = write_tree(folder / "tree", n), {}
    train = data.build_cache(tree, folder / "cache", DataConfig(image_size=256)).split("train")
    few = min(1024, len(train))
    for number in range(repeats):
        held, streamed = (
            data.Batches(train.to(CPU, stream), BATCH, shuffle=True, seed=number)
            for stream in (False, True)
        )
        drain(held)  # touches the memory once
        figures = {
            "build_1_thread": build(tree, 1),
            "build_2_threads": build(tree, 2),
            "held": rate(len(held) * BATCH, lambda batches=held: drain(batches)),
            "streamed": rate(len(held) * BATCH, lambda batches=streamed: drain(batches)),
            "image_folder": rate(few, lambda: drain(image_folder(tree, few, 0))),
            "image_folder_2_workers": rate(few, lambda: drain(image_folder(tree, few, 2))),
        }
        figures["vs_image_folder"] = figures["held"] / figures["image_folder"]
        figures["vs_image_folder_2_workers"] = figures["held"] / figures["image_folder_2_workers"]
        print(
            f"round {number + 1}: "
            + ", ".join(f"{name} {value:.1f}" for name, value in figures.items()),
            flush=True,
        )
        for name, value in figures.items():
            rows.setdefault(name, []).append(value)
    return {name: spread(values) for name, values in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Time the cache and its batches beside ImageFolder + DataLoader."
    )
    parser.add_argument(
        "--n",
        type=int,
        default=9664,
        help="slices (default: 9664, as many as keras_png_slices has)",
    )
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        figures, grown = measure(options.n, options.repeats, Path(folder)), growth(Path(folder))
    moved = figures["held"]["median"] * 256**2 * (1 + 4) / 1e9  # bytes read, floats written
    record(
        "data",
        {
            "vs_imagefolder": figures["vs_image_folder"]["median"],
            "images_per_s_core": figures["held"]["median"],
            "build_core_seconds": figures["build_2_threads"]["median"],
            "spread": figures,
            "share_of_copy": moved / ceilings(CPU)["copy_gb_per_s"],
            "slices": options.n,
            "repeats": options.repeats,
            "growth": grown,
        },
        CPU,
    )
    for name, value in figures.items():
        print(
            f"{name:<28}{value['median']:>12,.1f}   ({value['lowest']:,.1f} to"
            f" {value['highest']:,.1f})"
        )


if __name__ == "__main__":
    main()
