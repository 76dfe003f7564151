"""Intervals over groups."""

import numpy as np

from oasis_utils.metrics.bootstrap import mean_interval


def test_mean_interval_draws_groups():
    values, groups = np.repeat([0.0, 1.0], 50), np.arange(100) // 50
    assert mean_interval(values, groups, 200) == (0.0, 1.0)
    low, high = mean_interval(values, np.arange(100), 200)
    assert 0.35 < low < 0.5 < high < 0.65
