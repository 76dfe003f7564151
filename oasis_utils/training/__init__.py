"""The training loop, its history, and trainings of equal time."""

from oasis_utils.training.equal_time import (
    gradient_codebook,
    ssim_with_near_codes,
    ssim_without_rarest,
    textbook,
    train_configurations,
)
from oasis_utils.training.history import Snapshots, best_record
from oasis_utils.training.launching import in_processes
from oasis_utils.training.loop import fit

__all__ = [
    "Snapshots",
    "best_record",
    "fit",
    "gradient_codebook",
    "in_processes",
    "ssim_with_near_codes",
    "ssim_without_rarest",
    "textbook",
    "train_configurations",
]
