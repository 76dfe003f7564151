"""How slices lie: which way the forehead points, which axis may be mirrored, whether the skull is
on; measured.

The mean slices of a training split are compared with axial slices of the Colin27 template in its
four quarter turns. The turn that fits best is believed where it also puts the mid-line, the axis
across which the mean slices are their own mirror images, upright. Slices of other planes are left
as they are. No picture of one brain tells left from right, so that is never changed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image
from scipy import ndimage

from oasis_utils.runtime.symmetry import Symmetry

AUTO = "auto"  # as measured
TURNS = {"as-is": 0, "rot90": 1, "rot180": 2, "rot270": 3}  # quarter turns, anticlockwise
SIDE = 48  # pixels of the pictures that are compared
LEVEL = 16  # grey level of 255 above which a pixel belongs to the head
EMPTY = 0.02  # a slice with less foreground than this fraction of the frame says nothing
SPECK = (
    0.05  # rows and columns with less foreground than this fraction of the fullest one are left out
)
GROUPS = 8  # neighbouring slice positions whose mean is compared as one picture
SAMPLE = 256  # training slices that are looked at
EVERY = 4  # of them, one in so many tells whether the skull is on
SYMMETRIC = (
    0.65  # correlation with the mirror image, inside both, from which slices count as symmetric
)
APART = (
    0.05  # by which it must exceed the correlation across the other axis: a disc has no mid-line
)
LIKE = 0.7  # correlation with the template from which slices count as axial brains
CERTAIN = 0.04  # by which the best turn must fit better than its opposite
DEPTHS = np.arange(0, 0.34, 0.04)  # below the outline, in radii of a disc of the slice's area
DIP = 0.75  # of the grey level above it, below which a dark layer is taken for the skull


def quarter_turns(orient: str) -> tuple[int, bool]:
    """(anticlockwise quarter turns, then mirrored left-right or not) of "rot90", "rot180,flip" and
    so on; ValueError
    for any other text. "auto" is no turn: it is decided later.
    """
    if orient == AUTO:
        return 0, False
    turn, _, flip = orient.partition(",")
    if turn not in TURNS or orient not in (turn, f"{turn},flip"):
        raise ValueError(
            f"orient must be {AUTO} or one of {', '.join(TURNS)}, optionally with ',flip' behind"
            f" it, not {orient!r}"
        )
    return TURNS[turn], bool(flip)


def oriented(
    image: Integer[np.ndarray, "*stack height width"], orient: str
) -> Integer[np.ndarray, "*stack rows columns"]:
    """A slice or a stack of them, turned anticlockwise and then mirrored left-right, see
    `quarter_turns`.
    """
    turns, flip = quarter_turns(orient)
    turned = np.rot90(image, turns, axes=(-2, -1))
    return np.ascontiguousarray(turned[..., ::-1] if flip else turned)


def turned_back(
    image: Integer[np.ndarray, "*stack rows columns"], orient: str
) -> Integer[np.ndarray, "*stack height width"]:
    """The inverse of `oriented`."""
    turns, flip = quarter_turns(orient)
    return np.ascontiguousarray(
        np.rot90(image[..., ::-1] if flip else image, -turns, axes=(-2, -1))
    )


# ---------------------------------------------------------------- measuring


@dataclass(frozen=True)
class Lie:
    """What was measured on training slices."""

    orient: str  # what brings them upright: as-is, rot90, rot180 or rot270
    symmetry: Symmetry  # of the slices as they came
    content: str  # "brain" (skull-stripped) or "head"
    correlations: dict[
        str, float
    ]  # with the template in each turn, and of the slices with their mirror images

    def turned(self, orient: str) -> Symmetry:
        """The symmetry of the slices after a turn: an odd number of quarter turns exchanges the
        axes.
        """
        turns, _ = quarter_turns(orient)
        axis = self.symmetry.axis
        return Symmetry({-1: -2, -2: -1}[axis]) if axis is not None and turns % 2 else self.symmetry

    def to_dict(self) -> dict[str, Any]:
        return {name: round(value, 3) for name, value in self.correlations.items()}


def measure(
    images: Iterable[UInt8[np.ndarray, "height width"]], positions: Integer[np.ndarray, " n"]
) -> Lie:
    """How slices lie, from their means over neighbouring positions. Slices that are nearly empty
    are left out; where all are, nothing is known: they stay as they are and may not be mirrored.
    One slice at a time is in memory.
    """
    pictures, places, layers = [], [], []
    for image, position in zip(images, positions, strict=True):
        picture = framed(image)
        if picture is not None:
            pictures.append(picture)
            places.append(position)
            if len(pictures) % EVERY == 1:
                layers.append(_layers(image))
    if not pictures:
        return Lie("as-is", Symmetry(None), "brain", {})
    means = _means(np.stack(pictures), np.array(places))
    mirror = {
        "left-right": _inside(means, means[:, :, ::-1]),
        "top-bottom": _inside(means, means[:, ::-1]),
    }
    symmetry = _symmetry(mirror)
    template = {name: _fit(np.rot90(means, turns, axes=(1, 2))) for name, turns in TURNS.items()}
    return Lie(
        _upright(template, symmetry), symmetry, _content(np.stack(layers)), template | mirror
    )


def framed(image: UInt8[np.ndarray, "height width"]) -> Float[np.ndarray, "side side"] | None:
    """The square around a slice's foreground, its proportions kept, as a picture of SIDE pixels in
    [0, 1]; None for a slice that is nearly empty.
    """
    foreground = np.asarray(image) > LEVEL
    if foreground.mean() < EMPTY:
        return None
    ends = [_extent(foreground.sum(axis)) for axis in (1, 0)]
    half = max(end - start for start, end in ends) / 2
    box = [
        middle + sign * half
        for sign in (-1, 1)
        for middle in ((ends[1][0] + ends[1][1]) / 2, (ends[0][0] + ends[0][1]) / 2)
    ]
    margin = int(np.ceil(half))  # the square may lean out of the frame
    padded = Image.fromarray(np.pad(np.asarray(image), margin))
    picture = padded.resize(
        (SIDE, SIDE), Image.Resampling.BOX, box=tuple(edge + margin for edge in box)
    )
    return np.asarray(picture, dtype=np.float32) / 255


def _extent(counts: Integer[np.ndarray, " n"]) -> tuple[int, int]:
    inside = np.flatnonzero(counts >= max(1, SPECK * counts.max()))
    return int(inside[0]), int(inside[-1]) + 1


def _means(
    pictures: Float[np.ndarray, "n side side"], positions: Integer[np.ndarray, " n"]
) -> Float[np.ndarray, "groups side side"]:
    ranks = np.unique(positions, return_inverse=True)[1]
    group = ranks * GROUPS // (ranks.max() + 1)
    return np.stack([pictures[group == g].mean(0) for g in np.unique(group)])


def _correlation(
    a: Float[np.ndarray, "n rows cols"], b: Float[np.ndarray, "n rows cols"]
) -> Float[np.ndarray, " n"]:
    a, b = (x - x.mean((1, 2), keepdims=True) for x in (a, b))
    return (a * b).sum((1, 2)) / np.sqrt((a * a).sum((1, 2)) * (b * b).sum((1, 2))).clip(min=1e-12)


def _likeness(a: Float[np.ndarray, "n side side"], b: Float[np.ndarray, "n side side"]) -> float:
    return float(_correlation(a, b).mean())


def _inside(a: Float[np.ndarray, "n side side"], b: Float[np.ndarray, "n side side"]) -> float:
    """Mean correlation of pictures over the pixels where either has foreground: two outlines alone
    are always alike.
    """
    where = (a > LEVEL / 255) | (b > LEVEL / 255)
    return float(
        np.mean(
            [
                _correlation(x[None, None, inside], y[None, None, inside])[0]
                for x, y, inside in zip(a, b, where, strict=True)
            ]
        )
    )


def _symmetry(mirror: dict[str, float]) -> Symmetry:
    best, other = sorted(mirror, key=mirror.get, reverse=True)
    clear = mirror[best] >= SYMMETRIC and mirror[best] - mirror[other] >= APART
    return Symmetry({"left-right": -1, "top-bottom": -2}[best] if clear else None)


def _fit(means: Float[np.ndarray, "n side side"]) -> float:
    """Mean correlation of each picture with the template slice that is most like it; with or
    without the skull.
    """
    return max(
        float(
            np.mean(
                [
                    _correlation(template, mean[None].repeat(len(template), 0)).max()
                    for mean in means
                ]
            )
        )
        for template in _templates()
    )


def _upright(template: dict[str, float], symmetry: Symmetry) -> str:
    """The turn that fits best, if it agrees with the mid-line and is clearly better than its
    opposite.
    """
    best = max(template, key=template.get)
    opposite = next(name for name in TURNS if (TURNS[name] - TURNS[best]) % 4 == 2)
    needed = -2 if TURNS[best] % 2 else -1  # the mid-line that this turn makes vertical
    certain = template[best] >= LIKE and template[best] - template[opposite] >= CERTAIN
    return best if certain and symmetry.axis == needed else "as-is"


@functools.lru_cache(maxsize=1)
def _templates() -> tuple[np.ndarray, np.ndarray]:
    """Axial Colin27 slices (n, side, side), front up, made symmetric: heads, and brains without the
    skull.
    """
    asset = resources.files("oasis_utils.data") / "assets" / "colin27_slab.npz"
    with resources.as_file(asset) as path, np.load(path) as slab:
        shape = tuple(slab["shape"])
        brain = np.unpackbits(slab["brain"], count=int(np.prod(shape))).reshape(shape)
        volumes = slab["t1"], slab["t1"] * brain
    stacks = [volume.transpose(2, 1, 0)[2::6, ::-1] for volume in volumes]
    pictures = [np.stack([framed(image) for image in stack]) for stack in stacks]
    return tuple((x + x[:, :, ::-1]) / 2 for x in pictures)


def _content(layers: Float[np.ndarray, "n depths"]) -> str:
    """ "head" where, from the outline inwards, grey levels fall again after the scalp: that is the
    skull; else "brain".
    """
    mean = layers.mean(0)
    return "head" if (mean[1:] < DIP * np.maximum.accumulate(mean)[:-1]).any() else "brain"


def _layers(image: UInt8[np.ndarray, "height width"]) -> Float[np.ndarray, " depths"]:
    """Mean grey level by depth below the outline, in units of the slice's 95th percentile."""
    inside = ndimage.binary_fill_holes(np.asarray(image) > LEVEL)
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1][inside] / np.sqrt(
        inside.sum() / np.pi
    )
    grey, layer = np.asarray(image)[inside].astype(np.float64), np.digitize(depth, DEPTHS) - 1
    sums, counts = (
        np.bincount(layer, weights, minlength=len(DEPTHS))[: len(DEPTHS) - 1]
        for weights in (grey, None)
    )
    return sums / counts.clip(min=1) / max(np.percentile(grey, 95), 1.0)


# ---------------------------------------------------------------- images from outside


def agreement(
    images: UInt8[np.ndarray, "n height width"], mean: Float[np.ndarray, "height width"]
) -> float:
    """Mean correlation of slices with a data set's mean slice, both framed: which of two turns is
    the data's.
    """
    target = framed(np.rint(np.asarray(mean) * 255).astype(np.uint8))
    pictures = [picture for image in images if (picture := framed(image)) is not None]
    if target is None or not pictures:
        return 0.0
    return _likeness(np.stack(pictures), np.repeat(target[None], len(pictures), 0))
