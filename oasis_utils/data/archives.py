"""Streams of packed files and members of .tar.gz archives, within bounds of memory and time.

Nothing is written to the disk. What a file claims is compared with its size before memory is taken.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from oasis_utils.runtime import DataError, open_plain
from oasis_utils.runtime.plain_files import refuse_bomb

MAX_MEMBER_BYTES = 2**26  # a volume of an OASIS disc has 13 MB
MAX_MEMBERS = 20_000  # a disc has some thousands
MAX_EXTRA_BYTES = 2**16  # long name or PAX records of one member
MAX_SHARED_BYTES = 2**12  # PAX records that tarfile repeats for every member
READ_CHUNK = 2**20  # bytes
TAR_BLOCK = 512  # bytes; an archive ends with blocks of zeros

GZIP_ERRORS = (OSError, EOFError, zlib.error)
TAR_ERRORS = (
    *GZIP_ERRORS,
    tarfile.TarError,
    ValueError,
    LookupError,
    OverflowError,
    RecursionError,
)
EXTRA_TYPES = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)

# ---------------------------------------------------------------- packed files


def open_file(path: str) -> io.BufferedIOBase:
    """A stream of the bytes of a file, unpacked if its name ends in .gz or .mgz.

    Raises:
        DataError: the file cannot be read, or is a pointer to one that is not fetched.
    """
    file = open_plain(path)
    if not path.endswith((".gz", ".mgz")):
        return cast(io.BufferedIOBase, file)
    return Unpacked(file, path)


class Unpacked(gzip.GzipFile):
    """The unpacked bytes of a gzip file; DataError where they are too many for its size.

    Args:
        file: the packed file, which is closed with this stream.
        where: what messages call it.
    """

    def __init__(self, file: BinaryIO, where: str):
        super().__init__(fileobj=file, mode="rb")
        self._packed_file, self._where, self._n = file, where, 0
        self._packed = os.fstat(file.fileno()).st_size

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes."""
        content = super().read(size)
        self._n += len(content)
        refuse_bomb(self._n, self._packed, self._where)
        return content

    def close(self) -> None:
        """Close the stream and the file."""
        super().close()
        self._packed_file.close()


def read_up_to(stream: io.BufferedIOBase | IO[bytes], n: int) -> bytearray:
    """Up to n bytes, in pieces: a damaged n must not reserve memory."""
    content = bytearray()
    while len(content) < n and (piece := stream.read(min(READ_CHUNK, n - len(content)))):
        content += piece
    return content


# ---------------------------------------------------------------- archives


class _Member(tarfile.TarInfo):
    """A member whose own description is small: tarfile holds it in memory, whatever it claims."""

    def _proc_member(self, archive: Any) -> Any:  # the entry point that tarfile names for this
        most = MAX_SHARED_BYTES if self.type == tarfile.XGLTYPE else MAX_EXTRA_BYTES
        if self.type in EXTRA_TYPES and self.size > most:
            raise tarfile.ReadError(f"a name or record of {self.size} bytes")
        if self.type == tarfile.GNUTYPE_SPARSE:
            self._refuse_sparse()
        return super()._proc_member(archive)  # pyright: ignore[reportAttributeAccessIssue]

    def _refuse_sparse(self, *_: Any) -> None:
        raise tarfile.ReadError("a sparse file, whose map may have any length")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


def archive_members(
    archive: Path, wanted: Callable[[str], bool], most: int = MAX_MEMBER_BYTES
) -> Iterator[tuple[str, bytes | None]]:
    """Read the plain files of a .tar.gz one after another; nothing is written to the disk.

    Links, devices and names that lead out of the archive are passed over. At the end gzip has
    compared its checksum.

    Args:
        archive: the .tar.gz.
        wanted: whether the content of the member of a name is read.
        most: bytes that such a member may have.

    Yields:
        Name and content of a member; None instead of a content that is not wanted.

    Raises:
        DataError: the archive is damaged or incomplete, a member claims too many bytes, or the
            archive has too many members or unpacks to far more than its size.
    """
    try:
        with (
            Unpacked(open_plain(archive), str(archive)) as stream,
            tarfile.open(fileobj=stream, mode="r|", bufsize=READ_CHUNK, tarinfo=_Member) as tar,
        ):
            yield from _contents(tar, archive, wanted, most)
            _check_end(tar)
    except DataError:
        raise
    except TAR_ERRORS as error:
        raise DataError(
            f"{archive} is damaged or incomplete ({error}): fetch it again or move it away"
        ) from None


def _contents(
    tar: tarfile.TarFile, archive: Path, wanted: Callable[[str], bool], most: int
) -> Iterator[tuple[str, bytes | None]]:
    for number, member in enumerate(tar):
        if number >= MAX_MEMBERS:
            raise tarfile.ReadError(f"more than {MAX_MEMBERS} members")
        path = PurePosixPath(member.name)
        if not member.isreg() or path.is_absolute() or ".." in path.parts:
            continue
        content = None
        if wanted(member.name):
            if member.size > most:
                raise DataError(
                    f"{archive}!{member.name} claims {member.size} bytes: the archive is"
                    " damaged, fetch it again"
                )
            if (stored := tar.extractfile(member)) is None:
                raise tarfile.ReadError(f"{member.name} has no content")
            content = bytes(read_up_to(stored, member.size))
        member.pax_headers = {}  # tarfile keeps every member
        yield member.name, content


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise ReadError before the real end, where only zeros follow: tarfile also stops at a broken
    header.
    """
    if tar.fileobj is None:
        raise tarfile.ReadError("the archive is closed")
    rest = tar.fileobj.read(TAR_BLOCK)
    if len(rest) < TAR_BLOCK or any(rest):
        raise tarfile.ReadError("no end mark")
    while rest := tar.fileobj.read(READ_CHUNK):
        if any(rest):
            raise tarfile.ReadError("data behind the end mark")
