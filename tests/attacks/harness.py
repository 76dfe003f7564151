"""Runs a command on a hostile input in a process of its own, and measures what it took.

A case is a small builder that writes the input; its docstring says what is wrong with it. Builders
register themselves with `attack`, and `test_attacks.py` runs them all.
"""

import contextlib
import io
import multiprocessing
import resource
import signal
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 2**30  # of memory, the package and torch among them
MAX_INPUT = 10_000_000  # bytes of a case on the disk
MAX_SECONDS = 20
MAX_ADDRESSES = 8 * 2**30  # protects the machine from what is not refused
PRELOADED = [
    "oasis_utils.cli.parser",
    "oasis_utils.data.dataset",
    "oasis_utils.evaluation",
    "oasis_utils.models.sampler",
    "oasis_utils.pipeline.html_report",
    "torchvision.transforms.v2.functional",
    "jinja2",
    "pydantic",
    "PIL.TiffImagePlugin",
    "attacks.harness",
    "pytest",  # the main module, which each child would import
]

# words of each command: DATA is what a builder writes, OUT is where results go
COMMANDS = {
    "prepare": "prepare DATA --out OUT --size 32",
    "skip": "prepare DATA --out OUT --size 32 --skip-bad",
    "pattern": r"prepare DATA --out OUT --size 32 --pattern (?P<subject>p\d+)_(?P<slice>\d+)",
    "volumes": "prepare DATA --out OUT --size 32 --count 2",
    "skip volumes": "prepare DATA --out OUT --size 32 --count 2 --skip-bad",
    "archive": "prepare DATA/oasis_cross-sectional_disc1.tar.gz --out OUT --size 32 --count 2",
    "again": "prepare SOURCE --out DATA --size 32",
    "prepared": "reconstruct DATA --run RUN --out OUT",
    "evaluate": "evaluate DATA/images.npz --against SOURCE",
    "evaluate folder": "evaluate DATA --against SOURCE",
    "sample": "sample --run DATA --n 2 --out OUT",
    "sample dcgan": "sample --run DATA --prior dcgan --n 2 --out OUT",
    "report": "report DATA --out OUT",
}


@dataclass(frozen=True)
class Case:
    """An attack.

    Attributes:
        name: of the builder.
        build: writes the input into a folder.
        command: a key of COMMANDS.
        error: a part of the message; None: the command must succeed.
        options: further words of the command line.
    """

    name: str
    build: Callable[[Path], object]
    command: str
    error: str | None
    options: tuple[str, ...] = ()


CASES: list[Case] = []


def attack(command, error=None, *options):
    """Register a builder: the command must end with this error, or succeed."""

    def register(build):
        CASES.append(Case(build.__name__, build, command, error, options))
        return build

    return register


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: exit code.
        out: what it printed.
        err: its errors.
        seconds: it took.
        peak: bytes of memory.
    """

    code: int
    out: str
    err: str
    seconds: float
    peak: int


def contents(folder):
    """{path: content} of plain files, or the kind of anything else."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        plain = stat.S_ISREG(mode)
        found[path.relative_to(folder).as_posix()] = (
            path.read_bytes() if plain else stat.S_IFMT(mode)
        )
    return found


def run(words: list[str]) -> Outcome:
    """One command in a child of a process that has the package in memory already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    receive, send = context.Pipe(False)
    child = context.Process(target=_child, args=(words, send), daemon=True)
    child.start()
    send.close()
    try:
        if not receive.poll(MAX_SECONDS + 10):
            raise TimeoutError(f"no answer within {MAX_SECONDS} s: {words}")
        return receive.recv()
    except EOFError:
        child.join()
        raise RuntimeError(f"the command died with exit code {child.exitcode}: {words}") from None
    finally:
        child.kill()
        child.join()
        receive.close()


def _child(words, send):
    from oasis_utils.cli.parser import main

    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESSES, MAX_ADDRESSES))
    out, err, start = io.StringIO(), io.StringIO(), time.monotonic()
    signal.alarm(MAX_SECONDS)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    send.send(Outcome(code, out.getvalue(), err.getvalue(), seconds, peak))
    sys.stdout.flush()
