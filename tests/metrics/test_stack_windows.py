"""Parts of a stack: quarters share out all of it, and slices of a window come from all heads."""

import numpy as np
import pytest

from oasis_utils.metrics.stack_windows import QUARTERS, quarters, single_positions, spread_slices


@pytest.mark.parametrize("n", [4, 9, 31, 32])
def test_quarters_are_even_and_share_out_the_stack(n):
    parts = quarters(n)
    assert tuple(parts) == QUARTERS
    assert np.concatenate(list(parts.values())).tolist() == list(range(n))
    sizes = [len(part) for part in parts.values()]
    assert max(sizes) - min(sizes) <= 1


def test_a_short_stack_has_no_quarters():
    with pytest.raises(ValueError, match="a stack of 3 has no quarters"):
        quarters(3)


def test_single_positions_of_long_and_short_stacks():
    assert [x.tolist() for x in single_positions(32).values()] == [[0], [8], [16], [31]]
    assert list(single_positions(2)) == ["position 0", "position 1"]


def test_every_head_comes_before_any_comes_twice_and_positions_are_even():
    owners, places = spread_slices(10, np.array([4, 5, 6]), 20)
    assert sorted(owners[:10]) == sorted(owners[10:]) == list(range(10))
    assert len(set(zip(owners, places, strict=True))) == 20
    assert np.ptp(np.bincount(places, minlength=7)[4:]) <= 1


def test_few_heads_give_all_their_slices_and_many_are_thinned_evenly():
    owners, places = spread_slices(2, np.array([0, 1, 2]), 100)
    assert set(zip(owners, places, strict=True)) == {(i, j) for i in (0, 1) for j in (0, 1, 2)}
    owners, _ = spread_slices(100, np.array([7]), 5)
    assert owners.tolist() == [0, 24, 49, 74, 99]


def test_many_heads_are_spread_over_all_positions():
    owners, places = spread_slices(256, np.arange(8), 128)
    assert len(np.unique(owners)) == 128 and np.bincount(places).tolist() == [16] * 8
