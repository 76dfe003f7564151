"""Anomaly scores: against normal slices, with and without a mid-line, and their AUROC."""

import numpy as np
import pytest
import torch
from planted_heads import heads

from oasis_utils.config import PixelCNNConfig, VQVAEConfig
from oasis_utils.evaluation import anomalies
from oasis_utils.evaluation.anomalies import AnomalyScores, anomaly_scores, auroc_by_kind
from oasis_utils.evaluation.planting import Planted, disc_centres, plant, pooled
from oasis_utils.metrics.ranking import auroc
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime.symmetry import Symmetry


def random_scores(n, seed, grid=4):
    rng = np.random.default_rng(seed)
    steps = 1 + np.arange(grid * grid).reshape(grid, grid)
    return AnomalyScores(
        rng.normal(size=(n, grid, grid)),
        rng.normal(3, steps, (n, grid, grid)),
        rng.normal(0.1, 0.01, (n, grid, grid)),
    )


def test_normal_slices_score_around_zero_and_either_kind_of_score_counts():
    positions = np.arange(400) % 8
    normal = anomalies.NormalStatistics.of(random_scores(400, 0), positions, 8)
    fresh = random_scores(400, 1)
    score = normal.score(fresh, positions)
    assert abs(score.mean()) < 0.1 and 0.3 < score.std() < 1.5
    for name in ("excess", "residual"):
        values = {
            kind: np.array(getattr(fresh, kind)) for kind in ("surprisal", "excess", "residual")
        }
        values[name][:, 1, 2] += 6 * values[name][:, 1, 2].std()
        assert (
            auroc(normal.score(AnomalyScores(**values), positions)[:, 1, 2], score[:, 1, 2]) > 0.95
        )


def models():
    torch.manual_seed(0)
    vqvae = VQVAE(
        VQVAEConfig(image_size=64, downsampling=8, channels=32, n_codes=16, code_dim=4)
    ).eval()
    return vqvae, PixelCNN(
        PixelCNNConfig(grid=8, n_codes=16, n_positions=3, channels=8, blocks=2, hidden=8)
    ).eval()


@pytest.mark.parametrize("symmetry", [Symmetry(-1), Symmetry(-2)])
def test_scores_of_a_mirrored_slice_is_mirrored(monkeypatch, symmetry):
    vqvae, prior = models()
    images, positions = symmetry.upright(heads(3)).copy(), np.arange(3)
    found, mirrored = (
        anomaly_scores(vqvae, prior, x, positions, None, symmetry)
        for x in (images, symmetry.mirror(images).copy())
    )
    for name in ("surprisal", "excess", "residual"):
        assert np.allclose(
            getattr(found, name), symmetry.mirror(getattr(mirrored, name)), atol=1e-5
        )
        assert getattr(found, name).shape == (3, 8, 8)
    assert (found.surprisal > 0).all() and (found.residual >= 0).all()
    monkeypatch.setattr(anomalies, "MAPS_AT_ONCE", 2)
    assert np.allclose(
        anomaly_scores(vqvae, prior, images, positions, None, symmetry).excess,
        found.excess,
        atol=1e-5,
    )


def test_without_a_mid_line_scores_are_one_sided():
    """Each side alone, averaged, is what symmetry gives."""
    vqvae, prior = models()
    images, positions = heads(3), np.arange(3)
    normal = anomalies.NormalStatistics.of(random_scores(3, 0, 8), positions, 3)
    detectors = [
        anomalies.Detector(vqvae, prior, normal, positions, None, Symmetry(axis))
        for axis in (None, -1)
    ]
    one, mirrored = (detectors[0].anomaly_scores(x) for x in (images, images[:, :, ::-1].copy()))
    both = (one.residual + mirrored.residual[:, :, ::-1]) / 2
    assert np.allclose(detectors[1].anomaly_scores(images).residual, both, atol=1e-6)
    assert not np.allclose(one.residual, both, atol=1e-4)


def test_judging_a_score_that_knows_and_one_that_does_not():
    images = heads()
    planted = plant(images, disc_centres(images > 16, 7.0), 1.0)
    result = auroc_by_kind(lambda x: np.abs(pooled(x.astype(float) - images, 8)), images, planted)
    assert list(result) == list(planted)
    assert result["missing patch"] == {"same cells": 1.0, "all cells in the brain": 1.0}
    blind = auroc_by_kind(lambda x: np.zeros((len(x), 8, 8)), images, planted)
    assert all(value == 0.5 for row in blind.values() for value in row.values())


def test_the_clearest_slice_is_that_of_the_most_visible_weakest_anomaly():
    images, mask = np.zeros((3, 4, 4), np.uint8), np.zeros((3, 4, 4), bool)
    mask[:, 2:, 2:] = True  # one of four cells
    changed = [
        np.where(mask, np.array(levels, np.uint8)[:, None, None], images)
        for levels in ((200, 30, 90), (10, 40, 20))
    ]
    planted = {str(k): Planted(x, mask) for k, x in enumerate(changed)}
    assert anomalies.best_example(lambda x: pooled(x.astype(float), 2), images, planted) == 1
