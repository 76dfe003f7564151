"""Slices for a figure: the nearest to each position, and the words above them."""

import numpy as np
import pytest

from oasis_utils.data import Split, captions, nearest_slices


@pytest.fixture
def split():
    return Split(
        "train",
        images=np.zeros((5, 4, 4), np.uint8),
        subjects=np.array([1, 1, 1, 7, 7]),
        positions=np.array([0, 2, 9, 3, 8]),
        ages=np.array([34.4, 34.4, 34.4, np.nan, np.nan], np.float32),
    )


def test_each_position_has_the_nearest_slice_of_each_subject(split):
    assert nearest_slices(split, [7, 1], [0, 3, 31]).tolist() == [[3, 0], [3, 1], [4, 2]]


def test_a_subject_of_another_split_is_refused(split):
    with pytest.raises(ValueError, match="subject 5 is not in the split train"):
        nearest_slices(split, [1, 5], [0])


def test_captions_name_what_is_known(split):
    assert captions(split, [2, 3]) == ["subject 1, 34 y\nposition 9", "subject 7\nposition 3"]
    assert captions(split, [2, 3], position=False) == ["subject 1, 34 y", "subject 7"]
