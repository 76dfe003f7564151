"""Blocks of heads: only complete stacks, in the order of their positions."""

import numpy as np

from oasis_utils.metrics.head_blocks import Heads, complete_rows


def test_only_stacks_with_all_positions_in_their_order():
    series = np.array([5, 5, 5, 2, 2, 9, 9, 9, 9])
    positions = np.array([2, 0, 1, 0, 2, 1, 3, 2, 0])
    rows = complete_rows(series, positions, np.arange(3))
    assert rows.tolist() == [[1, 2, 0], [8, 5, 7]]  # stack 2 lacks one; 9 has one more


def test_the_first_of_two_slices_at_a_position_counts():
    rows = complete_rows(np.zeros(4, int), np.array([0, 1, 0, 2]), np.arange(3))
    assert rows.tolist() == [[0, 1, 3]]


def test_no_complete_stack_gives_an_empty_block():
    assert complete_rows(np.array([1, 2]), np.array([0, 1]), np.arange(2)).shape == (0, 2)
    assert complete_rows(np.array([1, 2]), np.array([0, 1]), np.arange(0)).shape == (0, 0)


def test_drawn_heads_are_people_of_their_own_and_some_keep_their_numbers():
    images = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 2, 2)
    drawn = Heads.drawn(images, np.arange(2), maps=images.astype(np.int64))
    assert drawn.people.tolist() == [0, 1, 2] and np.isnan(drawn.ages).all()
    few = drawn.some(np.array([True, False, True]))
    assert few.people.tolist() == [0, 2] and few.images.tolist() == images[[0, 2]].tolist()
    assert few.maps.tolist() == images[[0, 2]].tolist() and len(few) == 2
