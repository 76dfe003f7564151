"""Synthetic sample brains: individual-looking T1 slice stacks made from the freely licensed Colin27
template.

A subject is the template pulled through a random smooth deformation (head shape, folding, atrophy
with age),
with tissue contrast, texture, coil shading and Rician noise of its own. Every array axis order here
is (slice, row, column): slices run upward, rows from front to back, columns across the mid-line,
all at 1 mm. The template's licence is in `assets/NOTICE.md`. These are not OASIS data.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from oasis_utils.data.orientation import oriented, quarter_turns
from oasis_utils.data.people import Person
from oasis_utils.data.splits import deal

SLICES = 32  # axial slices per subject, 1 mm apart
IMAGE_SIZE = 256  # pixels, height and width of a written slice
FIELD_OF_VIEW = (SLICES, 208, 176)  # mm, the part of the picture that a head can reach
KNOT_SPACING = 2.0  # mm, grid on which the deformation is computed
HEAD_MARGIN = 16  # mm, what skull and scalp may reach beyond FIELD_OF_VIEW on each side
HEAD_GAIN, HEAD_LEAST = (
    1.25,
    6,
)  # template grey levels to ours outside the brain; below the least it is air
HEAD_CENTRE_Y = -18  # mm, MNI y of the middle of the head, placed in the middle of the picture
YOUNGEST, OLDEST = (
    18,
    96,
)  # years, the range of OASIS-1 (Marcus et al. 2007, J Cogn Neurosci 19:1498)

# Mean grey levels (0-255) of cerebrospinal fluid, grey and white matter, and their spread between
# subjects.
TISSUE_MEANS = (36, 138, 214)
TISSUE_SPREADS = (5, 7, 6)

# Grey levels of the masks, as in OASIS's keras_png_slices_seg folders: background, fluid, grey and
# white matter.
MASK_LEVELS = (0, 85, 170, 255)

FOLDER_NAME = "keras_png_slices_data"
RECORD_NAME = "sample_brains.json"
PARTIAL_RECORD_NAME = "sample_brains.partial.json"  # present while a set is being written
NOTICE = "Synthetic sample brains derived from the Colin27 template; not OASIS data."
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Template:
    """The Colin27 slab prepared for warping; arrays are float32 (68, 217, 181) on a 1 mm grid.

    tissue: 0 fluid, 1 grey matter, 2 white matter, continuous between and a little beyond (-0.35 to
    2.4). depth: mm below the smooth brain surface, negative outside. inward: (3, ...) gradient of
    the depth: unit vectors across the cortex. ventricle_push: (3, ...) outward vectors of length
    0-1, longest at the ventricle walls. sulcus_share: 0-1, how much of the near neighbourhood is
    fluid outside the ventricles. head: the template's own grey levels, skull and scalp included.
    origin: voxel (slice, row, column) of MNI (0, 0, 0).
    """

    tissue: np.ndarray
    depth: np.ndarray
    inward: np.ndarray
    ventricle_push: np.ndarray
    sulcus_share: np.ndarray
    head: np.ndarray
    origin: tuple[float, float, float]


@dataclass(frozen=True)
class SampleSubject:
    """One synthetic subject: `slices` is uint8 (32, 256, 256), front up, mid-line vertical, slice 0
    lowest.

    `age` is in years (18-96) and drives the size of ventricles and sulci. The background is exactly
    0. `masks` has the same shape and says what was painted: one of `MASK_LEVELS` at each pixel.
    """

    number: int
    age: float
    slices: np.ndarray
    masks: np.ndarray


# --------------------------------------------------------------------------------------------------
# --
# The template
# --------------------------------------------------------------------------------------------------
# --


@functools.lru_cache(maxsize=1)
def load_template() -> Template:
    """Read the Colin27 slab shipped with the package and derive what warping needs (about 3 s,
    cached).
    """
    asset = resources.files("oasis_utils.data") / "assets" / "colin27_slab.npz"
    with resources.as_file(asset) as path, np.load(path) as slab:
        shape = tuple(slab["shape"])
        bits = np.unpackbits(slab["brain"], count=int(np.prod(shape)))
        head, brain = (
            _to_picture_axes(slab["t1"]),
            _to_picture_axes(bits.reshape(shape).astype(bool)),
        )
        x, y, z = slab["origin"]
    head, origin = head.astype(np.float32), (float(z), float(shape[1] - 1 - y), float(x))
    surface, pial = _brain_surfaces(brain)
    tissue = pial * _tissue_scale(head, brain)  # outside the pia: fluid, 0
    depth = _signed_distance(surface)
    fluid = np.clip(1 - tissue, 0, 1) * surface
    from_ventricles = ndimage.gaussian_filter(
        -_signed_distance(_ventricles(fluid, depth, origin)), 2
    )
    return Template(
        tissue=tissue,
        depth=depth,
        inward=np.stack(np.gradient(ndimage.gaussian_filter(depth, 3))),
        ventricle_push=_ventricle_push(from_ventricles),
        sulcus_share=ndimage.gaussian_filter(fluid * (from_ventricles > 4), 1.2),
        head=head,
        origin=origin,
    )


def _to_picture_axes(volume: np.ndarray) -> np.ndarray:
    """(x, y, z) RAS volume to (slice, row, column) with the front in row 0."""
    return np.ascontiguousarray(volume.transpose(2, 1, 0)[:, ::-1])


def _brain_surfaces(brain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A smooth closed surface around the brain mask (bool), and the soft mask (0-1) of what it
    encloses.
    """
    margin = 16  # voxels; the slab is a cut, so morphology must not see its faces as brain surface
    padded = np.pad(brain, ((margin, margin), (0, 0), (0, 0)), mode="edge")
    inside = slice(margin, -margin)
    filled = ndimage.binary_fill_holes(ndimage.binary_closing(padded, iterations=6))
    closed = ndimage.binary_closing(filled, iterations=8).astype(np.float32)
    surface = ndimage.gaussian_filter(closed, 3) > 0.42
    return surface[inside], ndimage.gaussian_filter(filled.astype(np.float32), 0.7)[inside]


