"""Neighbourhoods: brute force, collapsed sets, groups, and too few rows."""

import numpy as np
import pytest
from random_slices import vectors

from oasis_utils.metrics.neighbourhoods import Neighbourhoods


def brute_force(fake, real, k):
    """Naeem 2020, with loops."""

    def reach(x):
        return [np.sort(np.linalg.norm(x - row, axis=1))[k] for row in x]

    radius_real, radius_fake = reach(real), reach(fake)
    distance = np.linalg.norm(fake[:, None] - real[None], axis=2)
    inside = distance < np.array(radius_real)
    return {
        "precision": inside.any(1).mean(),
        "recall": (distance < np.array(radius_fake)[:, None]).any(0).mean(),
        "density": inside.sum() / k / len(fake),
        "coverage": (distance.min(0) < np.array(radius_real)).mean(),
    }


def test_neighbourhoods_by_brute_force():
    fake, real = vectors(30, 0, 0.3).astype(np.float64), vectors(40, 1).astype(np.float64)
    assert Neighbourhoods.of(fake, real).means() == pytest.approx(brute_force(fake, real, 5))


def test_a_collapsed_set_is_precise_and_recalls_nothing():
    real = vectors(200, 0, dim=2)
    means = Neighbourhoods.of(0.01 * vectors(200, 1, dim=2), real).means()
    assert means["precision"] > 0.9 and means["recall"] < 0.1 and means["coverage"] < 0.2


def test_neighbourhoods_reach_beyond_the_own_subject():
    """Slices that huddle by subject: without groups each ball ends inside its own huddle."""
    real, fake = (np.repeat(vectors(8, s), 10, axis=0) + 0.01 * vectors(80, s + 2) for s in (0, 1))
    groups = np.arange(80) // 10
    assert Neighbourhoods.of(fake, real).means()["coverage"] == 0
    assert Neighbourhoods.of(fake, real, groups, groups).means()["coverage"] > 0.6


def test_neighbourhoods_need_neighbours():
    with pytest.raises(ValueError, match="neighbourhoods of 5 need more than 5 images"):
        Neighbourhoods.of(vectors(5, 0), vectors(30, 1))
