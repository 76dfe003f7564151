"""Baselines of a reconstruction: the scores of trivial and of informed answers.

Trivial answers know no pixel of the slice and no average over its position: black, the mean image,
another subject (chosen by position). Informed ones know the mean of its position, its neighbour or
its blurred copy.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from oasis_utils.metrics.image_quality import score

BASELINES = {  # what they are called in tables
    "black": "all black",
    "mean": "mean image",
    "other_subject": "another subject, same position",
    "position_mean": "mean of the position",
    "blur_2": "itself, blurred (2 pixels)",
    "blur_1": "itself, blurred (1 pixel)",
    "neighbour": "neighbouring slice",
}


def other_subject(subjects: Int[Tensor, " n"], positions: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Partner of each slice: the same position in another subject.

    Args:
        subjects: Subject of each slice.
        positions: Slice position of each slice.

    Returns:
        Index of the partner; -1 where no other subject has the position.
    """
    partner = torch.full_like(subjects, -1)
    for position in positions.unique():
        here = (positions == position).nonzero()[:, 0]
        here = here[subjects[here].argsort(stable=True)]
        owners = subjects[here]
        for turn, index in enumerate(here):
            others = torch.roll(here, -turn)[torch.roll(owners, -turn) != owners[turn]]
            if len(others):
                partner[index] = others[0]
    return partner


def neighbour(series: Int[Tensor, " n"], positions: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Adjacent slice of each slice: the next one up in the same series, at the top the next one
    down.

    Args:
        series: Session of each slice, `data.Split.series`: two sessions of a subject are two heads.
        positions: Slice position of each slice.

    Returns:
        Index of the adjacent slice; -1 where there is none.

    Raises:
        ValueError: Where two slices are of one series and one position.
    """
    pairs = list(zip(series.tolist(), positions.tolist(), strict=True))
    rows = {pair: row for row, pair in enumerate(pairs)}
    if len(rows) < len(pairs):
        raise ValueError(
            f"{len(pairs) - len(rows)} slices share series and position with another one: pass "
            "Split.series, which differs between the sessions of a subject"
        )
    return torch.tensor(
        [rows.get((s, p + 1), rows.get((s, p - 1), -1)) for s, p in pairs], dtype=torch.long
    )


@torch.no_grad()
def trivial_baselines(
    images: Float[Tensor, "batch 1 height width"],
    mean_image: Float[Tensor, "1 height width"],
    subjects: Int[Tensor, " batch"],
    positions: Int[Tensor, " batch"],
    region: Bool[Tensor, "batch 1 height width"] | None = None,
) -> dict[str, dict[str, float]]:
    """Scores of answers that ignore the slice: black, the mean image, another subject.

    Args:
        images: Slices in [0, 1].
        mean_image: Mean slice of the training split.
        subjects: Subject of each slice.
        positions: Slice position of each slice.
        region: Pixels that "brain_ssim" covers; None takes everything above the background.

    Returns:
        {"black", "mean", "other_subject": {"ssim", "brain_ssim", "psnr"}}. A split of a single
        subject has no "other_subject".
    """
    fakes = {"black": torch.zeros_like(images), "mean": mean_image.expand_as(images)}
    partner = other_subject(subjects.cpu(), positions.cpu()).to(images.device)
    return _scores(images, fakes, {"other_subject": partner}, region)


@torch.no_grad()
def informed_baselines(
    images: Float[Tensor, "batch 1 height width"],
    position_means: Float[Tensor, "n_positions 1 height width"],
    series: Int[Tensor, " batch"],
    positions: Int[Tensor, " batch"],
    region: Bool[Tensor, "batch 1 height width"] | None = None,
) -> dict[str, dict[str, float]]:
    """Scores of simple answers that know the position, the adjacent slice or a blurred copy.

    A reconstruction that scores below a blurred copy has lost more than that blur removes.

    Args:
        images: Slices in [0, 1].
        position_means: Mean training slice of each position.
        series: Session of each slice, `data.Split.series`.
        positions: Slice position of each slice.
        region: Pixels that "brain_ssim" covers; None takes everything above the background.

    Returns:
        Scores keyed as `trivial_baselines`: "position_mean", "blur_2" and "blur_1" (the slice
        itself through a Gaussian of that sigma in pixels) and "neighbour" (the adjacent slice).
    """
    from torchvision.transforms.v2.functional import (
        gaussian_blur,
    )  # slow to import, and needed only here

    fakes = {"position_mean": position_means[positions]}
    for sigma in (2, 1):
        fakes[f"blur_{sigma}"] = gaussian_blur(images, [8 * sigma + 1] * 2, [float(sigma)] * 2)
    near = neighbour(series.cpu(), positions.cpu()).to(images.device)
    return _scores(images, fakes, {"neighbour": near}, region)


def _scores(
    images: Tensor, fakes: dict[str, Tensor], partners: dict[str, Tensor], region: Tensor | None
) -> dict[str, dict[str, float]]:
    """Scores of each set of fakes, and of other slices of the same set; a partner of -1 is left
    out.
    """
    result = {name: score(images, fake, region) for name, fake in fakes.items()}
    for name, partner in partners.items():
        rows = (partner >= 0).nonzero()[:, 0]
        if len(rows):
            result[name] = score(
                images[rows], images[partner[rows]], None if region is None else region[rows]
            )
    return result
