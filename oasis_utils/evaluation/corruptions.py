"""Real slices damaged on purpose by degrees, to measure the sensitivity of metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from scipy import ndimage

from oasis_utils.metrics.anatomy import Anatomist, deep_inside
from oasis_utils.runtime.symmetry import Symmetry

FLUID_LEVEL = 0.45  # of white matter's grey, below which a pixel counts as fluid here
PATCHES = 8  # patches along each side of a slice


@dataclass(frozen=True)
class SliceContext:
    """What is known of a slice beside its pixels."""

    symmetry: Symmetry
    brain: Bool[np.ndarray, "height width"]


Damage = Callable[[np.ndarray, float, np.random.Generator, SliceContext], np.ndarray]


def blur(
    image: np.ndarray, amount: float, rng: np.random.Generator, scene: SliceContext
) -> np.ndarray:
    """Gaussian of `amount` per cent of the frame."""
    return ndimage.gaussian_filter(image.astype(np.float64), amount / 100 * len(image))


def noise(
    image: np.ndarray, amount: float, rng: np.random.Generator, scene: SliceContext
) -> np.ndarray:
    """Gaussian noise of `amount` per cent of the grey range, in the foreground only."""
    return np.where(image > 0, image + rng.normal(0, 2.55 * amount, image.shape), image)


def shift(
    image: np.ndarray, amount: float, rng: np.random.Generator, scene: SliceContext
) -> np.ndarray:
    """Down and to the right by `amount` per cent of the frame."""
    return np.roll(image, round(amount / 100 * len(image)), axis=(0, 1))


def flip(
    image: np.ndarray, amount: float, rng: np.random.Generator, scene: SliceContext
) -> np.ndarray:
    """Mirrored across the mid-line in `amount` per cent of the slices."""
    return scene.symmetry.mirror(image) if rng.random() * 100 < amount else image


def paint_ventricles(
    image: np.ndarray, amount: float, rng: np.random.Generator, scene: SliceContext
) -> np.ndarray:
    """Deep fluid painted over with the grey of white matter, in `amount` per cent of the slices."""
    brain = scene.brain
    if rng.random() * 100 >= amount or not brain.any():
        return image
    white = np.percentile(image[brain], 80)
    ventricles = deep_inside(brain) & (image < FLUID_LEVEL * white)
    return np.where(ndimage.binary_dilation(ventricles), np.maximum(image, white), image)


def shuffle_patches(
    image: np.ndarray, amount: float, rng: np.random.Generator, scene: SliceContext
) -> np.ndarray:
    """`amount` per cent of an 8 x 8 grid of patches are exchanged."""
    side = len(image) // PATCHES
    grid = (
        image[: side * PATCHES, : side * PATCHES]
        .reshape(PATCHES, side, PATCHES, side)
        .swapaxes(1, 2)
    )
    patches = grid.reshape(-1, side, side).copy()
    moved = rng.permutation(len(patches))[: round(amount / 100 * len(patches))]
    patches[moved] = patches[np.roll(moved, 1)]
    result = image.copy()
    result[: side * PATCHES, : side * PATCHES] = (
        patches.reshape(PATCHES, PATCHES, side, side).swapaxes(1, 2).reshape(side * PATCHES, -1)
    )
    return result


DAMAGES: dict[str, tuple[Damage, float]] = {
    "blur 0.5 %": (blur, 0.5),
    "blur 1.5 %": (blur, 1.5),
    "noise 3 %": (noise, 3.0),
    "noise 10 %": (noise, 10.0),
    "shift 1 %": (shift, 1.0),
    "shift 4 %": (shift, 4.0),
    "all mirrored": (flip, 100.0),
    "ventricles painted, 50 %": (paint_ventricles, 50.0),
    "ventricles painted, all": (paint_ventricles, 100.0),
    "10 % of patches shuffled": (shuffle_patches, 10.0),
    "50 % of patches shuffled": (shuffle_patches, 50.0),
}


def possible(anatomist: Anatomist) -> list[str]:
    """The DAMAGES that slices can take.

    Args:
        anatomist: Knows the mid-line and the tissues of the slices.

    Returns:
        Their names: no mirroring without a mid-line, no painting where no tissue is known.
    """
    left_out: dict[Damage, bool] = {
        flip: not anatomist.symmetry,
        paint_ventricles: not anatomist.tissues,
    }
    return [name for name, (damage, _) in DAMAGES.items() if not left_out.get(damage, False)]


def damaged(
    images: UInt8[np.ndarray, "n height width"],
    name: str,
    seed: int = 0,
    anatomist: Anatomist | None = None,
    positions: Integer[np.ndarray, " n"] | None = None,
) -> UInt8[np.ndarray, "n height width"]:
    """The slices with one of DAMAGES.

    Args:
        images: The slices.
        name: Of the damage.
        seed: Of the random numbers; the same ones for the same seed.
        anatomist: Says where the mid-line and the brain are; None: upright, skull-stripped slices.
        positions: Of the slices; needed for whole heads.

    Returns:
        Damaged copies.

    Raises:
        ValueError: The slices cannot take the damage, see `possible`, or positions are missing.
    """
    if anatomist and name not in possible(anatomist):
        raise ValueError(
            f"these slices cannot take the damage {name!r}: choose one of "
            f"{', '.join(possible(anatomist))}"
        )
    anatomist = anatomist or Anatomist()
    if anatomist.regions is not None and positions is None:
        raise ValueError(
            "where the brain of a whole head is depends on the slice position: give positions"
        )
    brains = anatomist.brains(
        images, np.zeros(len(images), int) if positions is None else positions
    )
    (damage, amount), rng = DAMAGES[name], np.random.default_rng(seed)
    result = np.stack(
        [
            damage(np.asarray(image), amount, rng, SliceContext(anatomist.symmetry, brain))
            for image, brain in zip(images, brains, strict=True)
        ]
    )
    return np.clip(np.rint(result), 0, 255).astype(np.uint8)
