"""Heads: blocks of complete stacks of slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8


@dataclass(frozen=True)
class Heads:
    """Complete stacks of slices.

    Attributes:
        images: Slices in order of position, in [0, 255].
        positions: Of the slices, the same for all heads.
        people: A number for the person of each head; every generated head is its own.
        ages: Years, nan where unknown.
        maps: Index maps of the slices; None without.
    """

    images: UInt8[np.ndarray, "heads positions height width"]
    positions: Integer[np.ndarray, " positions"]
    people: Integer[np.ndarray, " heads"]
    ages: Float[np.ndarray, " heads"]
    maps: Integer[np.ndarray, "heads positions rows cols"] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def drawn(
        cls,
        images: UInt8[np.ndarray, "heads positions height width"],
        positions: Integer[np.ndarray, " positions"],
        ages: Float[np.ndarray, " heads"] | None = None,
        maps: Integer[np.ndarray, "heads positions rows cols"] | None = None,
    ) -> Heads:
        """Generated heads, which are independent of each other.

        Args:
            images: Slices in order of position.
            positions: Of the slices.
            ages: Years that were asked for, nan for none; None: none at all.
            maps: Index maps of the slices; None without.

        Returns:
            The heads, each of a person of its own.
        """
        ages = np.full(len(images), np.nan) if ages is None else np.asarray(ages, np.float64)
        return cls(images, np.asarray(positions), np.arange(len(images)), ages, maps)

    def some(self, rows: Bool[np.ndarray, " heads"]) -> Heads:
        """Only these heads.

        Args:
            rows: True for those to keep.

        Returns:
            The heads, with the same numbers of people.
        """
        maps = None if self.maps is None else self.maps[rows]
        return Heads(self.images[rows], self.positions, self.people[rows], self.ages[rows], maps)


def complete_rows(
    series: Integer[np.ndarray, " n"],
    positions: Integer[np.ndarray, " n"],
    wanted: Integer[np.ndarray, " positions"],
) -> Integer[np.ndarray, "heads positions"]:
    """Rows of the stacks that have all wanted positions.

    Args:
        series: A number for the stack of each slice.
        positions: Of the slices.
        wanted: Positions, ascending.

    Returns:
        The rows of each such stack in the order of the wanted positions; of a position that a stack
        has twice, the first one. Stacks are in order of their numbers. None where no position is
        wanted.
    """
    rows = []
    for number in np.unique(series) if len(wanted) else ():
        own = np.flatnonzero(series == number)
        known, first = np.unique(positions[own], return_index=True)
        if np.isin(wanted, known).all():
            rows.append(own[first[np.searchsorted(known, wanted)]])
    return np.array(rows, np.int64).reshape(len(rows), len(wanted))
