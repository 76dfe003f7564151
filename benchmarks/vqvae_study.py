"""Which VQ-VAE, and which codebook? Trainings of equal CPU time on sample brains, one choice
changed at a time.

    OMP_NUM_THREADS=1 python benchmarks/vqvae_study.py [--run runs/demo] [--seconds 16] [--only
    "NAME;NAME"]

First table: 64 pixels, figures of the validation subjects. Second table: the demo profile's sizes
(128 pixels, 8 pixels a code), the textbook VQ-VAE and a patch discriminator beside ours, figures of
the test subjects. Third table, with `--run`: the finished VQ-VAE of that run goes on for some
steps, without and with a patch discriminator. One thread, one seed: differences of .01 SSIM are not
established. `sharpness` is the mean gradient inside the brain over that of the originals;
`kernel_distance` compares features of 64 reconstructions and of their originals (see
metrics/kernel.py).
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from oasis_utils import evaluation
from oasis_utils.config import TrainingConfig, VQVAEConfig, load_profile
from oasis_utils.data import make_sample_brains
from oasis_utils.data.batches import Batches
from oasis_utils.data.dataset import Dataset, Split, build_cache
from oasis_utils.metrics import features
from oasis_utils.metrics import image_quality as metrics
from oasis_utils.metrics.codebook import usage
from oasis_utils.metrics.kernel_distance import kid
from oasis_utils.models.checkpoints import load_model
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import (
    RunFolder,
    project_root,
    provenance,
    seed_everything,
    write_json,
)
from oasis_utils.training.equal_time import textbook, train_for

CPU = torch.device("cpu")
BASE = VQVAEConfig(
    image_size=64,
    downsampling=4,
    channels=64,
    n_codes=256,
    code_dim=8,
    cosine=True,
    codebook_decay=0.97,
    ssim_weight=1.0,
)
EUCLID = replace(BASE, cosine=False)
STUDY = {
    "base: cosine, K 256, D 8, f 4": BASE,
    "rotation": replace(BASE, gradient="rotation"),
    "euclid": EUCLID,
    "euclid, rotation": replace(EUCLID, gradient="rotation"),
    "no k-means": replace(BASE, kmeans=False),
    "no revival": replace(BASE, revive_below=0.0),
    "euclid, no k-means, no revival": replace(EUCLID, kmeans=False, revive_below=0.0),
    "gradient codebook, k-means, revival": replace(EUCLID, codebook="gradient"),
    "textbook": textbook(BASE),
    "MSE": replace(BASE, pixel_loss="mse", ssim_weight=0.0),
    "K 64": replace(BASE, n_codes=64),
    "K 512": replace(BASE, n_codes=512),
    "D 4": replace(BASE, code_dim=4),
    "D 32": replace(BASE, code_dim=32),
    "f 8": replace(BASE, downsampling=8),
}
DEMO = load_profile("demo").vqvae
PEERS = {
    "ours (demo profile)": DEMO,
    "textbook": textbook(DEMO),
    "ours + patch discriminator": replace(DEMO, adversarial_weight=0.2, adversarial_start=200),
}
LATE = {
    "finished model, more steps": DEMO,
    "finished model, patch discriminator": replace(
        DEMO, adversarial_weight=0.5, adversarial_start=40
    ),
}


def prepared(size: int, folder: Path, seed: int) -> Dataset:
    """The demo profile's sample brains at `size` pixels; made only if they are not there yet."""
    config = replace(load_profile("demo").data, image_size=size)
    return build_cache(make_sample_brains(config, seed), folder / str(size), config)


def sharpness(real: np.ndarray, images: np.ndarray) -> float:
    """Mean gradient magnitude inside the brain, relative to that of the originals."""
    inside = real > 255 * metrics.BRAIN_LEVEL
    steep, reference = (
        np.hypot(*np.gradient(x.astype(float), axis=(1, 2)))[inside].mean() for x in (images, real)
    )
    return float(steep / reference)


