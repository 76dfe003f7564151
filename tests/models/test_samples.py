"""Samples as files and rows; seeds and slice positions."""

import dataclasses

import numpy as np
import pytest

from oasis_utils.models.samples import Samples, image_seeds, spread_positions


def some(positions=(0, 1, 2, 0, 1), ages=None):
    rng, n = np.random.default_rng(0), len(positions)
    images = rng.integers(0, 256, (n, 8, 8), dtype=np.uint8)
    return Samples(images, rng.integers(0, 16, (n, 2, 2)), np.array(positions), ages)


def test_image_i_of_a_seed_is_the_same_whatever_n_is():
    assert image_seeds(7, 20)[:5] == image_seeds(7, 5)


def test_image_seeds_do_not_meet():
    seeds = [s for seed in range(5) for s in image_seeds(seed, 2000)]
    assert len(set(seeds)) == len(seeds) and min(seeds) >= 0


@pytest.mark.parametrize("n_positions", [1, 3, 32])
@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 100])
def test_positions_cover_the_range_evenly(n, n_positions):
    positions = spread_positions(n, n_positions)
    counts = np.bincount(positions, minlength=n_positions)
    assert len(positions) == n and len(counts) == n_positions
    assert counts.max() - counts.min() <= 1
    if n < n_positions:  # also from the last one to the end
        assert np.ptp(np.diff([*positions, n_positions])) <= 1


@pytest.mark.parametrize("ages", [None, np.array([30.0, np.nan, 80.0, 5.0, 41.5], np.float32)])
def test_samples_round_trip_with_their_keys(ages, tmp_path):
    samples = some(ages=ages)
    samples.save(tmp_path / "new" / "samples.npz")
    loaded = Samples.load(tmp_path / "new" / "samples.npz")
    for item in dataclasses.fields(Samples):
        np.testing.assert_array_equal(getattr(loaded, item.name), getattr(samples, item.name))
    with np.load(tmp_path / "new" / "samples.npz") as file:
        assert sorted(file) == ["ages", "images", "indices", "positions"]
        assert np.isnan(file["ages"]).sum() == (5 if ages is None else 1)


def test_a_sample_file_without_ages_loads(tmp_path):
    samples = some()
    np.savez(
        tmp_path / "old.npz",
        images=samples.images,
        indices=samples.indices,
        positions=samples.positions,
    )
    loaded = Samples.load(tmp_path / "old.npz")
    assert np.array_equal(loaded.images, samples.images)
    assert len(loaded.ages) == 5 and np.isnan(loaded.ages).all()


def test_rows_near_are_the_first_ones_at_each_position():
    samples = some(positions=(3, 0, 3, 3, 0, 9))
    rows = samples.rows_near(np.array([0, 3, 4, 8]), 2)
    assert rows.tolist() == [[1, 0, 0, 5], [4, 2, 2, 5]]  # 9 was drawn once
