"""Kernel distance: brute force, resamples of groups, and intervals over subjects."""

import numpy as np
import pytest
import torch
from random_slices import vectors

from oasis_utils.metrics.kernel import KernelBlocks, kernel_distance, kid, kid_interval


def kernel(x, y):
    return (x.astype(np.float64) @ y.T.astype(np.float64) / x.shape[1] + 1) ** 3


def test_kid_is_the_unbiased_discrepancy_by_brute_force():
    a, b = vectors(20, 0), vectors(17, 1, 0.5)
    aa = np.mean(
        [kernel(a[i : i + 1], a[j : j + 1]) for i in range(20) for j in range(20) if i != j]
    )
    bb = np.mean(
        [kernel(b[i : i + 1], b[j : j + 1]) for i in range(17) for j in range(17) if i != j]
    )
    assert kid(a, b) == pytest.approx(aa + bb - 2 * kernel(a, b).mean())
    assert kid(a, b) == pytest.approx(kernel_distance(torch.from_numpy(a), torch.from_numpy(b)))


def test_kid_of_two_draws_of_one_distribution_is_near_zero():
    distances = [kid(vectors(100, 2 * seed), vectors(100, 2 * seed + 1)) for seed in range(20)]
    assert abs(np.mean(distances)) < 0.02 and min(distances) < 0 < max(distances)  # unbiased


def test_kid_grows_with_the_distance_and_is_symmetric():
    distances = [kid(vectors(100, 0), vectors(100, 1, shift)) for shift in (0.0, 0.5, 1.0, 2.0)]
    assert distances == sorted(distances) and distances[1] > 0.1 > abs(distances[0])
    assert kid(vectors(50, 0), vectors(30, 1)) == pytest.approx(kid(vectors(30, 1), vectors(50, 0)))


def test_a_resample_of_blocks_is_the_direct_computation():
    """Rows repeated as drawn; pairs within one copy of a group, and of a row with itself, are left
    out.
    """
    a, b = vectors(12, 0), vectors(15, 1, 0.3)
    groups_a, groups_b = np.repeat(np.arange(4), 3), np.repeat(np.arange(5), 3)
    weights_a, weights_b = np.array([2, 0, 1, 1]), np.array([0, 3, 1, 1, 0])

    def within(rows, groups, weights):
        copies = [(g, copy) for g, weight in enumerate(weights) for copy in range(weight)]
        drawn = [(i, (g, copy)) for g, copy in copies for i in np.flatnonzero(groups == g)]
        values = [
            kernel(rows[[i]], rows[[j]])[0, 0]
            for i, g in drawn
            for j, h in drawn
            if g != h and i != j
        ]
        return np.mean(values), rows[[i for i, _ in drawn]]

    (aa, rows_a), (bb, rows_b) = within(a, groups_a, weights_a), within(b, groups_b, weights_b)
    direct = aa + bb - 2 * kernel(rows_a, rows_b).mean()
    assert KernelBlocks.of(a, b, groups_a, groups_b).distance(
        weights_a, weights_b
    ) == pytest.approx(direct)


def test_kid_interval_holds_the_distance_and_repeats():
    a, b, groups = vectors(100, 0, 0.5), vectors(100, 1), np.arange(100) // 10
    low, high = kid_interval(a, b, np.arange(100), groups, 100)
    assert low < kid(a, b, None, groups) < high
    assert kid_interval(a, b, np.arange(100), groups, 100) == (low, high)


def test_intervals_of_one_distribution_hold_zero_as_often_as_they_say():
    """95 %, less what six groups a side cannot give."""
    groups = np.arange(60) // 10
    held = [
        low <= 0 <= high
        for low, high in (
            kid_interval(vectors(60, 2 * s), vectors(60, 2 * s + 1), groups, groups, 100)
            for s in range(40)
        )
    ]
    assert np.mean(held) >= 0.75


def test_intervals_of_two_people_a_side_hold_zero():
    groups, held = np.arange(64) // 32, []
    for seed in range(20):
        a, b = (
            np.repeat(vectors(2, 2 * seed + k), 32, axis=0) + vectors(64, 2 * seed + k + 100)
            for k in range(2)
        )
        low, high = kid_interval(a, b, groups, groups, 100)
        held.append(low <= 0 <= high)
    assert np.mean(held) >= 0.8


def test_slices_of_one_subject_do_not_count_as_independent():
    """Ten people of one distribution, ten nearly equal slices of each: only intervals over people
    hold 0.
    """
    groups, widths, held = np.arange(100) // 10, [], []
    for seed in range(0, 30, 3):
        a = vectors(100, seed)
        b = np.repeat(vectors(10, seed + 1), 10, axis=0) + 0.01 * vectors(100, seed + 2)
        ends = np.array(
            [kid_interval(a, b, np.arange(100), rows, 100) for rows in (groups, np.arange(100))]
        )
        widths.append(np.diff(ends)[:, 0])
        held.append((ends[:, 0] <= 0) & (ends[:, 1] >= 0))
    people, naive = np.mean(widths, axis=0)
    assert people > 1.5 * naive
    assert np.mean(held, axis=0).tolist() == [1.0, 0.0]
