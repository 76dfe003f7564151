"""Damages do what they are called, by degrees, and repeat."""

import numpy as np
import pytest

from oasis_utils.evaluation.corruptions import DAMAGES, damaged, possible
from oasis_utils.metrics.anatomy import Anatomist, Tissues
from oasis_utils.runtime.symmetry import Symmetry


@pytest.fixture(scope="module")
def images(brains):
    return np.array(brains.split("test").images[10:22])


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_changes_slices_and_repeats(images, name):
    changed = damaged(images, name, seed=1)
    assert changed.shape == images.shape and changed.dtype == np.uint8
    assert np.array_equal(damaged(images, name, seed=1), changed)
    assert (changed != images).any()


@pytest.mark.parametrize(
    "pair",
    [
        ("blur 0.5 %", "blur 1.5 %"),
        ("noise 3 %", "noise 10 %"),
        ("shift 1 %", "shift 4 %"),
        ("10 % of patches shuffled", "50 % of patches shuffled"),
    ],
)
def test_more_damage_changes_more(images, pair):
    few, much = (np.abs(damaged(images, name).astype(float) - images).mean() for name in pair)
    assert 0 < few < much


def test_shuffled_patches_keep_their_pixels_and_mirrors_undo_themselves(images):
    shuffled = damaged(images, "50 % of patches shuffled")
    assert np.array_equal(np.sort(shuffled.reshape(12, -1)), np.sort(images.reshape(12, -1)))
    assert np.array_equal(damaged(damaged(images, "all mirrored"), "all mirrored"), images)


def test_painted_ventricles_are_gone(images):
    anatomist, where = Anatomist(tissues=Tissues.fit(images)), np.zeros(len(images), int)
    before, after = (
        anatomist.measure(x, where)[:, anatomist.measures.index("ventricles")].mean()
        for x in (images, damaged(images, "ventricles painted, all"))
    )
    assert after < 0.3 * before


@pytest.mark.parametrize("name", ["all mirrored", "ventricles painted, 50 %"])
def test_damages_follow_the_mid_line_of_the_data(images, name):
    lying = Anatomist(Symmetry(-2), tissues=Tissues(0.4, 0.8))
    found = damaged(images.swapaxes(1, 2).copy(), name, 1, lying)
    assert np.array_equal(found.swapaxes(1, 2), damaged(images, name, 1))
    assert (found != images.swapaxes(1, 2)).any()


def test_slices_without_a_mid_line_are_not_mirrored_and_heads_without_masks_not_painted(images):
    sagittal, heads = (
        Anatomist(Symmetry(None), tissues=Tissues(0.4, 0.8)),
        Anatomist(content="head"),
    )
    assert set(DAMAGES) - set(possible(sagittal)) == {"all mirrored"}
    assert set(DAMAGES) - set(possible(heads)) == {
        "ventricles painted, 50 %",
        "ventricles painted, all",
    }
    with pytest.raises(
        ValueError, match="cannot take the damage 'all mirrored': choose one of blur"
    ):
        damaged(images, "all mirrored", 0, sagittal)
