"""Kernel distance: brute force, resamples of groups, and intervals over subjects."""

import numpy as np
import pytest
import torch
from random_slices import vectors
from small_dcgan import normal

from oasis_utils.metrics.kernel_distance import KernelBlocks, kernel_distance, kid, kid_interval


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


# ---------------------------------------------------------------- tensors


def slow_kernel_distance(a, b):
    def kernel(x, y):
        return (sum(p * q for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3

    def within(s):
        pairs = [kernel(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j]
        return sum(pairs) / len(pairs)

    return within(a) + within(b) - 2 * sum(kernel(x, y) for x in a for y in b) / (len(a) * len(b))


@pytest.mark.parametrize(("n", "m", "dim"), [(2, 2, 1), (3, 5, 4), (6, 4, 2)])
def test_kernel_distance_equals_a_double_loop(n, m, dim):
    a, b = normal(n, dim), normal(m, dim, seed=1) + 0.5
    assert kernel_distance(a, b) == pytest.approx(
        slow_kernel_distance(a.tolist(), b.tolist()), rel=1e-5
    )


def test_kernel_distance_is_unbiased():
    trials = torch.tensor(
        [
            kernel_distance(normal(20, 4, seed=2 * i), normal(20, 4, seed=2 * i + 1))
            for i in range(400)
        ]
    )
    error = trials.std() / 400**0.5
    assert trials.mean().abs() < 4 * error and (trials < 0).any()
    diagonal = (normal(1000, 4).square().mean(1) + 1).pow(3).mean()
    bias = 2 / 20 * float(diagonal - 1)  # of the estimator that counts i = j
    assert bias > 10 * error


def test_kernel_distance_is_large_for_different_distributions():
    a = normal(200, 4)
    same = abs(kernel_distance(a, normal(200, 4, seed=1)))
    assert kernel_distance(a, normal(200, 4, seed=1) + 1) > 20 * same
    assert kernel_distance(a, 3 * normal(200, 4, seed=1)) > 20 * same


def test_kernel_distance_ignores_the_order_and_is_symmetric():
    a, b = normal(30, 4), normal(20, 4, seed=1) + 0.5
    shuffled = a[torch.randperm(30, generator=torch.Generator().manual_seed(0))]
    assert kernel_distance(shuffled, b.flip(0)) == pytest.approx(kernel_distance(a, b))
    assert kernel_distance(b, a) == pytest.approx(kernel_distance(a, b))
