"""Measures the orientation, the symmetry and the content (brain or whole head) of slices.

The mean slices of a training split are compared with axial slices of the Colin27 template in its
four quarter turns. The turn that fits best is accepted if it also makes the mid-line vertical, the
axis across which the mean slices are their own mirror images. Slices of other planes are left as
they are. Left and right cannot be distinguished in pictures of brains, so they are never exchanged.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image
from scipy import ndimage

from oasis_utils.data.grey_levels import FOREGROUND, foreground
from oasis_utils.data.template import read_slab
from oasis_utils.runtime.symmetry import Symmetry

AUTO = "auto"  # as measured
TURNS = {"as-is": 0, "rot90": 1, "rot180": 2, "rot270": 3}  # quarter turns, anticlockwise
FRAMED_SIDE = 48  # pixels of the pictures that are compared
MIN_FOREGROUND = 0.02  # share of the frame; slices with less are left out
# share of the fullest row or column; rows and columns with less foreground are left out
SPECK_SHARE = 0.05
POSITION_GROUPS = 8  # neighbouring slice positions whose mean is compared as one picture
MEASURED_SLICES = 256  # training slices that are measured
CONTENT_STEP = 4  # every fourth of them shows whether the skull is on
# Least correlation of slices with their mirror images, inside both, that counts as symmetric, and
# by how much it must exceed the correlation across the other axis: a disc has no mid-line.
MIN_SYMMETRY, SYMMETRY_MARGIN = 0.65, 0.05
MIN_LIKENESS = 0.7  # correlation with the template from which slices count as axial brains
OPPOSITE_MARGIN = 0.04  # by which the best turn must fit better than its opposite
DEPTHS = np.arange(0, 0.34, 0.04)  # below the outline, in radii of a disc of the slice's area
TEMPLATE_SLICES = slice(2, None, 6)  # of the template's slab that are compared
SKULL_DIP = 0.75  # of the grey level above it, below which a dark layer is taken for the skull


def quarter_turns(orient: str) -> tuple[int, bool]:
    """What the name of an orientation stands for.

    Args:
        orient: "as-is", "rot90", "rot180" or "rot270", optionally with ",flip" behind it, or
            "auto", which is no turn: it is decided later.

    Returns:
        Anticlockwise quarter turns, 0 to 3, and whether slices are then mirrored left-right.

    Raises:
        ValueError: any other text.
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
    """A slice or a stack of them, turned anticlockwise and then mirrored left-right.

    Args:
        image: whole numbers, the last two axes are rows and columns.
        orient: a name as `quarter_turns` takes it.
    """
    turns, flip = quarter_turns(orient)
    turned = np.rot90(image, turns, axes=(-2, -1))
    return np.ascontiguousarray(turned[..., ::-1] if flip else turned)


def turned_back(
    image: Integer[np.ndarray, "*stack rows columns"], orient: str
) -> Integer[np.ndarray, "*stack height width"]:
    """The inverse of `oriented`.

    Args:
        image: what `oriented` returned.
        orient: the name that it was given.
    """
    turns, flip = quarter_turns(orient)
    return np.ascontiguousarray(
        np.rot90(image[..., ::-1] if flip else image, -turns, axes=(-2, -1))
    )


# ---------------------------------------------------------------- measuring


@dataclass(frozen=True)
class SliceGeometry:
    """What was measured on training slices.

    Attributes:
        orient: the turn that makes them upright: as-is, rot90, rot180 or rot270.
        symmetry: of the slices as they were read.
        content: "brain" (skull-stripped) or "head".
        correlations: with the template in each turn, and of the slices with their mirror images.
    """

    orient: str
    symmetry: Symmetry
    content: str
    correlations: dict[str, float]

    def symmetry_after(self, orient: str) -> Symmetry:
        """The symmetry of the slices after a turn.

        Args:
            orient: the turn; an odd number of quarter turns exchanges the axes.
        """
        turns, _ = quarter_turns(orient)
        axis = self.symmetry.axis
        return Symmetry({-1: -2, -2: -1}[axis]) if axis is not None and turns % 2 else self.symmetry

    def rounded_correlations(self) -> dict[str, float]:
        """`correlations` to three decimals, for the manifest."""
        return {name: round(value, 3) for name, value in self.correlations.items()}


