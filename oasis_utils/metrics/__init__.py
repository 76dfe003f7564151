"""Metrics: arrays in, numbers out; no model and no data set is known here."""

from oasis_utils.metrics.baselines import (
    BASELINES,
    informed_baselines,
    neighbour,
    other_subject,
    trivial_baselines,
)
from oasis_utils.metrics.coherence import Coherence, stack_coherence
from oasis_utils.metrics.image_quality import brain_ssim, ms_ssim, psnr, score, slice_scores, ssim

__all__ = [
    "BASELINES",
    "Coherence",
    "brain_ssim",
    "informed_baselines",
    "ms_ssim",
    "neighbour",
    "other_subject",
    "psnr",
    "score",
    "slice_scores",
    "ssim",
    "stack_coherence",
    "trivial_baselines",
]
