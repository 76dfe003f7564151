"""Cuts T1 volumes into slices: OASIS-1 discs, NIfTI and Analyze in, square 8-bit slices of one
geometry out.

Every volume is brought to one frame first: voxel axes that run left to right, back to front and
bottom to top (RAS), 1 mm apart. Pictures are neurological: the patient's left is on the left.
Axial: front up; coronal: top up; sagittal: top up, front to the right. Slices are numbered upwards,
forwards and to the right, and lie on a square of 256 mm.

Left and right of Analyze files are a convention, for a file does not say: x runs from the patient's
right to the left (Analyze 7.5, SPM, nibabel). It holds for OASIS T88_111 as well: they were written
by 4dfptoanalyze, and the manual of 4dfp gives "right occipital skull-base" as the first voxel of an
axial volume. No picture can prove it. (RAW and SUBJ_111 of OASIS-1 are stored sagittally; of discs
only T88_111 is read.)
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float32, UInt8
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from scipy import ndimage

from oasis_utils.data.orientation import AUTO, oriented, quarter_turns
from oasis_utils.data.scans import Scan, archive_members, find_scans, open_file
from oasis_utils.data.voxels import Opener, read_voxels
from oasis_utils.runtime import DataError

__all__ = ["Scan", "SliceOptions", "find_scans", "read_scans"]

CANVAS = 256  # mm = pixels, side of every slice, as in keras_png_slices
PLANES = {
    "axial": (2, 1, 0),
    "coronal": (1, 2, 0),
    "sagittal": (0, 2, 1),
}  # axes of slices, rows (reversed), columns
# a voxel of the head is brighter than this fraction of the 99th percentile, counted from the
# background
HEAD = 0.1
SPECK = 0.02  # a slice with less head than this fraction of the fullest slice is outside the head
# grey level of the head's 99.5th percentile; the background (1st percentile of all voxels) is 0
WHITE = 250
FEW = 50  # different whole numbers: a head has more, a label map has no more
MAX_FIELD = 2**26  # mm³, about 400³


def _coding(fluid: str, grey: str, white: str) -> UInt8[np.ndarray, " 256"]:
    """A table from labels to the masks' 1 fluid, 2 grey matter, 3 white matter; 0 for all labels
    that are not named.
    """
    table = np.zeros(256, np.uint8)
    for tissue, labels in ((1, fluid), (2, grey), (3, white)):
        table[[int(label) for label in labels.split()]] = tissue
    return table


TISSUES = {  # what the labels of a segmentation mean, by `Scan.coding`
    "fsl": _coding("1", "2", "3"),  # FSL FAST, the FSL_SEG maps of OASIS-1
    "bids": _coding("3", "1", "2"),  # BIDS and fMRIPrep _dseg
    "neurite4": _coding("4", "1 2", "3"),  # cortex, subcortical grey matter, white matter, CSF
    "neurite35": _coding(
        "3 4 11 12 18 19 22 23 34 35",  # neurite-OASIS seg35, Learn2Reg labels
        "2 6 7 8 9 10 14 15 16 21 25 26 27 28 29 30 31 32",
        "1 5 13 17 20 24 33",
    ),
    "freesurfer": _coding(
        "4 5 14 15 24 30 31 43 44 62 63 72",  # aseg; brain stem and ventral DC as white matter
        "3 8 9 10 11 12 13 17 18 19 26 27 42 47 48 49 50 51 52 53 54 55 58 59 80",
        "2 7 16 28 41 46 60 77 78 79 85 192 251 252 253 254 255",
    ),
}


@dataclass(frozen=True)
class SliceOptions:
    """How slices are cut from a volume. ValueError where a value is not allowed.

    Positions are whole millimetres of the 1 mm grid. Without `span` they count over the head's
    extent.
    """

    plane: str = "axial"  # axial, coronal or sagittal
    span: tuple[int, int] | None = None  # first and last + 1 millimetre along the plane's axis
    every: float | None = (
        # millimetres between slices, from the first one on; the number follows the head's size
        None
    )
    count: int = (
        32  # without `every`: this many slices, each in the middle of its share of the extent
    )
    orient: str = (
        AUTO  # auto (upright), as-is, rot90, rot180 or rot270 (anticlockwise), then perhaps ",flip"
    )

    def __post_init__(self):
        _require(
            self.plane in PLANES, f"plane must be one of {', '.join(PLANES)}, not {self.plane!r}"
        )
        _require(
            self.span is None or 0 <= self.span[0] < self.span[1],
            f"span is FIRST:END in millimetres with 0 <= FIRST < END, not {self.span}",
        )
        _require(
            self.every is None or 1 <= self.every < math.inf,
            f"every is 1 mm or more, the grid of the volumes, not {self.every}",
        )
        _require(self.count >= 1, f"count is 1 or more, not {self.count}")
        quarter_turns(self.orient)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


# ---------------------------------------------------------------- reading


def read_scans(
    scans: Iterable[Scan],
    options: SliceOptions,
    on_error: Callable[[Scan, DataError], None] | None = None,
) -> Iterator[
    tuple[Scan, UInt8[np.ndarray, "n height width"], UInt8[np.ndarray, "n height width"] | None]
]:
    """Slices (n, 256, 256) of one volume after another, and tissue masks of the same shape where a
    scan has them.

    Masks are 0 background, 1 fluid, 2 grey matter, 3 white matter, whatever the coding of the
    labels (`TISSUES`).

    Grey levels: 0 is the 1st percentile of a volume, 250 the 99.5th of its head. Streams: one
    volume is in memory at a time. Scans of an archive come in the archive's order, all others in
    the given one. The first DataError is raised; with `on_error`, it is reported there and the scan
    left out.
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
    """Each scan as soon as its last file has come by; what is left when the archive fails gets the
    archive's error.
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
            if not waiting[scan]:
                del waiting[scan], content
                held = contents.pop(scan)
                yield scan, lambda name, held=held: io.BytesIO(held[name])
                del held
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
    """Voxels on the common frame: axes to the right, forwards, upwards, 1 mm apart."""

    where: str
    voxels: Float32[np.ndarray, "x y z"]
    affine: np.ndarray  # voxel to mm of the canonical grid before resampling


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
    turns = io_orientation(affine)
    canonical = affine @ inv_ornt_aff(turns, voxels.shape)
    return _Volume(
        where, _on_millimetres(apply_orientation(voxels, turns), canonical, order, where), canonical
    )


def _on_millimetres(
    voxels: Float32[np.ndarray, "i j k"], affine: np.ndarray, order: int, where: str
) -> Float32[np.ndarray, "x y z"]:
    """Resampled to 1 mm where a voxel's side differs by more than 1 %; the field of view keeps its
    middle.
    """
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(0))
    sides = [max(1, round(n * size)) for n, size in zip(voxels.shape, sizes, strict=True)]
    if math.prod(sides) > MAX_FIELD:
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
                (stack - np.float32(black)) * np.float32(WHITE / (white - black)) + 0.5, 0, 255
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
            np.float32(black + HEAD * (float(brighter[int(0.99 * len(brighter))]) - black))
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
        2 <= len(different) <= FEW
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
    inside = np.flatnonzero(counts >= max(1, SPECK * counts.max()))
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
    """What of an axis is shown, and where on the canvas: all of it, centred; of a long one the part
    with the head.
    """
    length = head.shape[axis]
    if length <= CANVAS:
        start = (CANVAS - length) // 2
        return slice(0, length), slice(start, start + length)
    first, end = _extent(head, axis)
    if end - first > CANVAS:
        raise DataError(
            f"{where} shows a head of {end - first} mm, more than the {CANVAS} mm of a slice: "
            "crop the volume or check its voxel sizes"
        )
    start = min(max(0, (first + end - CANVAS) // 2), length - CANVAS)
    return slice(start, start + CANVAS), slice(0, CANVAS)


def _cut(
    grey: Callable[[np.ndarray], np.ndarray],
    volume: _Volume,
    options: SliceOptions,
    positions: np.ndarray,
    windows: list[tuple[slice, slice]],
) -> UInt8[np.ndarray, "n height width"]:
    (rows, to_rows), (columns, to_columns) = windows
    stack = volume.voxels.transpose(PLANES[options.plane])[positions, rows, columns]
    canvas = np.zeros((len(positions), CANVAS, CANVAS), np.uint8)
    canvas[:, to_rows, to_columns] = grey(stack)
    return oriented(canvas[:, ::-1], options.orient)


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
