"""Arrays that a metric reads from labelled slices, and how many slices a distance needs."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8

from oasis_utils.runtime.symmetry import Symmetry

MIN_IMAGES = 16  # images of either side below which a distance says nothing


def require_enough(n: int, m: int) -> None:
    """ValueError if either side is too small for a distance."""
    if min(n, m) < MIN_IMAGES:
        raise ValueError(
            f"a distance between sets needs at least {MIN_IMAGES} images on either side, got"
            f" {n} and {m}: with fewer its error is larger than what it measures; generate more"
            " or use a larger split"
        )


@runtime_checkable
class LabelledSlices(Protocol):
    """Slices of several people with what is known of them, such as a split of a data set."""

    @property
    def name(self) -> str:
        """What the set is called in messages, such as "train"."""
        ...

    @property
    def images(self) -> UInt8[np.ndarray, "n height width"]:
        """The slices."""
        ...

    @property
    def subjects(self) -> np.ndarray:
        """The person of each slice, int64 (n,)."""
        ...

    @property
    def positions(self) -> np.ndarray:
        """The slice position, int64 (n,), from 0."""
        ...

    @property
    def ages(self) -> np.ndarray:
        """Years, float32 (n,), nan where unknown."""
        ...

    @property
    def masks(self) -> UInt8[np.ndarray, "n height width"] | None:
        """Tissue labels of the same pixels, where the source has them."""
        ...

    @property
    def symmetry(self) -> Symmetry:
        """How slices may be mirrored."""
        ...

    @property
    def content(self) -> str:
        """What is not background: "brain", or "head" with skull and scalp."""
        ...

    def region(self, rows: np.ndarray | slice = slice(None)) -> Bool[np.ndarray, "k height width"]:
        """The pixels of the chosen slices that belong to the brain."""
        ...
