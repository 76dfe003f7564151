"""What gives generated slices away: numbers in which they differ most from decoded real ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from oasis_utils.evaluation.measured_sets import MeasuredSet
from oasis_utils.metrics.radiomic import radiomic_table
from oasis_utils.runtime.symmetry import Symmetry


class Meaning(NamedTuple):
    """What a difference in a number means."""

    negative: str
    positive: str


SIZE = Meaning("too small", "too large")
MEANINGS = {
    "outline": Meaning("too plain", "ragged or speckled"),
    "around the outline": Meaning("dark rim", "bright rim"),
    "fill": Meaning("holes or specks", "too full"),
    "column": Meaning("too far left", "too far right"),
    "row": Meaning("too high", "too low"),
    "overlap": Meaning("halves do not match", "halves match too well"),
    "asymmetry": Meaning("halves match too well", "halves do not match"),
    "height": SIZE,
    "width": SIZE,
    "area": SIZE,
}
SHARP = Meaning("too smooth", "too noisy")
BLUNT = Meaning("too noisy", "too smooth")
GREY = Meaning("too low", "too high")
COARSE = Meaning("too little", "too much")
SEEN = 0.25  # deviations from which on a difference is put into words
SHARPNESS = ("sharpness", "gradient", "contrast", "0.12 to", "0.25 to")  # rise with noise
SMOOTHNESS = ("homogeneity", "energy", "correlation")  # fall with noise


def giveaways(
    drawn: MeasuredSet, decoded: MeasuredSet, symmetry: Symmetry
) -> dict[str, float | None]:
    """Differences of the means of the radiomic numbers.

    Args:
        drawn: Generated slices.
        decoded: Real slices at the same positions, through the VQ-VAE.
        symmetry: Of the slices.

    Returns:
        {number: mean of the drawn minus mean of the decoded slices, in standard deviations of the
        decoded ones}, the largest difference first; None where these do not vary.
    """
    names = list(radiomic_table(decoded.images[:1], symmetry))
    difference = drawn.radiomic.mean(0) - decoded.radiomic.mean(0)
    deviation = decoded.radiomic.std(0)
    found = {
        name: float(d / s) if s > 1e-9 else None
        for name, d, s in zip(names, difference, deviation, strict=True)
    }
    return dict(sorted(found.items(), key=lambda item: -abs(item[1] or 0.0)))


def giveaway_rows(evaluations: dict[str, dict[str, Any]], count: int = 8) -> dict[str, dict]:
    """Rows of a table: the numbers in which any prior differs most.

    Args:
        evaluations: Of each prior, as from `evaluate_images`.
        count: Number of rows.

    Returns:
        {number: {prior: difference in standard deviations and what it means}}.
    """
    found = {name: e["giveaways"] or {} for name, e in evaluations.items()}
    numbers = {number for some in found.values() for number in some}
    largest = {
        number: np.nanmax([abs(some.get(number) or 0.0) for some in found.values()])
        for number in numbers
    }
    chosen = sorted(numbers, key=lambda number: (-largest[number], number))[:count]
    return {
        number: {name: in_words(number, some.get(number)) for name, some in found.items()}
        for number in chosen
    }


def in_words(number: str, difference: float | None) -> str:
    """A difference with its meaning, such as "-0.65, too smooth"; empty for None."""
    if difference is None:
        return ""
    if abs(difference) < SEEN:
        return f"{difference:+.2f}"
    meaning = meaning_of(number)
    return f"{difference:+.2f}, {meaning.positive if difference > 0 else meaning.negative}"


def meaning_of(number: str) -> Meaning:
    """What a difference in a radiomic number means."""
    if any(word in number for word in SHARPNESS):
        return SHARP
    if any(word in number for word in SMOOTHNESS):
        return BLUNT
    if "cycles" in number:
        return COARSE
    return MEANINGS.get(number, GREY)