def run(
    model: VQVAE,
    dataset: Dataset,
    training: TrainingConfig,
    seconds: float,
    seed: int,
    tested: Split,
    clock=time.process_time,
) -> tuple[dict[str, float], np.ndarray]:
    """(metrics of one training of `seconds` CPU seconds, its reconstructions of `tested`)."""
    train, held_out = dataset.split("train"), dataset.split("validate")
    begun = time.process_time()
    history = train_for(
        seconds,
        model,
        Batches(train.to(CPU), training.batch_size, True, train.symmetry, seed),
        Batches(held_out.to(CPU), 64),
        training,
        n_records=2,
        clock=clock,
    )
    images, indices = evaluation.reconstruct_split(model, tested, CPU)
    use = usage(indices, model.config.n_codes)
    return {
        **metrics.score(tested.floats(), features.as_floats(images)),
        "used": use.used,
        "n_codes": use.n_codes,
        "perplexity": use.perplexity,
        "sharpness": sharpness(np.asarray(tested.images), images),
        "steps": history[-1]["steps"],
        "images_per_second": history[-1]["images_per_second"],
        "cpu_seconds": time.process_time() - begun,
    }, images


def fresh(config: VQVAEConfig, seed: int) -> VQVAE:
    seed_everything(seed)
    return VQVAE(config)


def finished(config: VQVAEConfig, folder: str, seed: int) -> VQVAE:
    """The trained VQ-VAE of a run; a discriminator, where the configuration has one, is new."""
    model = fresh(config, seed)
    trained, _ = load_model(RunFolder.at(folder).checkpoint("vqvae"), VQVAE, CPU)
    model.load_state_dict(trained.state_dict(), strict=False)
    return model


def row(name: str, figures: dict[str, float]) -> str:
    return f"{name:<38}" + "  ".join(
        f"{key} {value:.0f}" if float(value) >= 40 else f"{key} {value:.3f}"
        for key, value in figures.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=16.0, help="CPU seconds of each training at 64 pixels"
    )
    parser.add_argument(
        "--peer-seconds", type=float, default=40.0, help="CPU seconds of each at the demo's size"
    )
    parser.add_argument(
        "--run", default="", help="a run folder whose VQ-VAE goes on in the third table"
    )
    parser.add_argument("--late-steps", type=int, default=200, help="steps that it goes on for")
    parser.add_argument(
        "--only", default="", help="names of the trainings, separated by semicolons; empty: all"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=project_root() / "benchmarks/results/vqvae_study.json"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    training = load_profile("demo").vqvae_training
    result = {
        "seconds": options.seconds,
        "peer_seconds": options.peer_seconds,
        "batch_size": training.batch_size,
        "study": {},
        "peers": {},
        "late": {},
        "provenance": provenance(options.seed, CPU),
    }
    chosen = [name for name in options.only.split(";") if name]
    with tempfile.TemporaryDirectory() as folder:
        small, large = (
            prepared(size, Path(folder), options.seed)
            for size in (BASE.image_size, DEMO.image_size)
        )
        for name in [n for n in STUDY if not chosen or n in chosen]:
            result["study"][name], _ = run(
                fresh(STUDY[name], options.seed),
                small,
                training,
                options.seconds,
                options.seed,
                small.split("validate"),
            )
            print(row(name, result["study"][name]), flush=True)
            write_json(options.out, result)
        test = large.split("test")
        some = np.linspace(0, len(test) - 1, 64).astype(int)
        real, owners = features.learned(test.images[some], CPU), test.subjects[some]

        def compare(table: str, name: str, *arguments, **options_of_run) -> None:
            figures, images = run(*arguments, options.seed, test, **options_of_run)
            figures["kernel_distance"] = kid(
                features.learned(images[some], CPU), real, owners, owners
            )
            if table == "late":
                del figures["images_per_second"]  # its clock counts steps
            result[table][name] = figures
            print(row(name, figures), flush=True)
            write_json(options.out, result)

        for name in [n for n in PEERS if not chosen or n in chosen]:
            compare(
                "peers",
                name,
                fresh(PEERS[name], options.seed),
                large,
                training,
                options.peer_seconds,
            )
        gentle = replace(training, learning_rate=training.learning_rate / 4)
        for name in [n for n in LATE if options.run and (not chosen or n in chosen)]:
            steps = itertools.count()
            compare(
                "late",
                name,
                finished(LATE[name], options.run, options.seed),
                large,
                gentle,
                float(options.late_steps),
                clock=lambda steps=steps: float(next(steps)),
            )


if __name__ == "__main__":
    main()
