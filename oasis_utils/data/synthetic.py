"""Synthetic sample brains: T1 slices of invented people, made from the Colin27 template.

A subject is the template pulled through a random smooth deformation (head shape, folding, atrophy
with age), with tissue contrast, spatial noise, coil shading and Rician noise of its own. Every
array axis order here is (slice, row, column): slices run upward, rows from front to back, columns
across the mid-line, all at 1 mm. These are not OASIS data. sample_brains.py writes them to disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from oasis_utils.config.data import SAMPLE_SLICES as SLICES
from oasis_utils.data.template import Template
from oasis_utils.data.tissues import MASK_LEVELS

IMAGE_SIZE = 256  # pixels, height and width of a written slice
FIELD_OF_VIEW = (SLICES, 208, 176)  # mm, the part of the picture that a head can reach
KNOT_SPACING = 2.0  # mm, grid on which the deformation is computed
HEAD_MARGIN = 16  # mm, what skull and scalp may reach beyond FIELD_OF_VIEW on each side
HEAD_GAIN = 1.25  # from grey levels of the template's skull and scalp to those of the slices
HEAD_LEAST = 6  # grey level below which they are air
HEAD_CENTRE_Y = -18  # mm, MNI y of the middle of the head, placed in the middle of the picture
# years, the range of OASIS-1 (Marcus et al. 2007, J Cogn Neurosci 19:1498)
YOUNGEST, OLDEST = 18, 96

# Mean grey levels (0-255) of cerebrospinal fluid, grey and white matter, and their spread between
# subjects.
TISSUE_MEANS = (36, 138, 214)
TISSUE_SPREADS = (5, 7, 6)


@dataclass(frozen=True)
class SampleSubject:
    """One synthetic subject: front up, mid-line vertical, slice 0 lowest.

    Attributes:
        number: 0 or more, which subject of its seed.
        age: years (18-96); it determines the size of ventricles and sulci.
        slices: uint8 (32, 256, 256), with a background of exactly 0.
        masks: uint8 (32, 256, 256), the tissue at each pixel: one of `MASK_LEVELS`.
    """

    number: int
    age: float
    slices: np.ndarray
    masks: np.ndarray


def make_subject(
    template: Template,
    number: int,
    seed: int = 0,
    age: int | float | None = None,
    whole_head: bool = False,
) -> SampleSubject:
    """Make one subject; the same (seed, number) always gives the same slices.

    Args:
        template: from `template.load_template`.
        number: 0 or more.
        seed: 0 or more; another seed gives other subjects.
        age: years, 18-96, instead of the drawn age; all else of the subject stays as it is.
        whole_head: add skull and scalp around the same brain pixels; masks show the brain only.

    Returns:
        The subject with its slices and masks.

    Raises:
        ValueError: the age is out of range.
    """
    rng, drawn_age = begin_subject(number, seed)
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


def begin_subject(number: int, seed: int) -> tuple[np.random.Generator, float]:
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
        terms = (
            knots.take(first + k, axis) * (w / 6).reshape(column) for k, w in enumerate(weights)
        )
        knots = np.asarray(sum(terms))
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
    """Slide the cortex along the brain surface, also through the plane.

    Other folds then meet each slice.
    """
    slide = np.stack([_knot_field(rng, 32.0, 5.5) + _knot_field(rng, 13.0, 0.9) for _ in range(3)])
    slide[0] = 10 * np.tanh(slide[0] / 10)  # mm; bounded, because the slab is only 68 mm high
    slide[2] *= _ramp(np.abs(points[2] - template.origin[2]), 25.0)  # the mid-line does not move
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
    steps = 4  # short steps keep points from crossing the middle of a narrow horn
    push = np.zeros_like(points)
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
    """Grey levels (float32, about 0-255) of a T1 scan: contrast, spatial noise, coil shading and
    Rician noise.
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
    noise *= np.float32(2 * deviation)  # 2: the filter halves the deviation
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
