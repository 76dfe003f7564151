"""Prints what the machine is: GPU, driver, libraries, and what it reaches at best."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from measure import ceilings, machine

from oasis_utils.runtime import select_device, select_dtype

PACKAGES = ("numpy", "torch", "torchvision", "triton", "papermill", "ipykernel", "umap-learn")


def versions() -> dict[str, str]:
    """{package: version} of those that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    device = select_device(parser.parse_args().device)
    if device.type == "cuda":
        subprocess.run(["nvidia-smi"], check=False)
    about = {
        "machine": machine(device),
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "precision of training": str(select_dtype(device)),
        "versions": versions(),
        "reaches": ceilings(device),
    }
    print(json.dumps(about, indent=1))


if __name__ == "__main__":
    main()
