"""Learned and hand-crafted features: shapes, laws of the radiomic numbers, fixed scales, balanced
rows.
"""

import numpy as np
import pytest
import torch

from oasis_utils.metrics import features
from oasis_utils.metrics.features import Standardizer, learned, projection
from oasis_utils.metrics.matching import balanced, matched, partners, turns
from oasis_utils.metrics.radiomic import radiomic, radiomic_table, radiomic_text
from oasis_utils.runtime.symmetry import Symmetry

CPU = torch.device("cpu")


def disc(radius=20, size=64, row=32, col=32, grey=200):
    rows, cols = np.mgrid[:size, :size]
    return np.where((rows - row) ** 2 + (cols - col) ** 2 <= radius**2, grey, 0).astype(np.uint8)


def test_learned_features_do_not_depend_on_the_batch(monkeypatch):
    images = np.random.default_rng(0).integers(0, 255, (3, 32, 32)).astype(np.uint8)
    first = learned(images, CPU)
    assert first.shape == (3, 1280) and np.isfinite(first).all()
    monkeypatch.setattr(features, "NETWORK_BATCH", {"cpu": 2})
    assert learned(images, CPU) == pytest.approx(first, abs=1e-3)
    assert np.abs(first[0] - first[1]).mean() > 0.01  # they tell pictures apart


def test_radiomic_numbers_of_a_disc():
    table = {name: values[0] for name, values in radiomic_table(disc()[None]).items()}
    assert table["area"] == pytest.approx(np.pi * 400 / 64**2, rel=0.02)
    assert table["height"] == table["width"] == 41 / 64
    assert table["fill"] == pytest.approx(np.pi / 4, rel=0.05)
    assert (table["asymmetry"], table["overlap"], table["deviation"]) == pytest.approx(
        (0, 1, 0), abs=1e-4
    )
    assert (table["mean"], table["median"]) == pytest.approx((200 / 255, 200 / 255))


def test_there_are_thirty_finite_numbers_even_without_a_brain():
    for image in (disc(), np.zeros((64, 64), np.uint8), np.full((64, 64), 255, np.uint8)):
        row = radiomic(image[None])
        assert row.shape == (1, 30) and np.isfinite(row).all()


def test_slices_on_their_side_have_the_numbers_of_upright_ones(brains):
    images = np.array(brains.split("test").images[8:20])
    upright, lying = radiomic(images), radiomic(images.swapaxes(1, 2).copy(), Symmetry(-2))
    assert lying == pytest.approx(upright, rel=1e-4, abs=1e-5)
    assert np.abs(radiomic(images, Symmetry(-2)) - upright).max() > 0.1


def test_without_symmetry_two_numbers_are_left_out(brains):
    images = np.array(brains.split("test").images[8:12])
    table, all_of_them = radiomic_table(images, Symmetry(None)), radiomic_table(images)
    assert set(all_of_them) - set(table) == {"asymmetry", "overlap"}
    assert all(np.array_equal(values, all_of_them[name]) for name, values in table.items())
    assert radiomic_text().startswith("30 hand-crafted features of shape, symmetry, grey levels")
    without = radiomic_text(Symmetry(None))
    assert without.startswith("28 hand-crafted features of shape, grey levels")


def test_moving_a_brain_changes_its_place_only():
    a, b = (radiomic_table(disc(row=row, col=32)[None]) for row in (32, 28))
    changed = {name for name in a if abs(a[name][0] - b[name][0]) > 1e-3}
    assert changed == {"row"}


def test_blur_and_noise_move_sharpness_apart(brains):
    from oasis_utils.evaluation.corruptions import damaged

    images = np.array(brains.split("test").images[8:24])
    sharp = [
        radiomic_table(x)["sharpness"].mean()
        for x in (damaged(images, "blur 1.5 %"), images, damaged(images, "noise 10 %"))
    ]
    assert sharp == sorted(sharp) and sharp[2] > 2 * sharp[0]


