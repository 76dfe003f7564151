"""Planted anomalies: where they lie and what they change; scores against normal slices; AUROC."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from oasis_utils.config import PixelCNNConfig, VQVAEConfig
from oasis_utils.evaluation import anomalies
from oasis_utils.evaluation.anomalies import (
    Evidence,
    Normal,
    auroc,
    covered,
    disc_centres,
    evidence,
    judge,
    plant,
    pooled,
)
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime.symmetry import Symmetry


def heads(n=4, size=64):
    """Ellipses with a bright left and a darker right half, and a little noise."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    inside = (y / 28) ** 2 + (x / 24) ** 2 < 1
    noise = np.random.default_rng(0).integers(0, 20, (n, size, size))
    return np.where(inside, np.where(x < 0, 150, 90) + noise, 0).astype(np.uint8)


# ---------------------------------------------------------------- planting


def test_discs_lie_in_the_brain_on_one_side_and_depend_on_the_seed_alone():
    images, radius = heads(20), 6.0
    centres = disc_centres(images > 16, radius, seed=1)
    assert np.array_equal(centres, disc_centres(images > 16, radius, seed=1))
    assert not np.array_equal(centres, disc_centres(images > 16, radius, seed=2))
    rows, cols = np.mgrid[:64, :64]
    for image, (y, x) in zip(images, centres, strict=True):
        disc = (rows - y) ** 2 + (cols - x) ** 2 <= radius**2
        assert (
            (image[disc] > 16).all()
            and (image[disc[:, ::-1]] > 16).all()
            and not (disc & disc[:, ::-1]).any()
        )
    assert (disc_centres(np.zeros((2, 64, 64), bool), radius) == -1).all()


def test_anomalies_change_their_mask_and_nothing_else():
    images = heads()
    planted = plant(images, disc_centres(images > 16, 7.0), 1.0)
    assert set(planted) == {
        "bright disc",
        "missing patch",
        "halves exchanged",
        "displaced patch",
        "white patch",
    }
    for change in planted.values():
        assert np.array_equal(change.images[~change.mask], images[~change.mask])
        assert (change.images[change.mask] != images[change.mask]).mean() > 0.3
    disc = planted["bright disc"]
    assert (disc.images[disc.mask] == 255).all() and (
        planted["missing patch"].images[disc.mask] == 0
    ).all()
    assert disc.mask.sum((1, 2)) == pytest.approx(
        np.full(4, np.pi * 7**2), rel=0.05
    )  # 14 mm across
    assert np.array_equal(planted["displaced patch"].mask, disc.mask | disc.mask[:, :, ::-1])


def test_exchanged_halves_and_patches_come_unmirrored_from_the_other_side():
    images = heads()
    planted = plant(images, disc_centres(images > 16, 7.0), 1.0)
    halves = planted["halves exchanged"]
    assert np.array_equal(halves.images[halves.mask], np.roll(images, 32, axis=2)[halves.mask])
    assert np.ptp(np.flatnonzero(halves.mask[0].any(1))) <= 32
    moved = planted["displaced patch"]
    for side in (
        slice(0, 32),
        slice(32, 64),
    ):  # what was bright is now in the dark half, and the reverse
        mask = moved.mask[:, :, side]
        before, after = (x[:, :, side][mask].mean() for x in (images, moved.images))
        assert (before > 130) != (after > 130)


def test_slices_on_their_side_get_the_same_anomalies():
    images, lying = heads(), heads().swapaxes(1, 2).copy()
    centres = disc_centres(images > 16, 7.0)
    assert np.array_equal(disc_centres(lying > 16, 7.0, 0, Symmetry(-2)), centres[:, ::-1])
    upright, turned = (
        plant(images, centres, 1.0),
        plant(lying, centres[:, ::-1], 1.0, None, Symmetry(-2)),
    )
    assert list(turned) == list(upright)
    for kind, change in turned.items():
        assert np.array_equal(change.images.swapaxes(1, 2), upright[kind].images), kind
        assert np.array_equal(change.mask.swapaxes(1, 2), upright[kind].mask), kind


def test_without_a_mid_line_nothing_changes_places_and_discs_lie_anywhere_in_the_region():
    images, half = heads(40), np.zeros((40, 64, 64), bool)
    half[:, 8:56, 12:30] = True
    assert (disc_centres(half, 7.0) == -1).all()  # the mirrored disc would lie outside
    centres = disc_centres(half, 7.0, 0, Symmetry(None))
    planted = plant(images, centres, 1.0, half, Symmetry(None))
    assert list(planted) == ["bright disc", "missing patch", "white patch"]
    assert all(half[change.mask].all() for change in planted.values())
    white = planted["white patch"]
    assert (white.images[white.mask] == int(np.percentile(images[half], 90))).all()


def test_the_clearest_slice_is_that_of_the_most_visible_weakest_anomaly():
    images, mask = np.zeros((3, 4, 4), np.uint8), np.zeros((3, 4, 4), bool)
    mask[:, 2:, 2:] = True  # one of four cells
    changed = [
        np.where(mask, np.array(levels, np.uint8)[:, None, None], images)
        for levels in ((200, 30, 90), (10, 40, 20))
    ]
    planted = {str(k): anomalies.Planted(x, mask) for k, x in enumerate(changed)}
    assert anomalies.clearest(lambda x: pooled(x.astype(float), 2), images, planted) == 1


