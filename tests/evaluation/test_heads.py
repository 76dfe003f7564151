"""The evaluation of whole heads: complete stacks, planted defects, few people, reports."""

import json

import numpy as np
import pytest
import torch
from small_heads import small_heads, split_of_heads

from oasis_utils import plotting
from oasis_utils.evaluation import heads as evaluation
from oasis_utils.evaluation.head_results import (
    HEAD_TABLES,
    HeadComparisonResults,
    HeadResults,
    head_rows,
)
from oasis_utils.evaluation.heads import HeadReference, complete_stacks, judge_heads
from oasis_utils.metrics import measured_heads
from oasis_utils.metrics.head_blocks import Heads
from oasis_utils.metrics.measured_heads import Window, WindowSlices
from oasis_utils.metrics.position_regressor import thumbnails
from oasis_utils.metrics.stack_defects import halved, mixed
from oasis_utils.metrics.two_sample import logistic
from oasis_utils.runtime.report import EstimateResults, checked, plain

CPU = torch.device("cpu")
TRAIN = split_of_heads(*small_heads(40, seed=1))
REAL, AGES = small_heads(24, seed=2)
DRAWN, DRAWN_AGES = small_heads(16, seed=3)
PEOPLE = np.arange(24) // 2  # two sessions each


def coarse(rows, labels, new, seed=0):
    small = (x[:, ::8, ::8].reshape(-1, 64).astype(np.float64) for x in (rows, new))
    return logistic(next(small), labels, next(small))


@pytest.fixture(scope="module", autouse=True)
def fast_networks():
    patch = pytest.MonkeyPatch()
    patch.setattr(measured_heads, "learned", lambda images, device: thumbnails(images))
    patch.setattr(evaluation, "network", coarse)
    yield
    patch.undo()


def maps_of(blocks):
    return blocks[..., ::8, ::8] // 64


def drawn_heads(blocks):
    return Heads.drawn(blocks, np.arange(16), DRAWN_AGES, maps_of(blocks))


@pytest.fixture(scope="module")
def reference():
    test = split_of_heads(REAL, AGES, "test", PEOPLE)
    decoded = complete_stacks(test, maps=maps_of(test.images))
    return HeadReference.of(TRAIN, decoded, CPU, rounds=40)


@pytest.fixture(scope="module")
def results(reference):
    sets = {"good": DRAWN, "mixed": mixed(DRAWN), "half": halved(DRAWN)}
    return {name: judge_heads(drawn_heads(blocks), reference) for name, blocks in sets.items()}


# ---------------------------------------------------------------- complete stacks
def shuffled(split, kept):
    rows = np.random.default_rng(0).permutation(np.flatnonzero(kept))
    parts = (split.images, split.subjects, split.positions, split.ages)
    return type(split)(split.name, *(x[rows] for x in parts), series=split.series[rows]), rows


def test_complete_stacks_of_rows_in_any_order_and_sessions_of_one_person():
    test = split_of_heads(REAL, AGES, "test", PEOPLE)
    mixed_up, rows = shuffled(test, np.arange(len(test)) != 37)  # of the third session
    decoded, maps = 255 - test.images[rows], maps_of(test.images)[rows]
    heads = complete_stacks(mixed_up, decoded, maps)
    left = np.arange(24) != 2
    assert np.array_equal(heads.images, 255 - REAL[left])
    assert np.array_equal(heads.maps, maps_of(REAL[left]))
    assert heads.people.tolist() == PEOPLE[left].tolist()
    np.testing.assert_allclose(heads.ages, AGES[left], rtol=1e-6)
    assert heads.positions.tolist() == list(range(16))


def test_a_position_that_few_sessions_have_is_not_asked_of_all():
    test = split_of_heads(REAL, AGES, "test")
    rare = (test.positions == 15) & (test.series % 3 > 0)
    heads = complete_stacks(shuffled(test, ~rare)[0])
    assert heads.images.shape[:2] == (24, 15)
    asked = complete_stacks(shuffled(test, ~rare)[0], positions=np.arange(16))
    assert asked.images.shape[:2] == (8, 16)


def test_no_session_may_be_complete():
    test = split_of_heads(REAL, AGES, "test")
    heads = complete_stacks(test, positions=np.array([3, 99]))
    assert len(heads) == 0 and heads.images.shape == (0, 2, 32, 32)
    scattered = shuffled(test, test.positions == test.series % 16)[0]  # no position is common
    assert complete_stacks(scattered).images.shape == (0, 0, 32, 32)


# ---------------------------------------------------------------- what is judged
def test_good_heads_are_like_the_decoded_ones(results):
    good = results["good"]
    for name in ("neighbour SSIM", "same code"):
        drawn, decoded = (x.coherence[name]["whole stack"] for x in (good.drawn, good.decoded))
        assert drawn.value == pytest.approx(decoded.value, abs=0.03)
        assert drawn.interval[0] < drawn.value < drawn.interval[1]
    for name, ratio in good.drawn_vs_decoded.roughness_ratio.items():
        assert 0.8 < ratio.value < 1.25, name
    assert good.drawn_vs_decoded.whole_heads["changes"].value < 0.8
    none = good.drawn.broken["heads"]  # of 16: not above 3 / 16 by the rule of three
    assert none.value == 0 == none.interval[0] and 0.15 < none.interval[1] < 0.25
    assert good.drawn.broken["any"].interval is None
    assert good.drawn.odd_even["age, correlation"].value > 0.9


