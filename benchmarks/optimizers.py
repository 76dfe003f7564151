"""Muon or AdamW for the kernels of the VQ-VAE? Trainings of equal CPU time on sample brains.

    OMP_NUM_THREADS=1 python benchmarks/optimizers.py [--seconds 40] [--seeds 5]

Each optimiser is tried at three learning rates with seed 0; the rate with the highest SSIM on the
validation people is then trained with the other seeds. At 4 and at 8 pixels a code; otherwise the
demo profile. Scores are of the test people: SSIM, SSIM in the brain, and the kernel distance of
decoded slices of the validation people to real slices of the test people.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from vqvae_study import CPU, fresh, prepared

from oasis_utils import evaluation
from oasis_utils.config import TrainingConfig, load_profile
from oasis_utils.data import subsample
from oasis_utils.data.batches import Batches
from oasis_utils.data.dataset import Dataset
from oasis_utils.metrics import features
from oasis_utils.metrics import image_quality as metrics
from oasis_utils.metrics.kernel_distance import kid
from oasis_utils.runtime import keep_freed_memory, project_root, provenance, write_json
from oasis_utils.training.equal_time import train_for

DEMO = load_profile("demo")
TRIALS = {
    "AdamW": [
        replace(DEMO.vqvae_training, muon_rate=0.0, learning_rate=r) for r in (2e-3, 4e-3, 8e-3)
    ],
    "Muon": [replace(DEMO.vqvae_training, muon_rate=r) for r in (0.005, 0.01, 0.02)],
}
GRIDS = (4, 8)


def rate_of(training: TrainingConfig) -> float:
    """The rate that was varied."""
    return training.muon_rate or training.learning_rate


def trained(
    dataset: Dataset, downsampling: int, training: TrainingConfig, seconds: float, seed: int
) -> dict[str, float]:
    """Scores after one training."""
    train, held_out, test = (dataset.split(name) for name in ("train", "validate", "test"))
    held_out, test = subsample(held_out, 512), subsample(test, 512)
    model = fresh(replace(DEMO.vqvae, downsampling=downsampling), seed)
    history = train_for(
        seconds,
        model,
        Batches(train.to(CPU), training.batch_size, True, train.symmetry, seed),
        Batches(held_out.to(CPU), 64),
        training,
        n_records=1,
        clock=time.thread_time,
    )
    images, _ = evaluation.reconstruct_split(model, test, CPU)
    decoded, _ = evaluation.reconstruct_split(model, held_out, CPU)
    scores = metrics.score(test.floats(), features.as_floats(images), test.inside())
    real = features.learned(np.array(test.images), CPU)
    return {
        "validation_ssim": history[-1]["ssim"],
        "ssim": scores["ssim"],
        "brain_ssim": scores["brain_ssim"],
        "kid": kid(features.learned(decoded, CPU), real),
        "perplexity": history[-1]["perplexity"],
        "steps": history[-1]["steps"],
    }


def median_and_spread(values: list[float]) -> dict[str, float]:
    """{"median", "least", "most"}."""
    return {
        "median": float(np.median(values)),
        "least": float(np.min(values)),
        "most": float(np.max(values)),
    }


def compare(dataset: Dataset, downsampling: int, seconds: float, seeds: int) -> dict[str, dict]:
    """Both optimisers at one grid."""
    found = {}
    for name, trials in TRIALS.items():
        tried = [trained(dataset, downsampling, trial, seconds, 0) for trial in trials]
        best = int(np.argmax([scores["validation_ssim"] for scores in tried]))
        runs = [tried[best]] + [
            trained(dataset, downsampling, trials[best], seconds, seed) for seed in range(1, seeds)
        ]
        found[name] = {
            "rate": rate_of(trials[best]),
            "tried": {str(rate_of(t)): scores for t, scores in zip(trials, tried, strict=True)},
            "seeds": len(runs),
            **{key: median_and_spread([run[key] for run in runs]) for key in runs[0]},
        }
        print(
            f"{downsampling} pixels a code, {name}, rate {found[name]['rate']}: "
            + ", ".join(
                f"{key} {found[name][key]['median']:.4f}" for key in ("ssim", "brain_ssim", "kid")
            ),
            flush=True,
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=40.0, help="CPU seconds of each training")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", type=Path, default=project_root() / "data" / "studies")
    parser.add_argument(
        "--json", type=Path, default=project_root() / "benchmarks" / "results" / "optimizers.json"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    dataset = prepared(DEMO.data.image_size, args.data, 0)
    rows = {
        f"{grid} pixels a code": compare(dataset, grid, args.seconds, args.seeds) for grid in GRIDS
    }
    about = {"seconds": args.seconds, "provenance": provenance(0, CPU), "rows": rows}
    write_json(args.json, about)


if __name__ == "__main__":
    main()
