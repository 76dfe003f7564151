"""Our copy test beside the rules of Dar 2024 and of DeepSSIM, on planted copies of training slices.

    OMP_NUM_THREADS=1 python benchmarks/copy_rules.py [--seconds 60] [--seeds 3]
    python benchmarks/copy_rules.py --quick    # a trial of some seconds, with few people
    python benchmarks/copy_rules.py --table    # only writes the tables of docs/privacy.md again

A rule is a space, which says how far apart two slices are, and a score. Spaces: Pearson correlation
of grey levels at 32 x 32, plain and as ours compares them (centres aligned, references also
mirrored), two contrastive encoders (with the changes of Dar 2024, arXiv 2402.01054, and with shifts
and noise as well), an encoder after DeepSSIM (arXiv 2509.16582), and ours
(metrics/memorisation.py); `copy_encoders` says what is simplified. Scores: the distance to the
nearest training slice, as in both papers, and its ratio to the distance to the nearest held-out
slice, as in ours. Distances of encoders and of plain grey levels are 1 - r or 1 - cosine.

Dar 2024 calls a sample a copy above the 95th percentile of the correlations of training slices with
their nearest validation slice, DeepSSIM above a cosine of 0.85. Here every rule has the same
nominal rate: the 1st percentile of its score for slices of the calibration people. Those and the
fresh people, whose slices below the threshold are false positives, are in neither reference.
Of the rules of others nothing was chosen by what it finds among the copies; ours compares grey
levels by correlation since an earlier form had missed the copies of gamma 3.

Intervals are 95 % bootstrap intervals over people, those of the calibration included. Trained
encoders: mean over seeds, and the interval of this mean.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import copy_encoders as encoders
import numpy as np
import torch
import torch.nn.functional as F
from copy_figures import CALIBRATION, Draws, Scores, judged
from copy_sets import FRESH, Images, Setting
from copy_tables import RECORD, summary_row, tables, write_page
from torch import Tensor
from vqvae_study import CPU

from oasis_utils.config import DataConfig, load_profile
from oasis_utils.data import Dataset, build_cache, make_sample_brains
from oasis_utils.metrics.features import as_floats
from oasis_utils.metrics.memorisation import GREY_SIDE, Fingerprints, References
from oasis_utils.models.checkpoints import load_model
from oasis_utils.models.codes import decode_maps, encode_images
from oasis_utils.models.sampler import shipped
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import keep_freed_memory, project_root, provenance, write_json
from oasis_utils.runtime.symmetry import LEFT_RIGHT

QUICK = DataConfig(image_size=128, train_subjects=4, validate_subjects=4, test_subjects=8)
SCORES = ("distance", "ratio")
DAR_PERCENTILE, DEEPSSIM_DISTANCE = 5.0, 0.15  # published thresholds, as distances
BETWEEN = "training, held out"  # the name of the distances of training from held-out slices


@dataclass(frozen=True)
class Space:
    """How slices are described, and how far they are from the nearest of some references."""

    describe: Callable[[Images], Any]
    refer: Callable[[Images], Any]  # described references
    nearest: Callable[[Any, Any], np.ndarray]  # (references, described slices) to distances
    about: dict[str, Any] = field(default_factory=dict)


def unit_space(describe: Callable[[Images], Tensor], about: dict[str, Any] | None = None) -> Space:
    """Rows compared by 1 - cosine."""

    def rows(images: Images) -> Tensor:
        return F.normalize(describe(images).double())

    def nearest(references: Tensor, described: Tensor) -> np.ndarray:
        best = torch.cat([(part @ references.T).amax(1) for part in described.split(256)])
        return (1 - best).clamp(min=1e-12).numpy()

    return Space(rows, rows, nearest, about or {})


def centred(rows: Tensor) -> Tensor:
    """Rows of mean 0: their cosine is Pearson's correlation."""
    return rows - rows.mean(1, keepdim=True)


def pixels(images: Images) -> Tensor:
    """Grey levels at GREY_SIDE."""
    return F.interpolate(as_floats(images), (GREY_SIDE, GREY_SIDE), mode="area").flatten(1)


def aligned(prints: Fingerprints) -> Fingerprints:
    """Only the grey levels, compared by correlation: both spaces hold them, so that the geometric
    mean of their distances is the distance of the grey levels.
    """
    return Fingerprints(prints.grey, prints.grey)


def aligned_references(images: Images) -> References:
    """`aligned` of slices and of their mirror images."""
    sides = (Fingerprints.of(images), Fingerprints.of(images, LEFT_RIGHT))
    return References(*(aligned(side) for side in sides))


def distances(references: References, prints: Fingerprints) -> np.ndarray:
    return references.nearest(prints).distance


