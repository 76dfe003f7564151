"""How do I run all of it? The notebooks in order under papermill, with checks before, stamps after,
and a report.

Papermill alone ignores unknown parameters, runs in the caller's folder, and marks a killed notebook
as completed; this runner refuses, anchors and stamps instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import oasis_utils
from oasis_utils.config import PROFILES, digest
from oasis_utils.runtime import (
    RunFolder,
    clock,
    exclusive,
    project_root,
    read_json,
    write_json,
)

# what each notebook leaves behind for the others: without it, its stamp means nothing
PRODUCTS = {
    "01_data_exploration": ("data/manifest.json", "data/slices.npy"),
    "02_train_vqvae": ("checkpoints/vqvae.safetensors",),
    "03_codebook_analysis": ("codes.npz",),
    "04_train_dcgan": ("checkpoints/dcgan.safetensors",),
    "05_train_pixelcnn": ("checkpoints/pixelcnn.safetensors",),
    "06_generation": ("samples/pixelcnn.npz", "samples/dcgan.npz"),
    "07_evaluation": ("report.json", "model_card.md"),
}
SHARED = (
    "profile",
    "data",
    "run_folder",
    "seed",
    "device",
)  # parameters that the runner itself sets


class UsageError(ValueError):
    """What was asked for does not exist; one clear line, exit code 2."""


class NotebookFailed(RuntimeError):
    """A cell raised or the kernel died; one clear line, exit code 1."""


@dataclass
class Step:
    """One notebook of a run."""

    name: str
    source: Path
    parameters: dict[str, Any]
    stamp: str = ""
    seconds: float = 0.0
    skipped: bool = False
    headline: dict[str, Any] = field(default_factory=dict)


def notebook_names(only: str | None = None) -> list[str]:
    """All notebooks in order, or those whose numbers or names are listed ("02,03")."""
    names = list(PRODUCTS)
    if not only:
        return names
    chosen = []
    for wanted in only.split(","):
        matches = [name for name in names if name.startswith(wanted.strip()) and wanted.strip()]
        if len(matches) != 1:
            raise UsageError(
                f"unknown notebook {wanted.strip()!r}: choose from"
                f" {', '.join(n[:2] for n in names)}"
            )
        chosen += matches
    return [name for name in names if name in chosen]


def notebook_parameters(path: Path) -> dict[str, Any]:
    """Names and default values of a notebook's parameters cell."""
    from papermill import inspect_notebook

    return {name: _literal(item["default"]) for name, item in inspect_notebook(str(path)).items()}


def _literal(text: str) -> Any:
    import ast

    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def plan(
    profile: str,
    data: str,
    run: RunFolder,
    only: str | None,
    parameters: dict[str, str],
    seed: int = 0,
    device: str = "auto",
) -> list[Step]:
    """The notebooks to run with their parameters; UsageError for anything unknown."""
    if profile not in PROFILES:
        raise UsageError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}")
    if data and not Path(data).exists():
        raise UsageError(
            f"no folder {data}: give the folder that holds keras_png_slices_train/, volumes, or"
            " data made by `prepare`; see README, Data"
        )
    shared = dict(zip(SHARED, (profile, data, str(run.root), seed, device), strict=True))
    steps, known = [], set()
    for name in notebook_names(only):
        source = project_root() / "notebooks" / f"{name}.ipynb"
        if not source.exists():
            raise UsageError(f"no notebook {source}: run from a checkout of the project")
        defaults = notebook_parameters(source)
        known |= set(defaults)
        given = {k: _typed(k, v, defaults[k]) for k, v in parameters.items() if k in defaults}
        steps.append(Step(name, source, {k: v for k, v in shared.items() if k in defaults} | given))
    for name in parameters:
        if name not in known:
            raise UsageError(
                f"unknown parameter {name!r}: the chosen notebooks have {', '.join(sorted(known))}"
            )
        if name in SHARED:
            raise UsageError(
                f"parameter {name!r} has its own option: see `python -m oasis_utils run --help`"
            )
    return steps


