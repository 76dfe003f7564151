"""The notebooks of the series, in order, with the files that each of them writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oasis_utils.runtime import project_root
from oasis_utils.runtime.project_files import project_file, unpacked

# without these files a finished notebook counts as not run
PRODUCTS = {
    "01_data_exploration": ("data/manifest.json", "data/slices.npy"),
    "02_train_vqvae": ("checkpoints/vqvae.safetensors",),
    "03_codebook_analysis": ("codes.npz",),
    "04_train_dcgan": ("checkpoints/dcgan.safetensors",),
    "05_train_pixelcnn": ("checkpoints/pixelcnn.safetensors",),
    "06_anomalies_and_completion": (),
    "07_generation": ("samples/pixelcnn.npz", "samples/dcgan.npz"),
    "08_evaluation": ("report.json",),
    "09_privacy_and_utility": ("report.json", "model_card.md"),
    "10_whole_heads": ("checkpoints/pixelcnn_neighbour.safetensors", "samples/pixelcnn_heads.npz"),
}
# read by notebook 04
RECORDED_RESULTS = "benchmarks/results/dcgan.json"


class UsageError(ValueError):
    """The request is invalid: a message of one line, exit code 2."""


class NotebookFailed(RuntimeError):
    """A cell raised or the kernel died: a message of one line, exit code 1."""


@dataclass
class Step:
    """One notebook of a run.

    Attributes:
        name: Without ending, such as 02_train_vqvae.
        source: The notebook to execute.
        parameters: {name: value} of its parameters cell.
        cache_key: Digest of code, parameters, package and data.
        seconds: Duration of its execution, perhaps in an earlier run.
        skipped: Whether it was up to date.
        summary: Its line of the final table.
    """

    name: str
    source: Path
    parameters: dict[str, Any]
    cache_key: str = ""
    seconds: float = 0.0
    skipped: bool = False
    summary: str = ""


def notebook_names(only: str | None = None) -> list[str]:
    """Names of the notebooks, in the order of the series.

    Args:
        only: Numbers of two digits or beginnings of names, such as "02,03"; None or empty: all.

    Raises:
        UsageError: No single notebook has such a name.
    """
    names = list(PRODUCTS)
    if not only:
        return names
    chosen = []
    for wanted in only.split(","):
        begins = wanted.strip()
        matches = [name for name in names if name.startswith(begins) and len(begins) > 1]
        if len(matches) != 1:
            raise UsageError(
                f"unknown notebook {begins!r}: choose from {', '.join(n[:2] for n in names)}"
            )
        chosen += matches
    return [name for name in names if name in chosen]


def notebook_file(name: str) -> Path:
    """The source of a notebook, in the checkout or in the installed package."""
    return project_file(f"notebooks/{name}.ipynb")


def unpack_notebooks(steps: list[Step]) -> Path | None:
    """Copy the notebooks of an installed package into ./notebooks; existing files are kept.

    Args:
        steps: Their sources are set to the copies.

    Returns:
        The folder, or None if every notebook was there already.
    """
    folder = project_root() / "notebooks"
    packed = [step for step in steps if step.source.parent != folder]
    for step in packed:
        step.source = unpacked(f"notebooks/{step.name}.ipynb")
    if packed and project_file(RECORDED_RESULTS).exists():
        unpacked(RECORDED_RESULTS)
    return folder if packed else None
