"""What does a figure see, and what is it blind to? Real slices damaged on purpose, by degrees."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from scipy import ndimage

from oasis_utils.anatomy import DEPTH, outline

Damage = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
FLUID = 0.45  # of white matter's grey, below which a pixel counts as fluid here
PATCH = 8  # patches along each side of a slice


def blur(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian of `amount` per cent of the frame."""
    return ndimage.gaussian_filter(image.astype(np.float64), amount / 100 * len(image))


def noise(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of `amount` per cent of the grey range, in the head only."""
    return np.where(image > 0, image + rng.normal(0, 2.55 * amount, image.shape), image)


def shift(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Down and to the right by `amount` per cent of the frame."""
    return np.roll(image, round(amount / 100 * len(image)), axis=(0, 1))


def flip(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Left and right exchanged in `amount` per cent of the slices."""
    return image[:, ::-1] if rng.random() * 100 < amount else image


def paint_ventricles(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Deep fluid painted over with the grey of white matter, in `amount` per cent of the slices."""
    brain = outline(image)
    if rng.random() * 100 >= amount or not brain.any():
        return image
    deep = ndimage.distance_transform_edt(brain) > DEPTH * np.sqrt(brain.sum() / np.pi)
    white = np.percentile(image[brain], 80)
    return np.where(ndimage.binary_dilation(deep & (image < FLUID * white)), np.maximum(image, white), image)


def shuffle_patches(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """`amount` per cent of an 8 x 8 grid of patches exchange their places."""
    side = len(image) // PATCH
    grid = image[:side * PATCH, :side * PATCH].reshape(PATCH, side, PATCH, side).swapaxes(1, 2)
    patches = grid.reshape(-1, side, side).copy()
    moved = rng.permutation(len(patches))[:round(amount / 100 * len(patches))]
    patches[moved] = patches[np.roll(moved, 1)]
    result = image.copy()
    result[:side * PATCH, :side * PATCH] = (
        patches.reshape(PATCH, PATCH, side, side).swapaxes(1, 2).reshape(side * PATCH, -1))
    return result


DAMAGES: dict[str, tuple[Damage, float]] = {
    "blur 0.5 %": (blur, 0.5), "blur 1.5 %": (blur, 1.5), "noise 3 %": (noise, 3.0), "noise 10 %": (noise, 10.0),
    "shift 1 %": (shift, 1.0), "shift 4 %": (shift, 4.0), "all mirrored": (flip, 100.0),
    "ventricles painted in half": (paint_ventricles, 50.0), "ventricles painted in all": (paint_ventricles, 100.0),
    "10 % of patches shuffled": (shuffle_patches, 10.0), "50 % of patches shuffled": (shuffle_patches, 50.0)}


def damaged(images: UInt8[np.ndarray, "n height width"], name: str,
            seed: int = 0) -> UInt8[np.ndarray, "n height width"]:
    """The slices with one of DAMAGES; the same noise for the same seed."""
    damage, amount = DAMAGES[name]
    rng = np.random.default_rng(seed)
    result = np.stack([damage(np.asarray(image), amount, rng) for image in images])
    return np.clip(np.rint(result), 0, 255).astype(np.uint8)
