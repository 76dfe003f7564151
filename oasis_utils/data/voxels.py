"""Voxels and affine of a NIfTI, Analyze or MGH file, whose header is checked before it is used."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float32
from nibabel.analyze import AnalyzeHeader
from nibabel.freesurfer.mghformat import MGHHeader
from nibabel.nifti1 import Nifti1Header, data_type_codes
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

from oasis_utils.data.archives import GZIP_ERRORS, READ_CHUNK, read_up_to
from oasis_utils.runtime import DataError
from oasis_utils.runtime.plain_files import POINTER_BYTES, refuse_pointer

MAX_VOXELS = 2**27  # 512³: a header that promises more is damaged
MAX_SIZE = 10  # mm, of a voxel
MAX_THICK = 256  # mm, of a voxel where few slices may show a whole head
MGH_TAIL = READ_CHUNK  # bytes of scan parameters behind the voxels
MGH_OFFSET, MGH_VERSION = 284, bytes((0, 0, 0, 1))  # bytes before the voxels, and the first of them

Opener = Callable[
    [str], io.BufferedIOBase
]  # a path or member to a stream of its content; raises DataError
AnyHeader = AnalyzeHeader | MGHHeader


def read_voxels(
    parts: tuple[str, ...], opener: Opener, where: str, last: str, thick: bool = False
) -> tuple[Float32[np.ndarray, "i j k"], Float[np.ndarray, "4 4"]]:
    """Read the voxels of one volume, whole and checked.

    Args:
        parts: a .nii, .nii.gz, .mgh or .mgz file, or a .hdr and its .img, as `opener` takes them.
        opener: opens a part.
        where: what messages call the first part.
        last: what messages call the last part.
        thick: whether it may hold a single slice, and slices further apart than MAX_SIZE.

    Returns:
        Scaled voxels and the voxel-to-mm affine.

    Raises:
        DataError: it is not one whole 3-D volume of finite numbers with a usable orientation.
    """
    voxels, header = _read_stored(parts, opener, where, last, 1 if thick else 2)
    affine = _affine(header, where, MAX_THICK if thick else MAX_SIZE)
    with np.errstate(all="ignore"):  # damaged scalings overflow; the check below finds them
        slope, inter = _scaling(header, where)
        if (slope, inter) != (1, 0):
            voxels *= np.float32(slope)
            voxels += np.float32(inter)
        if not max(-float(voxels.min()), float(voxels.max())) < 1e30:  # not: nan compares as false
            raise DataError(
                f"{where} has voxels that are nan, infinite or above 1e30: repair or replace the"
                " volume"
            )
    return voxels, affine


def _read_stored(
    parts: tuple[str, ...], opener: Opener, where: str, last: str, least: int
) -> tuple[Float32[np.ndarray, "i j k"], AnyHeader]:
    """Voxels without their scaling, and the checked header. The file must be as long as it says.

    Behind the voxels of an MGH file come scan parameters of any length; nothing follows those of
    the others.
    """
    mgh, single = where.endswith((".mgz", ".mgh")), len(parts) == 1
    try:
        with opener(parts[0]) as stream:
            content = bytes(read_up_to(stream, Nifti2Header.sizeof_hdr))
            header = _mgh_header(content, where) if mgh else _header(content, where, single)
            shape, dtype, offset = _layout(header, where, single, least)
            place = (offset, math.prod(shape), dtype)
            read = _numbers(stream, content, place, MGH_TAIL * mgh) if single else None
        if read is None:
            with opener(parts[1]) as stream:
                content = bytes(read_up_to(stream, POINTER_BYTES))
                refuse_pointer(content, last)
                read = _numbers(stream, content, place, 0)
    except GZIP_ERRORS as error:
        raise DataError(f"cannot read {where}: {error}; replace the file") from None
    voxels, found = read
    needed = offset + len(voxels) * dtype.itemsize
    if found != needed:
        size = f"only {found}" if found < needed else f"more than {needed}"
        raise DataError(
            f"{last} holds {size} bytes, the header requires {needed}: the file is cut off or the"
            " header damaged; replace it"
        )
    return voxels.reshape(shape, order="F"), header


def _numbers(
    stream: io.BufferedIOBase, start: bytes, place: tuple[int, int, np.dtype], tail: int
) -> tuple[Float32[np.ndarray, " n"], int]:
    """Numbers of a stream, which are converted in pieces: memory holds them once.

    Args:
        stream: read to its end, where gzip checks the sum.
        start: its first bytes, which were read already.
        place: (offset in bytes, how many numbers, their type).
        tail: fewer further bytes than this are passed over.

    Returns:
        The numbers, and the bytes up to their end, or one more where further bytes follow.
    """
    offset, n, dtype = place
    numbers, filled = np.empty(n, np.float32), 0
    held, found = start, len(start)
    while filled < n:
        body = held[offset:]
        offset, whole = max(0, offset - len(held)), min(len(body) // dtype.itemsize, n - filled)
        with np.errstate(all="ignore"):
            numbers[filled : filled + whole] = np.frombuffer(body, dtype, whole)
        filled, held = filled + whole, body[whole * dtype.itemsize :]
        if filled == n or not (piece := stream.read(READ_CHUNK)):
            break
        held, found = held + piece, found + len(piece)
    rest = len(held) if filled == n else 0
    more = rest + len(read_up_to(stream, max(1, tail - rest)))
    return numbers, found - rest + (more > 0 and more >= tail)


def _header(content: bytes, where: str, single: bool) -> AnalyzeHeader:
    refuse_pointer(content, where)
    for kind in (Nifti1Header, Nifti2Header, AnalyzeHeader):
        if len(content) >= kind.sizeof_hdr and kind.may_contain_header(content):
            header = kind(content[: kind.sizeof_hdr], check=False)
            magic = b"" if kind is AnalyzeHeader else bytes(header["magic"].item())
            if single == magic.startswith(b"n+"):
                return header
            break
    raise DataError(
        f"{where} is no {'NIfTI' if single else 'NIfTI or Analyze'} header: replace the file"
    )


def _mgh_header(content: bytes, where: str) -> MGHHeader:
    refuse_pointer(content, where)
    if len(content) < MGH_OFFSET or content[:4] != MGH_VERSION:
        raise DataError(f"{where} is no MGH header: replace the file")
    return MGHHeader(content[:MGH_OFFSET], check=False)


def _layout(
    header: AnyHeader, where: str, single: bool, least: int
) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, 3-D with `least` or more along each axis, type and offset in bytes of the voxels;
    DataError if they are no T1 volume.
    """
    mgh = isinstance(header, MGHHeader)
    n, *dims = (4, *map(int, header["dims"])) if mgh else (int(d) for d in header["dim"])
    if not (3 <= n <= 7 and min(dims[:n]) >= 1 and min(dims[:3]) >= least):
        raise DataError(
            f"{where} is not 3-D (dimensions {dims[: max(0, min(n, 7))]}): give a T1 volume"
        )
    if math.prod(dims[3:n]) > 1:
        raise DataError(f"{where} holds {math.prod(dims[3:n])} volumes: give one T1 volume")
    if math.prod(dims[:3]) > MAX_VOXELS:
        raise DataError(
            f"{where} claims {dims[:3]} voxels, more than 512³: the header is damaged, replace the"
            " file"
        )
    try:
        dtype: np.dtype = header.get_data_dtype()  # pyright: ignore[reportAssignmentType]  # untyped
    except (HeaderDataError, KeyError):
        code = int(header["type" if mgh else "datatype"])
        raise DataError(f"{where} has the unknown data type {code}: replace the file") from None
    if mgh:
        return tuple(dims[:3]), dtype.newbyteorder(">"), MGH_OFFSET
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        name = data_type_codes.label[int(header["datatype"])]
        raise DataError(f"{where} has data type {name}: convert it to integers or 32-bit floats")
    offset = float(header["vox_offset"])
    if not (header.sizeof_hdr if single else 0) <= offset <= READ_CHUNK:
        raise DataError(
            f"{where} places its voxels at byte {offset}: the header is damaged, replace the file"
        )
    return tuple(dims[:3]), dtype, int(offset)


def _affine(header: AnyHeader, where: str, most: int) -> np.ndarray:
    """Voxel to mm as nibabel reads it: sform, else qform, else x from right to left."""
    try:
        with np.errstate(all="ignore"):
            affine = np.asarray(header.get_best_affine(), dtype=float)
            sizes = np.sqrt((affine[:3, :3] ** 2).sum(0))
            sound = np.isfinite(affine).all() and (sizes >= 0.05).all() and (sizes <= most).all()
            if sound and abs(np.linalg.det(affine[:3, :3] / sizes)) > 0.5:
                return affine
    except (HeaderDataError, ValueError):
        pass
    raise DataError(
        f"{where} has no usable orientation or voxel size (0.05 to {most} mm): the header is"
        " damaged, replace the file"
    )


def _scaling(header: AnyHeader, where: str) -> tuple[float, float]:
    """Slope and intercept of the stored values; Analyze and MGH have none."""
    if isinstance(header, MGHHeader):
        return 1.0, 0.0
    try:
        slope, inter = header.get_slope_inter()
    except HeaderDataError as error:
        raise DataError(f"{where}: {error}; the header is damaged, replace the file") from None
    return (1.0, 0.0) if slope is None else (float(slope), float(inter or 0.0))
