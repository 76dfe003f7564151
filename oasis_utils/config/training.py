"""Configurations of training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oasis_utils.config.checks import require, within


@dataclass(frozen=True)
class TrainingConfig:
    """Length and optimiser of one training; the training loop reads nothing else."""

    epochs: int = 20  # passes over the training split
    batch_size: int = 32
    learning_rate: float = 1e-3  # peak of the schedule
    final_rate: float = 0.02  # last learning rate, as a fraction of the peak (cosine in between)
    warmup_steps: int = 50
    betas: Sequence[float] = (0.9, 0.99)  # Adam
    weight_decay: float = 0.0  # decoupled (AdamW)
    clip_norm: float = 0.0  # largest gradient norm; 0: no clipping
    ema_decay: float = 0.0  # average of the weights used for validation and sampling; 0: none
    patience: int = 0  # stop after so many validations without progress; 0: never
    validate_every: int = 1  # epochs between validations
    # also validate at step 0 and after each so many steps; 0: at the ends of epochs only
    validate_every_steps: int = 0

    def __post_init__(self):
        object.__setattr__(self, "betas", tuple(self.betas))
        require(self.epochs >= 1, f"epochs must be at least 1, not {self.epochs}")
        require(self.batch_size >= 1, f"batch_size must be at least 1, not {self.batch_size}")
        require(self.learning_rate > 0, f"learning_rate must be positive, not {self.learning_rate}")
        within(self, 0, 1, "final_rate", "weight_decay")
        within(self, 0, 1e9, "warmup_steps", "clip_norm", "patience", "validate_every_steps")
        within(self, 1, 1e9, "validate_every")
        require(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            f"betas are two numbers in [0, 1), not {self.betas}",
        )
        require(0 <= self.ema_decay < 1, f"ema_decay must be in [0, 1), not {self.ema_decay}")


@dataclass(frozen=True)
class EvaluationConfig:
    """Sample sizes and sampling options of the evaluation."""

    n_images: int = 256  # generated images of each prior, and real ones compared with them
    temperature: float = 1.0  # of the evaluated PixelCNN samples
    top_p: float = 0.95  # nucleus of the evaluated PixelCNN samples
    bootstrap: int = 200  # resamples of subjects behind every interval

    def __post_init__(self):
        within(self, 1, 1e6, "n_images", "bootstrap")
        within(self, 0, 1000, "temperature")
        require(0 < self.top_p <= 1, f"top_p must be in (0, 1], not {self.top_p}")
