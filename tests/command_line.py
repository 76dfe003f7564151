"""The commands, as a user runs them."""

import subprocess
import sys


def oasis(*arguments):
    """`python -m oasis_utils` in a process of its own; the finished process with its texts."""
    return subprocess.run(
        [sys.executable, "-m", "oasis_utils", *map(str, arguments)], capture_output=True, text=True
    )


def contents(folder):
    """Every file below a folder with its time and size."""
    return {
        str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.stat().st_size)
        for p in sorted(folder.rglob("*"))
    }
