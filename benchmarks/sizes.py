"""What image size, pixels a code and codebook size give and cost, after equal CPU time.

    OMP_NUM_THREADS=1 python benchmarks/sizes.py DATA [--only 128] [--seconds 180]
    python benchmarks/sizes.py --table

Sample brains of 64 people for training, 8 for validation, 32 for testing, prepared in DATA. Each
row is a VQ-VAE and a PixelCNN of the demo profile with other sizes, trained for so many CPU seconds
each on one thread; one seed. The table goes into docs/real_size.md.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import RESULTS

from oasis_utils.config import CodesConfig, load_profile
from oasis_utils.data import make_sample_brains
from oasis_utils.data.batches import Batches
from oasis_utils.data.dataset import Dataset, Split, build_cache
from oasis_utils.metrics import features
from oasis_utils.metrics import image_quality as metrics
from oasis_utils.metrics.codebook import usage
from oasis_utils.metrics.kernel_distance import kid
from oasis_utils.models.codes import CodeMaps, encode_dataset
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.sampler import BrainSampler
from oasis_utils.models.samples import image_seeds
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import (
    hardware,
    keep_freed_memory,
    project_root,
    read_json,
    revision,
    seed_everything,
    write_json,
)
from oasis_utils.runtime.files import write_texts
from oasis_utils.training.equal_time import train_for
from oasis_utils.training.trainer import Trainer

CPU, DEMO, SEED = torch.device("cpu"), load_profile("demo"), 0
RECORD, PAGE = RESULTS / "sizes.json", project_root() / "docs/real_size.md"
BEGIN, END = "<!-- table: made by benchmarks/sizes.py -->", "<!-- end of table -->"
PEOPLE = dict(train_subjects=64, validate_subjects=8, test_subjects=32)
JUDGED, DRAWN_TIMED = 512, 16


@dataclass(frozen=True)
class Size:
    """One row: side of the slices and of the square of pixels that a code stands for, in pixels."""

    side: int
    pixels: int
    n_codes: int

    @property
    def name(self) -> str:
        return f"{self.side}/{self.pixels}/{self.n_codes}"

    @property
    def grid(self) -> int:
        return self.side // self.pixels


PIXELS_AND_CODES = {
    128: ((8, 256), (8, 1024), (4, 64), (4, 256), (4, 1024)),
    256: ((16, 256), (16, 1024), (8, 256), (8, 1024), (4, 256)),
}
SIZES = [Size(side, *some) for side, pairs in PIXELS_AND_CODES.items() for some in pairs]


def trained_vqvae(size: Size, dataset: Dataset, seconds: float) -> tuple[VQVAE, int]:
    """(the model, its steps)."""
    seed_everything(SEED)
    sizes = dict(image_size=size.side, downsampling=size.pixels, n_codes=size.n_codes)
    model, training = VQVAE(replace(DEMO.vqvae, **sizes)), DEMO.vqvae_training
    train, held_out = dataset.split("train"), dataset.split("validate")
    history = train_for(
        seconds,
        model,
        Batches(train.to(CPU), training.batch_size, True, train.symmetry, SEED),
        Batches(held_out.to(CPU), 64),
        training,
        n_records=1,
        clock=time.process_time,
    )
    return model, int(history[-1]["steps"])


def trained_pixelcnn(
    size: Size, vqvae: VQVAE, maps: CodeMaps, seconds: float
) -> tuple[PixelCNN, int]:
    """(the model, its steps); its schedule is as long as the time."""
    seed_everything(SEED)
    sizes = dict(grid=size.grid, n_codes=size.n_codes)
    model = PixelCNN(replace(DEMO.pixelcnn, **sizes, **maps.age_scale()))
    known = maps.to("train", CPU)
    model.use_maps(
        vqvae.quantizer.codebook,
        known["indices"],
        known["positions"],
        known.get("ages"),
        maps.n_plain,
    )
    batches = Batches(known, DEMO.pixelcnn_training.batch_size, True, seed=SEED)
    trainer, spent, epoch = Trainer(model.train(), DEMO.pixelcnn_training, 1), 0.0, 0
    while spent < seconds:
        for batch in batches.epoch(epoch):
            start = time.process_time()
            trainer.step(batch)
            spent += time.process_time() - start
            trainer.total_steps = round(trainer.steps * seconds / spent)
            if spent >= seconds:
                break
        epoch += 1
    found = trainer.evaluated.eval()
    assert isinstance(found, PixelCNN)
    return found, trainer.steps


def distance(images: np.ndarray, real: Split, rows: np.ndarray, known: np.ndarray) -> float:
    """KID of slices to the real ones of the same people and positions, in EfficientNet's space."""
    found = features.learned(images, CPU)
    return float(kid(found, known, real.subjects[rows], real.subjects[rows]))


