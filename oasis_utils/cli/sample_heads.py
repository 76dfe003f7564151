"""`sample --heads`: generated heads as a BIDS folder of NIfTI files."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oasis_utils.cli.folders import refuse_results, run_folder
from oasis_utils.pipeline.series import UsageError
from oasis_utils.runtime import Progress, RunFolder, atomic_folder, project_root, revision

if TYPE_CHECKING:
    import numpy as np

    from oasis_utils.data.dataset import Dataset
    from oasis_utils.data.head_geometry import HeadGeometry
    from oasis_utils.metrics.anatomy import Tissues

MOST_HEADS = 10_000  # of one command
HEADS_AT_ONCE, SLICES_AT_ONCE = 64, 2048  # the most that are held in memory
CHECKPOINTS = {  # of which a head is drawn, by prior
    "pixelcnn": ("vqvae", "pixelcnn", "pixelcnn_neighbour"),
    "dcgan": ("vqvae", "dcgan"),
}
FILES = (".npz", ".nii", ".gz", ".zip")  # endings of what is no folder
SAMPLE_BRAINS = "synthetic sample brains (from Colin27, not OASIS)"


def sample_heads(args: argparse.Namespace) -> None:
    """Generate whole heads with the models of a run; the folder appears when all are written."""
    from oasis_utils.data.export import refuse_full
    from oasis_utils.models.drawing import SamplingOptions
    from oasis_utils.models.heads import load_head_sampler
    from oasis_utils.models.samples import image_seeds
    from oasis_utils.runtime import select_device

    _refuse_options(args)
    out = Path(args.out).resolve()
    refuse_results(args.out)
    refuse_full(out)
    run = run_folder(args.run)
    dataset, trained_on = _data(run)
    tissues = _thresholds(args, dataset) if args.tissues else None
    sampler = load_head_sampler(run, args.prior, select_device(args.device))
    require_age(args, sampler.knows_age)
    options = SamplingOptions(args.temperature, args.top_k, args.top_p)
    about = _about(args, run, sampler.name, trained_on)
    if dataset is not None:
        about["SkullStripped"] = dataset.content == "brain"
    elif trained_on == SAMPLE_BRAINS:
        about["SkullStripped"] = True
    seeds, total = image_seeds(args.seed, args.heads), args.heads * sampler.n_positions
    with atomic_folder(out) as draft, Progress(f"sampling {sampler.name}", total) as progress:
        writer = _Writer(draft, args, about, tissues, dataset, trained_on == SAMPLE_BRAINS)
        step = max(1, min(HEADS_AT_ONCE, SLICES_AT_ONCE // sampler.n_positions))
        for start in range(0, args.heads, step):
            part = seeds[start : start + step]
            onwards = _Onwards(progress, start * sampler.n_positions)
            heads = sampler.sample(part, options, onwards, _ages(args.age, len(part)))
            writer.write(heads.images, heads.ages, part)
            progress.update((start + len(part)) * sampler.n_positions)
        writer.finish()
    print(f"wrote {args.heads} heads of {sampler.n_positions} slices to {args.out}")
    if writer.geometry and writer.geometry.assumed:
        print(f"assumed, as the data do not tell: {', '.join(writer.geometry.assumed)}")


def require_age(args: argparse.Namespace, knows_age: bool) -> None:
    """UsageError for --age of a prior that knows none."""
    if args.age is not None and not knows_age:
        raise UsageError(
            f"--age: the {args.prior} of {args.run} was trained without ages; leave the option out,"
            " or train it on data with ages"
        )


def _refuse_options(args: argparse.Namespace) -> None:
    given = {
        "--n": args.n is not None,
        "--position": args.position is not None,
        "--as-source": args.as_source,
    }
    for option, is_given in given.items():
        if is_given:
            raise UsageError(
                f"--heads and {option} are both given: a head has all slice positions, upright;"
                f" leave {option} out"
            )
    if args.out.endswith(FILES):
        raise UsageError(
            f"--heads writes a folder with a file for each head, and {args.out} is the name of a"
            " file: give --out the name of a new folder"
        )


def _data(run: RunFolder) -> tuple[Dataset | None, str]:
    """The data that the models were trained on, if the run still has them, and their name."""
    from oasis_utils.data import dataset as data
    from oasis_utils.data.head_geometry import SAMPLE_DATA
    from oasis_utils.models.checkpoints import input_of, read_about

    path = run.checkpoint("vqvae")
    identity = input_of(read_about(path), "data") if path.exists() else None
    if data.is_cache(run.data):
        dataset = data.open_cache(run.data)
        if identity in (None, dataset.identity):
            return dataset, dataset.description
    if identity == SAMPLE_DATA:
        return None, SAMPLE_BRAINS
    if data.is_cache(run.data):
        return None, "other data than those that the run has now"
    return None, "unknown: the run has no data"


def _thresholds(args: argparse.Namespace, dataset: Dataset | None) -> Tissues:
    from oasis_utils.evaluation.head_tissues import fit_tissues

    if dataset is None:
        raise UsageError(
            f"--tissues: {args.run} lacks the data its models were trained on, whose slices set the"
            " thresholds; run notebook 01 with this run folder, or leave the option out"
        )
    return fit_tissues(dataset.split("train"))


def _ages(age: float | None, n: int) -> np.ndarray | None:
    import numpy as np

    return None if age is None else np.full(n, age)


def _about(args: argparse.Namespace, run: RunFolder, name: str, trained_on: str) -> dict[str, Any]:
    """What the sidecars of all heads say; no path of this machine."""
    of_project = run.root == project_root().resolve()
    return {
        "Model": {
            "Name": name,
            "Prior": args.prior,
            "Run": "checkpoints/ of the project" if of_project else run.root.name,
            "Checkpoints": {
                model: _checkpoint(run.checkpoint(model))
                for model in CHECKPOINTS[args.prior]
                if run.checkpoint(model).exists()
            },
            "TrainedOn": trained_on,
        },
        "Revision": revision(),
        "Sampling": {
            "Temperature": args.temperature,
            "TopK": args.top_k,
            "TopP": args.top_p,
            "SeedOfCommand": args.seed,
        },
    }


def _checkpoint(path: Path) -> dict[str, Any]:
    from oasis_utils.models.checkpoints import read_about

    made = read_about(path).get("provenance")
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "Sha256": digest,
        "TrainedByRevision": made.get("revision") if isinstance(made, dict) else None,
    }


class _Onwards(Progress):
    """Counts on after the slices of earlier batches; draws nothing itself."""

    def __init__(self, whole: Progress, before: int):
        super().__init__(whole.label, whole.total)
        self.whole, self.before = whole, before

    def update(self, done: int, note: str | None = None) -> None:
        self.whole.update(self.before + done, note)


class _Writer:
    """Writes heads batch by batch, and in the end the tables."""

    def __init__(
        self,
        folder: Path,
        args: argparse.Namespace,
        about: dict[str, Any],
        tissues: Tissues | None,
        dataset: Dataset | None,
        sample_brains: bool,
    ):
        self.folder, self.about, self.tissues = folder, about, tissues
        self.dataset, self.sample_brains = dataset, sample_brains
        self.digits = max(3, len(str(args.heads)))
        self.geometry: HeadGeometry | None = None
        self.people: list[tuple[str, float | None, int]] = []

    def write(self, images: np.ndarray, ages: np.ndarray, seeds: list[int]) -> None:
        """Write a batch: images (heads, positions, height, width), an age and a seed for each."""
        import numpy as np

        from oasis_utils.data.head_geometry import HeadGeometry
        from oasis_utils.data.head_volumes import write_head
        from oasis_utils.evaluation.head_tissues import tissue_labels

        if self.geometry is None:
            n_positions, size = images.shape[1], images.shape[-1]
            self.geometry = (
                HeadGeometry.of_sample_brains(size, n_positions, self.sample_brains)
                if self.dataset is None
                else HeadGeometry.of(self.dataset, n_positions)
            )
        for slices, years, seed in zip(images, ages, seeds, strict=True):
            label = f"{len(self.people) + 1:0{self.digits}d}"
            age = None if np.isnan(years) else round(float(years), 3)
            labels = None if self.tissues is None else tissue_labels(slices, self.tissues)
            about = {"AgeAskedFor": age, "Seed": seed, **self.about}
            write_head(self.folder, label, slices, self.geometry, about, labels)
            self.people.append((label, age, seed))

    def finish(self) -> None:
        """Write the tables of the folder."""
        from oasis_utils.data.head_volumes import write_tables

        name = f"Synthetic heads drawn by {self.about['Model']['Name']} of OASIS-VQ"
        write_tables(self.folder, self.people, name, self.tissues is not None)
