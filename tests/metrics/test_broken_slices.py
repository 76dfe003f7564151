"""Broken slices: planted ones are found and named, real ones are not."""

import numpy as np
import pytest
from small_heads import small_heads, split_of_heads

from oasis_utils.metrics.broken_slices import EMPTY, HALF, NO_MIDDLE, BrokenSlices
from oasis_utils.metrics.stack_defects import emptied, halved, hollowed
from oasis_utils.runtime.symmetry import Symmetry

TRAIN = split_of_heads(*small_heads(24, seed=1))
REAL, _ = small_heads(16, seed=2)
MIDDLE = slice(3, 13)  # positions


def found(heads, detector):
    flags = detector.find(heads.reshape(-1, 32, 32), np.tile(np.arange(16), len(heads)))
    return {name: x.reshape(len(heads), 16) for name, x in flags.items()}


@pytest.fixture(scope="module")
def detector():
    return BrokenSlices.fit(TRAIN)


def test_real_slices_of_other_people_are_whole(detector):
    flags = found(REAL, detector)
    assert set(flags) == {EMPTY, HALF, NO_MIDDLE}
    assert not np.any(list(flags.values()))


def test_each_planted_defect_is_found_at_its_place(detector):
    empty = found(emptied(REAL, 7), detector)
    assert empty[EMPTY][:, 7].all() and empty[EMPTY].sum() == len(REAL)
    assert not empty[HALF].any()  # none is left
    half = found(halved(REAL), detector)
    assert half[HALF].all() and not half[NO_MIDDLE][:, MIDDLE].all()
    hollow = found(hollowed(REAL), detector)
    assert hollow[NO_MIDDLE][:, MIDDLE].all() and not hollow[HALF].any()


def test_slices_that_lie_on_their_side_are_measured_upright():
    turned = split_of_heads(
        np.ascontiguousarray(small_heads(24, seed=1)[0].swapaxes(2, 3)), np.full(24, 50.0)
    )
    lying = BrokenSlices.fit(turned)
    object.__setattr__(lying, "symmetry", Symmetry(-2))
    flags = found(halved(REAL.swapaxes(2, 3), Symmetry(-2)), lying)
    assert flags[HALF].all()
    assert not found(REAL.swapaxes(2, 3), lying)[HALF].any()


def test_without_a_mid_line_no_half_is_missed(detector):
    one_sided = BrokenSlices(Symmetry(None), detector.column, detector.middle, detector.limits)
    assert set(found(halved(REAL), one_sided)) == {EMPTY, NO_MIDDLE}


def test_positions_without_training_slices_have_no_limit(detector):
    few = split_of_heads(*small_heads(4, seed=1))
    kept = few.positions != 0
    gaps = BrokenSlices.fit(
        type(few)(
            "train", few.images[kept], few.subjects[kept], few.positions[kept] + 4, few.ages[kept]
        )
    )
    black = np.zeros((1, 32, 32), np.uint8)
    assert not gaps.find(black, np.array([0]))[EMPTY][0]
    assert gaps.find(black, np.array([12]))[EMPTY][0]


def test_black_training_slices_are_refused():
    heads, ages = small_heads(4)
    with pytest.raises(ValueError, match="check that they are not black"):
        BrokenSlices.fit(split_of_heads(0 * heads, ages))
