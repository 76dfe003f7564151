"""Generated slices with their codes, and what they were asked for: seeds and slice positions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer, UInt8

from oasis_utils.runtime import atomic, read_arrays, require_arrays


@dataclass(frozen=True)
class Samples:
    """Generated slices and the codes they were decoded from.

    Attributes:
        images: grey levels in [0, 255].
        indices: the codes, in [0, n_codes).
        positions: the slice positions asked for.
        ages: the ages asked for, in years, nan for none; None becomes nan everywhere.
    """

    images: UInt8[np.ndarray, "n height width"]
    indices: Integer[np.ndarray, "n rows cols"]
    positions: Integer[np.ndarray, " n"]
    ages: Float[np.ndarray, " n"] | None = None

    def __post_init__(self):
        if self.ages is None:
            object.__setattr__(self, "ages", np.full(len(self.positions), np.nan, np.float32))

    def save(self, path: str | Path) -> None:
        """An .npz file with the keys images, indices, positions, ages."""
        assert self.ages is not None  # `__post_init__` sets them
        with atomic(path) as partial, open(partial, "wb") as file:
            np.savez_compressed(
                file,
                images=self.images,
                indices=self.indices,
                positions=self.positions,
                ages=self.ages,
            )

    @classmethod
    def load(cls, path: str | Path) -> Samples:
        """A file that `save` wrote, of any version. DataError for another."""
        arrays = read_arrays(path, "draw the samples again")
        require_arrays(arrays, ("images", "indices", "positions"), path)
        return cls(arrays["images"], arrays["indices"], arrays["positions"], arrays.get("ages"))

    def rows_near(
        self, positions: Integer[np.ndarray, " n"], copies: int
    ) -> Integer[np.ndarray, "copies n"]:
        """The first samples at these slice positions, or at the nearest ones there are.

        Args:
            positions: slice positions.
            copies: how many samples of each; of fewer, the last one is repeated.

        Returns:
            Row k holds the k-th sample of each position.
        """
        nearest = self.positions[np.abs(self.positions[:, None] - positions).argmin(0)]
        found = [np.flatnonzero(self.positions == position) for position in nearest]
        return np.array([[rows[min(k, len(rows) - 1)] for rows in found] for k in range(copies)])


def image_seeds(seed: int, n: int) -> list[int]:
    """One seed for each image.

    Args:
        seed: of all images.
        n: number of images.

    Returns:
        n seeds; seed i does not depend on n.
    """
    return [seed * 1_000_003 + i for i in range(n)]


def spread_positions(n: int, n_positions: int) -> Integer[np.ndarray, " n"]:
    """Slice positions that cover all of them as evenly as n allows.

    Args:
        n: number of positions asked for.
        n_positions: number of positions there are.

    Returns:
        n positions in [0, n_positions).
    """
    return np.arange(n) * n_positions // n if n < n_positions else np.arange(n) % n_positions
