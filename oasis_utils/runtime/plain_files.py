"""Opens plain files only, and reads no more of them than their kind can hold.

A FIFO waits for ever, a device has no end, and a small compressed file may unpack to any size.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

SPECIAL_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "FIFO",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFSOCK: "socket",
}

GIT_LFS_POINTER = b"version https://git-lfs"
ANNEX_POINTER = b"/annex/objects/"
ANNEX_FOLDER = "annex/objects"
POINTER_BYTES = 64  # enough of a file to recognise a pointer
ALWAYS_UNPACKED = 2**27 + 2**20  # bytes: 512³ voxels of one byte, and their header
MOST_UNPACKED = 25  # bytes for each packed one beyond that; scans of heads have 2 to 10


class DataError(ValueError):
    """The data are invalid; the message names what was found, where, and what to do."""


def open_plain(path: str | Path) -> BinaryIO:
    """Open a plain file for reading; the message names what else is there.

    Args:
        path: a file, or a link to one.

    Returns:
        A stream of its bytes.

    Raises:
        DataError: there is no file, it may not be read, it is a FIFO, device, socket or folder, or
            a data set manager has not fetched it yet.
    """
    try:
        _refuse_kind(os.stat(path), path)  # opening a device may already do something
        # without O_NONBLOCK, opening a FIFO waits for a writer
        file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb")
    except DataError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise DataError(_unopened(Path(path), error)) from None
    try:
        _refuse_kind(os.fstat(file.fileno()), path)
        refuse_pointer(file.read(POINTER_BYTES), str(path))
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _refuse_kind(status: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = SPECIAL_KINDS.get(stat.S_IFMT(status.st_mode), "special file")
        raise DataError(f"cannot read {path}: it is a {kind}, no plain file; remove or replace it")


def _unopened(path: Path, error: OSError | ValueError) -> str:
    if not isinstance(error, OSError):
        return f"cannot read {path}: {error}; correct the name"
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        target = os.readlink(path)
        if ANNEX_FOLDER in target:
            return f"{path} is not fetched yet: run `datalad get` or `git annex get` on it"
        return f"cannot read {path}: it is a link to {target}, which is missing; repair the link"
    if isinstance(error, PermissionError):
        return f"cannot read {path}: no permission; make it readable, or choose another"
    return f"cannot read {path}: {error.strerror}; replace the file"


def read_plain(path: str | Path, most: int) -> bytes:
    """The whole content of a plain file.

    Args:
        path: a file, or a link to one.
        most: bytes that such a file can have.

    Returns:
        Its content.

    Raises:
        DataError: as of `open_plain`, or the file is larger.
    """
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            # `read` takes the memory it is asked for at once, so not `most`
            content = file.read(size + 1) if size <= most else b""
            if len(content) > size:  # it has grown since
                content += file.read(most + 1 - len(content))
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}; replace the file") from None
    if size > most or len(content) > most:
        raise DataError(f"{path} has more than {most} bytes: it is no file of this kind")
    return content


def refuse_pointer(content: bytes, where: str) -> None:
    """Refuse what stands in for a file that is not fetched yet.

    Args:
        content: at least the first 64 bytes of the file, or all of a shorter one.
        where: what the message calls it.

    Raises:
        DataError: they are a pointer of Git LFS or git-annex.
    """
    if content.startswith(GIT_LFS_POINTER):
        raise DataError(
            f"{where} is a Git LFS pointer, not the file itself: run `git lfs pull` there"
        )
    if content.startswith(ANNEX_POINTER):
        raise DataError(
            f"{where} is a git-annex pointer, not the file itself: run `datalad get` or `git annex"
            " get` on it"
        )


def most_unpacked(packed: int) -> int:
    """Bytes to which a file of `packed` bytes may unpack: more is a bomb, or damage."""
    return max(ALWAYS_UNPACKED, MOST_UNPACKED * packed)


def refuse_bomb(unpacked: int, packed: int, where: str | Path) -> None:
    """Refuse a small file of large content before memory is taken for it.

    Args:
        unpacked: bytes that its content would take.
        packed: bytes of the file.
        where: what the message calls it.

    Raises:
        DataError: `unpacked` is more than `most_unpacked` allows.
    """
    if unpacked > most_unpacked(packed):
        raise DataError(
            f"{where} has {packed} bytes and unpacks to {unpacked} or more: no scan does; the file"
            " is damaged, fetch it again"
        )


def printable(text: str) -> str:
    """A text without characters that a terminal would obey, in one line.

    Args:
        text: any text, such as the name of a foreign file.

    Returns:
        The text with single spaces; other control characters are escaped.
    """
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)