def _typed(name: str, text: str, default: Any) -> Any:
    """A value from the command line in the type of the notebook's default."""
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        return type(default)(text)
    except (ValueError, KeyError):
        raise UsageError(
            f"parameter {name}={text!r} is not {type(default).__name__}: "
            f"give a value such as {default!r}"
        ) from None


# ---------------------------------------------------------------- stamps


def package_state() -> str:
    """Changes when any module or asset of the package, or of a package inside it, does."""
    folder = Path(oasis_utils.__file__).parent
    files = {
        path
        for pattern in ("*.py", "assets/**/*")
        for path in folder.rglob(pattern)
        if path.is_file()
    }
    return digest(
        [
            [path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()]
            for path in sorted(files)
            if "__pycache__" not in path.parts
        ]
    )


def data_state(data: str) -> str:
    """Changes when the data file, or a file under the data folder, is added, removed or
    rewritten.
    """
    if not data:
        return "sample brains"
    return digest(
        sorted(
            [str(p), p.stat().st_size, p.stat().st_mtime_ns]
            for p in (Path(data), *Path(data).rglob("*"))
            if p.is_file()
        )
    )


def notebook_source(path: Path) -> list[str]:
    """The code of a notebook, without outputs and metadata."""
    return ["".join(cell["source"]) for cell in read_json(path)["cells"]]


def stamp_steps(steps: list[Step], data: str) -> None:
    """A step's stamp covers its source, its parameters, the package and the data; see `earlier` for
    other steps.
    """
    state = [package_state(), data_state(data)]
    for step in steps:
        step.stamp = digest([state, notebook_source(step.source), step.parameters])


def stamp_file(run: RunFolder, name: str) -> Path:
    return run.root / "stamps" / f"{name}.json"


def earlier(run: RunFolder, name: str) -> dict[str, int]:
    """When each notebook before this one was finished, in nanoseconds: a later finish makes this
    one out of date.
    """
    before = list(PRODUCTS)[: list(PRODUCTS).index(name)]
    return {
        other: read_json(stamp_file(run, other))["finished"]
        for other in before
        if stamp_file(run, other).exists()
    }


def is_done(step: Step, run: RunFolder) -> bool:
    path = stamp_file(run, step.name)
    if not path.exists():
        return False
    stamp = read_json(path)
    return (
        stamp["stamp"] == step.stamp
        and stamp["earlier"] == earlier(run, step.name)
        and all((run.root / product).exists() for product in PRODUCTS[step.name])
    )


# ---------------------------------------------------------------- running


def run_series(
    steps: list[Step], run: RunFolder, data: str = "", force: bool = False
) -> dict[str, Any]:
    """Execute the steps that are not done; returns the report. Raises NotebookFailed,
    FolderInUse.
    """
    with exclusive(run.lock, run.root):
        return _run_series(steps, run, data, force)


def _run_series(steps: list[Step], run: RunFolder, data: str, force: bool) -> dict[str, Any]:
    run.notebooks.mkdir(parents=True, exist_ok=True)
    stamp_steps(steps, data)
    for number, step in enumerate(steps, 1):
        head = f"[{number}/{len(steps)}] {step.name}"
        if not force and is_done(step, run):
            step.skipped, step.seconds = True, read_json(stamp_file(run, step.name))["seconds"]
            print(f"{head} · done before, skipped", flush=True)
        else:
            print(f"{head} …", flush=True)
            execute(step, run)
            print(f"{head} · {clock(step.seconds)}", flush=True)
        if run.headline(step.name).exists():
            step.headline = read_json(run.headline(step.name))
    return finish_report(run)


