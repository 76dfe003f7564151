"""The axis along which slices may be mirrored."""

import numpy as np
import pytest
import torch

from oasis_utils.runtime.symmetry import Symmetry

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("axis", [-1, -2])
def test_mirroring_is_a_flip_along_the_axis_for_arrays_and_tensors(axis):
    symmetry = Symmetry(axis)
    assert np.array_equal(symmetry.mirror(IMAGES), np.flip(IMAGES, axis))
    assert torch.equal(
        symmetry.mirror(torch.from_numpy(IMAGES)), torch.from_numpy(IMAGES).flip(axis)
    )
    assert np.array_equal(symmetry.mirror(symmetry.mirror(IMAGES)), IMAGES)


@pytest.mark.parametrize("axis", [-1, -2])
def test_upright_makes_the_mid_line_vertical(axis):
    mirrored_then_upright = Symmetry(axis).upright(Symmetry(axis).mirror(IMAGES))
    assert np.array_equal(mirrored_then_upright, Symmetry(axis).upright(IMAGES)[..., ::-1])


def test_without_a_mid_line_nothing_may_be_mirrored():
    nothing = Symmetry(None)
    assert not nothing and Symmetry(-1) and Symmetry(-2)
    assert nothing.upright(IMAGES) is IMAGES
    with pytest.raises(ValueError, match="no mid-line"):
        nothing.mirror(IMAGES)


def test_other_axes_are_refused():
    with pytest.raises(ValueError, match="left-right"):
        Symmetry(0)
