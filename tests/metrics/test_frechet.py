"""Frechet distance: closed forms, bias and its correction, resamples, intervals."""

import numpy as np
import pytest
from random_slices import vectors
from scipy.linalg import sqrtm

from oasis_utils.metrics.frechet import (
    Moments,
    corrected_frechet,
    frechet,
    frechet_gaussians,
    frechet_interval,
)


def test_frechet_of_gaussians_in_closed_form():
    mean, cov = np.zeros(2), np.diag([4.0, 1.0])
    assert frechet_gaussians(mean, cov, np.array([3.0, 4.0]), np.diag([9.0, 1.0])) == pytest.approx(
        25 + 1
    )
    rng = np.random.default_rng(0)
    a, b = (x @ x.T for x in rng.standard_normal((2, 5, 7)))
    expected = np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_gaussians(np.zeros(5), a, np.zeros(5), b) == pytest.approx(expected)
    assert frechet_gaussians(np.ones(5), a, np.ones(5), a) == pytest.approx(0, abs=1e-6)


def test_frechet_is_biased_upwards_more_so_for_fewer_images():
    small, large = (
        np.mean([frechet(vectors(n, 2 * s), vectors(n, 2 * s + 1)) for s in range(5)])
        for n in (20, 400)
    )
    assert small > 5 * large > 0


def test_moments_of_a_resample_are_those_of_its_rows():
    rows, groups, weights = vectors(12, 0), np.repeat(np.arange(4), 3), np.array([2, 0, 1, 1])
    drawn = np.concatenate([rows[groups == g] for g, w in enumerate(weights) for _ in range(w)])
    mean, covariance = Moments.of(rows, groups).gaussian(weights)
    assert mean == pytest.approx(drawn.mean(0), abs=1e-6)
    assert covariance == pytest.approx(np.cov(drawn.astype(np.float64).T), abs=1e-6)


def test_frechet_interval_holds_the_distance():
    a, b, groups = vectors(100, 0, 0.5), vectors(100, 1), np.arange(100) // 10
    low, high = frechet_interval(a, b, groups, groups, 100)
    assert low < corrected_frechet(a, b, groups, groups) < high


def test_the_correction_leaves_a_large_distance_as_it_is():
    a, b, groups = vectors(2000, 0, 3.0), vectors(2000, 1), np.arange(2000)
    assert corrected_frechet(a, b, groups, groups) == pytest.approx(frechet(a, b), rel=0.01)
    assert corrected_frechet(a, b, groups, groups) == pytest.approx(8 * 9, rel=0.03)
