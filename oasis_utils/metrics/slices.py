"""The arrays that a metric reads from a set of labelled slices."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8

from oasis_utils.runtime.symmetry import Symmetry


@runtime_checkable
class LabelledSlices(Protocol):
    """Slices of several people with what is known of them, such as a split of a data set."""

    images: UInt8[np.ndarray, "n height width"]
    subjects: np.ndarray  # int64 (n,)
    positions: np.ndarray  # int64 (n,)
    ages: np.ndarray  # float32 (n,), years, nan where unknown
    masks: UInt8[np.ndarray, "n height width"] | None  # tissue labels of the same pixels
    symmetry: Symmetry  # how slices may be mirrored
    content: str  # "brain" or "head"

    def region(self, rows: np.ndarray | slice = slice(None)) -> Bool[np.ndarray, "k height width"]:
        """The pixels of the chosen slices that belong to the brain."""
        ...
