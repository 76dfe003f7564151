"""Masks: which value stands for which tissue."""

import numpy as np
import pytest

from oasis_utils.data import mask_levels, synthetic, tissue_shares
from oasis_utils.data.tissues import MASK_LEVELS


@pytest.mark.parametrize(("highest", "levels"), [(3, [1, 2, 3]), (255, [85, 170, 255])])
def test_levels_are_numbers_or_grey_levels(highest, levels):
    masks = np.array([[[0, highest]]], np.uint8)
    assert mask_levels(masks) == dict(
        zip(("fluid", "grey matter", "white matter"), levels, strict=True)
    )


def test_without_masks_the_levels_are_those_of_the_png_slices():
    assert list(mask_levels(None).values()) == [85, 170, 255]


def test_levels_of_sample_brains_are_those_of_the_png_slices():
    assert synthetic.MASK_LEVELS is MASK_LEVELS
    assert list(mask_levels(None).values()) == list(MASK_LEVELS[1:])


class Read(np.ndarray):
    """Masks that note how many values are looked at."""

    values = 0

    def max(self, *arguments, **named):
        Read.values += self.size
        return super().max(*arguments, **named)


@pytest.mark.parametrize("first", [0, 900])
def test_levels_are_told_from_few_rows(monkeypatch, first):
    monkeypatch.setattr(Read, "values", 0)
    masks = np.zeros((1000, 4, 4), np.uint8)
    masks[first:, 1, 1] = 170
    assert mask_levels(masks.view(Read))["fluid"] == 85
    assert 0 < Read.values <= 20 * 16


@pytest.mark.parametrize("row", [0, 1, 500, 998, 999])
@pytest.mark.parametrize(("value", "fluid"), [(85, 85), (255, 85), (1, 1), (3, 1)])
def test_levels_are_right_where_most_rows_have_no_mask(row, value, fluid):
    masks = np.zeros((1000, 4, 4), np.uint8)
    masks[row, 1, 1] = value
    assert mask_levels(masks)["fluid"] == fluid


def test_masks_without_any_tissue_are_numbers():
    assert mask_levels(np.zeros((40, 4, 4), np.uint8))["fluid"] == 1


def test_shares_are_those_of_all_slices_of_a_person():
    masks = np.array([[[0, 1, 1, 3]], [[2, 2, 3, 3]], [[0, 0, 0, 2]], [[0, 0, 0, 0]]], np.uint8)
    shares = tissue_shares(masks, np.array([7, 7, 4, 9]))
    assert shares["fluid"][:2].tolist() == [0, 2 / 7]
    assert shares["grey matter"][:2].tolist() == [1, 2 / 7]
    assert shares["white matter"][:2].tolist() == [0, 3 / 7]
    assert all(np.isnan(share[2]) for share in shares.values())


def test_without_masks_there_are_no_shares():
    assert tissue_shares(None, np.array([1])) == {}
