"""The state of each run, read from its folder, its logs and the queue of Slurm."""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from oasis_utils.pipeline.cache_keys import is_done, read_record
from oasis_utils.pipeline.sweep.plan import SweepRun
from oasis_utils.runtime import FolderInUse, exclusive, read_json, write_json

IN_QUEUE = ("waiting", "running")
RUNNING = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STAGE_OUT", "SIGNALING")
LONGEST_LINE = 300  # characters of a log
LOG_END = 2**16  # bytes


@dataclass(frozen=True)
class State:
    """How far a run is.

    Attributes:
        word: done, running, waiting, failed, stale (finished before code, data or parameters
            changed) or missing.
        stage: Index of the first stage that is not done; their number if all are.
        where: Stage and last line of its log, where it failed.
    """

    word: str
    stage: int
    where: str = ""


class SubmittedJobs:
    """The numbers of the Slurm jobs of each run, in a small file of the sweep's folder.

    Args:
        out: The folder.
        queue: Jobs that Slurm has not ended, as `queue` returns them; None: Slurm is not here.
    """

    def __init__(self, out: Path, queue: dict[str, str] | None):
        self.path, self.queue = out / "jobs.json", queue or {}
        self.silent = queue is None
        self.jobs: dict[str, list[str]] = {}
        with contextlib.suppress(ValueError, TypeError, AttributeError):  # none yet, or damaged
            self.jobs = {run: list(map(str, ids)) for run, ids in read_json(self.path).items()}

    def queued(self, run: str) -> list[str]:
        """The jobs of a run that wait or run."""
        return [job for job in self.jobs.get(run, []) if job in self.queue]

    def lost(self, run: str, left: int) -> str:
        """The job of the first of the `left` last stages of a run; empty: none, or it may run."""
        jobs = self.jobs.get(run, [])
        return "" if self.silent or len(jobs) < left else jobs[-left]

    def add(self, run: str, job: str, first: bool) -> None:
        """Note a job of a run; the first one of a submission replaces older ones."""
        self.jobs[run] = [*([] if first else self.jobs.get(run, [])), job]

    def save(self) -> None:
        """Write the file."""
        write_json(self.path, self.jobs)


def queue(needed: bool = False) -> dict[str, str] | None:
    """The jobs of this user that Slurm has not ended.

    Args:
        needed: Whether an answer is needed.

    Returns:
        {job, such as "12" or "12_0": state, such as PENDING}; None without an answer.

    Raises:
        RuntimeError: An answer is needed, and there is none.
    """
    command = ["squeue", "--me", "--array", "--noheader", "--format=%i %T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        if needed:
            raise RuntimeError(
                "no Slurm on this machine (no squeue): use --engine local, or --dry-run"
            ) from None
        return None
    except subprocess.CalledProcessError as error:
        if needed:
            why = " ".join(error.stderr.split())
            raise RuntimeError(f"Slurm does not answer: {why}") from None
        return None
    return dict(line.split() for line in done.stdout.splitlines() if line.strip())


def states(runs: list[SweepRun], submitted: SubmittedJobs) -> dict[str, State]:
    """The state of each run.

    Args:
        runs: Runs of a sweep, or those that prepare their slices.
        submitted: Their jobs.

    Returns:
        {name of the run: state}.
    """
    return {run.name: _state(run, submitted) for run in runs}


def _state(run: SweepRun, submitted: SubmittedJobs) -> State:
    left = [
        (number, step)
        for number, stage in enumerate(run.stages)
        for step in stage.steps
        if not is_done(step, run.folder)
    ]
    if not left:
        return State("done", len(run.stages))
    number, step = left[0]
    jobs = [submitted.queue[job] for job in submitted.queued(run.name)]
    if any(job in RUNNING for job in jobs) or _in_use(run):
        return State("running", number)
    if jobs:
        return State("waiting", number)
    if read_record(run.folder, step.name) is not None:
        return State("stale", number)
    stage = run.stages[number]
    if stage.log.exists():
        return State("failed", number, f"stage {stage.only}: {last_line(stage.log)}")
    if run.preparation:
        before = _state(run.preparation, submitted)
        if before.word == "failed":
            return State("failed", number, f"{run.preparation.name}, {before.where}")
    if job := submitted.lost(run.name, len(run.stages) - number):
        slurm = submitted.path.parent / "slurm"
        why = f"job {job} left the queue before its stage began: see {slurm}"
        return State("failed", number, f"stage {stage.only}: {why}")
    return State("missing", number)


def _in_use(run: SweepRun) -> bool:
    """Whether a process on this machine, or one that shares locks with it, writes into the run."""
    if not run.folder.lock.with_name(".lock.json").exists():
        return False
    try:
        with exclusive(run.folder.lock, run.folder.root):
            return False
    except (FolderInUse, OSError):
        return True


def last_line(log: Path) -> str:
    """The last line of a log that says something, without the word `error`."""
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_END))
        text = file.read().decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ")[:LONGEST_LINE] if lines else "no output"
