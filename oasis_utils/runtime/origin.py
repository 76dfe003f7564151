"""Provenance of a result: versions, revision of the code, hardware, seed."""

from __future__ import annotations

import contextlib
import platform
import subprocess
from pathlib import Path
from typing import Any

import oasis_utils
from oasis_utils.runtime import sharing
from oasis_utils.runtime.device import seed_everything, select_device, select_dtype
from oasis_utils.runtime.folders import project_root


def hardware(device) -> str:
    """Name of the GPU, or of the CPU with the number of threads."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'' if threads == 1 else 's'}"


def _processor() -> str:
    """The CPU's name if the system provides it, else its architecture."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def banner(seed: int, device: str = "auto") -> str:
    """Seed everything and describe versions and hardware in one line.

    Args:
        seed: For Python, NumPy and torch, 0 or more.
        device: As in `select_device`, which also makes it ready.

    Returns:
        Versions, hardware, precision and seed as text, and the load if others use the cores.
    """
    import torch

    chosen = select_device(device)
    seed_everything(seed)
    precision = str(select_dtype(chosen)).removeprefix("torch.")
    load = sharing.load_in_words()
    return (
        f"oasis_utils {oasis_utils.__version__} · Python {platform.python_version()} · torch"
        f" {torch.__version__} · {hardware(chosen)} · {precision} · seed {seed}"
        + (f" · {load}" if load else "")
    )


def provenance(seed: int, device) -> dict[str, Any]:
    """Versions, revision of the code, hardware and seed, to be stored with a result.

    Args:
        seed: That of the run.
        device: A `torch.device`.

    Returns:
        {what: text or number}, plain JSON.
    """
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
    """The git revision of the project.

    A '+' follows it if files differ from it; 'unknown' outside a checkout.
    """
    git = ["git", "-C", str(project_root())]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        # recorded results are not code
        changed = [*git, "status", "--porcelain", "--", ":!benchmarks/results"]
        dirty = subprocess.run(changed, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
