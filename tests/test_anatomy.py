"""Measures of a drawn brain in closed form, thresholds, ranges, and the position read back."""

import numpy as np
import pytest

from oasis_utils.anatomy import (
    MEASURES,
    Atlas,
    PositionReader,
    Tissues,
    age_correlation,
    compare_measures,
    dark_middle,
    darkest_position,
    measure,
)


def phantom(size=64, radius=24, ventricle=6, shift=0):
    """White matter with a rim of grey matter and a round ventricle, `shift` pixels off the mid-line."""
    rows, cols = np.mgrid[:size, :size] - size // 2
    distance = np.hypot(rows, cols)
    image = np.where(distance <= radius, 120, 0)
    image[distance <= radius - 6] = 220
    image[np.hypot(rows, cols - shift) <= ventricle] = 30
    return image.astype(np.uint8)


@pytest.fixture(scope="module")
def tissues():
    return Tissues.fit(np.stack([phantom(), phantom(ventricle=4)]))


def named(image, tissues):
    return dict(zip(MEASURES, measure(image[None], tissues)[0], strict=True))


def test_thresholds_lie_between_the_tissues(tissues):
    assert 30 / 220 <= tissues.grey <= 120 / 220 <= tissues.white <= 1


def test_measures_of_a_phantom(tissues):
    values, disc = named(phantom(), tissues), np.pi * 24**2
    assert values["brain area"] == pytest.approx(disc / 64**2, rel=0.03)
    assert values["ventricles"] == values["fluid"] == pytest.approx(36 / 576, rel=0.1)
    assert values["white matter"] == pytest.approx((18**2 - 36) / 576, rel=0.05)
    assert values["grey matter"] + values["white matter"] + values["fluid"] == pytest.approx(1)
    assert values["asymmetry"] < 0.02 < named(phantom(shift=5), tissues)["asymmetry"]


def test_a_larger_ventricle_measures_larger_and_an_empty_slice_nothing(tissues):
    sizes = [named(phantom(ventricle=v), tissues)["ventricles"] for v in (-1, 3, 6, 9)]
    assert sizes == sorted(sizes) and sizes[0] == 0
    assert not measure(np.zeros((1, 64, 64), np.uint8), tissues).any()


def test_the_dark_middle_is_the_share_of_the_middle_third_and_correlates_with_what_widens_it():
    images = np.stack([phantom(size=63, ventricle=v) for v in (3, 5, 7, 9)])
    middle = images[:, 21:42, 21:42] < 64
    np.testing.assert_allclose(dark_middle(images), middle.mean(axis=(1, 2)))
    assert age_correlation(images, np.array([30.0, 50.0, 70.0, 90.0])) > 0.98
    assert age_correlation(images, np.array([90.0, 70.0, np.nan, 30.0])) < -0.98
    assert np.isnan(age_correlation(images, np.full(4, 50.0)))
    assert darkest_position(images, np.array([7, 4, 2, 7])) == 2  # 7 has the darkest slice, but not on average


def test_brightness_does_not_change_the_tissues(tissues):
    assert measure((phantom() * 0.7).astype(np.uint8)[None], tissues)[0] == pytest.approx(
        measure(phantom()[None], tissues)[0], abs=0.01)


def test_an_atlas_scales_by_position_and_knows_its_range():
    positions = np.repeat(np.arange(5), 200)
    values = (np.random.default_rng(0).standard_normal((1000, 2)) * 0.5 + 3 * positions[:, None])
    atlas = Atlas.fit(values[positions % 4 == 0], positions[positions % 4 == 0], 6)
    scaled = atlas.scaled(values, positions)
    assert scaled[positions == 4].std() == pytest.approx(1, abs=0.1)
    outside = atlas.outside(values, positions)
    assert outside[positions == 4].mean() < 0.05
    assert atlas.outside(values[positions == 4][:3], np.zeros(3, int)).all()
    assert np.isnan(atlas.mean[2]).all()  # no training slice near it


def test_measures_are_compared_in_deviations():
    values = np.random.default_rng(0).standard_normal((100, len(MEASURES)))
    assert compare_measures(values + 0.5, values) == pytest.approx(dict.fromkeys(MEASURES, 0.5))


def test_positions_are_read_from_real_slices_of_other_people(brains):
    train, test = brains.split("train"), brains.split("test")
    reader = PositionReader.fit(np.array(train.images), train.positions)
    error = np.abs(reader.read(np.array(test.images)) - test.positions).mean()
    chance = np.abs(test.positions - test.positions.mean()).mean()
    assert error < 0.7 * chance