def test_standard_scales_training_and_cuts_wild_values():
    rows = np.random.default_rng(0).normal(3, 2, (500, 4)) * [1, 1, 1, 0]
    scaled = Standardizer.fit(rows)(rows)
    assert scaled[:, :3].std(0) == pytest.approx(1, abs=1e-6) and np.abs(scaled[:, 3]).max() == 0
    assert Standardizer.fit(rows)(rows + 1000)[:, 0].max() == features.MAX_DEVIATIONS


def test_projection_is_the_textbook_decomposition():
    """Singular vectors of the centred training rows, up to signs, for single precision too."""
    rows = np.random.default_rng(0).normal(2, 1, (50, 80)) * np.linspace(5, 0.1, 80)
    rows = rows.astype(np.float32)
    train, new = rows[:40].astype(np.float64), rows[40:]
    axes = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][:3]
    found = projection(rows[:40], 3)(new)
    expected = (new - train.mean(0)) @ axes.T
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-9)
    variances = projection(rows[:40], 3)(train).var(0, ddof=1)
    np.testing.assert_allclose(variances, np.linalg.eigvalsh(np.cov(train.T))[::-1][:3])


def test_balanced_rows_cover_the_positions_evenly():
    positions = np.tile(np.arange(8), 9)
    for limit in (8, 20, 72, 100):
        rows = balanced(positions, limit)
        counts = np.bincount(positions[rows], minlength=8)
        assert len(rows) == min(limit, 72) == len(set(rows)) and np.ptp(counts) <= 1
    assert turns(np.array([3, 1, 3, 3, 1])).tolist() == [0, 0, 1, 2, 1]


def test_the_kept_network_is_no_inference_tensor():
    """So that gradients may pass through it, whoever used it first."""
    features.feature_network.cache_clear()
    learned(np.zeros((1, 32, 32), np.uint8), CPU)
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    features.feature_network("cpu")(image).sum().backward()
    assert image.grad.abs().sum() > 0


def test_matched_rows_share_the_position_and_come_near_in_age():
    positions, ages = np.array([0, 0, 0, 1, 1, 1]), np.array([20.0, 50, 80, 20, 50, 80])
    rows = matched(positions, ages, np.array([1, 0, 0]), np.array([78.0, 25, 45]))
    assert rows.tolist() == [5, 0, 1]
    assert matched(positions, ages, np.array([1, 1, 1]), np.full(3, 80.0)).tolist() != [
        5,
        5,
        5,
    ]  # none twice
    unknown = matched(positions, np.full(6, np.nan), np.array([1, 0, 1]), np.full(3, 60.0))
    assert positions[unknown].tolist() == [1, 0, 1] and len(set(unknown)) == 3
    people, unknown = np.arange(64) // 32, np.full(64, np.nan)
    chosen = people[matched(np.arange(64) % 32, unknown, np.arange(32), np.zeros(32))]
    assert 8 < chosen.sum() < 24  # not all of one person


def test_matched_rows_prefer_a_partner_to_an_age_but_not_to_a_position():
    positions, ages = np.array([0, 0, 1]), np.array([20.0, 50, 20])
    stranger = np.array([[False], [True], [False]])
    assert matched(positions, ages, np.array([0]), np.array([50.0]), stranger).tolist() == [0]
    assert matched(
        positions[1:], ages[1:], np.array([0]), np.array([50.0]), stranger[1:]
    ).tolist() == [0]
    with pytest.raises(ValueError, match="3 slices need as many to be matched with, got 2"):
        matched(positions[:2], ages[:2], np.zeros(3, int), np.zeros(3))


def test_partners_are_near_in_age_and_used_evenly():
    assert partners(np.array([70.0, 20, 45]), np.array([44.0, 22, 90])).tolist() == [2, 1, 0]
    counts = np.bincount(partners(np.array([20.0, 50]), np.full(7, 21.0)))
    assert sorted(counts) == [3, 4]
    assert sorted(partners(np.full(3, np.nan), np.array([20.0, 30, 40]))) == [0, 1, 2]
