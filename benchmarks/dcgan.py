"""Which form of the DCGAN draws the better maps in the same time? Variants trained on the same
codes, evaluated alike.

    python benchmarks/dcgan.py [--run runs/demo] [--seconds 120] [--only ours] [--out
    benchmarks/results/dcgan.json]

Each variant has the same networks and the same CPU seconds on one thread; what is evaluated is the
average of its last weights. Real slices are those of the test split. One row is the linear start
alone, as drawn before any training: what is below it in the table must be read against it. `--only`
runs the variants whose names contain its text and leaves the others in the file as they were, so
that a study can be made in parts.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oasis_utils import evaluation
from oasis_utils.config import DCGANConfig, load_profile
from oasis_utils.data.batches import Batches
from oasis_utils.data.dataset import Split, open_cache
from oasis_utils.metrics import features, kernel_distance, variety
from oasis_utils.metrics.radiomic import radiomic as radiomic_numbers
from oasis_utils.models import checkpoints, codes
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.diagnostics import code_divergence
from oasis_utils.models.sampler import BrainSampler
from oasis_utils.models.samples import image_seeds, spread_positions
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import (
    RunFolder,
    project_root,
    provenance,
    read_json,
    seed_everything,
    write_json,
)
from oasis_utils.training.trainer import Trainer

CPU = torch.device("cpu")
VARIANTS: dict[str, dict[str, Any]] = {
    "index numbers, BCE (baseline)": dict(space="index", loss="bce"),
    "embedding, BCE, blank start": dict(loss="bce", start="blank"),
    "embedding, relativistic, blank start": dict(start="blank"),
    "embedding, linear start, untrained": {},
    "embedding, BCE, linear start": dict(loss="bce"),
    "embedding, relativistic, linear start (main model), seed 0": {},
    "embedding, relativistic, linear start (main model), seed 1": {},
    "embedding, relativistic, linear start (main model), seed 2": {},
}
SAMPLES = 256


def train(
    config: DCGANConfig, vqvae: VQVAE, maps: codes.CodeMaps, seconds: float, seed: int
) -> tuple[DCGAN, dict]:
    """(average of the weights after so many CPU seconds, how it was trained)."""
    seed_everything(seed)
    tensors, schedule = maps.to("train", CPU), load_profile("demo").dcgan_training
    model, start, finite = DCGAN(config), time.process_time(), True
    model.use_codebook(
        vqvae.quantizer.codebook,
        torch.bincount(tensors["indices"].flatten(), minlength=maps.n_codes),
    )
    model.use_maps(tensors["indices"], tensors["positions"], tensors["ages"])
    batches, trainer = (
        Batches(tensors, schedule.batch_size, shuffle=True, seed=seed),
        Trainer(model, schedule, 1),
    )
    while (spent := time.process_time() - start) < seconds:
        for batch in batches.epoch(trainer.epochs):
            trainer.total_steps = max(
                round(trainer.steps * seconds / max(spent, 1e-9)), trainer.steps + 1
            )
            losses = trainer.step(batch)
            finite = finite and all(bool(torch.isfinite(value)) for value in losses.values())
            if (spent := time.process_time() - start) >= seconds:
                break
        trainer.epochs += 1
    return trainer.evaluated.eval(), {
        "steps": trainer.steps,
        "seconds": round(spent, 1),
        "diverged": not finite,
    }


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Real test slices described once; the features of slices to be compared with them."""

    real: Split
    standard: features.Standardizer
    learned: np.ndarray
    radiomic: np.ndarray

    @classmethod
    def of(cls, train: Split, real: Split) -> Evaluator:
        standard = features.Standardizer.fit(radiomic_numbers(train.images[::4], train.symmetry))
        numbers = standard(radiomic_numbers(real.images, real.symmetry))
        return cls(real, standard, features.learned(real.images, CPU), numbers)

    def __call__(
        self, images: np.ndarray, positions: np.ndarray, owners: np.ndarray
    ) -> dict[str, float]:
        people = owners, self.real.subjects
        numbers = self.standard(radiomic_numbers(images, self.real.symmetry))
        return {
            "kid": kernel_distance.kid(features.learned(images, CPU), self.learned, *people),
            "radiomic_kid": kernel_distance.kid(numbers, self.radiomic, *people),
            "pair_ms_ssim": variety.pair_similarity(images, positions, owners),
        }


def evaluated(
    model: DCGAN, vqvae: VQVAE, maps: codes.CodeMaps, evaluator: Evaluator
) -> dict[str, float]:
    """Metrics of 256 drawn maps and of their slices."""
    sampler = BrainSampler(vqvae, model)
    drawn = sampler.sample(spread_positions(SAMPLES, sampler.n_positions), image_seeds(0, SAMPLES))
    held_out = maps.indices["test"].astype(np.int64)
    metrics = model.validate(Batches(maps.to("test", CPU), 32))
    return {
        **evaluator(drawn.images, drawn.positions, np.arange(SAMPLES)),
        "codes_share": len(np.unique(drawn.indices)) / len(np.unique(held_out)),
        "code_divergence": code_divergence(
            torch.from_numpy(held_out), torch.from_numpy(drawn.indices), maps.n_codes
        ),
        **{name: metrics[name] for name in ("kernel_distance", "variety", "held_out_accuracy")},
    }


def references(vqvae: VQVAE, evaluator: Evaluator, other: Split) -> dict[str, Any]:
    """What real slices score: others of them, and the same ones through the VQ-VAE."""
    real = evaluator.real
    decoded, _ = evaluation.reconstruct_split(vqvae, real, CPU)
    return {
        "other real slices": evaluator(other.images, other.positions, other.subjects),
        "real slices, decoded": evaluator(decoded, real.positions, real.subjects),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--run", default="runs/demo", help="a run whose notebooks 01 to 03 are done"
    )
    parser.add_argument(
        "--seconds", type=float, default=120, help="CPU seconds of training for each variant"
    )
    parser.add_argument(
        "--only", default="", help="text that the names of the variants to run contain"
    )
    parser.add_argument(
        "--out", type=Path, default=project_root() / "benchmarks/results/dcgan.json"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    run, origin = RunFolder.at(options.run), provenance(0, CPU)
    vqvae, _ = checkpoints.load_model(run.checkpoint("vqvae"), VQVAE, CPU)
    maps, dataset = codes.load_codes(run.codes), open_cache(run.data)
    evaluator = Evaluator.of(dataset.split("train"), dataset.split("test"))
    result = read_json(options.out) if options.only and options.out.exists() else {"rows": {}}
    result |= {
        "train_maps": len(maps.indices["train"]),
        "seconds": options.seconds,
        "provenance": origin,
    }
    if "references" not in result:
        result["references"] = references(vqvae, evaluator, dataset.split("validate"))
    for name, changes in VARIANTS.items():
        if options.only in name:
            seed = int(name[-1]) if "seed" in name else 0
            config = dataclasses.replace(load_profile("demo").dcgan, **maps.age_scale(), **changes)
            seconds = 0.0 if "untrained" in name else options.seconds
            model, about = train(config, vqvae, maps, seconds, seed)
            rows = result["rows"] | {name: {**evaluated(model, vqvae, maps, evaluator), **about}}
            result["rows"] = {known: rows[known] for known in VARIANTS if known in rows}
            write_json(options.out, result)
    for name, row in (result["references"] | result["rows"]).items():
        print(f"{name:<53}" + "  ".join(f"{key} {value:.3f}" for key, value in row.items()))


if __name__ == "__main__":
    main()
