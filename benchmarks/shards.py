"""What do shards cost? Images a second and core beside slices in memory, beside the memory map and
beside libraries for streamed data sets; and the resident memory of an epoch of more data than may
be in memory.

    OMP_NUM_THREADS=1 python benchmarks/shards.py [--n 6000] [--rounds 5] [--gib 6]

Slices are noise of 256² pixels, so nothing is compressed. All read in the main process, shuffled,
without decoding, and do the same to a batch: mirror half of it, convert it to float32. Each round
takes all of them in turn; ratios are taken round by round. Libraries that are not installed
(litdata, webdataset, mosaicml-streaming) are left out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import RESULTS, alternate, begin, machine, ratio, spread

from oasis_utils.config import VQVAEConfig
from oasis_utils.data import Batches, ShardedBatches, Shards, open_shards
from oasis_utils.data.batches import Streamed
from oasis_utils.data.grey_levels import to_float
from oasis_utils.data.shards import SHARD_BYTES, rows_of_shard, writing
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import revision, write_json
from oasis_utils.runtime.symmetry import LEFT_RIGHT

SIDE, CPU, SIZES = 256, torch.device("cpu"), (8, 64)
PEER_BATCH = 32
PEERS = {"litdata": "litdata", "webdataset": "webdataset", "streaming": "mosaicml-streaming"}
STEPS = 6


def noise(start: int, count: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(start)
    images = random.integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)
    return {"images": images, "positions": np.arange(start, start + count)}


def write(folder: Path, n: int) -> Shards:
    step = rows_of_shard(noise(0, 1), SHARD_BYTES)
    with writing(folder, {"noise": n}) as writer:
        for start in range(0, n, step):
            writer.write(noise(start, min(step, n - start)))
    return open_shards(folder)


def drain(batches: Any) -> None:
    for _ in batches:
        pass


# ---------------------------------------------------------------- peers


def finished(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """What every path does with a batch of uint8."""
    images = images.view(-1, 1, SIDE, SIDE)
    flips = torch.rand(len(images), generator=generator)[:, None, None, None] < 0.5
    return to_float(torch.where(flips, LEFT_RIGHT.mirror(images), images))


def with_litdata(folder: Path, rows: dict[str, np.ndarray]) -> Callable[[], Iterator]:
    import litdata
    from litdata.streaming.cache import Cache

    cache = Cache(str(folder), chunk_bytes=SHARD_BYTES)
    for i, image in enumerate(rows["images"]):
        cache[i] = {"images": image, "positions": i}
    cache.done()
    cache.merge()

    def batches():
        data = litdata.StreamingDataset(str(folder), shuffle=True, seed=0, drop_last=True)
        loader = litdata.StreamingDataLoader(data, batch_size=PEER_BATCH, num_workers=0)
        return (batch["images"] for batch in loader)

    return batches


def with_webdataset(folder: Path, rows: dict[str, np.ndarray]) -> Callable[[], Iterator]:
    import webdataset

    folder.mkdir()
    with webdataset.ShardWriter(f"{folder}/%05d.tar", maxsize=SHARD_BYTES, verbose=0) as writer:
        for i, image in enumerate(rows["images"]):
            writer.write({"__key__": f"{i:08d}", "bin": image.tobytes(), "cls": str(i)})
    urls = sorted(str(path) for path in folder.glob("*.tar"))

    def batches():
        data = webdataset.WebDataset(urls, shardshuffle=100, seed=0, empty_check=False)
        images = data.shuffle(1000).map(
            lambda row: torch.frombuffer(bytearray(row["bin"]), dtype=torch.uint8)
        )
        batched = images.batched(PEER_BATCH, collation_fn=torch.stack, partial=False)
        return iter(torch.utils.data.DataLoader(batched, batch_size=None))

    return batches


def with_streaming(folder: Path, rows: dict[str, np.ndarray]) -> Callable[[], Iterator]:
    import streaming

    columns = {"images": f"ndarray:uint8:{SIDE},{SIDE}", "positions": "int"}
    with streaming.MDSWriter(out=str(folder), columns=columns, size_limit=SHARD_BYTES) as writer:
        for i, image in enumerate(rows["images"]):
            writer.write({"images": image, "positions": i})
    streaming.base.util.clean_stale_shared_memory()
    data = streaming.StreamingDataset(
        local=str(folder), shuffle=True, shuffle_seed=0, batch_size=PEER_BATCH
    )

    def batches():
        loader = streaming.StreamingDataLoader(data, batch_size=PEER_BATCH, num_workers=0)
        return (batch["images"] for batch in loader)

    return batches


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def peers(folder: Path, rows: dict[str, np.ndarray]) -> dict[str, Callable[[], None]]:
    """An epoch of each library that is installed."""
    writers = {"litdata": with_litdata, "webdataset": with_webdataset, "streaming": with_streaming}
    found: dict[str, Callable[[], None]] = {}
    for module, name in PEERS.items():
        if not installed(module):
            print(f"{name} is not installed: left out")
            continue
        batches = writers[module](folder / module, rows)

        def epoch(batches=batches):
            generator = torch.Generator().manual_seed(0)
            drain(finished(images, generator) for images in batches())

        found[name] = epoch
    return found


# ---------------------------------------------------------------- rates


def reading(folder: Path, n: int, rounds: int) -> dict[str, Any]:
    """Images a second and core of each path, and its share of the rate of slices in memory."""
    shards, rows = write(folder / "shards", n), noise(0, n)
    np.save(folder / "slices.npy", rows["images"])
    mapped = np.load(folder / "slices.npy", mmap_mode="r")
    positions = torch.arange(n)
    tensors = {"images": torch.from_numpy(rows["images"])[:, None], "positions": positions}
    streamed = {"images": Streamed(mapped, CPU), "positions": positions}
    libraries, found = peers(folder, rows), {}
    for size in (*SIZES, PEER_BATCH):
        for mirror in (LEFT_RIGHT, None):
            cases = {
                "held": Batches(tensors, size, True, mirror),
                "memory map": Batches(streamed, size, True, mirror),
                "shards": ShardedBatches(shards, size, mirror=mirror),
            }
            works = {
                name: lambda batches=batches: drain(batches) for name, batches in cases.items()
            }
            works |= libraries if size == PEER_BATCH and mirror else {}
            key = f"{size}, {'half mirrored' if mirror else 'not mirrored'}"
            found[key] = rates(alternate(works, rounds, CPU, warm=1), n // size * size)
    found["first_epoch"] = first_epoch(folder / "shards", tensors, rounds)
    return found


def first_epoch(folder: Path, tensors: dict[str, torch.Tensor], rounds: int) -> dict[str, Any]:
    """The same where checksums are still to be checked."""
    held, n = Batches(tensors, PEER_BATCH, True, LEFT_RIGHT), len(tensors["positions"])
    works = {
        "held": lambda: drain(held),
        "shards": lambda: drain(ShardedBatches(open_shards(folder), PEER_BATCH, mirror=LEFT_RIGHT)),
    }
    return rates(alternate(works, rounds, CPU, warm=1), n // PEER_BATCH * PEER_BATCH)


def rates(times: Mapping[str, list[float]], rows: int) -> dict[str, Any]:
    return {
        name: {
            "images_per_s_core": spread([rows / second for second in values]),
            "share_of_held": ratio(times, "held", name),
        }
        for name, values in times.items()
    }


def training(folder: Path, rounds: int) -> dict[str, Any]:
    """Steps of a small VQ-VAE, of which reading is a larger share than of a large one."""
    shards = open_shards(folder / "shards")
    rows = shards.read(np.arange(64 * STEPS))
    tensors = {"images": rows["images"][:, None], "positions": rows["positions"]}
    cases = {
        "held": Batches(tensors, 8, True, LEFT_RIGHT),
        "shards": ShardedBatches(shards, 8, mirror=LEFT_RIGHT),
    }
    model = VQVAE(VQVAEConfig(SIDE, channels=32, residual_blocks=1, n_codes=64, code_dim=8))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def steps(batches):
        for _, batch in zip(range(STEPS), batches.epoch(0), strict=False):
            optimizer.zero_grad()
            model.step(batch, model.phases[0])["loss"].backward()
            optimizer.step()

    works = {name: lambda batches=batches: steps(batches) for name, batches in cases.items()}
    return rates(alternate(works, rounds, CPU, warm=1), STEPS * 8)


# ---------------------------------------------------------------- memory


def resident(name: str) -> float:
    """MiB of all resident pages of this process, also those of mapped files: VmRSS now, VmHWM at
    most.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def epoch_in_memory(folder: Path, gib: float) -> None:
    """Write and read so many GiB in this process, and print what it held."""
    torch.set_num_threads(1)
    n = int(gib * 2**30 / SIDE**2)
    after_imports = resident("VmRSS")
    shards = write(folder, n)
    peak_of_writing, start = resident("VmHWM"), time.monotonic()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    drain(ShardedBatches(shards, PEER_BATCH, mirror=LEFT_RIGHT))
    wall = time.monotonic() - start
    found = {
        "gib": gib,
        "slices": n,
        "after_imports_mib": after_imports,
        "peak_of_writing_mib": peak_of_writing,
        "peak_of_reading_mib": resident("VmHWM"),
        "images_per_s_wall_first_epoch": n / wall,
    }
    print(json.dumps(found))


