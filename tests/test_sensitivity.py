"""Damages do what they are called, by degrees, and repeat."""

import numpy as np
import pytest

from oasis_utils.anatomy import Tissues, measure
from oasis_utils.sensitivity import DAMAGES, damaged


@pytest.fixture(scope="module")
def images(brains):
    return np.array(brains.split("test").images[10:22])


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_changes_slices_and_repeats(images, name):
    changed = damaged(images, name, seed=1)
    assert changed.shape == images.shape and changed.dtype == np.uint8
    assert np.array_equal(damaged(images, name, seed=1), changed)
    assert (changed != images).any()


@pytest.mark.parametrize("pair", [("blur 0.5 %", "blur 1.5 %"), ("noise 3 %", "noise 10 %"), ("shift 1 %", "shift 4 %"),
                                  ("10 % of patches shuffled", "50 % of patches shuffled")])
def test_more_damage_changes_more(images, pair):
    few, much = (np.abs(damaged(images, name).astype(float) - images).mean() for name in pair)
    assert 0 < few < much


def test_shuffled_patches_keep_their_pixels_and_mirrors_undo_themselves(images):
    shuffled = damaged(images, "50 % of patches shuffled")
    assert np.array_equal(np.sort(shuffled.reshape(12, -1)), np.sort(images.reshape(12, -1)))
    assert np.array_equal(damaged(damaged(images, "all mirrored"), "all mirrored"), images)


def test_painted_ventricles_are_gone(images):
    tissues = Tissues.fit(images)
    before, after = (measure(x, tissues)[:, 2].mean() for x in (images, damaged(images, "ventricles painted in all")))
    assert after < 0.3 * before
