"""Waiting threads leave the cores to other processes that need them.

A thread that waits for the others of its team spins. On a calm machine this is fastest; beside
other busy processes it takes the time of the threads that work, and training becomes many times
slower. libgomp, the OpenMP library of torch, hardly spins while more threads exist than cores
(GOMP_SPINCOUNT in its manual). So idle teams of threads are kept for as long as others are busy.
The threads that compute, and therefore all results, stay the same; benchmarks/habits.py measures
the gain.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

BUSY, CALM = 0.5, 0.25  # contested cores: more is busy, less is calm
SECONDS = 1.0  # between two readings
OWN_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_WATCHED = threading.Lock()  # taken once a process is watched


@dataclass(frozen=True)
class Reading:
    """Times in seconds; only the differences of two readings have a meaning."""

    clock: float
    busy: float  # of the cores that this process may use, for any process
    own: float  # of this process, on all cores


def read_load(stat: str | None = None) -> Reading:
    """The load of the cores that this process may use.

    Args:
        stat: The content of /proc/stat; None: as it is now.

    Raises:
        OSError: The system has no /proc/stat.
    """
    stat = Path("/proc/stat").read_text(encoding="ascii") if stat is None else stat
    ticks, ours = 0, {f"cpu{number}" for number in os.sched_getaffinity(0)}
    for line in stat.splitlines():
        name, *numbers = line.split()
        if name in ours:
            user, nice, system, _idle, _waiting, *interrupts = map(int, numbers[:7])
            ticks += user + nice + system + sum(interrupts)
    return Reading(time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time())


def cores_of_others(before: Reading, after: Reading) -> float:
    """Cores that other processes used between two readings."""
    spent = after.busy - before.busy - (after.own - before.own)
    return max(0.0, spent / max(after.clock - before.clock, 1e-9))


class IdleTeams:
    """Teams of OpenMP threads that do nothing, so that libgomp sees more threads than cores.

    Args:
        count: Number of teams.
        work: Makes the calling thread start its team.
    """

    def __init__(self, count: int, work: Callable[[], object]):
        self.count, self.work = count, work
        self._end: threading.Event | None = None

    @property
    def present(self) -> bool:
        """Whether the teams exist."""
        return self._end is not None

    def start(self) -> None:
        """Create the teams."""
        if self._end is None:
            self._end = threading.Event()
            for _ in range(self.count):
                threading.Thread(target=self._idle, args=(self._end,), daemon=True).start()

    def stop(self) -> None:
        """End them: OpenMP frees a team with the thread that started it."""
        if self._end is not None:
            self._end.set()
            self._end = None

    def _idle(self, end: threading.Event) -> None:
        self.work()
        end.wait()


def teams_needed(threads: int, cores: int) -> int:
    """Teams of `threads` threads that make, with one that works, more threads than cores.

    A team of one thread never waits: 0.
    """
    return 0 if threads < 2 else max(1, (cores - threads) // (threads - 1) + 1)


def adapt(teams: IdleTeams, contested: float) -> None:
    """Start the teams when more cores than `BUSY` are contested, end them below `CALM`."""
    if contested > BUSY:
        teams.start()
    elif contested < CALM:
        teams.stop()


def load_in_words(seconds: float = 0.1) -> str:
    """What other processes use of the cores at this moment; empty on a calm machine."""
    try:
        before = read_load()
        time.sleep(seconds)
        others = cores_of_others(before, read_load())
    except (OSError, AttributeError):  # not Linux
        return ""
    return f"other processes use {others:.1f} cores" if others > BUSY else ""


def share_cores(environment: Mapping[str, str] = os.environ) -> bool:
    """Watch the load from now on, once a process; see the head of this module.

    Args:
        environment: A user's own OMP_WAIT_POLICY or GOMP_SPINCOUNT wins.

    Returns:
        Whether the load is watched.
    """
    import torch

    known = not any(name in environment for name in OWN_SETTINGS)
    if not (known and Path("/proc/stat").exists() and hasattr(os, "sched_getaffinity")):
        return False
    threads, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
    count = teams_needed(threads, cores)
    if count and _WATCHED.acquire(blocking=False):
        # so many numbers that every thread of a team gets some of them
        teams = IdleTeams(count, lambda: torch.ones(threads * 2**15).exp_())
        watch = threading.Thread(target=_watch, args=(teams, cores - threads), daemon=True)
        watch.start()
    return bool(count)


def _watch(teams: IdleTeams, spare: int) -> None:
    with contextlib.suppress(OSError):  # /proc/stat may not be read: threads wait as by default
        before = read_load()
        while True:
            time.sleep(SECONDS)
            after = read_load()
            adapt(teams, cores_of_others(before, after) - spare)
            before = after
    teams.stop()
