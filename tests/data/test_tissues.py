"""Masks: which value stands for which tissue."""

import numpy as np
import pytest

from oasis_utils.data import mask_levels


@pytest.mark.parametrize(("highest", "levels"), [(3, [1, 2, 3]), (255, [85, 170, 255])])
def test_levels_are_numbers_or_grey_levels(highest, levels):
    masks = np.array([[[0, highest]]], np.uint8)
    assert mask_levels(masks) == dict(
        zip(("fluid", "grey matter", "white matter"), levels, strict=True)
    )


def test_without_masks_the_levels_are_those_of_the_png_slices():
    assert list(mask_levels(None).values()) == [85, 170, 255]
