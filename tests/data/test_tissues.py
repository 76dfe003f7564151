"""Masks: which value stands for which tissue."""

import numpy as np
import pytest

from oasis_utils.data import mask_levels, tissue_shares


@pytest.mark.parametrize(("highest", "levels"), [(3, [1, 2, 3]), (255, [85, 170, 255])])
def test_levels_are_numbers_or_grey_levels(highest, levels):
    masks = np.array([[[0, highest]]], np.uint8)
    assert mask_levels(masks) == dict(
        zip(("fluid", "grey matter", "white matter"), levels, strict=True)
    )


def test_without_masks_the_levels_are_those_of_the_png_slices():
    assert list(mask_levels(None).values()) == [85, 170, 255]


def test_shares_are_those_of_all_slices_of_a_person():
    masks = np.array([[[0, 1, 1, 3]], [[2, 2, 3, 3]], [[0, 0, 0, 2]], [[0, 0, 0, 0]]], np.uint8)
    shares = tissue_shares(masks, np.array([7, 7, 4, 9]))
    assert shares["fluid"][:2].tolist() == [0, 2 / 7]
    assert shares["grey matter"][:2].tolist() == [1, 2 / 7]
    assert shares["white matter"][:2].tolist() == [0, 3 / 7]
    assert all(np.isnan(share[2]) for share in shares.values())


def test_without_masks_there_are_no_shares():
    assert tissue_shares(None, np.array([1])) == {}
