"""Planted defects: slices move or go black, and nothing else changes."""

import numpy as np
from small_heads import small_heads

from oasis_utils.metrics.stack_defects import emptied, halved, hollowed, mixed, reversed_quarter
from oasis_utils.runtime.symmetry import Symmetry

HEADS, _ = small_heads(6)


def test_mixed_heads_have_the_same_slices_of_each_position_and_maps_follow():
    moved = mixed(HEADS, seed=3)
    assert not np.array_equal(moved, HEADS)
    for position in range(16):
        assert {x.tobytes() for x in moved[:, position]} == {
            x.tobytes() for x in HEADS[:, position]
        }
    assert np.array_equal(mixed(HEADS[..., ::2, ::2], seed=3), moved[..., ::2, ::2])


def test_a_reversed_quarter_leaves_the_others():
    turned = reversed_quarter(HEADS, "last quarter")
    assert np.array_equal(turned[:, :12], HEADS[:, :12])
    assert np.array_equal(turned[:, 12:], HEADS[:, :11:-1])


def test_what_is_black_afterwards():
    assert not emptied(HEADS, 5)[:, 5].any() and emptied(HEADS, 5)[:, 6].any()
    assert not halved(HEADS)[..., :16].any() and halved(HEADS)[..., 16:].any()
    assert not halved(HEADS, Symmetry(-2))[..., :16, :].any()
    assert not hollowed(HEADS)[..., 8:24, 8:24].any() and hollowed(HEADS)[..., :8, 16].any()


def test_the_heads_themselves_are_not_changed():
    before = HEADS.copy()
    for change in (mixed, reversed_quarter, halved, hollowed, lambda x: emptied(x, 0)):
        change(HEADS)
    assert np.array_equal(HEADS, before)
