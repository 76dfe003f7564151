"""Configurations of training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oasis_utils.config.checks import require, within


@dataclass(frozen=True)
class TrainingConfig:
    """Length and optimiser of one training; the training loop reads nothing else.

    Attributes:
        epochs: Passes over the training split.
        batch_size: Slices or index maps in one step.
        learning_rate: Peak of the schedule, of AdamW.
        muon_rate: Peak for the kernels of hidden convolutions, which Muon then trains, about 0.02;
            0: AdamW trains all.
        final_rate: Last learning rate, as a fraction of the peak; a cosine leads to it.
        warmup_steps: Steps of linear increase to the peak.
        betas: Decay of the two moments of Adam, each in [0, 1).
        weight_decay: Decoupled from the gradient (AdamW), in [0, 1].
        clip_norm: Largest gradient norm; 0: no clipping.
        ema_decay: Decay of the averaged weights used for validation and sampling; 0: none.
        patience: Training stops after so many validations without progress; 0: never.
        validate_every: Epochs between validations.
        validate_every_steps: Also validate at step 0 and after each so many steps; 0: at the ends
            of epochs only.
    """

    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    muon_rate: float = 0.0
    final_rate: float = 0.02
    warmup_steps: int = 50
    betas: Sequence[float] = (0.9, 0.99)
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    patience: int = 0
    validate_every: int = 1
    validate_every_steps: int = 0

    def __post_init__(self):
        object.__setattr__(self, "betas", tuple(self.betas))
        require(self.epochs >= 1, f"epochs must be at least 1, not {self.epochs}")
        require(self.batch_size >= 1, f"batch_size must be at least 1, not {self.batch_size}")
        require(self.learning_rate > 0, f"learning_rate must be positive, not {self.learning_rate}")
        within(self, 0, 1, "muon_rate", "final_rate", "weight_decay")
        within(self, 0, 1e9, "warmup_steps", "clip_norm", "patience", "validate_every_steps")
        within(self, 1, 1e9, "validate_every")
        require(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            f"betas are two numbers in [0, 1), not {self.betas}",
        )
        require(0 <= self.ema_decay < 1, f"ema_decay must be in [0, 1), not {self.ema_decay}")


@dataclass(frozen=True)
class EvaluationConfig:
    """Sample sizes and sampling options of the evaluation.

    Attributes:
        n_images: Generated images of each prior, and real ones compared with them.
        temperature: Of the evaluated PixelCNN samples; 0: always the likeliest code.
        top_p: Nucleus of the evaluated PixelCNN samples, a probability in (0, 1].
        bootstrap: Resamples of subjects behind every interval.
    """

    n_images: int = 256
    temperature: float = 1.0
    top_p: float = 0.95
    bootstrap: int = 200

    def __post_init__(self):
        within(self, 1, 1e6, "n_images", "bootstrap")
        within(self, 0, 1000, "temperature")
        require(0 < self.top_p <= 1, f"top_p must be in (0, 1], not {self.top_p}")