def _tissue_scale(head: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Scanner grey levels to the tissue scale of `Template`, by the histogram peaks of grey and
    white.
    """
    core = head[ndimage.binary_erosion(brain, iterations=2, border_value=1)]
    counts = ndimage.gaussian_filter1d(np.histogram(core, 128, (0, 128))[0].astype(float), 2)
    white = int(np.argmax(counts[80:])) + 80
    grey = int(np.argmax(counts[50 : white - 14])) + 50
    fluid = max(grey - 1.25 * (white - grey), 12)
    levels = [0, fluid - 8, fluid, grey, white, white + 25]
    return np.interp(head, levels, [-0.35, -0.1, 0, 1, 2, 2.4]).astype(np.float32)


def _signed_distance(region: np.ndarray) -> np.ndarray:
    """Distance in mm to the border of a region (bool), positive inside; the slab's faces are no
    border.
    """
    distance = ndimage.distance_transform_edt(region) - ndimage.distance_transform_edt(~region)
    return distance.astype(np.float32)


def _ventricles(fluid: np.ndarray, depth: np.ndarray, origin: Sequence[float]) -> np.ndarray:
    """Mask (bool) of the lateral and third ventricles: large deep fluid, but not the midbrain's
    cisterns.
    """
    z, y, x = _mm_axes(fluid.shape, origin)
    box = (np.abs(x) < 36) & (y > -62) & (y < 42) & (z > -8) & (z < 42)
    cistern = ((z < 6) & (y < -24) & (np.abs(x) < 14)) | ((y < -46) & (np.abs(x) < 12))
    candidates = (fluid > 0.5) & (depth > 27) & box & ~cistern
    labels, _ = ndimage.label(ndimage.binary_opening(candidates))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return ndimage.binary_dilation((sizes > 600)[labels], mask=candidates)


def _mm_axes(
    shape: Sequence[int], origin: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Broadcastable MNI z, y, x of a template-sized grid, in mm."""
    z, row, column = np.ogrid[tuple(slice(n) for n in shape)]
    return z - origin[0], origin[1] - row, column - origin[2]


def _ventricle_push(distance: np.ndarray) -> np.ndarray:
    """Outward directions by mm from the ventricle wall: full there, fading over 13 mm, 0 deep
    inside.
    """
    strength = np.exp(-np.clip(distance, 0, None) / 13) * np.clip(1 + distance / 4, 0, 1)
    return np.stack(np.gradient(distance)) * strength


# --------------------------------------------------------------------------------------------------
# --
# One subject
# --------------------------------------------------------------------------------------------------
# --


def make_subject(
    template: Template,
    number: int,
    seed: int = 0,
    age: int | float | None = None,
    whole_head: bool = False,
) -> SampleSubject:
    """Make the subject with this `number` (0 or more); the same (seed, number) always gives the
    same slices.

    `age` (years, 18-96) overrides the drawn age and leaves all else of the subject as it is.
    `whole_head` adds skull and scalp around the same brain pixels; masks then still show the brain
    only. Raises ValueError for an age outside that range.
    """
    rng, drawn_age = _begin_subject(number, seed)
    age = drawn_age if age is None else float(age)
    if not YOUNGEST <= age <= OLDEST:
        raise ValueError(f"age is {age}; give years between {YOUNGEST} and {OLDEST}")
    atrophy = ((age - YOUNGEST) / (OLDEST - YOUNGEST)) ** 1.4 * rng.uniform(0.7, 1.3)
    placed = _place_head(rng, template.origin)
    knots = _fold_cortex(rng, template, placed)
    knots, near_ventricles = _grow_ventricles(rng, template, knots, atrophy)
    inside = _head_mask(rng, template, knots, atrophy)
    erosion = (
        -0.2 + 1.4 * atrophy + _random_field(rng, FIELD_OF_VIEW, 22.0, 0.35)
    )  # uneven over the brain
    points = [_at_voxels(coordinate)[inside] for coordinate in knots]
    tissue = np.zeros(FIELD_OF_VIEW, np.float32)
    tissue[inside] = _tissue_at(template, points, erosion[inside])
    image = _scan(rng, tissue, _at_voxels(near_ventricles), atrophy)
    slices = _to_pictures(np.clip(np.rint(image), 1, 255), inside)
    if whole_head:
        around = _skull_and_scalp(np.random.default_rng([seed, number, 1]), template, placed)
        slices = np.where(slices > 0, slices, around)
    return SampleSubject(number, age, slices, _to_pictures(_tissue_labels(tissue), inside))


def _begin_subject(number: int, seed: int) -> tuple[np.random.Generator, float]:
    """The subject's random stream, and its age: most are young or old, as in OASIS-1."""
    rng = np.random.default_rng([seed, number])
    low, high = ((18, 30), (30, 62), (62, 96))[rng.choice(3, p=(0.4, 0.2, 0.4))]
    return rng, round(float(rng.uniform(low, high)), 1)


def _expand(knots: np.ndarray, shape: Sequence[int], spacing: float) -> np.ndarray:
    """Cubic B-spline with these coefficients at every voxel; knot j of an axis is at voxel (j - 1)
    * spacing.

    It takes products and sums of arrays only, so the result does not depend on the number of
    threads.
    """
    for axis, size in enumerate(shape):
        position = np.arange(size, dtype=np.float32) / np.float32(spacing)
        first = position.astype(int)
        t = position - first
        weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
        column = [-1 if i == axis else 1 for i in range(3)]
        knots = sum(
            knots.take(first + k, axis) * (w / 6).reshape(column) for k, w in enumerate(weights)
        )
    return knots


def _knots(shape: Sequence[int], spacing: float) -> tuple[int, ...]:
    """How many knots `_expand` needs along each axis."""
    return tuple(int((n - 1) / spacing) + 4 for n in shape)


def _at_voxels(knots: np.ndarray) -> np.ndarray:
    """What the deformation's grid holds, at every voxel of the field of view."""
    return _expand(knots, FIELD_OF_VIEW, KNOT_SPACING)


def _random_field(
    rng: np.random.Generator, shape: Sequence[int], spacing: float, deviation: float
) -> np.ndarray:
    """Smooth zero-mean random field: `spacing` in grid steps is about its correlation length."""
    coefficients = rng.standard_normal(_knots(shape, spacing), dtype=np.float32)
    damping = 0.33  # standard deviation that the spline leaves of 1
    return _expand(coefficients * np.float32(deviation / damping), shape, spacing)


def _knot_field(rng: np.random.Generator, spacing: float, deviation: float) -> np.ndarray:
    """A random field on the deformation's grid; spacing and deviation in mm."""
    return _random_field(
        rng, _knots(FIELD_OF_VIEW, KNOT_SPACING), spacing / KNOT_SPACING, deviation
    )


def _sample(volume: np.ndarray, points: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """Trilinear values of a template volume at (slice, row, column) points; outside, the nearest
    value.
    """
    return ndimage.map_coordinates(volume, points, order=1, mode="nearest")


def _place_head(rng: np.random.Generator, origin: Sequence[float]) -> np.ndarray:
    """Template point (3, ...) seen at each knot: head size, proportions, tilt, left-right flip,
    shape.
    """
    shape = _knots(FIELD_OF_VIEW, KNOT_SPACING)
    z, y, x = (KNOT_SPACING * (np.indices(shape, dtype=np.float32)[i] - 1) for i in range(3))
    y, x = (
        y - (FIELD_OF_VIEW[1] - 1) / 2,
        x - (FIELD_OF_VIEW[2] - 1) / 2,
    )  # from the middle of the picture
    size, length = rng.normal(0, 0.018), rng.normal(0, 0.018)
    z, y, x = z / (1 + size), y / (1 + size + length), x / (1.02 + size - length)
    nod, roll, yaw = rng.normal(0, (0.045, 0.015, 0.008))  # radians
    flip = rng.choice((-1, 1))
    points = np.stack(
        [
            origin[0] + 1 + rng.normal(0, 1.5) + z + nod * y + roll * x,
            origin[1] - HEAD_CENTRE_Y + y - nod * z + yaw * x,
            origin[2] + flip * (x - roll * z - yaw * y),
        ]
    ).astype(np.float32)
    for spacing, deviation in ((60.0, 1.8), (28.0, 0.9)):
        points += np.stack([_knot_field(rng, spacing, deviation) for _ in range(3)])
    return points


def _fold_cortex(rng: np.random.Generator, template: Template, points: np.ndarray) -> np.ndarray:
    """Slide the cortex along the brain surface, also through the plane: other folds then meet each
    slice.
    """
    slide = np.stack([_knot_field(rng, 32.0, 5.5) + _knot_field(rng, 13.0, 0.9) for _ in range(3)])
    slide[0] = 10 * np.tanh(slide[0] / 10)  # mm; bounded, for the slab is only 68 mm high
    slide[2] *= _ramp(np.abs(points[2] - template.origin[2]), 25.0)  # the mid-line stays put
    inward = np.stack([_sample(component, points) for component in template.inward])
    slide -= (slide * inward).sum(0) * inward  # the outline stays as it is
    return points + _ramp(30 - _sample(template.depth, points), 22.0) * slide


def _ramp(value: np.ndarray, width: float) -> np.ndarray:
    """Smooth step from 0 at value 0 to 1 at `width`."""
    t = np.clip(value / width, 0, 1)
    return t * t * (3 - 2 * t)


def _grow_ventricles(
    rng: np.random.Generator, template: Template, points: np.ndarray, atrophy: float
) -> tuple[np.ndarray, np.ndarray]:
    """Widen the ventricles for an atrophy of 0-1.3; also gives how near (0-1) each knot is to their
    wall.
    """
    growth = min(-0.8 + 6.5 * atrophy * rng.uniform(0.7, 1.3), 6.5)  # mm at the wall
    steps = 4  # short steps, lest points overshoot the middle of a narrow horn
    for _ in range(steps):
        push = np.stack([_sample(component, points) for component in template.ventricle_push])
        points = points - growth / steps * push
    return points, np.sqrt((push**2).sum(0))


def _tissue_at(template: Template, points: Sequence[np.ndarray], erosion: np.ndarray) -> np.ndarray:
    """Tissue scale at the points, with sulci widened at the cost of the grey matter on their
    banks.
    """
    tissue, share = _sample(template.tissue, points), _sample(template.sulcus_share, points)
    return np.maximum(tissue - erosion * share, np.minimum(tissue, -0.1))


def _head_mask(
    rng: np.random.Generator, template: Template, points: np.ndarray, atrophy: float
) -> np.ndarray:
    """Voxels (bool) that skull stripping leaves: the brain and a thin rim of fluid, wider with
    atrophy.
    """
    rim = 0.4 + 1.2 * atrophy + _random_field(rng, FIELD_OF_VIEW, 30.0, 0.4)  # mm
    return _at_voxels(_sample(template.depth, points)) > -rim


def _scan(
    rng: np.random.Generator, tissue: np.ndarray, near_ventricles: np.ndarray, atrophy: float
) -> np.ndarray:
    """Grey levels (float32, about 0-255) of a T1 scan: contrast, texture, coil shading, Rician
    noise.
    """
    fluid, grey, white = np.sort(np.array(TISSUE_MEANS) + rng.normal(0, TISSUE_SPREADS))
    grey += 5 * atrophy  # contrast between grey and white fades with age
    image = np.interp(tissue, [-0.35, 0, 1, 2, 2.4], [10, fluid, grey, white, white + 28]).astype(
        np.float32
    )
    shape = tissue.shape
    white_share, fluid_share = np.clip(tissue - 1, 0, 1), np.clip(1 - tissue, 0, 1)
    image += (1 - white_share - fluid_share) * _random_field(rng, shape, 5.0, 5.0)
    image += white_share * _random_field(rng, shape, 9.0, 3.0)
    image += fluid_share * np.abs(_random_field(rng, shape, 4.0, 9.0))
    lesions = np.clip(_random_field(rng, shape, 6.0, 1.0) - 0.9, 0, 1.2)  # small-vessel disease
    image -= 55 * max(atrophy - 0.35, 0) * white_share * near_ventricles * lesions
    image *= np.exp(_random_field(rng, shape, 70.0, 0.05))
    return _rician(rng, image, rng.uniform(2.5, 4.5))


def _skull_and_scalp(
    rng: np.random.Generator, template: Template, placed: np.ndarray
) -> np.ndarray:
    """The template's head, placed like the subject's, as pictures. Folds move the cortex only, so
    it is not folded.
    """
    margin = int(HEAD_MARGIN / KNOT_SPACING)
    wide = np.pad(
        placed, ((0, 0), (0, 0), (margin, margin), (margin, margin)), "reflect", reflect_type="odd"
    )
    shape = (SLICES, *(n + 2 * HEAD_MARGIN for n in FIELD_OF_VIEW[1:]))
    head = HEAD_GAIN * _sample(
        template.head, [_expand(knots, shape, KNOT_SPACING) for knots in wide]
    )
    return _to_pictures(np.clip(np.rint(_rician(rng, head, 3.0)), 1, 255), head > HEAD_LEAST)


def _rician(rng: np.random.Generator, image: np.ndarray, deviation: float) -> np.ndarray:
    """Magnitude of the image with complex Gaussian noise, slightly correlated as after
    resampling.
    """
    noise = rng.standard_normal((2, *image.shape), dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, (0, 0.4, 0.6, 0.6), truncate=2)
    noise *= np.float32(2 * deviation)  # 2: makes good what the filter takes away
    return np.hypot(image + noise[0], noise[1])


def _tissue_labels(tissue: np.ndarray) -> np.ndarray:
    """The nearest of fluid, grey and white matter on the tissue scale, as mask levels."""
    return np.array(MASK_LEVELS[1:])[np.digitize(tissue, (0.5, 1.5))]


def _to_pictures(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The field of view centred in uint8 (32, 256, 256) pictures, 0 where not `inside`."""
    pictures = np.zeros((SLICES, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    top, left = ((IMAGE_SIZE - n) // 2 for n in image.shape[1:])
    pictures[:, top:-top, left:-left] = np.where(inside, image, 0)
    return pictures


# --------------------------------------------------------------------------------------------------
# --
# A set of subjects on disk
# --------------------------------------------------------------------------------------------------
# --


def write_sample_brains(
    root: str | os.PathLike,
    train: int,
    validate: int,
    test: int,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    whole_head: bool = False,
    orient: str = "as-is",
) -> Path:
    """Write sample subjects in the layout of the OASIS PNG slices; returns
    `root/keras_png_slices_data`.

    Each split of `train`, `validate` and `test` subjects is a folder `keras_png_slices_<split>` of
    8-bit grey PNGs `case_<001...>_slice_<0-31>.nii.png`; `keras_png_slices_seg_<split>` holds their
    tissue masks `seg_<001...>_slice_<0-31>.nii.png` with the grey levels `MASK_LEVELS`. Ages are
    spread alike in all splits (`splits.deal`). Beside the folders lie `participants.tsv`
    (participant_id, age, split) and, once all is written, `sample_brains.json`. A complete set with
    the same settings is left as it is; one that was interrupted, or lacks masks, is completed.
    `workers` is the number of processes (default: one per CPU; 1: this process; a script that asks
    for more must call under `if __name__ == "__main__"`). `progress(done, total)` is called after
    each subject. `whole_head`: with skull and scalp, as the OASIS PNG slices have them. `orient`:
    how the pictures are turned, see `orientation.oriented`; "rot270" puts the forehead to the
    right, where the OASIS PNG slices have it.

    Raises ValueError for counts that make no set or an unknown turn, FileExistsError if the folder
    holds anything else.
    """
    counts = {
        "train": _check_count("train", train, least=1),
        "validate": _check_count("validate", validate, least=0),
        "test": _check_count("test", test, least=0),
    }
    seed = _check_count("seed", seed, least=0)
    quarter_turns(orient)
    workers = _check_count("workers", os.cpu_count() or 1 if workers is None else workers, least=1)
    splits = _assign_splits(counts, seed)
    settings = {
        "generator": "oasis_utils.synthetic",
        "format": 2,
        "seed": seed,
        **counts,
        "notice": NOTICE,
    }
    settings |= ({"whole_head": True} if whole_head else {}) | (
        {"orient": orient} if orient != "as-is" else {}
    )
    folder = Path(root) / FOLDER_NAME
    present = _present_pictures(folder)
    _refuse_other_data(folder, settings, splits, present)
    missing = [n for n, split in splits.items() if not _picture_paths(folder, n, split) <= present]
    if not missing and (folder / RECORD_NAME).exists():
        return folder
    for split in counts:
        for name in (f"keras_png_slices_{split}", f"keras_png_slices_seg_{split}"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    _write_text(folder / PARTIAL_RECORD_NAME, json.dumps(settings, indent=2) + "\n")
    jobs = [(folder, number, splits[number], seed, whole_head, orient) for number in missing]
    first = len(splits) - len(jobs) + 1
    for done, _ in enumerate(_run_jobs(jobs, min(workers, len(jobs))), start=first):
        if progress is not None:
            progress(done, len(splits))
    _write_participants(folder / "participants.tsv", splits, seed)
    _write_text(folder / RECORD_NAME, json.dumps(settings, indent=2) + "\n")
    (folder / PARTIAL_RECORD_NAME).unlink(missing_ok=True)
    return folder


def _check_count(name: str, value: int, least: int) -> int:
    """The value as an int, or ValueError saying what to write."""
    if value < least:
        raise ValueError(f"{name} is {value}; write a whole number, {least} or more")
    return operator.index(value)


def _assign_splits(counts: dict[str, int], seed: int) -> dict[int, str]:
    """The split of each subject number, counting from 1 over all splits; all splits have the same
    ages.
    """
    total = sum(counts.values())
    if total > 999:
        raise ValueError(
            f"{total} subjects are too many: names count to 999; write smaller numbers"
        )
    ages = {f"{number:03d}": _begin_subject(number, seed)[1] for number in range(1, total + 1)}
    home = deal({name: Person(age) for name, age in ages.items()}, counts, seed)
    return {int(name): home[name] for name in ages}


def _picture_path(folder: Path, number: int, split: str, position: int) -> Path:
    return folder / f"keras_png_slices_{split}" / f"case_{number:03d}_slice_{position}.nii.png"


def _mask_path(folder: Path, number: int, split: str, position: int) -> Path:
    return folder / f"keras_png_slices_seg_{split}" / f"seg_{number:03d}_slice_{position}.nii.png"


def _picture_paths(folder: Path, number: int, split: str) -> set[Path]:
    """The slices of a subject and their masks."""
    return {
        path(folder, number, split, position)
        for path in (_picture_path, _mask_path)
        for position in range(SLICES)
    }


def _present_pictures(folder: Path) -> set[Path]:
    return {
        path for kind in ("case", "seg") for path in folder.glob(f"keras_png_slices_*/{kind}_*.png")
    }


def _refuse_other_data(
    folder: Path, settings: dict, splits: dict[int, str], present: set[Path]
) -> None:
    """Raise FileExistsError unless the folder is empty or holds this very set, whole or in part."""
    records = [
        folder / name for name in (RECORD_NAME, PARTIAL_RECORD_NAME) if (folder / name).exists()
    ]
    ours = all(_read_record(path) == settings for path in records)
    expected = set().union(
        *(_picture_paths(folder, number, split) for number, split in splits.items())
    )
    if ours and (records or not present) and present <= expected:
        return
    found = "sample brains with other settings" if records else "slices that are not sample brains"
    raise FileExistsError(
        f"{folder} already holds {found}; choose another folder, or delete this one first"
    )


def _read_record(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def _run_jobs(jobs: Sequence[tuple], workers: int) -> Iterator[None]:
    """Write the subjects of all jobs, yielding once after each."""
    if workers <= 1:
        yield from (_write_subject(*job) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    with _one_thread_each(), ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            for future in as_completed([pool.submit(_write_subject, *job) for job in jobs]):
                yield future.result()
        finally:
            pool.shutdown(
                cancel_futures=True
            )  # an error or an interrupt must not wait for the whole set


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started meanwhile use one thread each in numeric libraries; together they fill the
    CPUs.
    """
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _write_subject(
    folder: Path, number: int, split: str, seed: int, whole_head: bool, orient: str
) -> None:
    subject = make_subject(load_template(), number, seed, whole_head=whole_head)
    slices, masks = oriented(subject.slices, orient), oriented(subject.masks, orient)
    for position in range(SLICES):
        _write_picture(_picture_path(folder, number, split, position), slices[position])
        _write_picture(_mask_path(folder, number, split, position), masks[position])


def _write_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture, whole or not at all, so one that is there is right and is left alone."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    Image.fromarray(picture).save(draft, format="PNG", compress_level=1)
    os.replace(draft, path)


def _write_participants(path: Path, splits: dict[int, str], seed: int) -> None:
    """A table like BIDS's participants.tsv."""
    ages = {number: _begin_subject(number, seed)[1] for number in splits}
    rows = [f"case_{number:03d}\t{ages[number]:.1f}\t{split}" for number, split in splits.items()]
    _write_text(path, "\n".join(["participant_id\tage\tsplit", *rows]) + "\n")


def _write_text(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_text(text, encoding="utf-8", newline="\n")
    os.replace(draft, path)
