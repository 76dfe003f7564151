"""What gives generated slices away: numbers in which they differ most from decoded real ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from oasis_utils.evaluation.measured_sets import MeasuredSet
from oasis_utils.metrics.radiomic import radiomic_table
from oasis_utils.runtime.symmetry import Symmetry

MATCH = "halves do not match: longer training; PixelCNN: a layout, wider kernels"
SIZE = "wrong size: PixelCNN: a layout; longer training"
ADVICE = {
    "outline": "ragged or speckled: longer training; DCGAN: another gamma",
    "around the outline": "soft or bright rim: as for the outline",
    "fill": "holes or specks: as for the outline",
    "column": "mirrored beside the mid-line: prepare older data into a new folder",
    "row": "brain too high or too low: PixelCNN: a layout",
    "overlap": MATCH,
    "asymmetry": MATCH,
    "height": SIZE,
    "width": SIZE,
    "area": SIZE,
}
SMOOTH = "too smooth (PixelCNN: top-p nearer 1)"
NOISY = "too noisy (PixelCNN: smaller top-p)"
SHARP = f"negative: {SMOOTH}; positive: {NOISY}; longer training"
BLUNT = f"positive: {SMOOTH}; negative: {NOISY}; longer training"
GREY = "wrong grey levels or tissue shares: longer training; look at the ages asked for"
COARSE = "share of coarse structure: see the finer frequencies, which it gives way to"
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
    """Rows of a table: the numbers in which any prior differs most, and what may help.

    Args:
        evaluations: Of each prior, as from `evaluate_images`.
        count: Number of rows.

    Returns:
        {number: {prior: difference in standard deviations, "what may help": text}}.
    """
    found = {name: e["giveaways"] or {} for name, e in evaluations.items()}
    numbers = {number for some in found.values() for number in some}
    largest = {
        number: np.nanmax([abs(some.get(number) or 0.0) for some in found.values()])
        for number in numbers
    }
    chosen = sorted(numbers, key=lambda number: (-largest[number], number))[:count]
    return {
        number: {
            **{name: some.get(number) for name, some in found.items()},
            "what may help": advice(number),
        }
        for number in chosen
    }


def advice(number: str) -> str:
    """What to try where a radiomic number differs."""
    if any(word in number for word in SHARPNESS):
        return SHARP
    if any(word in number for word in SMOOTHNESS):
        return BLUNT
    if "cycles" in number:
        return COARSE
    return ADVICE.get(number, GREY)