def memory(folder: Path, gib: float) -> dict[str, float]:
    words = [sys.executable, __file__, "--epoch", str(folder / "large"), "--gib", str(gib)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time shards beside slices in memory.")
    parser.add_argument("--n", type=int, default=6000, help="slices (default: 6000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gib", type=float, default=6.0, help="data of the memory run")
    parser.add_argument("--folder", help="where data are written and removed again")
    parser.add_argument("--epoch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.epoch:
        epoch_in_memory(options.epoch, options.gib)
        return
    begin("cpu")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        found = {
            "reading": reading(folder, options.n, options.rounds),
            "training": training(folder, options.rounds),
            "memory": memory(folder, options.gib),
        }
    found["peers"] = {
        name: importlib.metadata.version(name)
        for module, name in PEERS.items()
        if installed(module)
    }
    about = {"slices": options.n, "rounds": options.rounds, "load": os.getloadavg()[0]}
    versions = {"machine": machine(CPU), "torch": torch.__version__, "commit": revision()}
    write_json(RESULTS / "shards.json", found | about | versions)
    for size, cases in found["reading"].items():
        for name, value in cases.items():
            share = value["share_of_held"]
            print(
                f"{size:<20}{name:<20}{value['images_per_s_core']['median']:>9,.0f} images/s core,"
                f" {share['median']:.2f} of held ({share['lowest']:.2f} to {share['highest']:.2f})"
            )
    print(found["training"]["shards"]["share_of_held"], found["memory"])


if __name__ == "__main__":
    main()
