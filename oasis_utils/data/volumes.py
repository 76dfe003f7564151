"""Cuts T1 volumes into square 8-bit slices of one geometry: OASIS-1 discs, NIfTI, Analyze, MGH.

Every volume is first brought to one frame: voxel axes that run left to right, back to front and
bottom to top (RAS), 1 mm apart. Pictures are neurological: the patient's left is on the left.
Axial: front up; coronal: top up; sagittal: top up, front to the right. Slices are numbered upwards,
forwards and to the right, and lie on a square of 256 mm.

Analyze files do not record left and right. By convention x runs from the patient's right to the
left (Analyze 7.5, SPM, nibabel). It holds for OASIS T88_111 as well: they were written by
4dfptoanalyze, and the manual of 4dfp gives "right occipital skull-base" as the first voxel of an
axial volume. The pictures cannot confirm it. RAW and SUBJ_111 of OASIS-1 are stored sagittally; of
discs only T88_111 is read.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float32, UInt8
from nibabel.funcs import as_closest_canonical
from nibabel.spatialimages import SpatialImage
from scipy import ndimage

from oasis_utils.config.checks import require
from oasis_utils.data.archives import archive_members, open_file
from oasis_utils.data.orientation import AUTO, oriented, quarter_turns
from oasis_utils.data.tissues import TISSUES
from oasis_utils.data.volume_names import Scan
from oasis_utils.data.voxels import Opener, read_voxels
from oasis_utils.runtime import DataError

SLICE_SIDE = 256  # mm = pixels, as in keras_png_slices
# axes of slices, rows (reversed), columns
PLANES = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}
# a voxel of the head is brighter than this fraction of the 99th percentile, counted from the
# background
HEAD_FRACTION = 0.1
# a slice with less head than this fraction of the fullest slice is outside the head
SPECK_FRACTION = 0.02
# grey level of the head's 99.5th percentile; the background (1st percentile of all voxels) is 0
WHITE_LEVEL = 250
MAX_HELD_BYTES = 2**27  # of an archive's sessions of which a file is still to come
MAX_LABELS = 50  # different whole numbers in a label map; a head has more
MAX_FIELD_OF_VIEW = 2**26  # mm³, about 400³


@dataclass(frozen=True)
class SliceOptions:
    """How slices are cut from a volume. ValueError where a value is not allowed.

    Positions are whole millimetres of the 1 mm grid. Without `span` they count over the head's
    extent.

    Attributes:
        plane: axial, coronal or sagittal.
        span: first and last + 1 millimetre along the plane's axis; None: the extent of the head.
        every: millimetres between slices, from the first one on, so that the number of slices
            follows the head's size; None: `count` slices.
        count: without `every`, this many slices, each in the middle of its share of the extent.
        orient: auto (upright), as-is, rot90, rot180 or rot270 (anticlockwise), then perhaps
            ",flip".
    """

    plane: str = "axial"
    span: tuple[int, int] | None = None
    every: float | None = None
    count: int = 32
    orient: str = AUTO

    def __post_init__(self):
        require(
            self.plane in PLANES, f"plane must be one of {', '.join(PLANES)}, not {self.plane!r}"
        )
        require(
            self.span is None or 0 <= self.span[0] < self.span[1],
            f"span is FIRST:END in millimetres with 0 <= FIRST < END, not {self.span}",
        )
        require(
            self.every is None or 1 <= self.every < math.inf,
            f"every is 1 mm or more, the grid of the volumes, not {self.every}",
        )
        require(self.count >= 1, f"count is 1 or more, not {self.count}")
        quarter_turns(self.orient)


# ---------------------------------------------------------------- reading


Slices = UInt8[np.ndarray, "n height width"]


def read_scans(
    scans: Iterable[Scan],
    options: SliceOptions,
    on_error: Callable[[Scan, DataError], None] | None = None,
) -> Iterator[tuple[Scan, Slices, Slices | None]]:
    """Cut one volume after another into slices; one volume is in memory at a time.

    Args:
        scans: those of an archive are read in the archive's order, all others in the given one.
        options: which slices are cut.
        on_error: called with a scan that cannot be read, which is then left out; None: the first
            error is raised.

    Yields:
        The scan, its slices (n, 256, 256), and tissue masks of the same shape or None where the
        scan has no labels. Grey levels: 0 is the 1st percentile of a volume, 250 the 99.5th of its
        head. Masks: 0 background, 1 fluid, 2 grey matter, 3 white matter.

    Raises:
        DataError: a volume cannot be read, and `on_error` is None.
    """
    groups: dict[Path | None, list[Scan]] = {}
    for scan in scans:
        groups.setdefault(scan.archive, []).append(scan)
    for archive, members in groups.items():
        opened = _from_files(members) if archive is None else _from_archive(archive, members)
        for scan, opener in opened:
            try:
                images, labels = _slices(scan, options, opener)
            except DataError as error:
                if on_error is None:
                    raise
                on_error(scan, error)
            else:
                del opener  # lets go of the volume
                yield scan, images, labels


def _from_files(scans: list[Scan]) -> Iterator[tuple[Scan, Opener]]:
    for scan in scans:
        yield scan, open_file


def _from_archive(archive: Path, scans: list[Scan]) -> Iterator[tuple[Scan, Opener]]:
    """Each scan once its last file has been read; when the archive fails, opening the files of the
    remaining scans raises the archive's error.
    """
    waiting = {scan: {*scan.image, *scan.labels} for scan in scans}
    owner = {name: scan for scan in scans for name in waiting[scan]}
    contents: dict[Scan, dict[str, bytes]] = {scan: {} for scan in scans}
    failure = DataError(f"{archive} has changed since it was listed: look for scans again")
    try:
        for name, content in archive_members(archive, owner.__contains__):
            if content is None or name not in waiting.get(owner[name], ()):
                continue
            scan = owner[name]
            contents[scan][name] = content
            waiting[scan].remove(name)
            held = sum(len(part) for parts in contents.values() for part in parts.values())
            if held > MAX_HELD_BYTES:
                raise DataError(
                    f"{archive} keeps the files of too many sessions apart: unpack it, and give the"
                    " folder"
                )
            if not waiting[scan]:
                del waiting[scan], content
                whole = contents.pop(scan)
                yield scan, lambda name, whole=whole: io.BytesIO(whole[name])
                del whole
            if not waiting:
                return
    except DataError as error:
        failure = error

    def fail(_: str) -> io.BufferedIOBase:
        raise failure

    for scan in waiting:
        yield scan, fail


# ---------------------------------------------------------------- one volume


@dataclass(frozen=True)
class _Volume:
    """Voxels on the common frame: axes to the right, forwards, upwards, 1 mm apart.

    Attributes:
        where: path, or archive!member, for messages.
        voxels: grey levels or labels.
        affine: voxel to mm of the canonical grid before resampling.
    """

    where: str
    voxels: Float32[np.ndarray, "x y z"]
    affine: np.ndarray


def _read_volume(scan: Scan, parts: tuple[str, ...], opener: Opener, order: int) -> _Volume:
    """A .nii, .nii.gz or pair of a scan; order: of the interpolation, 1 for grey levels, 0 for
    labels.
    """
    folder = f"{scan.archive}!" if scan.archive else ""
    where, last = folder + parts[0], folder + parts[-1]
    if len(parts) == 1 and where.endswith((".hdr", ".img")):
        other = where[:-4] + (".img" if where.endswith(".hdr") else ".hdr")
        raise DataError(
            f"{where} has no {PurePosixPath(other).name} beside it: fetch the missing half of the"
            " pair"
        )
    voxels, affine = read_voxels(parts, opener, where, last)
    # nibabel's protocol of arrays leaves out numpy's own
    image = as_closest_canonical(SpatialImage(voxels, affine))  # pyright: ignore[reportArgumentType]
    voxels = _on_millimetres(np.asarray(image.dataobj), image.affine, order, where)
    return _Volume(where, voxels, image.affine)


def _on_millimetres(
    voxels: Float32[np.ndarray, "i j k"], affine: np.ndarray, order: int, where: str
) -> Float32[np.ndarray, "x y z"]:
    """Resampled to 1 mm where a voxel's side differs by more than 1 %; the field of view keeps its
    middle.
    """
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(0))
    sides = [max(1, round(n * size)) for n, size in zip(voxels.shape, sizes, strict=True)]
    if math.prod(sides) > MAX_FIELD_OF_VIEW:
        raise DataError(
            f"{where} covers {' x '.join(map(str, sides))} mm, more than a head: the voxel sizes"
            " are damaged, replace the file"
        )
    if (abs(sizes - 1) <= 0.01).all():
        return voxels
    middle = (np.array(voxels.shape) - 1) / 2 - (np.array(sides) - 1) / 2 / sizes
    return ndimage.affine_transform(
        voxels, 1 / sizes, middle, tuple(sides), order=order, mode="nearest"
    )


# ---------------------------------------------------------------- slices


def _slices(
    scan: Scan, options: SliceOptions, opener: Opener
) -> tuple[np.ndarray, np.ndarray | None]:
    volume = _read_volume(scan, scan.image, opener, order=1)
    black, threshold, white = _levels(volume)
    head = volume.voxels > threshold
    axis, *plane = PLANES[options.plane]
    positions = _positions(head, axis, options, volume.where)
    windows = [_window(head, side, volume.where) for side in plane]

    def grey(stack: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # a single voxel may be far above white
            return np.clip(
                (stack - np.float32(black)) * np.float32(WHITE_LEVEL / (white - black)) + 0.5,
                0,
                255,
            )

    images = _cut(grey, volume, options, positions, windows)
    if not scan.labels:
        return images, None
    labels = _read_labels(scan, volume, opener)
    return images, TISSUES[scan.coding][_cut(np.asarray, labels, options, positions, windows)]


def _levels(volume: _Volume) -> tuple[float, float, float]:
    """Background, threshold of the head, and white, from every second voxel along each axis of a
    large volume.
    """
    step = 2 if volume.voxels.size > 2**20 else 1
    values = np.sort(volume.voxels[::step, ::step, ::step], axis=None)
    _refuse_label_map(values, volume.where)
    black = float(values[len(values) // 100])
    brighter = values[np.searchsorted(values, black, side="right") :]
    if len(brighter):
        threshold = float(
            np.float32(black + HEAD_FRACTION * (float(brighter[int(0.99 * len(brighter))]) - black))
        )
        foreground = brighter[np.searchsorted(brighter, threshold, side="right") :]
        white = float(foreground[int(0.995 * len(foreground))]) if len(foreground) else black
        if white - black > 1e-25:
            return black, threshold, white
    raise DataError(f"{volume.where} is constant (all voxels {black:g}): replace the volume")


def _refuse_label_map(values: np.ndarray, where: str) -> None:
    """DataError for sorted voxels that are labels: two or more, but few, different whole numbers
    from 0 to 255.
    """
    different = values[np.flatnonzero(np.diff(values, prepend=-1))]
    if (
        2 <= len(different) <= MAX_LABELS
        and different[0] >= 0
        and different[-1] <= 255
        and (different % 1 == 0).all()
    ):
        raise DataError(
            f"{where} holds {len(different)} different whole numbers, as a label map does, and no"
            " grey levels: give a T1 volume, or say with --pattern which files are heads"
        )


def _extent(head: np.ndarray, axis: int) -> tuple[int, int]:
    """First and last + 1 millimetre of the head along an axis, specks left out."""
    counts = np.count_nonzero(head, axis=tuple(a for a in range(3) if a != axis))
    inside = np.flatnonzero(counts >= max(1, SPECK_FRACTION * counts.max()))
    return int(inside[0]), int(inside[-1]) + 1


def _positions(head: np.ndarray, axis: int, options: SliceOptions, where: str) -> np.ndarray:
    """Millimetres along the axis at which slices are cut, ascending."""
    first, end = options.span or _extent(head, axis)
    if end > head.shape[axis]:
        raise DataError(
            f"{where} has {head.shape[axis]} mm along the {options.plane} axis, the span asks for "
            f"{first}:{end}: choose a smaller span"
        )
    if options.every is not None:
        offsets = options.every * np.arange(math.ceil((end - first) / options.every))
    elif options.count > end - first:
        raise DataError(
            f"{where} has {end - first} mm to cut along the {options.plane} axis, too few for "
            f"{options.count} slices: lower the count"
        )
    else:
        offsets = (np.arange(options.count) + 0.5) * (end - first) / options.count
    return first + offsets.astype(int)


def _window(head: np.ndarray, axis: int, where: str) -> tuple[slice, slice]:
    """The part of an axis that is shown, and where in the square: all of it, centred; of a long one
    the part with the head.
    """
    length = head.shape[axis]
    if length <= SLICE_SIDE:
        start = (SLICE_SIDE - length) // 2
        return slice(0, length), slice(start, start + length)
    first, end = _extent(head, axis)
    if end - first > SLICE_SIDE:
        raise DataError(
            f"{where} shows a head of {end - first} mm, more than the {SLICE_SIDE} mm of a slice: "
            "crop the volume or check its voxel sizes"
        )
    start = min(max(0, (first + end - SLICE_SIDE) // 2), length - SLICE_SIDE)
    return slice(start, start + SLICE_SIDE), slice(0, SLICE_SIDE)


def _cut(
    grey: Callable[[np.ndarray], np.ndarray],
    volume: _Volume,
    options: SliceOptions,
    positions: np.ndarray,
    windows: list[tuple[slice, slice]],
) -> UInt8[np.ndarray, "n height width"]:
    (rows, to_rows), (columns, to_columns) = windows
    stack = volume.voxels.transpose(PLANES[options.plane])[positions, rows, columns]
    square = np.zeros((len(positions), SLICE_SIDE, SLICE_SIDE), np.uint8)
    square[:, to_rows, to_columns] = grey(stack)
    return oriented(square[:, ::-1], options.orient)


def _read_labels(scan: Scan, volume: _Volume, opener: Opener) -> _Volume:
    labels = _read_volume(scan, scan.labels, opener, order=0)
    known = (
        labels.voxels.min() >= 0 and labels.voxels.max() <= 255 and (labels.voxels % 1 == 0).all()
    )
    if not known:
        raise DataError(
            f"{labels.where} is no label map of whole numbers from 0 to 255: repair or remove it"
        )
    apart = np.abs(labels.affine - volume.affine) @ [*volume.voxels.shape, 1]
    if labels.voxels.shape != volume.voxels.shape or apart.max() > 1:
        raise DataError(
            f"{labels.where} lies on another grid than {volume.where}: resample or remove it"
        )
    return labels