def measure(
    images: Iterable[UInt8[np.ndarray, "height width"]], positions: Integer[np.ndarray, " n"]
) -> SliceGeometry:
    """Measure slices by their means over neighbouring positions; one slice at a time is in memory.

    Slices that are nearly empty are left out. If all are, the slices stay as they are and may not
    be mirrored.

    Args:
        images: slices of one size.
        positions: position of each.
    """
    pictures, kept_positions, layers = [], [], []
    for image, position in zip(images, positions, strict=True):
        picture = framed(image)
        if picture is not None:
            pictures.append(picture)
            kept_positions.append(position)
            if len(pictures) % CONTENT_STEP == 1:
                layers.append(_layers(image))
    if not pictures:
        return SliceGeometry("as-is", Symmetry(None), "brain", {})
    means = _means(np.stack(pictures), np.array(kept_positions))
    mirror = {
        "left-right": _inside(means, means[:, :, ::-1]),
        "top-bottom": _inside(means, means[:, ::-1]),
    }
    symmetry = _symmetry(mirror)
    template = {name: _fit(np.rot90(means, turns, axes=(1, 2))) for name, turns in TURNS.items()}
    return SliceGeometry(
        _upright(template, symmetry), symmetry, _content(np.stack(layers)), template | mirror
    )


def framed(image: UInt8[np.ndarray, "height width"]) -> Float[np.ndarray, "side side"] | None:
    """The square around the foreground of a slice as a small picture, proportions kept.

    Args:
        image: a slice.

    Returns:
        FRAMED_SIDE² pixels in [0, 1]; None for a slice that is nearly empty.
    """
    inside = foreground(image)
    if inside.mean() < MIN_FOREGROUND:
        return None
    (top, bottom), (left, right) = (_extent(inside.sum(axis)) for axis in (1, 0))
    half = max(bottom - top, right - left) / 2
    column, row = (left + right) / 2, (top + bottom) / 2
    margin = int(np.ceil(half))  # the square may lean out of the frame
    padded = Image.fromarray(np.pad(np.asarray(image), margin))
    box = (
        column - half + margin,
        row - half + margin,
        column + half + margin,
        row + half + margin,
    )
    picture = padded.resize((FRAMED_SIDE, FRAMED_SIDE), Image.Resampling.BOX, box=box)
    return np.asarray(picture, dtype=np.float32) / 255


def _extent(counts: Integer[np.ndarray, " n"]) -> tuple[int, int]:
    inside = np.flatnonzero(counts >= max(1, SPECK_SHARE * counts.max()))
    return int(inside[0]), int(inside[-1]) + 1


def _means(
    pictures: Float[np.ndarray, "n side side"], positions: Integer[np.ndarray, " n"]
) -> Float[np.ndarray, "groups side side"]:
    ranks = np.unique(positions, return_inverse=True)[1]
    group = ranks * POSITION_GROUPS // (ranks.max() + 1)
    return np.stack([pictures[group == g].mean(0) for g in np.unique(group)])


def _correlation(
    a: Float[np.ndarray, "n rows cols"], b: Float[np.ndarray, "n rows cols"]
) -> Float[np.ndarray, " n"]:
    a, b = (x - x.mean((1, 2), keepdims=True) for x in (a, b))
    return (a * b).sum((1, 2)) / np.sqrt((a * a).sum((1, 2)) * (b * b).sum((1, 2))).clip(min=1e-12)


def _likeness(a: Float[np.ndarray, "n side side"], b: Float[np.ndarray, "n side side"]) -> float:
    return float(_correlation(a, b).mean())


