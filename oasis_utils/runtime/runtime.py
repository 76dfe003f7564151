"""Where the code runs and writes: project root, run folders, device, precision, seeds, banner,
progress.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import errno
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import oasis_utils

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3), in bytes


class DataError(ValueError):
    """The data are not what they should be; the message says what was found, where, and what to
    do.
    """


# ---------------------------------------------------------------- folders


def project_root() -> Path:
    """The folder that holds pyproject.toml and notebooks/; the working folder for an installed
    copy.
    """
    root = Path(oasis_utils.__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").exists() else Path.cwd()


def anchored(path: str | Path) -> Path:
    """An absolute path; a relative one counts from the project root, because notebooks run in
    changing folders.
    """
    path = Path(path).expanduser()
    return path if path.is_absolute() else project_root() / path


@dataclass(frozen=True)
class RunFolder:
    """Everything a run writes, by name. Notebooks meet one another only here."""

    root: Path

    @classmethod
    def at(cls, path: str | Path) -> RunFolder:
        return cls(anchored(path))

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    @property
    def codes(self) -> Path:
        return self.root / "codes.npz"

    @property
    def lock(self) -> Path:
        return self.root / ".lock"

    def checkpoint(self, name: str) -> Path:
        return self.root / "checkpoints" / f"{name}.safetensors"

    def history(self, name: str) -> Path:
        return self.root / "history" / f"{name}.jsonl"

    def watched(self, name: str) -> Path:
        return self.root / "history" / f"{name}_watched.npz"

    def samples(self, prior: str) -> Path:
        return self.root / "samples" / f"{prior}.npz"

    def headline(self, notebook: str) -> Path:
        return self.root / "headlines" / f"{notebook}.json"

    @property
    def report(self) -> Path:
        return self.root / "report.json"

    @property
    def card(self) -> Path:
        return self.root / "model_card.md"

    def require(self, path: Path, made_by: str) -> Path:
        """`path` if it exists, else a FileNotFoundError that names the notebook to run first."""
        if not path.exists():
            raise FileNotFoundError(
                f"{path} is missing: run notebook {made_by} with the same run folder first"
            )
        return path


STORAGE_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "your disk quota is used up: free some space",
    errno.EFBIG: "the file is larger than this account may write: raise the limit (ulimit -f)",
    errno.EROFS: "this file system is read-only: choose another folder",
    errno.EACCES: "no permission to write there: choose another folder",
}


class StorageError(OSError):
    """A result cannot be written; the message says why and what to do."""


class FolderInUse(RuntimeError):
    """Another process writes there; the message names it."""


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place only when the block ends well and all
    bytes are on the disk.

    StorageError when there is no room or no permission; what was there before stays.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        _to_disk(partial)
        os.replace(partial, path)
        _to_disk(path.parent)  # the new name, too, survives a power cut
    except OSError as error:
        if error.errno not in STORAGE_ADVICE:
            raise
        raise StorageError(
            f"cannot write {path}: {STORAGE_ADVICE[error.errno]} and run again; "
            "what was written before is kept"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def exclusive(lock: Path, what: str | Path) -> Iterator[None]:
    """Keep other processes out of `what` while the block runs; the system lets go of `lock` if this
    process dies.

    FolderInUse names the process that is in.
    """
    from filelock import FileLock, Timeout

    holder = lock.with_name(f"{lock.name}.json")
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(lock, timeout=0).acquire()
    except Timeout:
        raise FolderInUse(
            f"{what} is in use by {_holder(holder)}: wait for it, stop it, or choose another run"
            " folder"
        ) from None
    with held:
        write_json(
            holder,
            {
                "process": os.getpid(),
                "host": platform.node(),
                "command": shlex.join(sys.argv),
                "since": f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}",
            },
        )
        try:
            yield
        finally:
            holder.unlink(missing_ok=True)


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError):
        about = read_json(path)
        return (
            f"process {about['process']} on {about['host']} since {about['since']}"
            f" ({about['command']})"
        )
    return "another process"


def write_json(path: str | Path, value: Any) -> None:
    """Write readable JSON, all or nothing. Numbers that JSON lacks (nan, infinity) are refused."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: str | Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


# ---------------------------------------------------------------- device, precision, seeds


DEVICES = "auto, cpu, cuda or cuda:N (GPU number N)"


