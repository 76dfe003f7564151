"""Background jobs of the panels: a newer job replaces the one that runs, at its next check."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Stopped(Exception):
    """Raised inside a job at its next checkpoint; `cancelled` is false if a newer job took its
    place.
    """

    def __init__(self, cancelled: bool):
        super().__init__("cancelled" if cancelled else "superseded")
        self.cancelled = cancelled


class Ticket:
    """Handed to a job, which calls `check` as often as it can afford to be stopped."""

    def __init__(self):
        self._stopped: Stopped | None = None

    def check(self) -> None:
        """Raises Stopped once the job is no longer wanted."""
        if self._stopped:
            raise self._stopped

    def stop(self, cancelled: bool) -> None:
        self._stopped = self._stopped or Stopped(cancelled)


class Latest:
    """One job at a time, in one lasting thread: a kernel stays free for the messages of its widgets
    meanwhile.

    A job is a function of its ticket. Jobs that were still waiting when a newer one came are never
    started.
    """

    def __init__(self):
        self._change = threading.Condition()
        self._waiting: tuple[Callable[[Ticket], None], Ticket] | None = None
        self._running: Ticket | None = None
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[[Ticket], None]) -> None:
        """Stop what runs and start `job` as soon as it has given way."""
        with self._change:
            if self._running:
                self._running.stop(cancelled=False)
            self._waiting = (job, Ticket())
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="drawing", daemon=True)
                self._thread.start()
            self._change.notify_all()

    def cancel(self) -> None:
        """Stop what runs and forget what waits."""
        with self._change:
            self._waiting = None
            if self._running:
                self._running.stop(cancelled=True)
            self._change.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until nothing runs or waits; false if `timeout` seconds were not enough."""
        with self._change:
            return self._change.wait_for(
                lambda: self._running is None and self._waiting is None, timeout
            )

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting is not None)
                job, self._running = self._waiting
                self._waiting = None
            try:
                job(self._running)
            except Stopped:
                pass
            finally:
                with self._change:
                    self._running = None
                    self._change.notify_all()
