"""The two-sample test of whole heads: it sees planted incoherence, and not people."""

import numpy as np
import pytest
from small_heads import small_heads

from oasis_utils.metrics.head_features import change_features, content_features
from oasis_utils.metrics.stack_defects import mixed, reversed_quarter
from oasis_utils.metrics.two_sample import logistic, two_sample

HEADS, _ = small_heads(64)
FIRST, OTHERS = HEADS[:32], HEADS[32:]
PEOPLE = np.arange(32)


def auc(features, a, b, seed=0):
    return two_sample(features(a), features(b), PEOPLE, PEOPLE + 32, logistic, 20, seed).auc


def test_slices_of_different_people_are_seen_in_their_changes_alone():
    assert auc(change_features, mixed(FIRST), OTHERS) > 0.98
    assert auc(content_features, mixed(FIRST), OTHERS) < 0.75


def test_a_reversed_quarter_is_seen():
    for quarter in ("first quarter", "third quarter"):
        assert auc(change_features, reversed_quarter(FIRST, quarter), OTHERS) > 0.95


def test_a_single_jump_is_seen():
    jump = FIRST.copy()
    jump[:, 9:] = np.roll(FIRST, 1, axis=0)[:, 9:]
    assert auc(change_features, jump, OTHERS) > 0.95


def test_what_is_where_is_seen_in_the_content():
    assert auc(content_features, FIRST // 2, OTHERS) > 0.98


def test_equal_sets_are_at_chance():
    for features in (content_features, change_features):
        found = [auc(features, FIRST, OTHERS, seed) for seed in range(4)]
        assert np.mean(found) == pytest.approx(0.5, abs=0.13)


def test_content_is_the_mean_of_blocks():
    block = np.kron(np.arange(8), np.ones(2))[:, None, None] * np.ones((16, 16, 16)) * 10
    rows = content_features(block[None].astype(np.uint8)).reshape(8, 16)
    np.testing.assert_allclose(rows, np.arange(8)[:, None] * 10 / 255 * np.ones((1, 16)), rtol=1e-6)


def test_a_still_head_does_not_change_and_short_stacks_have_fewer_features():
    still = np.repeat(FIRST[:1, 8:9], 16, axis=1)
    assert np.ptp(change_features(still)[:, :-8]) == 0
    assert change_features(FIRST[:2, :4]).shape[1] < change_features(FIRST[:2]).shape[1] == 72
    with pytest.raises(ValueError, match="at least 3 positions, not 2"):
        change_features(FIRST[:, :2])


def test_the_largest_jumps_are_second_differences_in_order():
    step = np.full((1, 16, 32, 32), 100, np.uint8)
    step[:, 9:] = 151
    jumps = np.exp(change_features(step)[0, -8:]) - 1e-4
    np.testing.assert_allclose(jumps, [0.2, 0.2, 0, 0, 0, 0, 0, 0], atol=1e-6)
