"""One stage of a run as a job: its command in a process of its own, attempts, and a clean stop."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from oasis_utils.pipeline.sweep.plan import Stage
from oasis_utils.pipeline.sweep.state import last_line

WRONG_USAGE = 2  # exit code after which another attempt would end the same way
PAUSE = 2.0  # seconds before another attempt
STOP_SECONDS = 60  # in which `run` stops after SIGTERM; then it is killed
# Slurm sends the signal of a time limit to every process of a job; only ours is to act on it
IGNORE_USR_SIGNALS = ["sh", "-c", 'trap "" USR1 USR2; exec "$@"', "sh"]


class StageFailed(RuntimeError):
    """A stage ended without success: a message of one line."""


@contextlib.contextmanager
def _on_request(act: Callable[..., None]) -> Iterator[None]:
    """Act on SIGTERM, which `scancel` sends to us and to the command, which ends itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, act)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class StageJob:
    """A stage that can be called, stopped and, by submitit, put back into the queue.

    A time limit or a preemption ends in `checkpoint`: `run` stops as after Ctrl-C, and the same
    command goes on later. It can be pickled while it is not running.

    Args:
        stage: What to run.
        folder: The working folder.
        attempts: At most so many; 1: none after a failure.
    """

    def __init__(self, stage: Stage, folder: Path, attempts: int):
        self.command, self.log = stage.command, stage.log
        self.folder, self.attempts = folder, attempts
        self._start()

    def _start(self) -> None:
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._process: subprocess.Popen | None = None
        self._worker: threading.Thread | None = None
        self._code, self._error = 0, ""

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if not k.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def __call__(self) -> None:
        """Run the command until it succeeds or no attempt is left; StageFailed if it did not."""
        self._worker = threading.Thread(target=self._attempt_all)
        with _on_request(self._no_more):
            self._worker.start()
            while self._worker.is_alive():  # so that a signal handler can run in the main thread
                self._worker.join(0.2)
        if self._code:
            raise StageFailed(self._error or last_line(self.log))

    def _no_more(self, *_: Any) -> None:
        self._stopped.set()

    def _attempt_all(self) -> None:
        self._code = 1
        for number in range(1, self.attempts + 1):
            try:
                self._code = self._attempt(number)
            except OSError as error:  # of the log, or of the command
                self._error = str(error)
                return
            if self._code in (0, WRONG_USAGE) or number == self.attempts:
                return
            if self._stopped.wait(PAUSE):  # what ended the command may just be reaching us
                return

    def _attempt(self, number: int) -> int:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "a", encoding="utf-8") as log:
            now = f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}"
            job = os.environ.get("SLURM_JOB_ID")
            log.write(f"--- {now} attempt {number} of {self.attempts}")
            log.write(f", job {job} on {os.environ.get('SLURMD_NODENAME')}\n" if job else "\n")
            log.flush()
            with self._lock:
                if self._stopped.is_set():
                    return 1
                self._process = subprocess.Popen(  # a Ctrl-C in the terminal reaches only us
                    [*IGNORE_USR_SIGNALS, *self.command],
                    cwd=self.folder,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            code = self._process.wait()
            if code < 0 and not self._stopped.is_set():
                why = " (out of memory?)" if code == -signal.SIGKILL else ""
                log.write(f"error: ended by signal {-code}{why}\n")
            return code

    def request_stop(self) -> None:
        """Ask the command to end as Ctrl-C does; there is no further attempt."""
        with self._lock:
            self._stopped.set()
            if self._process is not None:
                self._process.terminate()

    def wait(self, until: float) -> None:
        """Wait for the end of a command that was asked to stop.

        Args:
            until: Time of `time.monotonic` at which it is killed with all that it started.
        """
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            _kill(self._process.pid)
            self._process.wait()

    def checkpoint(self) -> Any:
        """Stop, and return what submitit puts back into the queue."""
        from submitit.helpers import DelayedSubmission

        self.request_stop()
        self.wait(time.monotonic() + STOP_SECONDS)
        return DelayedSubmission(self)


def _kill(pid: int) -> None:
    """Kill a process and its descendants, also those in sessions of their own, such as kernels."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        for process in [*top.children(recursive=True), top]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