def execute(step: Step, run: RunFolder) -> None:
    """Run one notebook; its executed copy is kept even when a cell fails."""
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    output, stamp = run.notebooks / f"{step.name}.ipynb", stamp_file(run, step.name)
    stamp.unlink(missing_ok=True)
    start = time.monotonic()
    try:
        _stoppable(lambda: _papermill(step, output))
    except PapermillExecutionError as error:
        raise NotebookFailed(
            f"{step.name}, cell {error.exec_count}: {error.ename}: {_one_line(error.evalue)} "
            f"(partial notebook: {output})"
        ) from None
    except DeadKernelError:
        raise NotebookFailed(
            f"{step.name}: the kernel died (out of memory?); partial notebook: {output}. "
            "Run again to go on, or choose a smaller batch_size"
        ) from None
    step.seconds = time.monotonic() - start
    write_json(
        stamp,
        {
            "stamp": step.stamp,
            "seconds": step.seconds,
            "finished": time.time_ns(),
            "earlier": earlier(run, step.name),
        },
    )


def _papermill(step: Step, output: Path) -> None:
    import papermill
    from traitlets.config import Config

    private = Config(
        KernelManager={"transport_encryption": "auto"}
    )  # else each kernel warns of open TCP ports
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # papermill's and nbclient's own; those of our code show in the notebook
        papermill.execute_notebook(
            str(step.source),
            str(output),
            parameters=step.parameters,
            kernel_name="python3",
            cwd=str(step.source.parent),
            log_output=False,
            progress_bar=sys.stderr.isatty(),
            config=private,
        )


def _stoppable(job: Callable[[], None]) -> None:
    """Run `job`, which starts kernels, so that a signal ends it and them at once.

    In the main thread nbclient would take the signals over and report a kernel that died. Killing a
    kernel loses nothing: whatever it writes, it writes all or nothing.
    """
    import psutil

    me, failure = psutil.Process(), []
    before = set(me.children(recursive=True))

    def work():
        try:
            job()
        except BaseException as error:  # raised again below, in the main thread
            failure.append(error)
        finally:
            with contextlib.suppress(RuntimeError):  # no loop was ever started
                asyncio.get_event_loop().close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
    except KeyboardInterrupt:
        for child in set(me.children(recursive=True)) - before:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        thread.join(5)
        raise
    if failure:
        raise failure[0]


def _one_line(text: str) -> str:
    return " ".join(str(text).split())


# ---------------------------------------------------------------- report


def save_headline(run: RunFolder, notebook: str, summary: str, **parts: Any) -> None:
    """What a notebook contributes to the report; `summary` is its line in the final table."""
    write_json(run.headline(notebook), {"summary": summary, **parts})


def collect_report(run: RunFolder) -> dict[str, Any]:
    """All headlines of a run merged into one dictionary."""
    report: dict[str, Any] = {}
    for name in PRODUCTS:
        path = run.headline(name)
        if path.exists():
            report = _merge(report, {k: v for k, v in read_json(path).items() if k != "summary"})
    return report


def _merge(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    merged = dict(a)
    for key, value in b.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def finish_report(run: RunFolder) -> dict[str, Any]:
    """The report with the seconds of each notebook; written only once every part of the series is
    there.
    """
    report = collect_report(run)
    seconds = {
        name: round(read_json(stamp_file(run, name))["seconds"], 1)
        for name in PRODUCTS
        if stamp_file(run, name).exists()
    }
    report["seconds"] = {"total": round(sum(seconds.values()), 1), **seconds}
    if run.report.exists() or len(seconds) == len(PRODUCTS):
        write_json(run.report, report)
    return report


def table(steps: list[Step], run: RunFolder) -> str:
    """Seconds and headline of each notebook, as text."""
    width = max(len(step.name) for step in steps)
    rows = [
        f"{step.name:<{width}}  {step.seconds:>6.0f} s{' *' if step.skipped else '  '} "
        f"{step.headline.get('summary', '')}"
        for step in steps
    ]
    total = sum(step.seconds for step in steps if not step.skipped)
    notes = "  (* done in an earlier run)" if any(step.skipped for step in steps) else ""
    return "\n".join(
        [*rows, f"{'this run':<{width}}  {total:>6.0f} s{notes}", f"report: {run.report}"]
    )
