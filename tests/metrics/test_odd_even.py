"""Odd against even slices: heads of one person agree, piles of slices do not."""

import numpy as np
import pytest

from oasis_utils.metrics.odd_even import (
    odd_even_correlation,
    odd_even_gap,
    odd_even_means,
    strangers_gap,
)

PEOPLE = np.arange(40)


def readings(noise, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(20, 90, (40, 1)) + noise * rng.standard_normal((40, 10))


def test_means_and_gaps_of_odd_and_even_positions():
    values = np.array([[1.0, 10, 3, 20, 5]])
    odd, even = odd_even_means(values)
    assert (odd[0], even[0], odd_even_gap(values)[0]) == (15, 3, 12)


def test_a_person_agrees_better_with_itself_than_with_strangers():
    values = readings(5.0)
    assert odd_even_gap(values).mean() < 5 < 15 < strangers_gap(values, PEOPLE).mean()


def test_strangers_are_of_other_people_even_where_neighbours_are_not():
    values = np.repeat([[1.0], [1.0], [5.0], [5.0]], 4, axis=1)
    assert strangers_gap(values, np.array([3, 3, 8, 8])).tolist() == [4, 4, 4, 4]
    assert np.isnan(strangers_gap(values, np.zeros(4, int))).all()


def test_correlation_falls_from_heads_to_piles_of_slices():
    head, (low, high) = odd_even_correlation(readings(5.0), PEOPLE, 100)
    assert low <= head <= high and low > 0.9
    pile = np.random.default_rng(0).uniform(20, 90, (40, 10))
    value, (low, high) = odd_even_correlation(pile, PEOPLE, 100)
    assert abs(value) < 0.4 and low < 0 < high


def test_correlation_is_that_of_numpy():
    values = readings(30.0)
    whole, _ = odd_even_correlation(values, PEOPLE, 5)
    assert whole == pytest.approx(np.corrcoef(*odd_even_means(values))[0, 1])


def test_heads_that_are_all_alike_do_not_score():
    value, ends = odd_even_correlation(np.full((5, 4), 60.0), np.arange(5), 20)
    assert np.isnan([value, *ends]).all()
