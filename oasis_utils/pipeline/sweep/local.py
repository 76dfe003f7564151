"""Runs a sweep on this machine, a few runs at a time."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from oasis_utils.pipeline.sweep.job import STOP_SECONDS, StageFailed, StageJob
from oasis_utils.pipeline.sweep.plan import SweepRun, preparations
from oasis_utils.runtime import clock, project_root


@contextlib.contextmanager
def _handled(names: tuple[str, ...], handler: Callable[..., None]) -> Iterator[None]:
    """Handle signals so in the main thread, except those that are ignored, as by `nohup`."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        known = [getattr(signal, name) for name in names if hasattr(signal, name)]  # not on Windows
        for number in known:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handling in before.items():
            signal.signal(number, handling)


class _Work:
    """The stages that run now and how often each may be tried; a request ends them together."""

    def __init__(self, attempts: int):
        self.attempts, self.stopping = attempts, threading.Event()
        self.jobs: list[StageJob] = []

    def interrupt(self, *_: Any) -> None:
        """Handle a signal: only the first one interrupts, so that no other disturbs the stop."""
        if not self.stopping.is_set():
            self.stopping.set()
            raise KeyboardInterrupt

    def stop(self) -> None:
        """Ask all to end, then wait; what has not ended after STOP_SECONDS is killed."""
        self.stopping.set()  # first: a job that begins now sees it, or is in the list
        left = list(self.jobs)
        for job in left:
            job.request_stop()
        with contextlib.suppress(OSError):  # the terminal may be closed
            print(f"stopping, within {STOP_SECONDS:g} seconds …", flush=True)
        until = time.monotonic() + STOP_SECONDS
        for job in left:
            job.wait(until)


def run_here(runs: list[SweepRun], first: dict[str, int], at_once: int, attempts: int) -> None:
    """Execute runs; a failure ends its own run, and those that need its slices.

    A closed terminal (SIGHUP) is a request to stop, as Ctrl-C is.

    Args:
        runs: In order, without those that prepare their slices.
        first: {name of a run or of one that prepares slices: index of its first stage to execute}.
        at_once: How many at a time.
        attempts: Of each stage.
    """
    work = _Work(attempts)
    with _handled(("SIGINT", "SIGTERM", "SIGHUP"), work.interrupt):
        failed = _run_all(preparations(runs), first, at_once, work)
        ready = [run for run in runs if not run.preparation or run.preparation.name not in failed]
        _run_all(ready, first, at_once, work)


def _run_all(runs: list[SweepRun], first: dict[str, int], at_once: int, work: _Work) -> set[str]:
    """Names of the runs that failed."""
    pool = ThreadPoolExecutor(at_once)
    try:
        succeeded = list(pool.map(lambda run: _run_stages(run, first[run.name], work), runs))
    except BaseException:  # Ctrl-C: no further stages, and those at work stop
        pool.shutdown(wait=False, cancel_futures=True)
        work.stop()
        raise
    finally:
        pool.shutdown()
    return {run.name for run, well in zip(runs, succeeded, strict=True) if not well}


def _run_stages(run: SweepRun, first: int, work: _Work) -> bool:
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
