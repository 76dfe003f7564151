"""Copies are found however they were moved, mirrored, noised or blurred; other people are not."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from scipy import ndimage

from oasis_utils.data.dataset import Split
from oasis_utils.metrics.memorisation import (
    Calibration,
    CopyTest,
    Fingerprints,
    References,
    equal_rows,
)
from oasis_utils.runtime.symmetry import Symmetry


@pytest.fixture(scope="module")
def splits(brains):
    return [brains.split(name) for name in ("train", "validate", "test")]


@pytest.fixture(scope="module")
def copies(splits):
    train, validate, test = splits
    return CopyTest.fit(train, test, validate)


DISGUISES = {
    "as it is": lambda x, rng: x,
    "moved": lambda x, rng: np.roll(x, (2, -3), (1, 2)),
    "mirrored": lambda x, rng: x[:, :, ::-1],
    "noisy and moved": lambda x, rng: np.clip(
        np.roll(x, 1, 2) + rng.normal(0, 8, x.shape), 0, 255
    ).astype(np.uint8),
    "blurred": lambda x, rng: ndimage.gaussian_filter(x, (0, 0.7, 0.7)),
}


@pytest.mark.parametrize("name", DISGUISES)
def test_planted_copies_are_caught(copies, splits, name):
    train = splits[0]
    planted = np.ascontiguousarray(
        DISGUISES[name](np.array(train.images[::2]), np.random.default_rng(0))
    )
    judged = copies.evaluate(planted)
    assert judged["memorised"] is True and judged["suspicious_share"] > 0.9
    right = [pair["train_index"] == 2 * pair["sample"] for pair in judged["suspicious_pairs"]]
    assert np.mean(right) > 0.9
    mirrored = np.mean([pair["mirrored"] for pair in judged["suspicious_pairs"]])
    assert mirrored == pytest.approx(float(name == "mirrored"), abs=0.1)


def test_other_people_are_not_copies(splits):
    train, validate, test = splits
    judged = CopyTest.fit(train, validate, test).evaluate(
        np.array(validate.images)
    )  # held out: validate itself
    assert judged["memorised"] is False and judged["suspicious_share"] == 0
    judged = CopyTest.fit(train, test, validate).evaluate(np.array(validate.images))
    assert judged["memorised"] is False and judged["suspicious_share"] <= 0.05


def test_some_copies_among_new_slices_are_listed_first(copies, splits):
    train, validate, _ = splits
    mixed = np.concatenate([validate.images[:40], train.images[[5, 9]]])
    judged = copies.evaluate(mixed)
    assert [(p["sample"], p["train_index"]) for p in judged["suspicious_pairs"][:2]] in (
        [(40, 5), (41, 9)],
        [(41, 9), (40, 5)],
    )
    assert judged["suspicious_pairs"][0]["subject"] == train.subjects[5]
    assert json.loads(json.dumps(judged)) == judged


def test_distance_of_a_slice_to_itself_is_nothing(splits):
    images = np.array(splits[0].images[:8])
    near = References.of(images).nearest(Fingerprints.of(images[[3, 1]]))
    assert near.index.tolist() == [3, 1] and near.grey == pytest.approx(0, abs=1e-6)
    assert near.edges == pytest.approx(0, abs=1e-6) and not near.mirrored.any()


def test_close_pairs_keep_their_distances(splits):
    """A pair that differs by one grey level in one pixel: the distance by hand, to 1e-7."""
    images = np.array(splits[0].images[:300])
    changed = images[[7]].copy()
    changed[0, 32, 32] ^= 1
    mine, theirs = Fingerprints.of(changed), Fingerprints.of(images[[7]])
    near = References.of(images).nearest(mine)
    assert near.index.tolist() == [7]
    for found, a, b in (
        (near.grey, mine.grey, theirs.grey),
        (near.edges, mine.edges, theirs.edges),
    ):
        assert found[0] == pytest.approx(float((a.double() - b.double()).norm()), abs=1e-7)


def test_brightness_and_contrast_do_not_hide_a_copy(splits):
    images = np.array(splits[0].images[:40:5])
    dull = np.round(0.5 * images + 40).astype(np.uint8)
    near = References.of(images).nearest(Fingerprints.of(dull))
    assert near.index.tolist() == list(range(len(images)))
    assert (near.grey < 0.05).all()
    apart = Fingerprints.of(images).grey
    assert (torch.cdist(apart, apart) + 2 * torch.eye(len(apart))).min() > 0.2


@pytest.mark.parametrize("axis", [-1, -2, None])
def test_references_are_mirrored_across_the_mid_line_of_the_data(splits, axis):
    images, symmetry = np.array(splits[0].images[:40:5]), Symmetry(axis)
    references = References.of(images, symmetry)
    assert (references.mirrored is None) == (axis is None)
    for flipped in (-1, -2):
        near = references.nearest(Fingerprints.of(images, Symmetry(flipped)))
        assert np.mean(near.mirrored & (near.grey < 1e-6)) == float(flipped == axis)


def test_a_split_without_symmetry_is_never_mirrored(splits):
    train, validate, test = (
        dataclasses.replace(split, symmetry=Symmetry(None)) for split in splits
    )
    copies = CopyTest.fit(train, test, validate)
    assert copies.train.mirrored is None and copies.held_out.mirrored is None
    assert copies.evaluate(np.array(train.images))["suspicious_share"] == 1
    assert not any(
        p["mirrored"] for p in copies.nearest_pairs(np.array(train.images[:, :, ::-1]), 64)
    )


def test_two_sessions_of_a_person_are_one_person(splits):
    train, validate, _ = splits
    first, second = np.unique(train.subjects)
    series = 2 * np.searchsorted([first, second], train.subjects) + (
        train.positions % 2
    )  # two sessions each
    twice = dataclasses.replace(train, series=series)
    rows, held_out = equal_rows(
        twice, dataclasses.replace(validate, subjects=np.zeros(len(validate), int))
    )
    assert len(rows) == len(held_out) == 32 and len(np.unique(twice.subjects[rows])) == 1
    assert len(np.unique(twice.series[rows])) == 2


def test_calibration_of_even_ratios():
    rng = np.random.default_rng(0)
    ratios, subjects = rng.normal(1, 0.05, 2000), np.arange(2000) // 100
    calibration = Calibration.of(ratios, subjects)
    assert (ratios < calibration.threshold).mean() == pytest.approx(0.01, abs=0.001)
    assert (
        calibration.rate == pytest.approx(0.01, abs=0.005)
        and calibration.rate < calibration.limit < 0.03
    )


def test_a_person_near_the_training_set_widens_the_limit():
    ratios, subjects = np.random.default_rng(0).normal(1, 0.05, 800), np.arange(800) // 100
    ratios[:100] -= 0.15
    assert Calibration.of(ratios, subjects).limit > 0.2
    with pytest.raises(ValueError, match="at least 2 held-out subjects, got 1"):
        Calibration.of(ratios, np.zeros(800, int))


def test_equal_references_hold_whole_subjects_whichever_split_is_larger(splits):
    train, _, test = splits
    wide = Split(
        "train",
        np.concatenate([train.images] * 2),
        np.concatenate([train.subjects, train.subjects + 50]),
        np.tile(train.positions, 2),
        np.tile(train.ages, 2),
    )
    for a, b in ((wide, test), (test, wide)):
        rows_a, rows_b = equal_rows(a, b)
        assert len(rows_a) == len(rows_b) == len(test)
        assert len(np.unique(a.subjects[rows_a])) == len(np.unique(b.subjects[rows_b])) == 2
