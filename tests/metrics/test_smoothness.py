"""Smoothness along a stack: closed forms of second differences, and ratios of means."""

import numpy as np
import pytest

from oasis_utils.metrics.smoothness import (
    foreground_area,
    grey_roughness,
    mean_ratio,
    roughness,
)


def test_lines_are_smooth_and_other_curves_have_their_second_difference():
    n = np.arange(8.0)
    curves = np.stack([3 * n + 2, 0.5 * n**2, np.where(n % 2 == 0, 1.0, -1.0)])
    assert roughness(curves) == pytest.approx([0, 1, 4])
    assert np.isnan(roughness(curves[:, :2])).all()


def test_area_is_the_share_of_the_frame_that_is_no_background():
    heads = np.zeros((1, 2, 4, 4), np.uint8)
    heads[0, 0, :2] = 200
    heads[0, 1] = 7  # below the level of background
    assert foreground_area(heads).tolist() == [[0.5, 0.0]]


def test_grey_levels_count_where_there_is_foreground_only():
    heads = np.zeros((3, 3, 2, 2), np.uint8)
    heads[0, :, 0, 0] = [100, 140, 180]  # a line
    heads[1, :, 0, 0] = [100, 200, 100]
    assert grey_roughness(heads)[:2] == pytest.approx([0, 200])
    assert np.isnan(grey_roughness(heads)[2]) and np.isnan(grey_roughness(heads[:, :2])).all()


def test_shuffled_slices_are_rougher():
    ramp = np.arange(20, 220, 20, dtype=np.uint8)
    head = np.broadcast_to(ramp[:, None, None], (10, 4, 4))
    mixed = head[np.random.default_rng(0).permutation(10)]
    smooth, rough = grey_roughness(np.stack([head, mixed]))
    assert smooth == 0 and rough > 50


def test_ratio_of_means_and_its_interval():
    rng, people = np.random.default_rng(0), np.arange(60)
    a, b = rng.uniform(3, 5, 60), rng.uniform(1, 3, 60)
    value, (low, high) = mean_ratio(a, b, people, people, 200)
    assert value == pytest.approx(a.mean() / b.mean())
    assert low < value < high and low > 1.7 and high < 2.3


def test_an_interval_draws_people_and_not_heads():
    rng = np.random.default_rng(0)
    a = np.repeat(rng.uniform(1, 3, 8), 10)
    by_person, by_head = (
        mean_ratio(a, np.ones(80), groups, np.arange(80), 200)[1]
        for groups in (np.arange(80) // 10, np.arange(80))
    )
    assert np.ptp(by_person) > 2 * np.ptp(by_head)


def test_no_ratio_to_nothing():
    for a, b in ((np.ones(5), np.zeros(5)), (np.empty(0), np.ones(5))):
        value, ends = mean_ratio(a, b, np.arange(len(a)), np.arange(5), 20)
        assert np.isnan([value, *ends]).all()
