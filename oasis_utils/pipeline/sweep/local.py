"""Runs a sweep on this machine, a few runs at a time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from oasis_utils.pipeline.sweep.job import StageFailed, StageJob
from oasis_utils.pipeline.sweep.plan import SweepRun, preparations
from oasis_utils.runtime import clock, project_root


class _Work:
    """What the runs at work share: attempts of a stage, jobs at work, and whether to stop."""

    def __init__(self, attempts: int):
        self.attempts, self.stopping = attempts, threading.Event()
        self.jobs: list[StageJob] = []

    def stop(self) -> None:
        self.stopping.set()  # first: a job that begins now sees it, or is in the list
        for job in list(self.jobs):
            job.stop()


def run_here(runs: list[SweepRun], first: dict[str, int], at_once: int, attempts: int) -> None:
    """Execute runs; a failure ends its own run, and those that need its slices.

    Args:
        runs: In order, without those that prepare their slices.
        first: {name of a run or of one that prepares slices: index of its first stage to execute}.
        at_once: How many at a time.
        attempts: Of each stage.
    """
    work = _Work(attempts)
    failed = _in_turn(preparations(runs), first, at_once, work)
    ready = [run for run in runs if not run.needs or run.needs.name not in failed]
    _in_turn(ready, first, at_once, work)


def _in_turn(runs: list[SweepRun], first: dict[str, int], at_once: int, work: _Work) -> set[str]:
    """Names of the runs that failed."""
    pool = ThreadPoolExecutor(at_once)
    try:
        ended = list(pool.map(lambda run: _whole(run, first[run.name], work), runs))
    except BaseException:  # Ctrl-C: no further stages, and those at work stop
        pool.shutdown(wait=False, cancel_futures=True)
        work.stop()
        raise
    finally:
        pool.shutdown()
    return {run.name for run, whole in zip(runs, ended, strict=True) if not whole}


def _whole(run: SweepRun, first: int, work: _Work) -> bool:
    """Whether all stages of a run from the first to execute succeeded."""
    start = time.monotonic()
    for stage in run.stages[first:]:
        job = StageJob(stage, project_root(), work.attempts)
        work.jobs.append(job)
        if work.stopping.is_set():
            return False
        print(f"{run.name} · stage {stage.only} …", flush=True)
        try:
            job()
        except StageFailed as error:
            if not work.stopping.is_set():
                print(f"{run.name} · stage {stage.only} failed: {error}", flush=True)
            return False
        work.jobs.remove(job)
    if first < len(run.stages):
        print(f"{run.name} · {clock(time.monotonic() - start)}", flush=True)
    return True