def is_device_name(name: str) -> bool:
    """Whether `select_device` knows names of this form."""
    return re.fullmatch(r"auto|cpu|cuda(:\d+)?", name) is not None


def select_device(name: str = "auto"):
    """The torch device: CUDA where there is one, else the CPU; or the named one. Also calls
    `keep_freed_memory`.

    A GPU becomes the current device, and computes float32 as IEEE float32, see
    `gpu.use_ieee_float32`. ValueError for a name that is not auto, cpu, cuda or cuda:N;
    RuntimeError for a GPU that does not exist.
    """
    import torch

    from oasis_utils.runtime import gpu

    if not is_device_name(name):
        raise ValueError(f"unknown device {name!r}: choose {DEVICES}")
    keep_freed_memory()
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    return gpu.cuda_device("cuda" if name == "auto" else name)


def keep_freed_memory(keep: bool = True) -> bool:
    """Let the C library keep freed memory for the next tensors, or give it back to the kernel as it
    does by itself; what it has kept until then it may keep. False where the C library is not glibc,
    and nothing changes.

    What is given back comes again as fresh pages, which the kernel clears one by one: up to a tenth
    of a training step and a third of the image network's time on a CPU (benchmarks/habits.py).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    own, spare = (
        (2**28, 2**31 - 1) if keep else (2**25, 2**26)
    )  # False: where glibc's own adaptation ends
    taken = mallopt(M_MMAP_THRESHOLD, own) or mallopt(
        M_MMAP_THRESHOLD, 2**25
    )  # old versions take no more
    return bool(taken and mallopt(M_TRIM_THRESHOLD, spare))


def select_dtype(device):
    """bfloat16 where the hardware multiplies it natively, else float32 (bf16 is emulated, 10x
    slower, on AVX2).
    """
    import torch

    if device.type == "cuda":
        return (
            torch.bfloat16
            if torch.cuda.is_bf16_supported(including_emulation=False)
            else torch.float32
        )
    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    return torch.bfloat16 if amx else torch.float32


def autocast(device):
    """Mixed precision for the convolutions of a training or sampling block."""
    import torch

    dtype = select_dtype(device)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


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


# ---------------------------------------------------------------- progress


def in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def clock(seconds: float) -> str:
    """Seconds as 1:23 or 1:02:03."""
    seconds = round(seconds)
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


class Progress:
    """One line that is updated in place: in a notebook (also an executed one), in a terminal, or in
    a log.

    with Progress("encoding", total=100) as progress:
        progress.update(5, "loss 0.2")
    """

    def __init__(self, label: str, total: int, every: float = 0.3):
        self.label, self.total, self.every = label, total, every
        self.done, self.note, self.shown = 0, "", ""
        self.start = self.drawn = time.monotonic()
        self.handle = None
        self.live = in_notebook() or sys.stderr.isatty()
        if not self.live:
            self.every = max(every, 15.0)  # a log keeps every line, so few of them

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind, *_) -> None:
        self._draw(final=True, state="" if kind is None else " · stopped")

    def update(self, done: int, note: str | None = None) -> None:
        self.done, self.note = done, self.note if note is None else note
        if time.monotonic() - self.drawn >= self.every:
            self._draw()

    def __call__(self, done: int, total: int) -> None:
        """As a plain `progress(done, total)` callback."""
        self.total = total
        self.update(done)

    def line(self, state: str = "") -> str:
        elapsed = time.monotonic() - self.start
        share = self.done / self.total if self.total else 1.0
        left = "" if share >= 1 or share <= 0 else f" · {clock(elapsed * (1 - share) / share)} left"
        filled = math.floor(20 * min(share, 1))
        note = f" · {self.note}" if self.note else ""
        return (
            f"{self.label} {'█' * filled}{'·' * (20 - filled)} {self.done}/{self.total} · "
            f"{clock(elapsed)}{left}{note}{state}"
        )

    def _draw(self, final: bool = False, state: str = "") -> None:
        self.drawn = time.monotonic()
        idle = final and not self.done and not state
        text = f"{self.label} · nothing to do, up to date" if idle else self.line(state)
        if in_notebook():
            from IPython.display import display

            content = {"text/plain": text}
            if self.handle is None:
                self.handle = display(content, raw=True, display_id=True)
            else:
                self.handle.update(content, raw=True)
        elif sys.stderr.isatty():
            print(f"\r\x1b[2K{text}", end="\n" if final else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)
