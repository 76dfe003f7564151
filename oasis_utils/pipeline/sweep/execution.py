"""What the command `sweep` does with the runs: execute what is missing, show it, or tabulate it."""

from __future__ import annotations

import shlex

from oasis_utils.pipeline.sweep.description import Sweep
from oasis_utils.pipeline.sweep.plan import SweepRun, plan_sweep, preparations
from oasis_utils.pipeline.sweep.state import IN_QUEUE, State, SubmittedJobs, queue, states
from oasis_utils.pipeline.sweep.table import counted, rows_of, table_text, write_table
from oasis_utils.runtime import exclusive


class RunsFailed(RuntimeError):
    """Runs of a sweep failed: a message of one line, exit code 1."""


def execute(sweep: Sweep, runs: list[SweepRun], engine: str, at_once: int = 1) -> None:
    """Run what is missing, and say how many runs were done, in the queue and missing.

    Args:
        sweep: As described.
        runs: Its runs.
        engine: "local", which ends with the table and the figure, or "slurm".
        at_once: Runs at a time of the local engine.

    Raises:
        RunsFailed: The local engine ended with runs that are not done.
        FolderInUse: Another process executes or submits this sweep.
    """
    with exclusive(sweep.out / ".lock", sweep.out):
        submitted = SubmittedJobs(sweep.out, queue(needed=engine == "slurm"))
        now = states([*preparations(runs), *runs], submitted)
        first = {name: state.stage for name, state in now.items()}
        left = _left(runs, now)
        counts = counted(_of(now, runs))
        print(f"{sweep.name}, {_plural(len(runs), 'run')}: {counts}", flush=True)
        if engine == "slurm":
            _submit(sweep, left, first, submitted)
            return
        from oasis_utils.pipeline.sweep.local import run_here

        run_here(left, first, at_once, 1 + sweep.retries)
    runs = plan_sweep(sweep)  # again: cache keys hold the slices, which may be there only now
    now = tabulate(sweep, runs)
    lost = sum(now[run.name].word != "done" for run in left)
    if lost:
        raise RunsFailed(
            f"not done: {_plural(lost, 'run')} of {len(left)}: see the table and"
            f" {sweep.out / 'logs'}; the same command again runs only what is missing"
        )


def _submit(
    sweep: Sweep, left: list[SweepRun], first: dict[str, int], submitted: SubmittedJobs
) -> None:
    from oasis_utils.pipeline.sweep.cluster import submit

    jobs = submit(sweep, left, first, submitted) if left else 0
    sent = f"{_plural(jobs, 'job')} for {_plural(len(left), 'run')}"
    print(f"submitted {sent}; logs: {sweep.out / 'logs'}, those of Slurm: {sweep.out / 'slurm'}")


def shown(sweep: Sweep, runs: list[SweepRun], engine: str) -> str:
    """What `execute` would run: batch scripts, or the commands of the local engine.

    Args:
        sweep: As described.
        runs: Its runs.
        engine: "local" or "slurm".
    """
    submitted = SubmittedJobs(sweep.out, queue())
    now = states([*preparations(runs), *runs], submitted)
    first, left = {name: state.stage for name, state in now.items()}, _left(runs, now)
    if not left:
        return f"nothing is missing: {counted(_of(now, runs))}"
    if engine == "slurm":
        from oasis_utils.pipeline.sweep.cluster import scripts

        return scripts(sweep, left, first, submitted)
    return "\n".join(
        shlex.join(stage.command)
        for run in [*preparations(left), *left]
        for stage in run.stages[first[run.name] :]
    )


def tabulate(sweep: Sweep, runs: list[SweepRun]) -> dict[str, State]:
    """Print the table of all runs, and write it and the figure into the folder of the sweep.

    Args:
        sweep: As described.
        runs: Its runs.

    Returns:
        {name of a run: its state}.
    """
    from oasis_utils.pipeline.sweep.figure import write_figure

    submitted = SubmittedJobs(sweep.out, queue())
    now = states(runs, submitted)
    rows = rows_of(runs, now)
    print(f"{table_text(rows)}\n{counted(now)}")
    if submitted.silent and submitted.jobs:
        print(
            "note: no answer of Slurm here, so waiting and running jobs count as missing or failed"
        )
    files = [*write_table(rows, sweep.out), write_figure(rows, sweep.out, f"Sweep {sweep.name}")]
    print("wrote " + ", ".join(str(path) for path in files if path))
    return now


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _left(runs: list[SweepRun], now: dict[str, State]) -> list[SweepRun]:
    """Runs that are neither done nor in the queue."""
    return [run for run in runs if now[run.name].word not in ("done", *IN_QUEUE)]


def _of(now: dict[str, State], runs: list[SweepRun]) -> dict[str, State]:
    return {run.name: now[run.name] for run in runs}
