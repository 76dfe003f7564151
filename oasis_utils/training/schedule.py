"""The learning rate of each step, and the steps at which a training is validated and shown.

Warm-up and cosine: SGDR (Loshchilov 2017, arXiv 1608.03983).
"""

from __future__ import annotations

import math

from oasis_utils.config import TrainingConfig
from oasis_utils.training.history import Record


def share_of_peak(config: TrainingConfig, step: int, total: int) -> float:
    """The learning rate as a share of its peak: linear warm-up, then a cosine to `final_rate`.

    Args:
        config: warm-up and final rate.
        step: number of the step, from 0.
        total: steps of the whole training.

    Returns:
        The share, in (0, 1].

    Reference:
        SGDR (Loshchilov 2017, arXiv 1608.03983).
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    share = min((step - config.warmup_steps) / max(total - config.warmup_steps, 1), 1.0)
    return config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * share))


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
