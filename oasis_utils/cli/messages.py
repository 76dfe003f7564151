"""Errors of a command as one line: what is wrong, in which file, what to do next."""

from __future__ import annotations

import errno
import linecache
import os
import sysconfig
import traceback
from pathlib import Path

import oasis_utils
from oasis_utils.runtime import STORAGE_ADVICE, printable

PACKAGE = Path(oasis_utils.__file__).parent
LIBRARIES = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]
ADVICE = STORAGE_ADVICE | {
    errno.ENOENT: "no such file or folder: check the path",
    errno.EEXIST: "something else has this name: remove it, or choose another path",
    errno.EACCES: "no permission: change it, or choose another path",
    errno.EISDIR: "this is a folder: give a file",
    errno.ENOTDIR: "a part of this path is no folder: check the path",
    errno.ENAMETOOLONG: "this name is too long: choose a shorter one",
    errno.ELOOP: "these links lead in a circle: check the path",
    errno.EIO: "the disk or the network drive fails: copy the data elsewhere, if it can be read",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
}


def in_words(error: BaseException) -> str:
    """One printable line about an error.

    Args:
        error: As it was caught, with its traceback.

    Returns:
        The message of an error that this package raised itself, and of a file that cannot be used.
        Any other error was not foreseen: the line says so, and where it arose.
    """
    text = printable(str(error)) or type(error).__name__
    if isinstance(error, OSError) and error.errno and error.filename is not None:
        path = printable(os.fsdecode(error.filename))
        return f"{path}: {ADVICE.get(error.errno, error.strerror)}"
    if raised_here(error):
        return text
    if isinstance(error, OSError) and error.errno in STORAGE_ADVICE:
        return f"cannot write: {STORAGE_ADVICE[error.errno]}"
    if isinstance(error, MemoryError):
        return f"the memory is exhausted ({text}): take fewer or smaller images, or more memory"
    return (
        f"unexpected {type(error).__name__} at {place(error)}: {text}; the same command with"
        " --debug shows the traceback, please report it"
    )


def raised_here(error: BaseException) -> bool:
    """Whether a `raise` outside the libraries made the error, so that its message is meant."""
    if type(error).__module__.startswith(oasis_utils.__name__):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return True
    path, number = Path(frames[-1].filename), frames[-1].lineno or 0
    ours = path.is_relative_to(PACKAGE) or not any(map(path.is_relative_to, LIBRARIES))
    return ours and linecache.getline(str(path), number).lstrip().startswith("raise ")


def place(error: BaseException) -> str:
    """File and line of this package in which the error arose."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(PACKAGE):
            return f"{path.relative_to(PACKAGE.parent)}:{frame.lineno}"
    return "an unknown place"
