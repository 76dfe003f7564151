"""The models in checkpoints/, from a finished run of `demo` on sample brains.

    python benchmarks/shipped_models.py runs/demo [--out FOLDER]

The DCGAN is kept in half precision, which halves the largest file; a loaded model computes in
float32.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from oasis_utils.models.checkpoints import load_tensors, save_tensors
from oasis_utils.runtime import DataError, RunFolder, project_root, read_json

HALVED = "dcgan"
MODELS = ("vqvae", HALVED, "pixelcnn", "pixelcnn_neighbour")


def ship(run: RunFolder, folder: Path) -> None:
    """Write the models of a run.

    Raises:
        DataError: The run is not of sample brains.
    """
    if read_json(run.data / "manifest.json")["kind"] != "synthetic":
        raise DataError(f"{run.root} was trained on other data than sample brains: they stay away")
    for name in MODELS:
        tensors, about = load_tensors(run.checkpoint(name))
        if name == HALVED:
            tensors = {k: v.half() if v.dtype == torch.float32 else v for k, v in tensors.items()}
        save_tensors(folder / f"{name}.safetensors", tensors, about)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="run folder, such as runs/demo")
    parser.add_argument("--out", type=Path, default=project_root() / "checkpoints")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    ship(RunFolder(Path(options.run).resolve()), options.out)


if __name__ == "__main__":
    main()