def _inside(a: Float[np.ndarray, "n side side"], b: Float[np.ndarray, "n side side"]) -> float:
    """Mean correlation of pictures over the pixels where either has foreground.

    The background is left out, because it alone makes two outlines similar.
    """
    where = (a > FOREGROUND / 255) | (b > FOREGROUND / 255)
    return float(
        np.mean(
            [
                _correlation(x[None, None, inside], y[None, None, inside])[0]
                for x, y, inside in zip(a, b, where, strict=True)
            ]
        )
    )


def _symmetry(mirror: dict[str, float]) -> Symmetry:
    best, other = sorted(mirror, key=mirror.__getitem__, reverse=True)
    clear = mirror[best] >= MIN_SYMMETRY and mirror[best] - mirror[other] >= SYMMETRY_MARGIN
    return Symmetry({"left-right": -1, "top-bottom": -2}[best] if clear else None)


def _fit(means: Float[np.ndarray, "n side side"]) -> float:
    """Mean correlation of each picture with the template slice that is most similar to it.

    The better of the template with and without the skull.
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
    """The turn that fits best, if it agrees with the mid-line and clearly beats its opposite."""
    best = max(template, key=template.__getitem__)
    opposite = next(name for name in TURNS if (TURNS[name] - TURNS[best]) % 4 == 2)
    needed = -2 if TURNS[best] % 2 else -1  # the mid-line that this turn makes vertical
    certain = (
        template[best] >= MIN_LIKENESS and template[best] - template[opposite] >= OPPOSITE_MARGIN
    )
    return best if certain and symmetry.axis == needed else "as-is"


@functools.lru_cache(maxsize=1)
def _templates() -> tuple[np.ndarray, np.ndarray]:
    """Axial Colin27 slices, front up and made symmetric: heads, and brains without the skull."""
    head, brain, _ = read_slab()
    heads, brains = (_symmetric(volume[TEMPLATE_SLICES]) for volume in (head, head * brain))
    return heads, brains


def _symmetric(stack: UInt8[np.ndarray, "n rows cols"]) -> Float[np.ndarray, "n side side"]:
    """Slices with enough foreground, framed, and averaged with their mirror images."""
    pictures = np.stack([x for image in stack if (x := framed(image)) is not None])
    return (pictures + pictures[:, :, ::-1]) / 2


def _content(layers: Float[np.ndarray, "n depths"]) -> str:
    """ "head" if, from the outline inwards, grey levels fall after the scalp, as at the skull."""
    mean = layers.mean(0)
    return "head" if (mean[1:] < SKULL_DIP * np.maximum.accumulate(mean)[:-1]).any() else "brain"


def _layers(image: UInt8[np.ndarray, "height width"]) -> Float[np.ndarray, " depths"]:
    """Mean grey level by depth below the outline, in units of the slice's 95th percentile."""
    inside = np.asarray(ndimage.binary_fill_holes(foreground(image)))
    distance = np.asarray(ndimage.distance_transform_edt(np.pad(inside, 1)))[1:-1, 1:-1]
    depth = distance[inside] / np.sqrt(inside.sum() / np.pi)
    grey, layer = np.asarray(image)[inside].astype(np.float64), np.digitize(depth, DEPTHS) - 1
    sums, counts = (
        np.bincount(layer, weights, minlength=len(DEPTHS))[: len(DEPTHS) - 1]
        for weights in (grey, None)
    )
    return sums / counts.clip(min=1) / max(np.percentile(grey, 95), 1.0)


# ---------------------------------------------------------------- images from outside


def correlation_with_mean(
    images: UInt8[np.ndarray, "n height width"], mean: Float[np.ndarray, "height width"]
) -> float:
    """Mean correlation of slices with the mean slice of a data set, both framed.

    Args:
        images: uint8 slices; those that are nearly empty are left out.
        mean: grey levels in [0, 1].

    Returns:
        -1 to 1; 0 if the mean or all slices are nearly empty.
    """
    target = framed(np.rint(np.asarray(mean) * 255).astype(np.uint8))
    pictures = [picture for image in images if (picture := framed(image)) is not None]
    if target is None or not pictures:
        return 0.0
    return _likeness(np.stack(pictures), np.repeat(target[None], len(pictures), 0))
