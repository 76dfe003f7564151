"""Speed records: CPU seconds of one thread until a model reaches a fixed quality.

    OMP_NUM_THREADS=1 python benchmarks/speed_record.py vqvae PINS --change "first" --package OLD
    OMP_NUM_THREADS=1 python benchmarks/speed_record.py pixelcnn PINS --change "Muon" --steps 600
    python benchmarks/record_tables.py

PINS is made by `speed_pins.py`. Each call trains several seeds and adds a line to
`benchmarks/records/MODEL.json`: median and spread of the seconds to the first of 20 marks at which
the validation people reach every target. A seed that does not reach them counts with its whole
training, and the line says how many did. The first line is of revision 889d11c (`--package`: a
checkout of it); later lines are recipes of the present package, the demo profile with the changes
`--config` and `--training`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oasis_utils.metrics import features
from oasis_utils.metrics import image_quality as metrics
from oasis_utils.metrics.kernel_distance import kid
from oasis_utils.runtime import hardware, project_root, read_json, revision, write_json

CPU = torch.device("cpu")
RECORDS = project_root() / "benchmarks/records"
WORKER = Path(__file__).with_name("speed_worker.py")
MARKS = 20
# at least or at most: about what the demo of 889d11c ends with on its validation people
TARGETS = {
    "vqvae": {"ssim": (">=", 0.887), "kid": ("<=", 0.10)},
    "pixelcnn": {"nats_per_code": ("<=", 2.79)},
}
Scores = Iterator[tuple[str, float]]


class Judge:
    """Scores what the workers wrote, for all versions alike, what is cheap to score first."""

    def __init__(self, pins: Path):
        self.slices = dict(np.load(pins / "slices.npz"))
        self.real = features.learned(self.slices["test_images"], CPU)

    def vqvae(self, found: dict[str, np.ndarray]) -> Scores:
        """SSIM of the reconstructions, and their kernel distance to slices of the test people."""
        truth = features.as_floats(self.slices["validate_images"])
        yield "ssim", float(metrics.ssim(features.as_floats(found["images"]), truth).mean())
        yield "kid", self._kid(found["images"])

    def pixelcnn(self, found: dict[str, np.ndarray]) -> Scores:
        """Nats per code of the validation maps."""
        yield "nats_per_code", float(found["nats"])

    def _kid(self, images: np.ndarray) -> float:
        people = self.slices["validate_subjects"], self.slices["test_subjects"]
        return kid(features.learned(images, CPU), self.real, *people)


def meets(name: str, value: float, model: str) -> bool:
    """Whether a score meets its target."""
    sign, wanted = TARGETS[model][name]
    return value >= wanted if sign == ">=" else value <= wanted


def first_mark(times: dict[int, float], score: Callable[[int], Scores], model: str) -> dict:
    """{"seconds", "steps", "reached", scores}: of the first mark with every target, or the last."""
    for mark in sorted(times):
        found = list(itertools.takewhile(lambda item: meets(*item, model), score(mark)))
        if len(found) == len(TARGETS[model]):
            return {"seconds": times[mark], "steps": mark, "reached": True, **dict(found)}
    last = max(times)
    return {"seconds": times[last], "steps": last, "reached": False, **dict(score(last))}


def one_seed(job: dict[str, Any], package: Path, judge: Judge) -> dict[str, Any]:
    """Train one seed in a process of its own, then judge its marks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job))
        path = {"PYTHONPATH": str(package.resolve()), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(WORKER), name]
        subprocess.run(command, check=True, env=os.environ | path, cwd=name)
        times = {int(k): v for k, v in json.loads((folder / "times.json").read_text()).items()}
        score = getattr(judge, job["model"])
        return first_mark(
            times, lambda mark: score(dict(np.load(folder / f"{mark}.npz"))), job["model"]
        )


def usual_steps(model: str, pins: Path) -> int:
    """Steps of the demo of 889d11c."""
    if model == "vqvae":
        return 14 * len(np.load(pins / "slices.npz")["train_images"]) // 8
    return 2 * len(np.load(pins / "maps.npz")["indices_train"]) // 8


def line(args: argparse.Namespace) -> dict[str, Any]:
    """A line of the record: all seeds of one recipe."""
    steps = args.steps or usual_steps(args.model, args.pins)
    job = {
        "model": args.model,
        "pins": str(args.pins.resolve()),
        "steps": steps,
        "marks": [round(steps * i / MARKS) for i in range(1, MARKS + 1)],
        "config": args.config,
        "training": args.training,
    }
    judge = Judge(args.pins)
    with ThreadPoolExecutor(args.processes) as pool:
        runs = list(
            pool.map(
                lambda seed: one_seed(job | {"seed": seed}, args.package, judge), range(args.seeds)
            )
        )
    for run in runs:
        print(json.dumps(run), flush=True)
    seconds = [run["seconds"] for run in runs]
    return {
        "change": args.change,
        "cpu_seconds": round(statistics.median(seconds), 1),
        "spread": [round(min(seconds), 1), round(max(seconds), 1)],
        "seeds": args.seeds,
        "reached": sum(run["reached"] for run in runs),
        "steps": statistics.median(run["steps"] for run in runs),
        "scores": {k: round(statistics.median(r[k] for r in runs), 4) for k in TARGETS[args.model]},
        "command": "python " + shlex.join(_told(sys.argv)),
        "revision": args.revision or revision(),
        "hardware": hardware(CPU),
    }


def _told(words: list[str]) -> list[str]:
    """The command as it was given, without this machine's folders."""
    return [Path(w).name if os.sep in w and Path(w).exists() else w for w in words]


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("model", choices=TARGETS)
    parser.add_argument("pins", type=Path, help="folder that speed_pins.py made")
    parser.add_argument("--change", default="", help="what is new in this line")
    parser.add_argument(
        "--package", type=Path, default=project_root(), help="checkout to train with"
    )
    parser.add_argument("--revision", default="", help="of that checkout, if it is not this one")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0, help="0: as the demo of 889d11c")
    parser.add_argument("--processes", type=int, default=1, help="seeds at once, a thread each")
    parser.add_argument("--config", type=json.loads, default={}, help="changes as JSON")
    parser.add_argument("--training", type=json.loads, default={}, help="changes as JSON")
    parser.add_argument("--try", dest="only_try", action="store_true", help="print, do not record")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found, path = line(args), RECORDS / f"{args.model}.json"
    print(json.dumps(found, indent=2))
    if not args.only_try:
        old = read_json(path)["records"] if path.exists() else []
        targets = {k: {"sign": s, "value": v} for k, (s, v) in TARGETS[args.model].items()}
        write_json(path, {"target": targets, "records": [*old, found]})


if __name__ == "__main__":
    main()
