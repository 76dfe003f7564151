"""Slices of the copy benchmark: references, calibration people, other people, planted copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from oasis_utils.data import Dataset, Split
from oasis_utils.metrics.bootstrap import number_groups

FRESH_EVERY, COPIED_EVERY = 2, 4  # of the positions, to save time
FRESH, FRESH_DECODED = "other people", "other people, decoded"
SHIFT = 3  # pixels of 128, of the planted copies
# noise (grey levels), blur (pixels), gamma and rotation (degrees) of the planted copies, and of the
# harder ones
NOISE, BLUR, GAMMA, DEGREES = (8.0, 32.0), (1.0, 3.0), (1.5, 3.0), (3.0, 10.0)
ENLARGEMENT = 1.08
WARP, WARP_SMOOTHNESS = 2.0, 12.0  # pixels: deviation of the displacements, and of their filter

Images = np.ndarray  # uint8 (n, height, width)


@dataclass(frozen=True)
class Slices:
    """Slices, and a number from 0 for the person of each."""

    images: Images
    people: np.ndarray

    @classmethod
    def of(cls, split: Split, every: int = 1, side: int | None = None) -> Slices:
        """Every so many positions of a split; side: of the first (0) or second (1) half of its
        people, who are drawn.
        """
        people = number_groups(split.subjects)
        kept = split.positions % every == 0
        if side is not None:
            order = np.random.default_rng(0).permutation(people.max() + 1)
            kept &= np.isin(people, np.array_split(order, 2)[side])
        return cls(np.array(split.images[kept]), number_groups(people[kept]))

    @property
    def n_people(self) -> int:
        return int(self.people.max()) + 1


def moved(images: Images) -> Images:
    """Shifted along both axes."""
    return np.roll(images, (SHIFT, -SHIFT), (1, 2))


def mirrored(images: Images) -> Images:
    return np.ascontiguousarray(images[:, :, ::-1])


def noisy(images: Images, deviation: float) -> Images:
    noise = np.random.default_rng(0).normal(0, deviation, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


def blurred(images: Images, deviation: float) -> Images:
    return ndimage.gaussian_filter(images, (0, deviation, deviation))


def darkened(images: Images, gamma: float) -> Images:
    return (255 * (images / 255) ** gamma).round().astype(np.uint8)


def rotated(images: Images, degrees: float) -> Images:
    return ndimage.rotate(images, degrees, axes=(1, 2), reshape=False, order=1)


def warped(images: Images, deviation: float = WARP, enlargement: float = ENLARGEMENT) -> Images:
    """Enlarged about the middle, and moved by smooth random displacements that differ by slice."""
    rng, (_, *side) = np.random.default_rng(0), images.shape
    middle = (np.array(side)[:, None, None] - 1) / 2
    grid = (np.indices(side) - middle) / enlargement + middle
    changed = np.empty_like(images)
    for i, image in enumerate(images):
        field = ndimage.gaussian_filter(rng.normal(size=grid.shape), (0, *[WARP_SMOOTHNESS] * 2))
        changed[i] = ndimage.map_coordinates(image, grid + deviation * field / field.std(), order=1)
    return changed


def copies(images: Images, decode: Callable[[Images], Images]) -> dict[str, Images]:
    """{kind of copy: copies of the slices}."""
    decoded = decode(images)
    return {
        "as it is": images,
        "shifted": moved(images),
        "mirrored": mirrored(images),
        "noisy": noisy(images, NOISE[0]),
        "blurred": blurred(images, BLUR[0]),
        "darkened": darkened(images, GAMMA[0]),
        "rotated": rotated(images, DEGREES[0]),
        "decoded": decoded,
        "decoded, shifted, mirrored": mirrored(moved(decoded)),
    }


def harder_copies(images: Images) -> dict[str, Images]:
    """{kind: copies that are changed so much that a person, too, might miss some}."""
    return {
        "noise of 32 grey levels": noisy(images, NOISE[1]),
        "blur of 3 pixels": blurred(images, BLUR[1]),
        "gamma 3": darkened(images, GAMMA[1]),
        "rotation by 10°": rotated(images, DEGREES[1]),
        "enlarged by 8 %": warped(images, deviation=0.0),
        "warped": warped(images, enlargement=1.0),
    }


@dataclass(frozen=True)
class Setting:
    """All slices: two references, people who calibrate, and sets that are judged."""

    train: Slices
    positions: Tensor  # of the training slices
    held_out: Slices
    calibration: Slices
    judged: dict[str, Slices]  # FRESH, FRESH_DECODED, then each kind of copy
    kinds: list[str]
    harder: list[str]  # other kinds

    @classmethod
    def of(cls, dataset: Dataset, decode: Callable[[Images], Images]) -> Setting:
        """One half of the test people are held out, the other half are fresh."""
        train, validate, test = (dataset.split(name) for name in ("train", "validate", "test"))
        fresh, copied = Slices.of(test, FRESH_EVERY, 1), Slices.of(train, COPIED_EVERY)
        judged = {FRESH: fresh, FRESH_DECODED: Slices(decode(fresh.images), fresh.people)}
        planted, harder = copies(copied.images, decode), harder_copies(copied.images)
        for kind, images in (planted | harder).items():
            judged[kind] = Slices(images, copied.people)
        return cls(
            Slices.of(train),
            torch.from_numpy(np.array(train.positions)),
            Slices.of(test, side=0),
            Slices.of(validate),
            judged,
            list(planted),
            list(harder),
        )
