"""A progress line for notebooks, terminals and logs."""

from __future__ import annotations

import math
import sys
import time


def in_notebook() -> bool:
    """Whether the code runs in a Jupyter kernel, not in a terminal or a script."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


def clock(seconds: float) -> str:
    """Seconds as 1:23 or 1:02:03."""
    seconds = round(seconds)
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


class Progress:
    """A line with share, elapsed and remaining time, updated in place; a log gets few whole lines.

    tqdm.auto cannot replace it: a notebook executed by papermill keeps only the first state of its
    widget, 0 %, and plain tqdm writes to stderr, which a notebook shows as a warning.

    with Progress("encoding", total=100) as progress:
        progress.update(5, "loss 0.2")

    Args:
        label: What is done, such as "encoding".
        total: Steps that make 100 %; `progress(done, total)` changes it.
        every: Seconds between two drawings; at least 15 in a log.
    """

    def __init__(self, label: str, total: int, every: float = 0.3):
        self.label, self.total, self.every = label, total, every
        self.done, self.note = 0, ""
        self.start = self.drawn = time.monotonic()
        self.handle = None
        self.live = in_notebook() or sys.stderr.isatty()
        if not self.live:
            self.every = max(every, 15.0)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind, *_) -> None:
        self._draw(final=True, state="" if kind is None else " · stopped")

    def update(self, done: int, note: str | None = None) -> None:
        """Set the number of finished steps.

        Args:
            done: Steps finished since the start, not since the last call.
            note: Text behind the times; None keeps the last one.
        """
        self.done, self.note = done, self.note if note is None else note
        if time.monotonic() - self.drawn >= self.every:
            self._draw()

    def __call__(self, done: int, total: int) -> None:
        """Set finished steps and total, as a plain `progress(done, total)` callback."""
        self.total = total
        self.update(done)

    def line(self, state: str = "") -> str:
        """The line as text; `state` is put at its end."""
        elapsed = time.monotonic() - self.start
        share = self.done / self.total if self.total else 1.0
        left = "" if share >= 1 or share <= 0 else f" · {clock(elapsed * (1 - share) / share)} left"
        filled = math.floor(20 * min(share, 1))
        note = f" · {self.note}" if self.note else ""
        return (
            f"{self.label} {'█' * filled}{'·' * (20 - filled)} {self.done}/{self.total} · "
            f"{clock(elapsed)}{left}{note}{state}"
        )

    def _draw(self, final: bool = False, state: str = "") -> None:
        self.drawn = time.monotonic()
        idle = final and not self.done and not state
        text = f"{self.label} · nothing to do, up to date" if idle else self.line(state)
        if in_notebook():
            from IPython.display import display

            content = {"text/plain": text}
            if self.handle is None:
                self.handle = display(content, raw=True, display_id=True)
            else:
                self.handle.update(content, raw=True)
        elif sys.stderr.isatty():
            print(f"\r\x1b[2K{text}", end="\n" if final else "", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)
