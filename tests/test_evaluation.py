"""Figures of merit: closed forms, limits at copies and at real sets, and refusals."""

import inspect
import json
import math
import os

import numpy as np
import pytest
import torch

from oasis_utils import evaluation
from oasis_utils.config import DCGANConfig, EvaluationConfig, PixelCNNConfig, VQVAEConfig
from oasis_utils.data import Split
from oasis_utils.dcgan import DCGAN
from oasis_utils.evaluation import (
    copy_gap,
    evaluate_images,
    features,
    generate,
    judge_reconstruction,
    judge_samples,
    kid,
    kid_interval,
    load_images,
    mean_image,
    nearest_distance,
    pair_similarity,
    reconstruct_split,
    thinned,
    without_nan,
)
from oasis_utils.pixelcnn import PixelCNN
from oasis_utils.sampling import BrainSampler, Samples
from oasis_utils.vqvae import VQVAE

CPU = torch.device("cpu")
CONFIG = EvaluationConfig(n_images=64, bootstrap=20)


def blobs(n, seed, size=32):
    """Smooth random pictures, no two alike."""
    coarse = torch.rand(n, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=True)
    return (smooth[:, 0] * 255).to(torch.uint8).numpy()


def split_of(name, images, per_subject=4):
    n = len(images)
    rows = np.arange(n)
    ages = np.full(n, np.nan, np.float32)
    return Split(name, images, rows // per_subject + 100 * len(name), rows % per_subject, ages)


def vectors(n, seed, shift=0.0):
    rows = np.random.default_rng(seed).standard_normal((n, 8)) + shift
    return rows.astype(np.float32)


@pytest.fixture
def cheap_features(monkeypatch):
    """Four by four grey means in place of the network: the figures' logic does not depend on it."""

    def means(images, device, label=""):
        n, size = len(images), images.shape[1] // 4
        cells = images.reshape(n, 4, size, 4, size).mean((2, 4)).reshape(n, 16) / 255
        return np.repeat(cells, 80, axis=1).astype(np.float32)

    monkeypatch.setattr(evaluation, "features", means)


# ---------------------------------------------------------------- reconstruction


def test_reconstructions_of_a_split_are_those_of_the_vqvae(monkeypatch):
    torch.manual_seed(0)
    vqvae = VQVAE(VQVAEConfig(image_size=32, channels=32, residual_blocks=1, n_codes=8, code_dim=4)).eval()
    split = split_of("test", blobs(7, 0))
    monkeypatch.setattr(evaluation, "BATCH", 3)
    images, indices = reconstruct_split(vqvae, split, CPU)
    with torch.no_grad():
        expected = vqvae.reconstruct(split.floats())[:, 0]
    assert images.dtype == np.uint8 and images.shape == (7, 32, 32)
    assert np.abs(images / 255 - expected.numpy()).max() <= 0.5 / 255 + 1e-5
    assert np.array_equal(indices, vqvae.encode_indices(split.floats()).numpy())


def judged(images, reconstructions, per_subject=4):
    split = split_of("test", images, per_subject)
    return judge_reconstruction(split, reconstructions, mean_image(split))


def test_floors_are_keyed_by_metric_and_then_by_floor():
    result = judged(blobs(8, 0), blobs(8, 0))
    assert set(result) == {"reconstruction", "floors"}
    assert set(result["floors"]) == {"ssim", "brain_ssim", "psnr"}
    assert all(set(floors) == {"black", "mean", "other_subject"} for floors in result["floors"].values())
    assert {"split": "test", "images": 8, "subjects": 2}.items() <= result["reconstruction"].items()
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_perfect_reconstruction_beats_every_floor_and_each_floor_scores_itself():
    images = blobs(8, 0)
    perfect, black = judged(images, images), judged(images, np.zeros_like(images))
    for metric, floors in perfect["floors"].items():
        assert perfect["reconstruction"][metric] > max(floors.values())
        assert black["reconstruction"][metric] == pytest.approx(floors["black"])
    assert perfect["reconstruction"]["ssim"] == pytest.approx(1.0)


def test_one_subject_has_no_other_subject():
    assert set(judged(blobs(4, 0), blobs(4, 0))["floors"]["ssim"]) == {"black", "mean"}


def test_mean_image_over_chunks():
    images = np.concatenate([np.full((600, 8, 8), 51, np.uint8), np.full((200, 8, 8), 255, np.uint8)])
    mean = mean_image(split_of("train", images))
    assert mean.shape == (1, 8, 8) and mean.dtype == torch.float32
    assert mean.numpy() == pytest.approx(0.75 * 0.2 + 0.25)


# ---------------------------------------------------------------- features


def test_features_have_their_shape_and_do_not_depend_on_the_batch(monkeypatch):
    images = blobs(3, 0)
    first = features(images, CPU)
    assert first.shape == (3, 1280) and first.dtype == np.float32 and np.isfinite(first).all()
    assert np.array_equal(features(images, CPU), first)
    monkeypatch.setattr(evaluation, "BATCH", 2)
    assert features(images, CPU) == pytest.approx(first, abs=1e-3)
    assert np.abs(first[0] - first[1]).mean() > 0.01  # they tell pictures apart


# ---------------------------------------------------------------- distances


def test_kid_of_two_draws_of_one_distribution_is_near_zero():
    distances = [kid(vectors(100, 2 * seed), vectors(100, 2 * seed + 1)) for seed in range(20)]
    assert abs(np.mean(distances)) < 0.02  # unbiased
    assert min(distances) < 0 < max(distances)


def test_kid_grows_with_the_distance():
    distances = [kid(vectors(100, 0), vectors(100, 1, shift)) for shift in (0.0, 0.5, 1.0, 2.0)]
    assert distances == sorted(distances) and distances[1] > 0.1 > abs(distances[0])


def test_kid_is_symmetric():
    assert kid(vectors(50, 0), vectors(30, 1, 0.5)) == pytest.approx(kid(vectors(30, 1, 0.5), vectors(50, 0)))


@pytest.mark.parametrize("sizes", [(15, 100), (100, 15), (1, 1)])
def test_kid_of_too_few_images_is_refused(sizes):
    with pytest.raises(ValueError, match=rf"at least 16 images .* got {sizes[0]} and {sizes[1]}:"):
        kid(vectors(sizes[0], 0), vectors(sizes[1], 1))


def test_kid_interval_holds_the_distance_and_repeats():
    a, b, groups = vectors(100, 0, 0.5), vectors(100, 1), np.arange(100) // 10
    low, high = kid_interval(a, b, groups, 100)
    assert low < kid(a, b) < high
    assert kid_interval(a, b, groups, 100) == (low, high)
    assert kid_interval(a, b, groups, 100, seed=1) != (low, high)


def test_slices_of_one_subject_do_not_count_as_independent():
    a, b = vectors(100, 0, 0.5), np.repeat(vectors(10, 1), 10, axis=0) + 0.01 * vectors(100, 2)
    low, high = kid_interval(a, b, np.arange(100) // 10, 100)
    naive_low, naive_high = kid_interval(a, b, np.arange(100), 100)
    assert high - low > 2 * (naive_high - naive_low)


def test_thinned_rows_are_even_distinct_and_reach_the_ends():
    assert thinned(5, 8).tolist() == [0, 1, 2, 3, 4]
    assert thinned(9, 5).tolist() == [0, 2, 4, 6, 8]
    for n in (10, 97):
        for limit in range(2, n):
            rows = thinned(n, limit)
            assert len(set(rows.tolist())) == limit and rows[0] == 0 and rows[-1] == n - 1
            assert np.ptp(np.diff(rows)) <= 1


# ---------------------------------------------------------------- samples


def test_identical_images_are_fully_alike():
    images = np.repeat(blobs(1, 0), 6, axis=0)
    assert pair_similarity(images, np.zeros(6, int), np.arange(6)) == pytest.approx(1.0)


def test_different_images_are_less_alike():
    assert pair_similarity(blobs(6, 0), np.zeros(6, int), np.arange(6)) < 0.7


def test_pairs_share_the_position_and_not_the_owner():
    images = blobs(4, 0)[[0, 0, 1, 1]]
    assert pair_similarity(images, np.array([0, 0, 1, 1]), np.arange(4)) == pytest.approx(1.0)
    assert pair_similarity(images, np.array([0, 1, 0, 1]), np.arange(4)) < 0.9
    assert pair_similarity(images, np.array([0, 0, 0, 0]), np.array([5, 5, 6, 6])) < 0.9


def test_no_pair_has_no_similarity():
    assert math.isnan(pair_similarity(blobs(3, 0), np.arange(3), np.arange(3)))


def test_nearest_slice_and_its_distance():
    reference = blobs(5, 0)
    distance, index = nearest_distance(reference[[3, 1]], reference)
    assert index.tolist() == [3, 1] and distance == pytest.approx(0, abs=1e-3)
    grey = np.full((1, 16, 16), 100, np.uint8)
    distance, _ = nearest_distance(grey, grey + np.uint8(51))
    assert distance == pytest.approx(0.2, abs=1e-5)


def test_copies_of_the_training_set_have_a_gap_near_one():
    train, held_out = blobs(30, 0), blobs(30, 1)
    assert copy_gap(train[:10], train, held_out) > 0.95
    assert copy_gap(held_out[:10], train, held_out) < -10


def test_fresh_images_have_no_gap_whatever_the_size_of_the_training_set():
    held_out = blobs(40, 1)
    for n in (40, 400):
        assert abs(copy_gap(blobs(60, 2), blobs(n, 0), held_out)) < 0.1


def test_figures_that_could_not_be_taken_become_none():
    assert without_nan({"a": float("nan"), "b": 1.0, "c": [1, 2], "d": np.float64("nan")}) == {
        "a": None, "b": 1.0, "c": [1, 2], "d": None}


def samples_of(images, positions=None):
    n = len(images)
    return Samples(images, np.full((n, 4, 4), 3), np.arange(n) % 4 if positions is None else positions)


def judge(samples, real, train):
    return judge_samples(samples, 8, real, evaluation.features(real.images, CPU), train, CONFIG, CPU, "prior")


def test_samples_are_judged(cheap_features):
    real, train = split_of("test", blobs(24, 1)), blobs(24, 0)
    fresh, copies = judge(samples_of(blobs(20, 2)), real, train), judge(samples_of(train[:20]), real, train)
    black = judge(samples_of(np.zeros((20, 32, 32), np.uint8)), real, train)
    assert fresh["images"] == 20 and fresh["valid"] == 1.0 and fresh["distinct_codes"] == 1
    assert fresh["kid_interval"][0] <= fresh["kid_interval"][1]
    assert black["kid"] > 5 * abs(fresh["kid"]) and black["pair_ssim"] == pytest.approx(1.0)
    assert copies["copy_gap"] > 0.9 > 0.2 > abs(fresh["copy_gap"])
    assert json.loads(json.dumps(fresh, allow_nan=False)) == fresh


def test_codes_out_of_range_are_not_valid(cheap_features):
    real = split_of("test", blobs(24, 1))
    samples = samples_of(blobs(20, 2))
    samples.indices[:5, 0, 0] = -1
    assert judge(samples, real, blobs(24, 0))["valid"] == 0.75


def test_samples_without_a_pair_are_judged(cheap_features):
    samples = samples_of(blobs(20, 2), positions=np.arange(20))
    assert judge(samples, split_of("test", blobs(24, 1)), blobs(24, 0))["pair_ssim"] is None


@pytest.mark.parametrize("kind", ["pixelcnn", "dcgan"])
def test_generate_covers_the_positions(kind):
    torch.manual_seed(0)
    vqvae = VQVAE(VQVAEConfig(image_size=32, downsampling=8, channels=32, n_codes=8, code_dim=4))
    shape = dict(grid=4, n_codes=8, n_positions=3, channels=8)
    prior = (PixelCNN(PixelCNNConfig(**shape, blocks=2, hidden=8)) if kind == "pixelcnn"
             else DCGAN(DCGANConfig(**shape, code_dim=4, noise_dim=4)))
    samples = generate(BrainSampler(vqvae, prior), 7, seed=1)
    assert np.bincount(samples.positions).tolist() == [3, 2, 2]
    assert samples.images.shape == (7, 32, 32)
    assert np.array_equal(generate(BrainSampler(vqvae, prior), 7, seed=1).images, samples.images)


# ---------------------------------------------------------------- any set of images


@pytest.fixture
def splits():
    return split_of("train", blobs(24, 0)), split_of("validate", blobs(24, 1)), split_of("test", blobs(24, 2))


def test_real_images_score_near_the_floor_and_black_ones_do_not(cheap_features, splits):
    real = evaluate_images(blobs(20, 3), np.arange(20) % 4, *splits, CONFIG, CPU)
    black = evaluate_images(np.zeros((20, 32, 32), np.uint8), None, *splits, CONFIG, CPU)
    assert abs(real["kid"]) < 0.2 * black["kid"] and abs(real["kid_floor"]) < 0.2 * black["kid"]
    assert abs(real["pair_ssim"] - real["pair_ssim_real"]) < 0.2
    assert "pair_ssim" not in black
    assert json.loads(json.dumps(real, allow_nan=False)) == real


def test_images_are_compared_with_a_stated_number_of_real_ones(cheap_features, splits):
    config = EvaluationConfig(n_images=18, bootstrap=5)
    result = evaluate_images(blobs(20, 3), None, *splits, config, CPU)
    assert (result["images"], result["real_images"]) == (20, 18)


def test_images_with_the_real_network(splits):
    result = evaluate_images(blobs(16, 3), None, *splits, EvaluationConfig(n_images=16, bootstrap=3), CPU)
    assert result["features"] == evaluation.FEATURES and math.isfinite(result["kid"])


def test_few_subjects_still_have_an_interval(cheap_features, splits):
    """Half of two subjects may be a single slice, which has no kernel distance."""
    train, floor, _ = splits
    lonely = split_of("test", blobs(24, 2), per_subject=23)
    result = evaluate_images(blobs(20, 3), None, train, floor, lonely, CONFIG, CPU)
    json.dumps(result, allow_nan=False)
    assert np.isfinite(result["kid"])


@pytest.mark.parametrize("images", [blobs(20, 3) / 255.0, blobs(20, 3).astype(np.int64), blobs(20, 3)[0],
                                    blobs(20, 3)[..., None]])
def test_images_of_another_type_are_refused(splits, images):
    unchecked = inspect.unwrap(evaluate_images)  # else the shape check of the tests comes first
    with pytest.raises(ValueError, match=r"images must be uint8 \(n, height, width\), not"):
        unchecked(images, None, *splits, CONFIG, CPU)


def test_images_of_another_size_are_refused(splits):
    with pytest.raises(ValueError, match="images are 64x64, the data 32x32: bring them to one size"):
        evaluate_images(blobs(20, 3, size=64), None, *splits, CONFIG, CPU)


def test_too_few_images_are_refused(cheap_features, splits):
    with pytest.raises(ValueError, match="at least 16 images on either side, got 15"):
        evaluate_images(blobs(15, 3), None, *splits, CONFIG, CPU)


# ---------------------------------------------------------------- files


def test_images_of_a_sample_file(tmp_path):
    samples = samples_of(blobs(5, 0))
    samples.save(tmp_path / "samples.npz")
    images, positions = load_images(tmp_path / "samples.npz")
    assert np.array_equal(images, samples.images) and np.array_equal(positions, samples.positions)


def test_positions_are_optional(tmp_path):
    np.savez(tmp_path / "images.npz", images=blobs(5, 0))
    assert load_images(tmp_path / "images.npz")[1] is None


def test_file_without_images(tmp_path):
    np.savez(tmp_path / "other.npz", pictures=blobs(5, 0))
    with pytest.raises(ValueError, match="other.npz has no array 'images': give a file that `sample` wrote"):
        load_images(tmp_path / "other.npz")


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match="cannot read .*none.npz"):
        load_images(tmp_path / "none.npz")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_file(tmp_path, share):
    samples_of(blobs(5, 0)).save(path := tmp_path / "samples.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[:int(share * len(whole))])
    with pytest.raises(ValueError, match="cannot read .*samples.npz"):
        load_images(path)


def test_damaged_file(tmp_path):
    samples_of(blobs(5, 0)).save(path := tmp_path / "samples.npz")
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(range(200))
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot read .*samples.npz"):
        load_images(path)


def test_single_array_is_no_sample_file(tmp_path):
    np.save(tmp_path / "images.npy", blobs(5, 0))
    with pytest.raises(ValueError, match=r"images.npy.*`sample` wrote"):
        load_images(tmp_path / "images.npy")


def test_text_is_no_sample_file(tmp_path):
    (tmp_path / "images.npz").write_text("hello")
    with pytest.raises(ValueError, match="cannot read .*images.npz"):
        load_images(tmp_path / "images.npz")


class Canary:
    def __reduce__(self):
        return (os.mkdir, ("canary",))


def test_pickled_images_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("images.npz", images=np.array([Canary()], dtype=object))
    with pytest.raises(ValueError, match="images.npz"):
        load_images("images.npz")
    assert not (tmp_path / "canary").exists()
