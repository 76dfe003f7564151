"""What is to be learnt on a GPU, in parts that stop on time and go on in the next call.

    python3 benchmarks/gpu/kit.py --out OUT --minutes 9 --wheels .wheels
    python3 benchmarks/gpu/kit.py --out OUT --device cpu --profile smoke    # rehearsal

Run it in a checkout on the machine with the GPU, until it says that all parts are done. It needs
torch 2.11 or newer and no network: the packages that are missing there are carried as wheels
(wheels.py). The parts are the machine, the GPU tests, the whole series under papermill on sample
brains, the benchmarks, and the models for distribution. Logs, report, figures, executed notebooks,
records and models go to OUT as zip files of bounded size; `--restore OUT` unpacks them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pieces import pack, restore

ROOT = Path(__file__).resolve().parents[2]
TESTS = (
    "tests/runtime/test_gpu.py",
    "tests/models/test_recorded_sampling.py",
    "tests/training/test_training_on_gpu.py",
)
LAST_SECONDS = 30  # for packing
STOP_SECONDS = 45  # in which a part ends when it is asked; then it is killed
LEAST_SECONDS = 20  # below which no part is begun


@dataclass(frozen=True)
class Part:
    """A command that writes its own results, and goes on with them where it was stopped."""

    name: str
    command: list[str]


def parts(options: argparse.Namespace, folder: Path) -> list[Part]:
    """All parts, in the order in which they matter."""
    python, run = sys.executable, str(folder / "run")
    device = ["--device", options.device]
    changes = [word for change in options.set for word in ("-p", change)]
    only = ["--only", options.only] if options.only else []
    series = ["-m", "oasis_utils", "run", "--profile", options.profile, "--out", run]
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", *TESTS]
    benchmarks = [
        Part(name, [python, f"benchmarks/{name}.py", *device, "--rounds", str(options.rounds)])
        for name in ("train_step", "sampling", "quantizer")
    ]
    return [
        Part("machine", [python, "benchmarks/gpu/machine.py", *device]),
        Part("tests", [python, *tests]),
        Part("series", [python, *series, *device, *only, *changes]),
        *benchmarks,
        Part("times", [python, "benchmarks/end_to_end.py", *device, "--run", run]),
        Part("models", [python, "benchmarks/shipped_models.py", run, "--out", f"{folder}/models"]),
    ]


class Kit:
    """The parts with what is known of them, in a folder that outlives a call.

    Args:
        folder: For logs, the run, and state.json.
        deadline: Time of `time.monotonic` at which the last part must have ended.
        environment: Of all commands.
    """

    def __init__(self, folder: Path, deadline: float, environment: dict[str, str]):
        self.folder, self.deadline, self.environment = folder, deadline, environment
        self.file = folder / "state.json"
        self.state = json.loads(self.file.read_text()) if self.file.exists() else {}

    def execute(self, part: Part) -> bool:
        """Run a part unless it is done or failed before; whether it has ended.

        A part that failed is tried again only if its entry of state.json is removed.
        """
        known = self.state.get(part.name, {"seconds": 0.0, "calls": 0})
        if known.get("ended"):
            print(f"{part.name}: {known['ended']} before", flush=True)
            return True
        left = self.deadline - time.monotonic()
        if left < LEAST_SECONDS:
            print(f"{part.name}: waits for the next call", flush=True)
            return False
        print(f"{part.name} …", flush=True)
        start = time.monotonic()
        code = self._run(part, left)
        seconds = known["seconds"] + time.monotonic() - start
        entry = {"seconds": round(seconds, 1), "calls": known["calls"] + 1, "code": code}
        if code is not None:
            entry["ended"] = "done" if code == 0 else "failed"
        self.state[part.name] = entry
        self.file.write_text(json.dumps(self.state, indent=1))
        word = entry.get("ended", "stopped, goes on in the next call")
        print(f"{part.name}: {word}, {seconds:.0f} s", flush=True)
        if code:
            print(_end_of(self.log(part)), flush=True)
        return code is not None

    def log(self, part: Part) -> Path:
        """What the part printed, in all calls."""
        return self.folder / "logs" / f"{part.name}.log"

    def _run(self, part: Part, seconds: float) -> int | None:
        """Exit code; None if it was stopped because the time was over."""
        with open(self.log(part), "ab") as log:
            process = subprocess.Popen(
                part.command, cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()
            process.wait()
        return None


def _end_of(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def environment(wheels: Path | None, folder: Path) -> dict[str, str]:
    """That of all commands: carried packages first, then the project."""
    site = folder / "site"
    if wheels and not site.exists():
        files = sorted(map(str, wheels.glob("*.whl")))
        if not files:
            sys.exit(f"error: {wheels} holds no wheels: make them with benchmarks/gpu/wheels.py")
        draft = folder / "site.draft"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        subprocess.run(
            [*command, "--no-compile", "--upgrade", "--target", draft, *files], check=True
        )
        draft.rename(site)
        print(f"installed {len(files)} wheels", flush=True)
    paths = [str(site)] if site.exists() else []
    paths += [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def wanted(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name, path) of the files to bring back, the most wanted first."""
    run = folder / "run"
    patterns = (
        (folder, "state.json"),
        (folder, "logs/*.log"),
        (run, "report.json"),
        (run, "summaries/*.json"),
        (run, "history/*"),
        (ROOT, "benchmarks/results/*.json"),
        (folder, "models/vqvae.safetensors"),
        (run, "figures/*.png"),
        (folder, "models/pixelcnn.safetensors"),
        (run, "notebooks/*.ipynb"),
        (folder, "models/dcgan.safetensors"),
    )
    for root, pattern in patterns:
        for path in sorted(root.glob(pattern)):
            inside = path.relative_to(folder) if path.is_relative_to(folder) else None
            yield str(inside or path.relative_to(ROOT)), path


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of what is brought back")
    parser.add_argument("--minutes", type=float, default=9.0, help="time of this call (default: 9)")
    parser.add_argument("--wheels", type=Path, help="folder of carried wheels")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs/gpu", help="kept between calls")
    parser.add_argument("--profile", default="full", help="of the series (default: full)")
    parser.add_argument("--device", default="cuda", help="default: cuda")
    parser.add_argument("--only", default="", help="notebooks of the series, such as 01,02")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--parts", default="", help="names of parts, separated by commas")
    parser.add_argument("--rounds", type=int, default=7, help="of each benchmark (default: 7)")
    parser.add_argument("--piece-mb", type=float, default=15.5, help="most of one zip file")
    parser.add_argument("--pieces", type=int, default=4, help="most zip files (default: 4)")
    parser.add_argument("--restore", action="store_true", help="unpack OUT into the folder, stop")
    options = parser.parse_args()
    if options.restore:
        print(*restore(options.out, options.folder), sep="\n")
        return
    sys.exit(0 if call(options) else 3)


def call(options: argparse.Namespace) -> bool:
    """One call; whether all parts have ended."""
    deadline = time.monotonic() + 60 * options.minutes - LAST_SECONDS - STOP_SECONDS
    folder = options.folder.resolve()
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    kit = Kit(folder, deadline, environment(options.wheels, folder))
    todo = parts(options, folder)
    names = [part.name for part in todo]
    chosen = options.parts.split(",") if options.parts else names
    if unknown := set(chosen) - set(names):
        sys.exit(f"error: no part is called {', '.join(sorted(unknown))}: {', '.join(names)}")
    ended = [kit.execute(part) for part in todo if part.name in chosen]
    left = pack(wanted(folder), options.out, int(options.piece_mb * 1e6), options.pieces)
    for name, why in left.items():
        print(f"left out: {name}: {why}")
    failed = [name for name in chosen if kit.state.get(name, {}).get("ended") == "failed"]
    print(f"{sum(ended)} of {len(ended)} parts have ended, failed: {', '.join(failed) or 'none'}")
    return all(ended)


if __name__ == "__main__":
    main()
