"""Measured heads: every value belongs to its head, also in a part of the set."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from small_heads import small_heads, split_of_heads

from oasis_utils.metrics import measured_heads
from oasis_utils.metrics.age_regressor import age_features
from oasis_utils.metrics.head_blocks import Heads
from oasis_utils.metrics.measured_heads import HeadReaders, MeasuredHeads, Window
from oasis_utils.metrics.position_regressor import thumbnails
from oasis_utils.metrics.stack_defects import mixed

CPU = torch.device("cpu")
BLOCKS, AGES = small_heads(6, seed=3)
HEADS = Heads(
    BLOCKS, np.arange(16), np.array([4, 4, 7, 8, 9, 9]), AGES, BLOCKS[..., ::8, ::8] // 64
)


@pytest.fixture(scope="module")
def readers():
    return HeadReaders.fit(split_of_heads(*small_heads(40, seed=1)), CPU)


@pytest.fixture(autouse=True)
def fast_features(monkeypatch):
    monkeypatch.setattr(measured_heads, "learned", lambda images, device: thumbnails(images))


def test_part_of_a_measured_set_is_the_measured_part(readers):
    rows = np.array([False, True, True, False, False, True])
    part = MeasuredHeads.of(HEADS, readers).some(rows)
    alone = MeasuredHeads.of(HEADS.some(rows), readers)
    for field in fields(MeasuredHeads):
        one, other = getattr(part, field.name), getattr(alone, field.name)
        if field.name == "heads":
            assert np.array_equal(one.images, other.images)
            assert one.people.tolist() == other.people.tolist() == [4, 7, 9]
        elif field.name == "windows":
            for name, window in other.items():
                assert set(one[name].owners) == set(window.owners) == {0, 1, 2}
        elif isinstance(one, dict):
            for name, values in other.items():
                np.testing.assert_allclose(one[name], values, atol=1e-6)
        else:
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_window_slices_are_those_of_their_owners(readers):
    window = MeasuredHeads.of(HEADS, readers).windows["position 8"]
    expected = thumbnails(BLOCKS[window.owners, 8])
    assert sorted(window.owners) == list(range(6))
    np.testing.assert_allclose(window.learned, expected)
    kept = window.some(np.arange(6) >= 4)
    np.testing.assert_allclose(kept.learned, expected[window.owners >= 4])
    assert sorted(kept.owners) == [0, 1]


def test_positions_and_ages_are_read_back(readers):
    found = MeasuredHeads.of(HEADS, readers)
    assert np.abs(found.read_positions - np.arange(16)).mean() < 2
    assert np.corrcoef(found.read_ages.mean(1), AGES)[0, 1] > 0.8
    of_last = readers.age.predict(age_features(BLOCKS[:, 15]), np.full(6, 15 / 16))
    np.testing.assert_allclose(found.read_ages[:, 15], of_last)


def test_piles_of_slices_are_rougher_and_less_alike(readers):
    head = MeasuredHeads.of(HEADS, readers)
    pile = MeasuredHeads.of(Heads.drawn(mixed(BLOCKS), np.arange(16)), readers)
    for name, values in head.rough.items():
        assert pile.rough[name].mean() > 1.5 * values.mean(), name
    ssim = "neighbour SSIM"
    assert pile.similar[ssim].mean() < head.similar[ssim].mean() - 0.1
    assert set(pile.similar) == {ssim} and "same code" in head.similar  # the pile has no maps


def test_unknown_ages_are_not_read(readers):
    blocks, ages = small_heads(10, seed=1)
    unknown = HeadReaders.fit(split_of_heads(blocks, np.full_like(ages, np.nan)), CPU)
    same = HeadReaders.fit(split_of_heads(blocks, np.full_like(ages, 60.0)), CPU)
    assert unknown.age is None and same.age is None
    assert MeasuredHeads.of(HEADS, unknown).read_ages is None


def test_no_heads_and_short_stacks_are_refused(readers):
    with pytest.raises(ValueError, match="there is no complete head"):
        MeasuredHeads.of(HEADS.some(np.zeros(6, bool)), readers)
    with pytest.raises(ValueError, match="8 positions or more, not 6"):
        MeasuredHeads.of(Heads.drawn(BLOCKS[:, :6], np.arange(6)), readers)


def test_the_network_sees_the_slices(readers, monkeypatch):
    monkeypatch.undo()
    window = Window.of(HEADS.some(np.arange(6) < 2), np.array([8]), 2, readers)
    assert window.learned.shape == (2, 1280) and window.pictures.shape == (2, 64, 64)
    assert not np.allclose(*window.learned)


def test_the_feature_network_runs_once_and_only_when_it_is_asked_for(readers, monkeypatch):
    calls = []

    def features(images, _device):
        calls.append(len(images))
        return thumbnails(images)

    monkeypatch.setattr(measured_heads, "learned", features)
    window = Window.of(HEADS, np.array([8]), 6, readers)
    assert not calls and len(window.pictures) == 6 and not calls
    first, rest = (window.some(np.arange(6) // 3 == side) for side in (0, 1))
    np.testing.assert_array_equal(np.concatenate([first.learned, rest.learned]), window.learned)
    assert calls == [6]
