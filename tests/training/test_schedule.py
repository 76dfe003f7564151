"""The learning rate of each step."""

import math

import numpy as np
import pytest
from small_trainings import LINE, Line, LineConfig, line_batches

from oasis_utils.config import TrainingConfig
from oasis_utils.training.schedule import share_of_peak
from oasis_utils.training.trainer import Trainer


def test_share_of_peak_closed_form():
    config = TrainingConfig(learning_rate=0.4, final_rate=0.1, warmup_steps=10)
    rates = [0.4 * share_of_peak(config, step, 110) for step in range(111)]
    assert rates[:10] == pytest.approx([0.04 * (step + 1) for step in range(10)])
    assert rates[9] == pytest.approx(0.4) and rates[10] == pytest.approx(0.4)
    assert rates[60] == pytest.approx(0.4 * (0.1 + 0.9 / 2))  # half of the cosine
    assert rates[35] == pytest.approx(0.4 * (0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2))
    assert rates[110] == pytest.approx(0.04)


def test_learning_rate_rises_then_falls_and_stays_within_bounds():
    config = TrainingConfig(learning_rate=1.0, final_rate=0.02, warmup_steps=7)
    rates = np.array([share_of_peak(config, step, 50) for step in range(80)])
    assert (np.diff(rates[:7]) > 0).all() and (np.diff(rates[7:50]) < 0).all()
    assert rates.max() == 1.0 and rates[50:] == pytest.approx(0.02)


@pytest.mark.parametrize(("warmup", "total"), [(0, 10), (10, 10), (50, 10), (0, 1)])
def test_learning_rate_of_short_trainings_is_positive(warmup, total):
    config = TrainingConfig(learning_rate=1.0, warmup_steps=warmup)
    assert all(0 < share_of_peak(config, step, total) <= 1 for step in range(total + 1))


def test_optimizer_follows_the_schedule(run):
    trainer = Trainer(Line(LineConfig()), LINE, 20)
    for step, batch in zip(range(4), line_batches(), strict=True):
        trainer.step(batch)
        (group,) = trainer.optimizers["all"]["adamw"].param_groups
        assert group["lr"] == LINE.learning_rate * share_of_peak(LINE, step, 20)
