"""What the speed records are measured on: slices and index maps of the demo of revision 889d11c.

    git worktree add OLD 889d11c
    OMP_NUM_THREADS=1 PYTHONPATH=OLD python benchmarks/speed_pins.py PINS

Writes PINS/slices.npz (64 training, 8 validation, 8 test sample people), PINS/vqvae.safetensors
(trained as that demo did) and PINS/maps.npz (its index maps of 16×16 cells). Runs with that
revision only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from oasis_utils.vqvae import VQVAE

from oasis_utils import codes, training  # of revision 889d11c
from oasis_utils.config import SPLITS, load_profile
from oasis_utils.data import Batches, open_or_build, sample_brains
from oasis_utils.runtime import Progress, RunFolder, seed_everything

CPU = torch.device("cpu")


def main(out: Path) -> None:
    """Make all three files; older ones are replaced."""
    settings, run = load_profile("demo"), RunFolder.at(out / "run")
    seed_everything(0)
    with Progress("making sample brains", 1) as progress:
        source = sample_brains(settings.data, 0, progress)
        dataset = open_or_build(source, run.data, settings.data, progress)
    splits = {name: dataset.split(name) for name in SPLITS}
    np.savez(
        out / "slices.npz",
        **{
            f"{name}_{kind}": np.array(getattr(split, kind))
            for name, split in splits.items()
            for kind in ("images", "subjects", "positions", "ages")
        },
    )
    schedule, train = settings.vqvae_training, splits["train"]
    model, _ = training.fit(
        VQVAE(settings.vqvae),
        Batches(train.to(CPU), schedule.batch_size, shuffle=True, mirror=True),
        Batches(splits["validate"].to(CPU), schedule.batch_size),
        schedule,
        run,
        "vqvae",
        0,
        inputs={"data": dataset.identity},
    )
    run.checkpoint("vqvae").rename(out / "vqvae.safetensors")
    maps = codes.encode_dataset(model, dataset, settings.codes, run.codes, CPU, 0)
    np.savez(
        out / "maps.npz",
        codebook=model.quantizer.codebook.numpy(),
        n_plain=len(train),
        n_codes=maps.n_codes,
        grid=model.config.grid,
        code_dim=model.config.code_dim,
        n_positions=dataset.n_positions,
        **maps.age_scale(),
        **{
            f"{kind}_{name}": getattr(maps, kind)[name]
            for name in SPLITS
            for kind in ("indices", "positions", "ages")
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
