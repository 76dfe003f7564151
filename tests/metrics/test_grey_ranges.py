"""Shares of grey levels in ranges, and their means over regions."""

import numpy as np
import pytest

from oasis_utils.metrics.grey_ranges import (
    RANGES,
    range_shares,
    regional_shares,
    relative_greys,
)


def test_shares_add_up_to_one_and_keep_the_grey_level():
    grey = np.linspace(0, 1, 57)
    found = range_shares(grey)
    assert found.shape == (57, RANGES) and found.min() >= 0
    np.testing.assert_allclose(found.sum(-1), 1)
    assert (np.count_nonzero(found > 1e-9, axis=-1) <= 2).all()
    np.testing.assert_allclose(found @ np.linspace(0, 1, RANGES), grey, atol=1e-7)


def test_grey_levels_beyond_the_ranges_count_as_their_ends():
    assert np.array_equal(range_shares(np.array([-3.0, 7.0])), range_shares(np.array([0.0, 1.0])))


def test_a_brighter_scan_of_the_same_head_is_the_same():
    images = np.random.default_rng(0).integers(40, 120, (3, 16, 16)).astype(np.uint8)
    one, two = (np.concatenate(list(relative_greys(x))) for x in (images, 2 * images))
    np.testing.assert_allclose(one, two, rtol=1e-6)
    assert np.concatenate(list(relative_greys(0 * images))).max() == 0  # black slices stay finite


@pytest.mark.parametrize("side", [32, 64, 256])
def test_regions_do_not_depend_on_the_number_of_pixels(side):
    image = np.repeat(np.repeat([[0, 100], [100, 200]], side // 2, 0), side // 2, 1)
    found = regional_shares(image[None].astype(np.uint8), 2)
    expected = range_shares(np.array([[0, 0.5], [0.5, 1]]))  # region, range
    np.testing.assert_allclose(found.reshape(RANGES, 4), expected.reshape(4, RANGES).T, atol=1e-5)
