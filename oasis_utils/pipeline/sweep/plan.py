"""The runs of a sweep: one run folder for each combination and seed, one command for each stage."""

from __future__ import annotations

import itertools
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oasis_utils.pipeline.cache_keys import package_state, set_cache_keys
from oasis_utils.pipeline.parameters import plan
from oasis_utils.pipeline.series import Step, UsageError
from oasis_utils.pipeline.sweep.description import MOST_RUNS, Sweep
from oasis_utils.runtime import RunFolder

FIRST = "01"  # the notebook that prepares the slices
LONGEST_NAME = 255  # bytes of a folder's name


@dataclass(frozen=True)
class Stage:
    """What runs as one job.

    Attributes:
        only: Its notebooks, as `--only` takes them.
        steps: The same, with their parameters and cache keys.
        command: The words of the command.
        log: Its output.
    """

    only: str
    steps: list[Step]
    command: list[str]
    log: Path


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        name: Of its folder below that of the sweep.
        folder: The run folder.
        seed: Of all random choices.
        varied: {parameter of the grid: value}.
        stages: In order.
        preparation: The run that prepares its slices; None: they are prepared already.
    """

    name: str
    folder: RunFolder
    seed: int
    varied: dict[str, Any]
    stages: tuple[Stage, ...]
    preparation: SweepRun | None = None

    @property
    def combination(self) -> str:
        """The varied parameters in words; the same for all seeds."""
        return _named(self.varied) or "all"


def plan_sweep(sweep: Sweep) -> list[SweepRun]:
    """The runs of a sweep, in the order of the grid, seeds last.

    Slices are prepared once: of given data for all runs, of sample brains for each seed, in runs
    of notebook 01 that the others need.

    Args:
        sweep: As `read_sweep` returns it.

    Returns:
        The runs.

    Raises:
        UsageError: A name or value of a parameter is wrong, the data do not exist, there are too
            many runs, two have the same folder, or the name of a folder is too long.
    """
    count = math.prod(map(len, (sweep.seeds, *sweep.grid.values())))
    if count > MOST_RUNS:
        raise UsageError(f"the grid has {count} runs, more than {MOST_RUNS}: shorten its lists")
    if RunFolder(sweep.out).begun:
        raise UsageError(f"out {sweep.out} is a run folder: choose one for the runs of the sweep")
    prepared = _preparations(sweep)
    runs = [
        _run(sweep, dict(zip(sweep.grid, values, strict=True)), seed, prepared[seed])
        for values in itertools.product(*sweep.grid.values())
        for seed in sweep.seeds
    ]
    _check_names([run.name for run in runs])
    package = package_state()
    for run in [*preparations(runs), *runs]:
        steps = [step for stage in run.stages for step in stage.steps]
        set_cache_keys(steps, steps[0].parameters["data"] or "", package)
    return runs


def _check_names(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"two values of the grid, or two seeds, give the folder {name}: leave one out"
            )
        if len(name) > LONGEST_NAME:  # ASCII, so characters are bytes
            raise UsageError(
                f"the folder {name[:40]}… would have a name of {len(name)} bytes, more than"
                f" {LONGEST_NAME}: vary fewer parameters, or shorter texts"
            )


def preparations(runs: list[SweepRun]) -> list[SweepRun]:
    """The runs that prepare slices for others, each once."""
    return list({run.preparation.name: run.preparation for run in runs if run.preparation}.values())


def _preparations(sweep: Sweep) -> dict[int, SweepRun | None]:
    """{seed: the run that prepares its slices}."""
    from oasis_utils.data.cache_folder import is_cache

    if sweep.data and is_cache(Path(sweep.data)):
        return dict.fromkeys(sweep.seeds)
    if sweep.data:
        return dict.fromkeys(sweep.seeds, _preparation(sweep, "data/source", 0))
    return {seed: _preparation(sweep, f"data/seed={seed}", seed) for seed in sweep.seeds}


def _preparation(sweep: Sweep, name: str, seed: int) -> SweepRun:
    """A run of notebook 01 alone, whose slices other runs link."""
    folder = RunFolder(sweep.out / name)
    steps = plan(sweep.profile, sweep.data, folder, FIRST, {}, seed, sweep.device)
    return SweepRun(name, folder, seed, {}, _stages(sweep, name, (FIRST,), steps, sweep.data))


def _run(sweep: Sweep, chosen: dict[str, str], seed: int, preparation: SweepRun | None) -> SweepRun:
    """A run whose name holds the values in the type of their parameters: 0.10 is 0.1."""
    given, only = sweep.parameters | chosen, ",".join(sweep.stages)
    anywhere = RunFolder(sweep.out / "run")
    steps = plan(sweep.profile, sweep.data, anywhere, only, given, seed, sweep.device)
    values = {key: value for step in steps for key, value in step.parameters.items()}
    varied = {name: values[name] for name in chosen}
    name = ",".join(filter(None, (_named(varied), f"seed={seed}")))
    folder, data = (
        RunFolder(sweep.out / name),
        str(preparation.folder.data) if preparation else sweep.data,
    )
    for step in steps:
        step.parameters["run_folder"] = str(folder.root)
    steps[0].parameters["data"] = data
    stages = _stages(sweep, name, sweep.stages, steps, data, given)
    return SweepRun(name, folder, seed, varied, stages, preparation)


def _named(varied: dict[str, Any]) -> str:
    return ",".join(f"{k}={re.sub(r'[^A-Za-z0-9.+_-]', '-', str(v))}" for k, v in varied.items())


def _stages(
    sweep: Sweep,
    name: str,
    groups: tuple[str, ...],
    steps: list[Step],
    data: str,
    given: dict[str, str] | None = None,
) -> tuple[Stage, ...]:
    """The stages of a run, with the command that `run` takes for each."""
    words = [sys.executable, "-m", "oasis_utils", "run", "--profile", sweep.profile]
    words += ["--out", str(sweep.out / name), "--seed", str(steps[0].parameters["seed"])]
    words += ["--device", sweep.device, *(["--data", data] if data else [])]
    stages = []
    for only in groups:
        members = [step for step in steps if step.name[:2] in only.split(",")]
        known = {key for step in members for key in step.parameters}
        chosen = [w for k, v in (given or {}).items() if k in known for w in ("-p", f"{k}={v}")]
        log = sweep.out / "logs" / name / f"{only}.log"
        stages.append(Stage(only, members, [*words, "--only", only, *chosen], log))
    return tuple(stages)
