"""What lowers membership inference? Trainings of the PixelCNN on sample brains, one choice changed
at a time, each attacked by the membership audit.

    python benchmarks/membership.py [--seeds 3] [--workers 2] [--only "NAME;NAME"]

128 pixels at 8 pixels a code, the demo profile's other sizes; 64 training people (256 in one row)
and 128 test people. One tokeniser for each number of people is trained first; then every row trains
the PixelCNN with each seed. The audit asks for 64 members in every row. Beside the attack stand the
likelihood of test maps and the kernel distance of generated slices to decoded test slices. Finished
rows of the record are kept, so an interrupted study goes on.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oasis_utils.config import CodesConfig, load_profile, override
from oasis_utils.data.batches import Batches
from oasis_utils.data.dataset import Dataset, Split, build_cache
from oasis_utils.data.sample_brains import make_sample_brains
from oasis_utils.evaluation import generate
from oasis_utils.evaluation.membership import Group, audit_membership
from oasis_utils.metrics.features import learned
from oasis_utils.metrics.kernel_distance import kid
from oasis_utils.models.checkpoints import load_model
from oasis_utils.models.codes import CodeMaps, decode_maps, encode_dataset
from oasis_utils.models.drawing import SamplingOptions
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.sampler import BrainSampler
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import project_root, provenance, read_json, seed_everything, write_json
from oasis_utils.training.trainer import Trainer

CPU = torch.device("cpu")
DEMO = load_profile("demo")
PEOPLE, MANY = 64, 256
STEPS = 1024
GENERATED = 256
RECORD = project_root() / "benchmarks" / "results" / "membership.json"


@dataclass(frozen=True)
class Choice:
    """One row of the table.

    Attributes:
        people: Training people.
        steps: Of the training.
        variants: Mirrored and shifted copies of the training maps.
        config: Changes of the PixelCNN's configuration.
        weight_decay: Of the training.
    """

    people: int = PEOPLE
    steps: int = STEPS
    variants: int = 4
    config: dict[str, Any] = field(default_factory=dict)
    weight_decay: float = 0.01


CHOICES = {
    "base": Choice(),
    "half the steps": Choice(steps=STEPS // 2),
    "dropout 0.2": Choice(config={"dropout": 0.2}),
    "weight decay 0.3": Choice(weight_decay=0.3),
    "noisy context, up to 30 %": Choice(config={"context_noise": 0.3}),
    "no layout": Choice(config={"layout": 0}),
    "4 times the people": Choice(people=MANY),
    "20 epochs without augmentation": Choice(steps=20 * PEOPLE * 32 // 8, variants=1),
}


def first_people(split: Split, count: int) -> Split:
    """Every so many-th person of a split, `count` in all."""
    names = np.unique(split.subjects)
    chosen = names[np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)]
    rows = np.flatnonzero(np.isin(split.subjects, chosen))
    parts = ("images", "subjects", "positions", "ages", "masks", "series")
    values = {n: None if (x := getattr(split, n)) is None else np.array(x[rows]) for n in parts}
    return replace(split, **values)


def prepared(folder: Path) -> Dataset:
    """Sample brains of many training people; made only if they are not there yet."""
    config = replace(DEMO.data, train_subjects=MANY)
    return build_cache(make_sample_brains(config, 0), folder / "membership", config)


def tokeniser(dataset: Dataset, people: int, folder: Path) -> Path:
    """A VQ-VAE trained on so many people, saved unless it is there."""
    from oasis_utils.models.checkpoints import save_model

    path = folder / f"vqvae_{people}.safetensors"
    if not path.exists():
        seed_everything(0)
        training = DEMO.vqvae_training
        model = VQVAE(replace(DEMO.vqvae, downsampling=8)).train()
        train = first_people(dataset.split("train"), people)
        batches = Batches(train.to(CPU), training.batch_size, True, train.symmetry, 0)
        trained(model, batches, training, 2048)
        save_model(path, model.eval())
    return path


def trained(model: Any, batches: Batches, training: Any, steps: int) -> Any:
    """The model, or the average of its weights, after so many steps."""
    trainer, epoch = Trainer(model, training, steps), 0
    while trainer.steps < steps:
        for batch in batches.epoch(epoch):
            if trainer.steps < steps:
                trainer.step(batch)
        epoch += 1
    return trainer.evaluated.eval()


def maps_of(vqvae: VQVAE, dataset: Dataset, choice: Choice, folder: Path) -> CodeMaps:
    """Index maps of all splits, the training people's with their variants."""
    config = CodesConfig(variants=choice.variants)
    path = folder / f"codes_{choice.people}_{choice.variants}.npz"
    maps = encode_dataset(vqvae, dataset, config, path, CPU)
    chosen = np.unique(first_people(dataset.split("train"), choice.people).subjects)
    rows = np.isin(maps.subjects["train"], chosen)
    parts = {
        kind: getattr(maps, kind) | {"train": getattr(maps, kind)["train"][rows]}
        for kind in ("indices", "positions", "subjects", "ages")
    }
    return replace(maps, **parts)


