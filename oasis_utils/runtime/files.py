"""Files that are written completely or not at all, and locks against other processes."""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class DataError(ValueError):
    """The data are invalid; the message names what was found, where, and what to do."""


STORAGE_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "your disk quota is used up: free some space",
    errno.EFBIG: "the file is larger than this account may write: raise the limit (ulimit -f)",
    errno.EROFS: "this file system is read-only: choose another folder",
    errno.EACCES: "no permission to write there: choose another folder",
}


class StorageError(OSError):
    """A result cannot be written; the message says why and what to do."""


class FolderInUse(RuntimeError):
    """Another process writes there; the message names it."""


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path that replaces `path` when the block ends without an error.

    All bytes are on the disk before the replacement. After an error, an older file stays.

    Args:
        path: The file to write; its folder is created if missing.

    Yields:
        A path in the same folder; write the file there.

    Raises:
        StorageError: There is no room or no permission.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        _to_disk(partial)
        os.replace(partial, path)
        _to_disk(path.parent)  # so that the new name survives a power cut
    except OSError as error:
        if error.errno not in STORAGE_ADVICE:
            raise
        raise StorageError(
            f"cannot write {path}: {STORAGE_ADVICE[error.errno]} and run again; "
            "what was written before is kept"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def exclusive(lock: Path, what: str | Path) -> Iterator[None]:
    """Keep other processes out of `what` while the block runs.

    The system releases the lock if this process dies.

    Args:
        lock: The lock file; a file beside it names the process that holds it.
        what: What is locked, as the message calls it.

    Raises:
        FolderInUse: Another process holds the lock; the message names it.
    """
    from filelock import FileLock, Timeout

    holder = lock.with_name(f"{lock.name}.json")
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(lock, timeout=0).acquire()
    except Timeout:
        raise FolderInUse(
            f"{what} is in use by {_holder(holder)}: wait for it, stop it, or choose another run"
            " folder"
        ) from None
    with held:
        write_json(
            holder,
            {
                "process": os.getpid(),
                "host": platform.node(),
                "command": shlex.join(sys.argv),
                "since": f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}",
            },
        )
        try:
            yield
        finally:
            holder.unlink(missing_ok=True)


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError):
        about = read_json(path)
        return (
            f"process {about['process']} on {about['host']} since {about['since']}"
            f" ({about['command']})"
        )
    return "another process"


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON, completely or not at all.

    Args:
        path: The file; its folder is created if missing.
        value: Any JSON value. Numbers that JSON lacks (nan, infinity) raise ValueError.
    """
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """The value that a JSON file holds.

    Args:
        path: A file in UTF-8.

    Returns:
        Dictionaries, lists, texts, numbers, booleans and None.
    """
    return json.loads(Path(path).read_text(encoding="utf-8"))
