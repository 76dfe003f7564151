"""The learning rate of each step, and the steps at which a training is validated and shown.

Warm-up and cosine: SGDR (Loshchilov 2017, arXiv 1608.03983).
"""

from __future__ import annotations

import math

from oasis_utils.config import TrainingConfig
from oasis_utils.training.history import Record


def learning_rate(config: TrainingConfig, step: int, total: int) -> float:
    """Linear warm-up, then a cosine from the peak to `final_rate` times the peak."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    share = min((step - config.warmup_steps) / max(total - config.warmup_steps, 1), 1.0)
    return config.learning_rate * (
        config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * share))
    )


def is_milestone(steps: int) -> bool:
    """0, and the powers of four from 16 on: training changes most at the start."""
    return steps == 0 or (steps >= 16 and math.log2(steps) % 2 == 0)


def validation_is_due(config: TrainingConfig, record: Record, ended: bool) -> bool:
    """Every `validate_every_steps` steps; at the end of every `validate_every`-th epoch, and of the
    last.
    """
    if config.validate_every_steps and record["steps"] % config.validate_every_steps == 0:
        return True
    return ended and (
        record["epoch"] % config.validate_every == 0 or record["epoch"] == config.epochs
    )
