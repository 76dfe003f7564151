"""Measures of a drawn brain in closed form, thresholds, ranges, and the position read back."""

import numpy as np
import pytest

from oasis_utils.data.dataset import Split
from oasis_utils.metrics.anatomy import (
    Anatomist,
    Tissues,
    at,
    consensus,
)
from oasis_utils.metrics.atlas import Atlas, compare_measures
from oasis_utils.metrics.dark_area import DarkArea
from oasis_utils.metrics.features import Standardizer
from oasis_utils.metrics.position_regressor import PositionRegressor, thumbnails
from oasis_utils.runtime.symmetry import LEFT_RIGHT, Symmetry


def phantom(size=64, radius=24, ventricle=6, shift=0):
    """White matter with a rim of grey matter and a round ventricle, `shift` pixels off the
    mid-line.
    """
    rows, cols = np.mgrid[:size, :size] - size // 2
    distance = np.hypot(rows, cols)
    image = np.where(distance <= radius, 120, 0)
    image[distance <= radius - 6] = 220
    image[np.hypot(rows, cols - shift) <= ventricle] = 30
    return image.astype(np.uint8)


def split(images, symmetry=LEFT_RIGHT, content="brain", masks=None, ages=None, positions=None):
    """Training slices, each of its own subject."""
    n = len(images)
    return Split(
        "train",
        images,
        np.arange(n),
        np.zeros(n, int) if positions is None else positions,
        np.full(n, np.nan, np.float32) if ages is None else ages,
        masks,
        None,
        symmetry,
        content,
    )


@pytest.fixture(scope="module")
def anatomist():
    return Anatomist.fit(split(np.stack([phantom(), phantom(ventricle=4)])))


def named(image, anatomist):
    return dict(
        zip(anatomist.measures, anatomist.measure(image[None], np.array([0]))[0], strict=True)
    )


def test_thresholds_lie_between_the_tissues(anatomist):
    assert 30 / 220 <= anatomist.tissues.grey <= 120 / 220 <= anatomist.tissues.white <= 1


def test_measures_of_a_phantom(anatomist):
    values, disc = named(phantom(), anatomist), np.pi * 24**2
    assert list(values) == [
        "brain area",
        "asymmetry",
        "ventricles",
        "fluid",
        "grey matter",
        "white matter",
    ]
    assert values["brain area"] == pytest.approx(disc / 64**2, rel=0.03)
    assert values["ventricles"] == values["fluid"] == pytest.approx(36 / 576, rel=0.1)
    assert values["white matter"] == pytest.approx((18**2 - 36) / 576, rel=0.05)
    assert values["grey matter"] + values["white matter"] + values["fluid"] == pytest.approx(1)
    assert values["asymmetry"] < 0.02 < named(phantom(shift=5), anatomist)["asymmetry"]


def test_a_larger_ventricle_measures_larger_and_an_empty_slice_nothing(anatomist):
    sizes = [named(phantom(ventricle=v), anatomist)["ventricles"] for v in (-1, 3, 6, 9)]
    assert sizes == sorted(sizes) and sizes[0] == 0
    assert not any(named(np.zeros((64, 64), np.uint8), anatomist).values())


def test_asymmetry_is_across_the_mid_line_of_the_data_and_left_out_without_one():
    images = np.stack([phantom(shift=3), phantom(shift=5, ventricle=4)])
    upright, lying, none = (
        Anatomist.fit(split(x, symmetry))
        for x, symmetry in (
            (images, Symmetry(-1)),
            (images.swapaxes(1, 2).copy(), Symmetry(-2)),
            (images, Symmetry(None)),
        )
    )
    where = np.zeros(2, int)
    values = upright.measure(images, where)
    assert lying.measure(images.swapaxes(1, 2).copy(), where) == pytest.approx(values, abs=1e-12)
    assert none.measures == tuple(name for name in upright.measures if name != "asymmetry")
    assert np.array_equal(none.measure(images, where), np.delete(values, 1, axis=1))
    assert (
        upright.measure(images.swapaxes(1, 2).copy(), where)[:, 1].max() < 0.05 < values[:, 1].min()
    )


