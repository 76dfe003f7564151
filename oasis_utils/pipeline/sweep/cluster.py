"""Submits a sweep to Slurm through submitit: a job array for each stage, each after the one before.

Task i of a stage waits for task i of the stage before it (`aftercorr`), the first stage for the
task that prepares its slices. If that fails, Slurm removes the tasks that wait for it, and no
others.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oasis_utils.pipeline.series import UsageError
from oasis_utils.pipeline.sweep.description import Sweep
from oasis_utils.pipeline.sweep.job import StageJob
from oasis_utils.pipeline.sweep.plan import SweepRun, preparations
from oasis_utils.pipeline.sweep.state import SubmittedJobs
from oasis_utils.runtime import project_root

# ours, besides the options of sbatch that submitit knows
REQUEUES, SIGNAL_SECONDS, MINUTES = 20, 120, 240
LINES = ("setup", "teardown", "srun_args")
OURS = ("job_name", "dependency", "folder", "command", "map_count")
OURS_IN_SBATCH = ("array", "output", "error", "signal", "dependency", "job-name")

# (runs, number of their stage, what they wait for) -> the ids of their jobs
Submit = Callable[[list[SweepRun], int, str], list[str]]


def submit(
    sweep: Sweep, runs: list[SweepRun], first: dict[str, int], submitted: SubmittedJobs
) -> int:
    """Submit what is missing.

    Args:
        sweep: Its options.
        runs: Runs to submit, without those that prepare their slices.
        first: {name of a run or of one that prepares slices: index of its first stage to execute}.
        submitted: Its jobs are replaced, and saved after each array.

    Returns:
        How many jobs were submitted.

    Raises:
        UsageError: An option of `slurm` is unknown or has another type, or submitit is missing.
        RuntimeError: Slurm refuses a job.
    """
    _executor(sweep, "01", "")  # a wrong option is refused before anything is submitted
    count = 0

    def send(group: list[SweepRun], number: int, after: str) -> list[str]:
        nonlocal count
        executor = _executor(sweep, group[0].stages[number].only, after)
        attempts = 1 + sweep.retries
        jobs = [StageJob(run.stages[number], project_root(), attempts) for run in group]
        ids = [job.job_id for job in _submitted(executor, jobs)]
        for run, job in zip(group, ids, strict=True):
            submitted.add(run.name, job, number == first[run.name])
        submitted.save()
        count += len(ids)
        return ids

    _send_all(runs, first, submitted, send)
    return count


def scripts(
    sweep: Sweep, runs: list[SweepRun], first: dict[str, int], submitted: SubmittedJobs
) -> str:
    """The batch scripts that `submit` would submit, and the command of each task.

    Args:
        sweep: Its options.
        runs: As for `submit`.
        first: As for `submit`.
        submitted: The jobs so far.

    Returns:
        Text; JOB1, JOB2 and so on stand for the numbers that Slurm will give.
    """
    parts, numbers = [], itertools.count(1)

    def show(group: list[SweepRun], number: int, after: str) -> list[str]:
        job, executor = f"JOB{next(numbers)}", _executor(sweep, group[0].stages[number].only, after)
        if len(group) > 1:
            executor.parameters["map_count"] = len(group)
        text = executor._make_submission_file_text(executor._submitit_command_str, job)
        tasks = [
            f"# task {i}, {run.name}:\n#   {shlex.join(run.stages[number].command)}"
            for i, run in enumerate(group)
        ]
        parts.append("\n".join([f"# ---- {job}", text.rstrip(), *tasks, ""]))
        return [job if len(group) == 1 else f"{job}_{i}" for i in range(len(group))]

    _send_all(runs, first, submitted, show)
    return "\n".join(parts)


def _send_all(
    runs: list[SweepRun], first: dict[str, int], submitted: SubmittedJobs, send: Submit
) -> None:
    """Send the preparations, then the runs: those of the same slices and first stage together.

    So the arrays of one chain have the same tasks, as `aftercorr` needs.
    """
    missing = [run for run in preparations(runs) if first[run.name] == 0]
    new = [run for run in missing if not submitted.queued(run.name)]
    ids = send(new, 0, "") if new else []
    waits = {run.name: job for run, job in zip(new, ids, strict=True)}
    waits |= {run.name: submitted.queued(run.name)[0] for run in missing if run not in new}
    chains: dict[tuple[int, str], list[SweepRun]] = {}
    for run in runs:
        job = waits.get(run.preparation.name, "") if run.preparation else ""
        chains.setdefault((first[run.name], job), []).append(run)
    for (start, job), group in sorted(chains.items(), key=lambda item: item[0][0]):
        after = f"afterok:{job}" if job else ""
        for number in range(start, len(group[0].stages)):
            job = send(group, number, after)[0].split("_")[0]  # of the array, or the only job
            after = f"{'aftercorr' if len(group) > 1 else 'afterok'}:{job}"


def _executor(sweep: Sweep, only: str, after: str) -> Any:
    """submitit's executor for one stage."""
    try:
        import submitit
    except ImportError:
        raise UsageError(
            "--engine slurm needs the package submitit: pip install -e '.[slurm]' in the"
            " project's folder"
        ) from None

    class Executor(submitit.SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            return 2  # --dry-run shows the scripts where there is no Slurm

    options = {name: _value(name, text) for name, text in sweep.slurm.items()}
    requeues = options.pop("requeues", REQUEUES)
    options = {"time": MINUTES, "signal_delay_s": SIGNAL_SECONDS, **options}
    for name in ("time", "signal_delay_s", "requeues"):
        if not isinstance(options.get(name, requeues), int):
            raise UsageError(f"slurm: {name} must be a whole number (time: minutes)")
    for name in OURS:
        if name in options:
            raise UsageError(f"slurm: {name} is set by the sweep: leave it out")
    more = options.pop("additional_parameters", {})
    if not isinstance(more, dict):
        raise UsageError("slurm: additional_parameters must hold names with values")
    for name in more:
        if name.replace("_", "-") in OURS_IN_SBATCH:
            raise UsageError(
                f"slurm: additional_parameters: {name} is set by the sweep: leave it out"
            )
    more = {name: value for name, value in ({"requeue": True} | more).items() if value is not False}
    if after:
        more |= {"dependency": after, "kill-on-invalid-dep": "yes"}
    executor = Executor(sweep.out / "slurm", max_num_timeout=requeues)
    if "cpus_per_task" in options:  # srun of Slurm 22.05 and later does not take it from the job
        cpus = f"--cpus-per-task={options['cpus_per_task']}"
        options["srun_args"] = [cpus, *options.get("srun_args", [])]
    title = f"{sweep.name}-{only.replace(',', '-')}"
    try:
        executor.update_parameters(job_name=title, additional_parameters=more, **options)
    except (ValueError, TypeError) as error:
        raise UsageError(f"slurm: {' '.join(str(error).split())}") from None
    return executor


def _value(name: str, found: Any) -> Any:
    """An option in the type that submitit takes: numbers and switches from their texts."""
    if name in LINES:
        found = found if isinstance(found, list) else [found]
        if not all(isinstance(line, str) for line in found):
            raise UsageError(f"slurm: {name} must be a list of texts")
        return found
    if name == "additional_parameters" and isinstance(found, dict):
        return {key: _value(key, item) for key, item in found.items()}
    if not isinstance(found, str):
        raise UsageError(f"slurm: {name} must be one value, not {type(found).__name__}")
    if not found.isprintable():
        raise UsageError(f"slurm: {name} must be one line without control characters")
    if found.lower() in ("true", "false"):
        return found.lower() == "true"
    return int(found) if found.isascii() and found.isdigit() else found


def _submitted(executor: Any, jobs: list[StageJob]) -> list[Any]:
    """submitit's jobs; RuntimeError in the words of sbatch if Slurm refuses them."""
    from submitit.core.utils import FailedJobError

    Path(executor.folder).mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # sbatch's words are in the error as well
            return executor.submit_array(jobs)
    except FailedJobError as error:
        raise RuntimeError(f"Slurm refuses a job: {' '.join(str(error).split())}") from None
