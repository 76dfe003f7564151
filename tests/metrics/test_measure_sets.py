"""All anatomical measures together, and the shift of each one: closed forms, people, unknowns."""

import numpy as np
import pytest
from scipy import stats

from oasis_utils.metrics.measure_sets import joint_distance, standardised_difference

ROUNDS = 100


def normal(n, correlation=0.0, seed=0):
    """n rows of two standard normal measures with a correlation."""
    covariance = [[1.0, correlation], [correlation, 1.0]]
    return np.random.default_rng(seed).multivariate_normal([0.0, 0.0], covariance, n)


# ---------------------------------------------------------------- together
def test_identical_sets_are_at_distance_0():
    rows, people = normal(60), np.repeat(np.arange(15), 4)
    value, (low, high) = joint_distance(rows, rows, people, people, ROUNDS)
    assert value == pytest.approx(0, abs=1e-8)
    assert low < 0.5 and high > 0


def test_a_shift_is_at_the_squared_length_of_the_shift():
    rows, people = normal(60), np.repeat(np.arange(15), 4)
    moved = rows + np.array([3.0, 4.0])
    value, (low, high) = joint_distance(moved, rows, people, people, ROUNDS)
    assert value == pytest.approx(25)
    assert low < 25 < high


def test_correlations_count_although_every_single_measure_is_the_same():
    """Normal with correlations r and -r: 2 (sqrt(1 + r) - sqrt(1 - r))², as both share their
    eigenvectors.
    """
    a, b, people = normal(4000, 0.8), normal(4000, -0.8, seed=1), np.arange(4000)
    value, (low, high) = joint_distance(a, b, people, people, 20)
    exact = 2 * (np.sqrt(1.8) - np.sqrt(0.2)) ** 2
    assert value == pytest.approx(exact, rel=0.1) and low < exact < high
    for i in range(2):
        assert stats.wasserstein_distance(a[:, i], b[:, i]) < 0.1


def test_unknown_rows_are_left_out():
    rows, other, people = normal(40), normal(40, seed=1), np.arange(40)
    gaps = np.concatenate([rows, np.full((5, 2), np.nan)])
    assert joint_distance(gaps, other, np.arange(45), people, ROUNDS) == joint_distance(
        rows, other, people, people, ROUNDS
    )


def test_too_few_slices_or_people_have_no_distance():
    rows, people = normal(40), np.arange(40)
    assert joint_distance(rows[:15], rows, people[:15], people, ROUNDS) is None
    assert joint_distance(rows, rows, people, np.zeros(40, np.int64), ROUNDS) is None
    assert joint_distance(np.full((40, 2), np.nan), rows, people, people, ROUNDS) is None


# ---------------------------------------------------------------- each one
@pytest.mark.parametrize("shift", [-2.0, 0.0, 0.5])
def test_a_shift_by_d_deviations_is_d(shift):
    values, people = normal(80)[:, 0], np.repeat(np.arange(20), 4)
    moved = values + shift * values.std(ddof=1)
    found, (low, high) = standardised_difference(moved, values, people, people, ROUNDS)
    assert found == pytest.approx(shift) and low <= shift <= high


def test_the_difference_is_that_of_students_t_whatever_the_unit():
    a, b = normal(30)[:, 0] + 1, 2 * normal(50, seed=1)[:, 1]
    owners = np.arange(30), np.arange(50)
    found, interval = standardised_difference(a, b, *owners, ROUNDS)
    assert found == pytest.approx(stats.ttest_ind(a, b).statistic * np.sqrt(1 / 30 + 1 / 50))
    scaled, ends = standardised_difference(7 * a - 3, 7 * b - 3, *owners, ROUNDS)
    assert scaled == pytest.approx(found) and ends == pytest.approx(interval)
    assert standardised_difference(b, a, *owners[::-1], ROUNDS)[0] == pytest.approx(-found)


def test_the_interval_counts_people_and_not_slices():
    """Eight equal slices of each person say what one slice says."""
    a, b, people = normal(40)[:, 0], normal(40, seed=1)[:, 0], np.arange(40)
    many = np.repeat(a, 8), np.repeat(b, 8)

    def width(*sides):
        low, high = standardised_difference(*sides, 400)[1]
        return high - low

    once = width(a, b, people, people)
    assert width(*many, np.repeat(people, 8), np.repeat(people, 8)) == pytest.approx(once, rel=0.1)
    assert width(*many, np.arange(320), np.arange(320)) < 0.5 * once


def test_measures_that_do_not_vary_or_are_unknown_have_no_difference():
    constant, people = np.ones(20), np.arange(20)
    for a, b in ((constant, constant), (constant, np.full(20, np.nan))):
        value, interval = standardised_difference(a, b, people, people, ROUNDS)
        assert np.isnan(value) and interval is None