def measured(size: Size, dataset: Dataset, folder: Path, seconds: float) -> dict[str, Any]:
    """All numbers of a row."""
    test = dataset.split("test")
    rows = np.linspace(0, len(test) - 1, JUDGED).round().astype(int)
    real = np.array(test.images[rows])
    known = features.learned(real, CPU)
    vqvae, steps = trained_vqvae(size, dataset, seconds)
    path = folder / f"maps_{size.side}_{size.pixels}_{size.n_codes}.npz"
    path.unlink(missing_ok=True)
    maps = encode_dataset(vqvae, dataset, CodesConfig(variants=2), path, CPU, SEED)
    prior, prior_steps = trained_pixelcnn(size, vqvae, maps, seconds)
    sampler = BrainSampler(vqvae, prior)
    decoded = sampler.decode(maps.indices["test"][rows])
    start = time.process_time()
    seeds, ages = image_seeds(SEED, JUDGED), test.ages[rows]
    sampler.sample(test.positions[rows][:DRAWN_TIMED], seeds[:DRAWN_TIMED], ages=ages[:DRAWN_TIMED])
    drawing = time.process_time() - start
    drawn = sampler.sample(test.positions[rows], seeds, ages=ages).images
    scores = metrics.score(features.as_floats(real), features.as_floats(decoded))
    use = usage(maps.indices["validate"], size.n_codes)
    nats = prior.validate(Batches(maps.to("validate", CPU), 64))["nats_per_code"]
    return {
        "ssim": scores["ssim"],
        "brain_ssim": scores["brain_ssim"],
        "kid_decoded": distance(decoded, test, rows, known),
        "used": use.used,
        "perplexity": use.perplexity,
        "nats_per_code": nats,
        "nats_per_slice": nats * size.grid**2,
        "kid_drawn": distance(drawn, test, rows, known),
        "seconds_of_16": drawing,
        "steps": steps,
        "prior_steps": prior_steps,
        "revision": revision(),
    }


def table(record: dict[str, Any]) -> str:
    """Markdown of all rows that were measured."""
    lines = [
        "| slice, pixels | pixels a code | K | map | SSIM | in the brain | KID of decoded"
        " | perplexity | nats per code | nats per slice | KID of drawn | CPU s for 16 | steps |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for size in SIZES:
        if row := record["rows"].get(size.name):
            lines.append(
                f"| {size.side} | {size.pixels} | {size.n_codes} | {size.grid}×{size.grid}"
                f" | {row['ssim']:.3f} | {row['brain_ssim']:.3f} | {row['kid_decoded']:.3f}"
                f" | {row['perplexity']:.0f} | {row['nats_per_code']:.2f}"
                f" | {row['nats_per_slice']:,.0f} | {row['kid_drawn']:.3f}"
                f" | {row['seconds_of_16']:.1f} | {row['steps']:,}, {row['prior_steps']:,} |"
            )
    return "\n".join(
        [
            *lines,
            "",
            f"{record['seconds']:.0f} CPU seconds for each VQ-VAE and each PixelCNN on"
            f" {record['hardware']}, beside other work; one seed; {PEOPLE['train_subjects']} sample"
            f" people to train on, {JUDGED} slices of {PEOPLE['test_subjects']} others to judge."
            " *Steps*: of the VQ-VAE, of the PixelCNN.",
        ]
    )


def with_table(page: str, text: str) -> str:
    """The page with a new table between its marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="folder for prepared slices and maps")
    parser.add_argument("--seconds", type=float, default=180.0, help="of each training")
    parser.add_argument("--only", default="", help="first part of the names of rows, such as 256/8")
    parser.add_argument("--table", action="store_true", help="only write the table into the docs")
    options = parser.parse_args()
    if options.table:
        text = with_table(PAGE.read_text(encoding="utf-8"), table(read_json(RECORD)))
        return write_texts({PAGE: text})
    if options.data is None:
        parser.error("DATA is missing: a folder for the prepared slices")
    torch.set_num_threads(1)
    keep_freed_memory()
    for size in (size for size in SIZES if size.name.startswith(options.only)):
        config = replace(DEMO.data, image_size=size.side, **PEOPLE)
        dataset = build_cache(
            make_sample_brains(config, SEED), options.data / str(size.side), config
        )
        found = measured(size, dataset, options.data, options.seconds)
        print(size.name, found, flush=True)
        rows = read_json(RECORD)["rows"] if RECORD.exists() else {}
        rows[size.name] = found
        write_json(
            RECORD,
            {"hardware": hardware(CPU), "seconds": options.seconds, "seed": SEED, "rows": rows},
        )
    return None


if __name__ == "__main__":
    main()
