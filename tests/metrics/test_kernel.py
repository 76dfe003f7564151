"""The kernel distance between two sets of vectors."""

import pytest
import torch
from small_dcgan import normal

from oasis_utils.metrics.kernel import kernel_distance


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