def test_cells_are_covered_when_more_than_half_of_them_is():
    mask = np.zeros((1, 8, 8), bool)
    mask[0, :4, :4] = mask[0, :4, 4:6] = mask[0, 4:7, :4] = True
    assert covered(mask, 2).tolist() == [[[True, False], [True, False]]]
    assert pooled(mask, 2).tolist() == [[[1.0, 0.5], [0.75, 0.0]]]


# ---------------------------------------------------------------- AUROC


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_as_in_scikit_learn(ties):
    rng = np.random.default_rng(0)
    anomalous, normal = rng.normal(0.7, 1, 40), rng.normal(0, 1, 90)
    if ties:
        anomalous, normal = anomalous.round(), normal.round()
    expected = roc_auc_score(np.r_[np.ones(40), np.zeros(90)], np.r_[anomalous, normal])
    assert auroc(anomalous, normal) == pytest.approx(expected, abs=1e-12)
    assert auroc(anomalous, normal) + auroc(normal, anomalous) == pytest.approx(1)


def test_auroc_of_nothing_is_nan():
    assert np.isnan(auroc(np.zeros(0), np.ones(3))) and np.isnan(auroc(np.ones(3), np.zeros(0)))


# ---------------------------------------------------------------- scores


def random_evidence(n, seed, grid=4):
    rng = np.random.default_rng(seed)
    steps = 1 + np.arange(grid * grid).reshape(grid, grid)
    return Evidence(
        rng.normal(size=(n, grid, grid)),
        rng.normal(3, steps, (n, grid, grid)),
        rng.normal(0.1, 0.01, (n, grid, grid)),
    )


def test_normal_slices_score_around_zero_and_either_kind_of_evidence_counts():
    positions = np.arange(400) % 8
    normal = Normal.of(random_evidence(400, 0), positions, 8)
    fresh = random_evidence(400, 1)
    score = normal.score(fresh, positions)
    assert abs(score.mean()) < 0.1 and 0.3 < score.std() < 1.5
    for name in ("excess", "residual"):
        values = {
            kind: np.array(getattr(fresh, kind)) for kind in ("surprise", "excess", "residual")
        }
        values[name][:, 1, 2] += 6 * values[name][:, 1, 2].std()
        assert auroc(normal.score(Evidence(**values), positions)[:, 1, 2], score[:, 1, 2]) > 0.95


def models():
    torch.manual_seed(0)
    vqvae = VQVAE(
        VQVAEConfig(image_size=64, downsampling=8, channels=32, n_codes=16, code_dim=4)
    ).eval()
    return vqvae, PixelCNN(
        PixelCNNConfig(grid=8, n_codes=16, n_positions=3, channels=8, blocks=2, hidden=8)
    ).eval()


@pytest.mark.parametrize("symmetry", [Symmetry(-1), Symmetry(-2)])
def test_evidence_of_a_mirrored_slice_is_mirrored(monkeypatch, symmetry):
    vqvae, prior = models()
    images, positions = symmetry.upright(heads(3)).copy(), np.arange(3)
    found, mirrored = (
        evidence(vqvae, prior, x, positions, None, symmetry)
        for x in (images, symmetry.mirror(images).copy())
    )
    for name in ("surprise", "excess", "residual"):
        assert np.allclose(
            getattr(found, name), symmetry.mirror(getattr(mirrored, name)), atol=1e-5
        )
        assert getattr(found, name).shape == (3, 8, 8)
    assert (found.surprise > 0).all() and (found.residual >= 0).all()
    monkeypatch.setattr(anomalies, "BATCH", 2)
    assert np.allclose(
        evidence(vqvae, prior, images, positions, None, symmetry).excess, found.excess, atol=1e-5
    )


def test_without_a_mid_line_evidence_is_one_sided():
    """Each side alone, averaged, is what symmetry gives."""
    vqvae, prior = models()
    images, positions = heads(3), np.arange(3)
    normal = Normal.of(random_evidence(3, 0, 8), positions, 3)
    detectors = [
        anomalies.Detector(vqvae, prior, normal, positions, None, Symmetry(axis))
        for axis in (None, -1)
    ]
    one, mirrored = (detectors[0].evidence(x) for x in (images, images[:, :, ::-1].copy()))
    both = (one.residual + mirrored.residual[:, :, ::-1]) / 2
    assert np.allclose(detectors[1].evidence(images).residual, both, atol=1e-6)
    assert not np.allclose(one.residual, both, atol=1e-4)


def test_judging_a_score_that_knows_and_one_that_does_not():
    images = heads()
    planted = plant(images, disc_centres(images > 16, 7.0), 1.0)
    result = judge(lambda x: np.abs(pooled(x.astype(float) - images, 8)), images, planted)
    assert list(result) == list(planted)
    assert result["missing patch"] == {"same cells": 1.0, "all cells in the brain": 1.0}
    blind = judge(lambda x: np.zeros((len(x), 8, 8)), images, planted)
    assert all(value == 0.5 for row in blind.values() for value in row.values())