def test_piles_of_slices_are_told_from_heads(results):
    found, good = results["mixed"], results["good"]
    assert found.drawn_vs_decoded.whole_heads["changes"].value > 0.95
    assert min(x.value for x in found.drawn_vs_decoded.roughness_ratio.values()) > 1.5
    for part, item in found.drawn.coherence["neighbour SSIM"].items():
        if part != "spread":
            assert item.value < good.drawn.coherence["neighbour SSIM"][part].value, part
    assert found.drawn.odd_even["age, correlation"].value < 0.7
    position = "position 8"  # the same slices as those of the good heads, in another order
    assert found.drawn.position_error[position].value == pytest.approx(
        good.drawn.position_error[position].value
    )


def test_half_brains_are_broken_and_far_away(results):
    found = results["half"]
    assert found.drawn.broken["heads"].value == 1 and found.drawn.broken["any"].interval
    assert found.drawn.broken["half missing"].value > 0.9
    compared = found.drawn_vs_decoded
    assert min(x.value for x in compared.network.values()) > 0.9
    for part, item in compared.kid.items():
        assert item.value > results["good"].drawn_vs_decoded.kid[part].value, part


def test_the_reference_is_half_of_the_people_against_the_other(reference, results):
    assert results["good"].decoded_vs_decoded is reference.halves
    halves = evaluation._halves(reference.measured, 0)
    sides = [set(x.heads.people) for x in halves]
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 12
    assert 0.1 < reference.halves.whole_heads["content and changes"].value < 0.9
    assert reference.results.heads == 24 and reference.results.people == 12


def test_intervals_draw_people_and_not_their_sessions(reference):
    def interval(blocks, people):
        heads = Heads(blocks, np.arange(16), people, np.full(len(blocks), 50.0))
        measured = measured_heads.MeasuredHeads.of(heads, reference.readers)
        found = evaluation.set_results(measured, 200)
        assert found.people == 24
        return found.roughness["grey levels"].interval

    once = interval(REAL, np.arange(24))
    twice = interval(np.concatenate([REAL, REAL]), np.tile(np.arange(24), 2))
    assert twice == pytest.approx(once)


def test_slices_of_a_window_belong_to_people():
    slices = WindowSlices(np.zeros((3, 4, 4), np.uint8), torch.device("cpu"))
    windows = [Window(np.array(owners), np.arange(3), slices) for owners in ([0, 1, 1], [2, 0, 2])]
    found = evaluation._owners(*windows, np.array([7, 9]), np.array([4, 5, 6]))
    assert [x.tolist() for x in found] == [[7, 9, 9], [6, 4, 6]]


def test_shares_of_people_count_sessions_of_a_person_once():
    broken, people = np.array([True, True, False, False]), np.array([1, 1, 2, 3])
    found = evaluation._share_of_people(broken, people)
    assert found.value == pytest.approx(1 / 3)
    assert found.interval == pytest.approx((0.0084, 0.9057), abs=1e-4)  # Clopper and Pearson


def test_a_reference_is_the_mean_of_its_splits():
    def split(value, ends):
        item = {"x": EstimateResults(value, ends)}
        return HeadComparisonResults(item, item, item, {"x": EstimateResults(None, None)})

    found = evaluation._averaged([split(0.4, (0.2, 0.6)), split(0.6, (0.5, 0.7))])
    assert found.kid["x"].value == pytest.approx(0.5)
    assert found.kid["x"].interval == pytest.approx((0.35, 0.65))
    assert found.whole_heads["x"] == EstimateResults(None, None)


# ---------------------------------------------------------------- forms
def test_results_are_json_that_a_report_can_hold(results):
    for result in results.values():
        text = json.dumps(plain(result), allow_nan=False)
        assert plain(checked(HeadResults, json.loads(text), "heads")) == plain(result)
    assert results["mixed"].summary().startswith("whole heads: neighbour SSIM 0.")


def test_every_table_has_the_reference_and_all_sets(results):
    for table in HEAD_TABLES:
        rows = head_rows(results, table)
        assert len(rows) == 4 and next(iter(rows)).startswith("decoded"), table
        assert all(row.keys() == next(iter(rows.values())).keys() != set() for row in rows.values())
        assert plotting.table(rows, table)
    assert head_rows({}, "KID") == {}
    with pytest.raises(ValueError, match="unknown table 'ssim': choose one of neighbour SSIM"):
        head_rows(results, "ssim")


def test_two_people_have_means_and_no_comparison():
    few = Heads(REAL[:3], np.arange(16), np.array([0, 0, 1]), AGES[:3])
    reference = HeadReference.of(TRAIN, few, CPU, rounds=10)
    found = judge_heads(Heads.drawn(DRAWN[:1], np.arange(16)), reference)
    whole = found.drawn.coherence["neighbour SSIM"]["whole stack"]
    assert whole.value is not None and whole.interval is None
    compared = plain(found.drawn_vs_decoded)
    for name in ("kid", "network", "whole_heads"):
        assert all(item == {"value": None, "interval": None} for item in compared[name].values())
    assert head_rows({"prior": found}, "KID")["prior vs decoded"]["position 0"] == ""
    assert "unknown" in found.summary()


def test_one_person_is_no_reference_and_still_measured():
    one = Heads(REAL[:1], np.arange(16), np.array([5]), AGES[:1])
    reference = HeadReference.of(TRAIN, one, CPU, rounds=10)
    assert reference.halves.whole_heads["changes"].value is None
    assert reference.results.roughness["grey levels"].value is not None


def test_heads_of_other_positions_or_sizes_are_refused(reference):
    for blocks, positions in ((DRAWN[:, 1:], np.arange(1, 16)), (DRAWN[..., 1:], np.arange(16))):
        with pytest.raises(ValueError, match="do not match the decoded ones"):
            judge_heads(Heads.drawn(blocks, positions), reference)
