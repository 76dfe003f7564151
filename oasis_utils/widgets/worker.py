"""Background jobs of the panels: a newer job replaces the running one at its next check."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Stopped(Exception):
    """Raised inside a job at its next check, to end it.

    Args:
        cancelled: Whether the user cancelled it; False if a newer job replaced it.
    """

    def __init__(self, cancelled: bool):
        super().__init__("cancelled" if cancelled else "superseded")
        self.cancelled = cancelled


class StopToken:
    """Given to a job, which calls `check` wherever it can be stopped."""

    def __init__(self):
        self._stopped: Stopped | None = None

    def check(self) -> None:
        """Raise Stopped if the job was cancelled or replaced."""
        if self._stopped:
            raise self._stopped

    def stop(self, cancelled: bool) -> None:
        """Let the next `check` raise; the first call decides the reason."""
        self._stopped = self._stopped or Stopped(cancelled)


class BackgroundWorker:
    """Runs one job at a time in one lasting thread, so that the kernel can answer its widgets.

    A job is a function of its token. A job that still waits when a newer one is submitted never
    starts.
    """

    def __init__(self):
        self._change = threading.Condition()
        self._waiting: tuple[Callable[[StopToken], None], StopToken] | None = None
        self._running: StopToken | None = None
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[[StopToken], None]) -> None:
        """Stop the running job, and start this one when it has ended."""
        with self._change:
            if self._running:
                self._running.stop(cancelled=False)
            self._waiting = (job, StopToken())
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="drawing", daemon=True)
                self._thread.start()
            self._change.notify_all()

    def cancel(self) -> None:
        """Stop the running job and drop the waiting one."""
        with self._change:
            self._waiting = None
            if self._running:
                self._running.stop(cancelled=True)
            self._change.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until no job runs or waits; False if that took more than `timeout` seconds."""
        with self._change:
            return self._change.wait_for(
                lambda: self._running is None and self._waiting is None, timeout
            )

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting is not None)
                assert self._waiting is not None
                job, token = self._waiting
                self._running, self._waiting = token, None
            try:
                job(token)
            except Stopped:
                pass
            finally:
                with self._change:
                    self._running = None
                    self._change.notify_all()