def test_a_consensus_is_what_most_neighbours_say_and_reaches_to_positions_without_any():
    positions = np.array([0, 0, 1, 5])
    regions = np.zeros((4, 1, 3), bool)
    regions[[0, 1], 0, 0] = regions[2:, 0, 1] = True
    found = consensus(regions, positions)
    assert (
        found[:, 0].tolist() == [[True, False, False]] * 2 + [[False, True, False]] * 4
    )  # 3 lends from 1 and 5
    assert np.array_equal(at(found, np.array([0, 5, 9])), found[[0, 5, 5]])


def test_the_dark_middle_is_the_share_of_the_middle_half_and_correlates_with_what_widens_it():
    images = np.stack([phantom(size=64, ventricle=v) for v in (3, 5, 7, 9)])
    ages = np.array([30.0, 50.0, 70.0, 90.0], np.float32)
    dark = DarkArea.fit(split(images, ages=ages))
    assert dark.level == pytest.approx(0.3 * 220) and dark.boxes[0].tolist() == [
        20,
        45,
        20,
        45,
    ]  # rows 8 to 56
    middle = images[:, 20:45, 20:45] < 66
    np.testing.assert_allclose(dark.share(images, 0), middle.mean(axis=(1, 2)))
    assert dark.age_correlation(images, 0, ages) > 0.98
    assert dark.age_correlation(images, 0, np.array([90.0, 70.0, np.nan, 30.0])) < -0.98
    assert np.isnan(dark.age_correlation(images, 0, np.full(4, 50.0)))
    assert (
        dark.darkest_position(images, np.array([7, 4, 2, 7])) == 2
    )  # 7 has the darkest slice, but not on average


def test_the_dark_middle_does_not_depend_on_brightness_and_needs_a_brain():
    images = np.stack([phantom(ventricle=v) for v in (3, 9)])
    dim = (images * 0.4).astype(np.uint8)
    assert np.array_equal(
        DarkArea.fit(split(images)).share(images, 0), DarkArea.fit(split(dim)).share(dim, 0)
    )
    with pytest.raises(ValueError, match="no brain in the train slices: check"):
        DarkArea.fit(split(np.zeros((2, 64, 64), np.uint8)))


def test_brightness_does_not_change_the_tissues(anatomist):
    dim = named((phantom() * 0.7).astype(np.uint8), anatomist)
    assert dim == pytest.approx(named(phantom(), anatomist), abs=0.01)


def test_tissues_of_a_slice_without_a_brain_are_nothing():
    assert Tissues(0.4, 0.8).shares(phantom(), np.zeros((64, 64), bool)) == (0, 0, 0, 0)


def test_an_atlas_scales_by_position_and_knows_its_range():
    positions = np.repeat(np.arange(5), 200)
    values = np.random.default_rng(0).standard_normal((1000, 2)) * 0.5 + 3 * positions[:, None]
    atlas = Atlas.fit(values[positions % 4 == 0], positions[positions % 4 == 0], 6)
    scaled = atlas.scaled(values, positions)
    assert scaled[positions == 4].std() == pytest.approx(1, abs=0.1)
    outside = atlas.outside(values, positions)
    assert outside[positions == 4].mean() < 0.05
    assert atlas.outside(values[positions == 4][:3], np.zeros(3, int)).all()
    assert np.isnan(atlas.mean[2]).all()  # no training slice near it


def test_measures_are_compared_in_deviations():
    values, names = np.random.default_rng(0).standard_normal((100, 2)), ("head area", "asymmetry")
    assert compare_measures(values + 0.5, values, names) == pytest.approx(dict.fromkeys(names, 0.5))


def test_positions_are_read_from_real_slices_of_other_people(brains):
    train, test = brains.split("train"), brains.split("test")
    reader = PositionRegressor.fit(np.array(train.images), train.positions)
    error = np.abs(reader.read(np.array(test.images)) - test.positions).mean()
    chance = np.abs(test.positions - test.positions.mean()).mean()
    assert error < 0.7 * chance


def test_the_reader_is_the_textbook_ridge_regression():
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32)).astype(np.uint8)
    positions, ridge = np.arange(40) % 7, 30.0
    x = Standardizer.fit(thumbnails(images))(thumbnails(images))
    y = positions - positions.mean()
    weights = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y)
    reader = PositionRegressor.fit(images, positions, ridge)
    np.testing.assert_allclose(reader.weights, weights, atol=1e-12)
    np.testing.assert_allclose(reader.read(images), x @ weights + positions.mean(), atol=1e-10)
