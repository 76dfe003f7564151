"""Files that are written completely or not at all, and locks against other processes."""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import platform
import secrets
import shlex
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from oasis_utils.runtime.plain_files import SPECIAL_KINDS, DataError, read_plain

LARGEST_JSON = 2**26  # bytes

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
def storage_errors(path: str | Path) -> Iterator[None]:
    """Turn errors of the system in writing `path` into words; errors of other files pass unchanged.

    Args:
        path: What the block writes: a file, or a folder with all that it holds.

    Raises:
        StorageError: There is no room or no permission.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in STORAGE_ADVICE or not _concerns(error, os.path.abspath(path)):
            raise
        raise StorageError(
            f"cannot write {path}: {STORAGE_ADVICE[error.errno]} and run again; "
            "what was written before is kept"
        ) from None


def _concerns(error: OSError, path: str) -> bool:
    """Whether an error names no file, a folder above `path`, a draft of it, or a file inside it."""
    if not isinstance(error.filename, (str, bytes)):
        return True
    blamed = os.path.abspath(os.fsdecode(error.filename))
    return blamed.startswith(path) or Path(path).is_relative_to(blamed)


def refuse_special(path: str | Path) -> None:
    """StorageError for a path whose replacement would lose a folder, link, device or FIFO."""
    with contextlib.suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = SPECIAL_KINDS.get(stat.S_IFMT(mode), "special file")
            raise StorageError(
                f"cannot write {path}: what is there is a {kind}, and only plain files are"
                " replaced; choose another path"
            )


def private_name(path: Path) -> Path:
    """A path beside `path` that no other process and no user has chosen, for a draft of it."""
    return path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path that replaces `path` when the block ends without an error.

    All bytes are on the disk before the replacement. After an error, an older file stays.

    Args:
        path: The file to write; its folder is created if missing. Only a plain file is replaced.

    Yields:
        A path in the same folder; write the file there.

    Raises:
        StorageError: There is no room or no permission, or `path` is no plain file.
    """
    path = Path(path)
    partial = private_name(path)
    try:
        with storage_errors(path):
            refuse_special(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            to_disk(partial)
            refuse_special(path)
            os.replace(partial, path)
            to_disk(path.parent)  # so that the new name survives a power cut
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends without an error.

    Args:
        path: The folder to make; its parent is created if missing. An empty folder is replaced.

    Yields:
        A new folder beside it; write the files there.

    Raises:
        StorageError: There is no room or no permission.
    """
    path = Path(path)
    draft = private_name(path)
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.mkdir()
            yield draft
            if path.exists():
                path.rmdir()
            draft.rename(path)
            to_disk(path.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def exclusive(lock: Path, what: str | Path, wait: float = 0.0) -> Iterator[None]:
    """Keep other processes out of `what` while the block runs.

    The system releases the lock if this process dies.

    Args:
        lock: The lock file; a file beside it names the process that holds it.
        what: What is locked, as the message calls it.
        wait: Seconds to wait for the other process.

    Raises:
        FolderInUse: Another process holds the lock; the message names it.
        StorageError: The lock file cannot be made.
    """
    from filelock import FileLock, Timeout

    holder = lock.with_name(f"{lock.name}.json")
    try:
        with storage_errors(lock):
            refuse_special(lock)
            lock.parent.mkdir(parents=True, exist_ok=True)
            held = FileLock(lock, timeout=wait).acquire()
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
    write_texts({path: json_text(value)})


def json_text(value: Any) -> str:
    """The content of a JSON file; ValueError for numbers that JSON lacks (nan, infinity)."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def write_texts(texts: Mapping[str | Path, str]) -> None:
    """Write several files in UTF-8; if one of them cannot be written, all older ones stay.

    Args:
        texts: {path: content}.
    """
    with contextlib.ExitStack() as stack:
        for path, text in texts.items():
            stack.enter_context(atomic(path)).write_text(text, encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """The value that a JSON file holds.

    Args:
        path: A plain file in UTF-8, of at most 64 MiB.

    Returns:
        Dictionaries, lists, texts, numbers, booleans and None.

    Raises:
        DataError: The file cannot be read, or holds no JSON.
    """
    content = read_plain(path, LARGEST_JSON)
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} holds no JSON ({error}): repair or remove it") from None