def spaces(setting: Setting, seconds: float, seeds: int) -> Iterable[tuple[str, list[Space]]]:
    """(name, the space once for each seed); an untrained space comes once."""
    yield "grey levels", [unit_space(lambda images: centred(pixels(images)))]
    yield (
        "grey levels, aligned",
        [Space(lambda images: aligned(Fingerprints.of(images)), aligned_references, distances)],
    )
    small = encoders.small(setting.train.images)
    trained: dict[str, tuple[int, encoders.Loss]] = {
        "contrastive": (128, encoders.contrastive(small, encoders.DAR)),
        "contrastive, more changes": (128, encoders.contrastive(small, encoders.WIDER)),
        "DeepSSIM-like": (256, encoders.structural(small, setting.positions)),
    }
    for name, (dim, loss) in trained.items():
        yield name, [encoded(dim, loss, seconds, seed) for seed in range(seeds)]
    yield "ours", [Space(Fingerprints.of, References.of, distances)]


def encoded(dim: int, loss: encoders.Loss, seconds: float, seed: int) -> Space:
    """The space of an encoder; contrastive embeddings (128 numbers) are compared by correlation."""
    model, about = encoders.train(dim, loss, seconds, seed)
    if dim == 128:
        return unit_space(lambda images: centred(encoders.embed(model, images)), about)
    return unit_space(lambda images: encoders.embed(model, images), about)


def scores(space: Space, setting: Setting) -> dict[str, Scores]:
    """{score: {set: scores}} of the calibration people and of all judged sets."""
    train, held_out = (space.refer(s.images) for s in (setting.train, setting.held_out))
    found: dict[str, Scores] = {name: {} for name in SCORES}
    for name, part in {CALIBRATION: setting.calibration, **setting.judged}.items():
        described = space.describe(part.images)
        near, far = space.nearest(train, described), space.nearest(held_out, described)
        found["distance"][name], found["ratio"][name] = near, near / far
    found["distance"][BETWEEN] = space.nearest(held_out, space.describe(setting.train.images))
    return found


def published(name: str, run: Scores, kinds: list[str]) -> dict[str, float]:
    """Shares below the threshold of the paper, of one seed."""
    cut = (
        DEEPSSIM_DISTANCE
        if name == "DeepSSIM-like"
        else float(np.percentile(run[BETWEEN], DAR_PERCENTILE))
    )
    return {
        "threshold": cut,
        "false_positives": float((run[FRESH] < cut).mean()),
        "found_mean": float(np.mean([(run[kind] < cut).mean() for kind in kinds])),
    }


def study(setting: Setting, seconds: float, seeds: int) -> dict[str, Any]:
    """{space: what its rules find, how it was trained and how long it took}."""
    draws, found = Draws.of(setting), {}
    for name, versions in spaces(setting, seconds, seeds):
        begun = time.process_time()
        runs = [scores(space, setting) for space in versions]
        found[name] = {
            "trainings": [space.about for space in versions if space.about],
            "rules": {
                score: judged([run[score] for run in runs], setting, draws) for score in SCORES
            },
            "cpu_seconds_of_judging": time.process_time() - begun,
        }
        if found[name]["trainings"]:
            found[name]["published"] = [
                published(name, run["distance"], setting.kinds) for run in runs
            ]
        for score, rule in found[name]["rules"].items():
            print(" | ".join(summary_row(name, score, rule)), flush=True)
    return found


def sample_brains(quick: bool, folder: Path) -> Dataset:
    """Sample brains of 64 training people in the size of the demo profile, or few for a trial."""
    config = QUICK if quick else replace(load_profile("demo").data, train_subjects=64)
    return build_cache(make_sample_brains(config, 0), folder, config)


def decoder() -> Callable[[Images], Images]:
    """Slices through the shipped VQ-VAE."""
    vqvae, _ = load_model(shipped().checkpoint("vqvae"), VQVAE, CPU)
    return lambda images: decode_maps(vqvae, encode_images(vqvae, images, CPU))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU seconds of each training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each encoder")
    parser.add_argument(
        "--quick", action="store_true", help="one trial with few people; writes no record"
    )
    parser.add_argument("--table", action="store_true", help="only write the tables of the record")
    options = parser.parse_args()
    if options.table:
        return write_page()
    if options.quick:
        options.seconds, options.seeds = 1.0, 1
    torch.set_num_threads(1)
    keep_freed_memory()
    begun = time.process_time()
    folder = project_root() / "data" / "studies" / ("quick" if options.quick else "128")
    setting = Setting.of(sample_brains(options.quick, folder), decoder())
    sizes = {name: len(part.images) for name, part in setting.judged.items()}
    result = {
        "command": " ".join(["python benchmarks/copy_rules.py", *sys.argv[1:]]),
        "seconds": options.seconds,
        "seeds": list(range(options.seeds)),
        "people": {
            "training": setting.train.n_people,
            "held out": setting.held_out.n_people,
            "calibration": setting.calibration.n_people,
            "fresh": setting.judged[FRESH].n_people,
        },
        "slices": {"training": len(setting.train.images), **sizes},
        "spaces": study(setting, options.seconds, options.seeds),
        "provenance": provenance(0, CPU),
        "cpu_seconds": time.process_time() - begun,
    }
    if options.quick:
        print(tables(result))
        return None
    write_json(RECORD, result)
    write_page()


if __name__ == "__main__":
    main()
