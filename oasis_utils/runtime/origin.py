"""What a result comes from: versions, revision of the code, hardware, seed."""

from __future__ import annotations

import contextlib
import platform
import subprocess
from pathlib import Path
from typing import Any

import oasis_utils
from oasis_utils.runtime.device import seed_everything, select_device, select_dtype
from oasis_utils.runtime.folders import project_root


def hardware(device) -> str:
    """The device in words."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    """The CPU's name where the system tells it, else its architecture."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def banner(seed: int, device: str = "auto") -> str:
    """Seed everything and say, in one line, what runs where."""
    import torch

    chosen = select_device(device)
    seed_everything(seed)
    precision = str(select_dtype(chosen)).removeprefix("torch.")
    return (
        f"oasis_utils {oasis_utils.__version__} · Python {platform.python_version()} · torch"
        f" {torch.__version__} · {hardware(chosen)} · {precision} · seed {seed}"
    )


def provenance(seed: int, device) -> dict[str, Any]:
    """What a result comes from: versions, revision of the code, hardware, seed."""
    import numpy
    import torch

    return {
        "oasis_utils": oasis_utils.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "revision": revision(),
        "hardware": hardware(device),
        "precision": str(select_dtype(device)).removeprefix("torch."),
        "platform": platform.platform(),
        "seed": seed,
    }


def revision() -> str:
    """The git revision of the project, '+' if files differ from it, 'unknown' outside a
    checkout.
    """
    git = ["git", "-C", str(project_root())]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = [
            *git,
            "status",
            "--porcelain",
            "--",
            ":!benchmarks/results",
        ]  # records do not change the code
        dirty = subprocess.run(changed, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
