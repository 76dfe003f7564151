"""Arrays in, numbers out: knows no model and no data set."""

from oasis_utils.metrics.image_quality import (
    brain_ssim,
    floors,
    ms_ssim,
    neighbour,
    other_subject,
    psnr,
    score,
    slice_scores,
    ssim,
    yardsticks,
)

__all__ = [
    "brain_ssim",
    "floors",
    "ms_ssim",
    "neighbour",
    "other_subject",
    "psnr",
    "score",
    "slice_scores",
    "ssim",
    "yardsticks",
]