def prior_of(vqvae: VQVAE, maps: CodeMaps, choice: Choice, n_positions: int) -> PixelCNN:
    """A trained PixelCNN."""
    config = override(
        DEMO.pixelcnn,
        grid=vqvae.config.grid,
        n_codes=maps.n_codes,
        n_positions=n_positions,
        **maps.age_scale(),
        **choice.config,
    )
    model, tensors = PixelCNN(config), maps.to("train", CPU)
    told = (tensors[key] for key in ("indices", "positions", "ages"))
    model.use_maps(vqvae.quantizer.codebook, *told, n_plain=maps.n_plain)
    training = replace(DEMO.pixelcnn_training, weight_decay=choice.weight_decay)
    batches = Batches(tensors, training.batch_size, shuffle=True, seed=0)
    return trained(model.train(), batches, training, choice.steps)


def distance(vqvae: VQVAE, prior: PixelCNN, test: Split) -> float:
    """Kernel distance of generated to decoded test slices."""
    options = SamplingOptions(DEMO.evaluation.temperature, top_p=DEMO.evaluation.top_p)
    samples = generate(BrainSampler(vqvae, prior), GENERATED, 0, options, test)
    people = np.unique(test.subjects)
    group = Group.of(test, people, vqvae, CPU, GENERATED // len(people))
    drawn, real = learned(samples.images, CPU), learned(decode_maps(vqvae, group.maps), CPU)
    return kid(drawn, real, np.arange(GENERATED), group.people)


def run(name: str, seed: int, folder: Path) -> dict[str, float | None]:
    """One training and what is measured on it."""
    torch.set_num_threads(1)
    choice, dataset = CHOICES[name], prepared(folder)
    vqvae, _ = load_model(folder / f"vqvae_{choice.people}.safetensors", VQVAE, CPU)
    maps = maps_of(vqvae, dataset, choice, folder)
    seed_everything(seed)
    prior = prior_of(vqvae, maps, choice, dataset.n_positions)
    splits = {name: dataset.split(name) for name in ("validate", "test")}
    # as many members, with as many slices each, in every row
    splits["train"] = first_people(dataset.split("train"), PEOPLE)
    audit = audit_membership(vqvae, {"PixelCNN": prior}, splits, CPU)
    row = audit.models["PixelCNN"]
    assert row.calibrated and row.null, "128 test people are enough"
    held_out = Batches(maps.some("test", CPU, 1024, 0), 64)
    return {
        "person_auc": row.calibrated.person_auc.value,
        "slice_auc": row.calibrated.slice_auc.value,
        "person_found": row.calibrated.person_found.value,
        "plain_person_auc": row.plain.person_auc.value,
        "null_person_auc": row.null.person_auc.value,
        "nats_per_code": prior.validate(held_out)["nats_per_code"],
        "kid_to_decoded": distance(vqvae, prior, splits["test"]),
    }


def median_and_range(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """{metric: {"median", "least", "most"}} over seeds."""
    return {
        key: {
            "median": float(np.median(values)),
            "least": float(np.min(values)),
            "most": float(np.max(values)),
        }
        for key in runs[0]
        for values in [[found[key] for found in runs]]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default=";".join(CHOICES), help="rows, with ; between them")
    parser.add_argument("--data", type=Path, default=project_root() / "data" / "studies")
    parser.add_argument("--json", type=Path, default=RECORD)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    args.data.mkdir(parents=True, exist_ok=True)
    dataset = prepared(args.data)
    for people in (PEOPLE, MANY):
        tokeniser(dataset, people, args.data)
    known = read_json(args.json) if args.json.exists() else {"runs": {}}
    runs: dict[str, dict[str, Any]] = known["runs"]
    jobs = [
        (name, seed)
        for seed in range(args.seeds)
        for name in args.only.split(";")
        if str(seed) not in runs.get(name, {})
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.workers, mp_context=context) as pool:
        waiting = [(*job, pool.submit(run, *job, args.data)) for job in jobs]
        for name, seed, result in waiting:
            runs.setdefault(name, {})[str(seed)] = result.result()
            print(name, seed, runs[name][str(seed)], flush=True)
            rows = {n: median_and_range(list(found.values())) for n, found in runs.items()}
            about = {"command": "python benchmarks/membership.py", "steps": STEPS}
            write_json(
                args.json, about | {"provenance": provenance(0, CPU), "rows": rows, "runs": runs}
            )


if __name__ == "__main__":
    main()
