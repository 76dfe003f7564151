"""Reconstructions of a split and their scores beside baselines."""

import numpy as np
import pytest
import torch
from random_slices import blobs, split_of

from oasis_utils.config import VQVAEConfig
from oasis_utils.evaluation.reconstruction import (
    mean_image,
    position_means,
    reconstruct_split,
    score_reconstruction,
)
from oasis_utils.models import codes
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime.report import section

CPU = torch.device("cpu")


def test_reconstructions_of_a_split_are_those_of_the_vqvae(monkeypatch):
    torch.manual_seed(0)
    vqvae = VQVAE(
        VQVAEConfig(image_size=32, channels=32, residual_blocks=1, n_codes=8, code_dim=4)
    ).eval()
    split = split_of("test", blobs(7, 0))
    monkeypatch.setattr(codes, "CODED_AT_ONCE", 3)
    images, indices = reconstruct_split(vqvae, split, CPU)
    with torch.no_grad():
        expected = vqvae.reconstruct(split.floats())[:, 0]
    assert images.dtype == np.uint8 and images.shape == (7, 32, 32)
    assert np.abs(images / 255 - expected.numpy()).max() <= 0.5 / 255 + 1e-5
    assert np.array_equal(indices, vqvae.encode_indices(split.floats()).numpy())


def test_position_means_are_means_over_subjects_of_one_position():
    split = split_of("train", blobs(12, 0))
    found = position_means(split, 5)  # nobody has position 4
    assert found.shape == (5, 1, 32, 32)
    np.testing.assert_allclose(found[2, 0].numpy() * 255, split.images[2::4].mean(0), atol=1e-3)
    assert torch.equal(found[4], mean_image(split))


def judged(images, reconstructions, per_subject=4):
    split = split_of("test", images, per_subject)
    return score_reconstruction(split, reconstructions, mean_image(split))


def test_baselines_are_keyed_by_metric_and_then_by_name():
    result = judged(blobs(8, 0), blobs(8, 0))
    assert set(result.trivial_baselines) == {"ssim", "brain_ssim", "psnr"}
    assert all(
        set(baselines) == {"black", "mean", "other_subject"}
        for baselines in result.trivial_baselines.values()
    )
    assert (result.split, result.images, result.subjects) == ("test", 8, 2)
    assert section("reconstruction", result)["ssim"] == result.ssim


def test_perfect_reconstruction_beats_every_baseline_and_each_baseline_scores_itself():
    images = blobs(8, 0)
    perfect, black = judged(images, images), judged(images, np.zeros_like(images))
    for metric, baselines in perfect.trivial_baselines.items():
        assert getattr(perfect, metric) > max(baselines.values())
        assert getattr(black, metric) == pytest.approx(baselines["black"])
    assert perfect.ssim == pytest.approx(1.0)


def test_intervals_of_a_reconstruction_are_over_people():
    """Slices of one person that score alike are one observation, not many."""
    real = blobs(32, 0)
    worse = np.where(
        np.arange(32)[:, None, None] % 8 < 4, real, real // 2
    )  # people 1, 3 … of four slices each
    few, many = (
        score_reconstruction(
            split_of("test", real, per_subject=k), worse, mean_image(split_of("test", real))
        )
        for k in (4, 1)
    )
    for name in ("ssim", "psnr"):
        (low, high), value = few.intervals[name], getattr(few, name)
        assert low < value < high
        assert high - low > 1.5 * np.ptp(many.intervals[name])


def test_one_subject_has_no_other_subject():
    assert set(judged(blobs(4, 0), blobs(4, 0)).trivial_baselines["ssim"]) == {"black", "mean"}


def test_mean_image_over_chunks():
    images = np.concatenate(
        [np.full((600, 8, 8), 51, np.uint8), np.full((200, 8, 8), 255, np.uint8)]
    )
    mean = mean_image(split_of("train", images))
    assert mean.shape == (1, 8, 8) and mean.dtype == torch.float32
    assert mean.numpy() == pytest.approx(0.75 * 0.2 + 0.25)
