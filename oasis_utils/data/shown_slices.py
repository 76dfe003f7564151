"""Slices for a figure: which rows of a split it shows, and the words above each."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from oasis_utils.data.dataset import Split


def nearest_slices(split: Split, subjects: Iterable[int], positions: Iterable[int]) -> np.ndarray:
    """The slice of each subject that is nearest to each position.

    Args:
        split: the split to choose from.
        subjects: their numbers.
        positions: slice positions, counted from 0 for the lowest slice.

    Returns:
        int64 row numbers of the split, one row for each position and one column for each subject.

    Raises:
        ValueError: a subject has no slice in the split.
    """
    rows_of = {subject: np.flatnonzero(split.subjects == subject) for subject in subjects}
    absent = [str(subject) for subject, rows in rows_of.items() if not len(rows)]
    if absent:
        raise ValueError(f"subject {', '.join(absent)} is not in the split {split.name}")
    return np.array(
        [
            [rows[np.abs(split.positions[rows] - position).argmin()] for rows in rows_of.values()]
            for position in positions
        ]
    )


def captions(split: Split, rows: Iterable[int], position: bool = True) -> list[str]:
    """Words above slices: the subject, the age where it is known, and the position.

    Args:
        split: the split that the slices belong to.
        rows: their row numbers.
        position: whether the position is named.

    Returns:
        One text for each slice, such as "subject 12, 34 y" with "position 7" on a second line.
    """
    texts = []
    for row in rows:
        age = split.ages[row]
        text = f"subject {split.subjects[row]}" + (f", {age:.0f} y" if np.isfinite(age) else "")
        texts.append(text + (f"\nposition {split.positions[row]}" if position else ""))
    return texts
