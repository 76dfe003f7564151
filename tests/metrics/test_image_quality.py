"""Image quality: agreement with scikit-image, no flattery by the background, scores of worthless
images.
"""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from oasis_utils.metrics import image_quality as metrics


def noise_images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def disc(size, radius, level=0.8):
    axis = torch.arange(size) - (size - 1) / 2
    return level * ((axis[:, None] ** 2 + axis[None] ** 2) < radius**2).float()


def discs(size, radii):
    return torch.stack([disc(size, radius) for radius in radii])[:, None]


def ramp(rows, cols):
    return torch.linspace(0, 1, rows * cols).view(1, 1, rows, cols)


PAIRS = {
    "noise": (noise_images(1, 1, 48, 48), noise_images(1, 1, 48, 48, seed=1)),
    "slightly noisy": (discs(48, [15]), discs(48, [15]) + 0.05 * noise_images(1, 1, 48, 48)),
    "shifted disc": (discs(48, [15]), discs(48, [15]).roll((3, -2), (2, 3))),
    "disc and black": (discs(48, [15]), torch.zeros(1, 1, 48, 48)),
    "inverted": (ramp(48, 48), 1 - ramp(48, 48)),
    "not square": (ramp(40, 64), noise_images(1, 1, 40, 64)),
    "smallest": (noise_images(1, 1, 11, 11), noise_images(1, 1, 11, 11, seed=1)),
    "darker": (ramp(48, 48), 0.5 * ramp(48, 48)),
}


# ------------------------------------------------------------ SSIM


def reference_ssim(a, b):
    """scikit-image's mean without the border, and its full map."""
    return structural_similarity(
        a[0, 0].double().numpy(),
        b[0, 0].double().numpy(),
        data_range=1,
        full=True,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


@pytest.mark.parametrize("name", PAIRS)
def test_ssim_equals_scikit_image(name):
    a, b = PAIRS[name]
    expected, _ = reference_ssim(a, b)
    assert float(metrics.ssim(a, b)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_ssim_and_psnr_agree_with_torchmetrics(name):
    """In every whole window; torchmetrics' own mean also counts windows that reach over the
    border.
    """
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    a, b = (x.double() for x in PAIRS[name])
    _, full = structural_similarity_index_measure(
        b, a, data_range=1.0, sigma=1.5, return_full_image=True
    )
    assert float(metrics.ssim(a, b)) == pytest.approx(float(full[..., 5:-5, 5:-5].mean()), abs=1e-9)
    assert float(metrics.psnr(a, b)) == pytest.approx(
        float(peak_signal_noise_ratio(b, a, data_range=1.0)), rel=1e-5
    )


def test_ms_ssim_agrees_with_torchmetrics_up_to_the_border():
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    a = noise_images(3, 1, 192, 192).double()
    b = (a + 0.3 * noise_images(3, 1, 192, 192, seed=1)).clamp(0, 1)
    expected = multiscale_structural_similarity_index_measure(
        b, a, data_range=1.0, normalize="relu"
    )
    assert float(metrics.ms_ssim(a, b).mean()) == pytest.approx(float(expected), abs=1e-3)


@pytest.mark.parametrize("name", ["noise", "shifted disc", "not square"])
def test_ssim_map_equals_scikit_image_in_every_whole_window(name):
    a, b = PAIRS[name]
    _, full = reference_ssim(a, b)
    np.testing.assert_allclose(metrics.ssim_map(a, b)[0, 0].numpy(), full[5:-5, 5:-5], atol=5e-4)


@pytest.mark.parametrize("scale", [4.0, 255.0])
def test_ssim_depends_on_the_images_relative_to_the_data_range(scale):
    a, b = PAIRS["shifted disc"]
    torch.testing.assert_close(
        metrics.ssim(scale * a, scale * b, data_range=scale), metrics.ssim(a, b)
    )
    assert abs(float(metrics.ssim(a, b) - metrics.ssim(a, b, data_range=scale))) > 0.01


@pytest.mark.parametrize(
    "images", [noise_images(2, 1, 32, 32), discs(32, [8, 12]), torch.zeros(2, 1, 32, 32)]
)
def test_identical_images_score_one(images):
    torch.testing.assert_close(metrics.ssim(images, images), torch.ones(2))


def test_ssim_is_symmetric_and_scores_each_pair_alone():
    a, b = noise_images(3, 1, 24, 24), noise_images(3, 1, 24, 24, seed=1)
    together = metrics.ssim(a, b)
    torch.testing.assert_close(metrics.ssim(b, a), together)
    torch.testing.assert_close(
        torch.cat([metrics.ssim(a[i : i + 1], b[i : i + 1]) for i in range(3)]), together
    )


def test_ssim_falls_as_noise_grows():
    image = discs(48, [15])
    scores = [
        float(metrics.ssim(image, image + s * noise_images(1, 1, 48, 48)))
        for s in (0, 0.05, 0.2, 0.8)
    ]
    assert scores == sorted(scores, reverse=True) and scores[0] - scores[-1] > 0.5


def test_ssim_is_differentiable():
    reference = noise_images(1, 1, 14, 14)
    image = noise_images(1, 1, 14, 14, seed=1).requires_grad_()
    metrics.ssim(image, reference).sum().backward()
    direction = image.grad / image.grad.norm()
    with torch.no_grad():
        ahead, behind = (metrics.ssim(image + h * direction, reference) for h in (0.01, -0.01))
    assert float(ahead - behind) / 0.02 == pytest.approx(float(image.grad.norm()), rel=0.02)


def test_ssim_has_finite_gradients_on_empty_images():
    image = torch.zeros(1, 1, 16, 16, requires_grad=True)
    metrics.ssim(image, torch.zeros(1, 1, 16, 16)).sum().backward()
    assert image.grad.isfinite().all()


def test_ssim_keeps_float32_inside_a_bfloat16_autocast_block():
    a, b = PAIRS["shifted disc"]
    with torch.autocast("cpu", torch.bfloat16):
        inside = metrics.ssim(a, b)
    assert torch.equal(inside, metrics.ssim(a, b))


@pytest.mark.parametrize("size", [1, 10])
def test_images_below_the_window_are_refused(size):
    with pytest.raises(ValueError, match=f"at least 11 pixels a side, not {size}"):
        metrics.ssim(torch.zeros(1, 1, 20, size), torch.zeros(1, 1, 20, size))


# ------------------------------------------------------------ SSIM inside the brain


def test_brain_mask_is_what_is_brighter_than_the_background():
    levels = torch.tensor([0.0, metrics.BRAIN_LEVEL / 2, 2 * metrics.BRAIN_LEVEL, 1.0]).view(
        1, 1, 2, 2
    )
    assert metrics.brain_mask(levels).flatten().tolist() == [False, False, True, True]


def test_brain_ssim_ignores_the_background():
    reference = discs(64, [12])
    spoiled = reference.clone()
    spoiled[..., :12, :] = noise_images(1, 1, 12, 64)  # further from the disc than half a window
    assert float(metrics.ssim(reference, spoiled)) < 0.95
    assert float(metrics.brain_ssim(reference, spoiled)) == pytest.approx(1, abs=1e-6)


def test_brain_ssim_does_not_depend_on_how_much_background_there_is():
    reference, image = discs(40, [12]), discs(40, [9])
    wide = [torch.nn.functional.pad(x, (20, 20, 20, 20)) for x in (reference, image)]
    torch.testing.assert_close(metrics.brain_ssim(*wide), metrics.brain_ssim(reference, image))
    assert float(metrics.ssim(*wide) - metrics.ssim(reference, image)) > 0.1


def test_brain_ssim_is_the_mean_over_the_brain():
    reference = discs(40, [12, 8])
    image = reference + 0.1 * noise_images(2, 1, 40, 40)
    values = metrics.ssim_map(reference, image)
    inside = (reference > metrics.BRAIN_LEVEL)[..., 5:-5, 5:-5]
    expected = torch.stack([values[i][inside[i]].mean() for i in range(2)])
    torch.testing.assert_close(metrics.brain_ssim(reference, image), expected)


def test_brain_ssim_takes_the_brain_from_the_reference():
    a, b = discs(40, [12]), discs(40, [7])
    assert abs(float(metrics.brain_ssim(a, b) - metrics.brain_ssim(b, a))) > 0.01


def test_an_empty_reference_scores_nan():
    reference = torch.cat([torch.zeros(1, 1, 32, 32), discs(32, [9])])
    assert metrics.brain_ssim(reference, reference).isnan().tolist() == [True, False]


# ------------------------------------------------------------ PSNR


@pytest.mark.parametrize("name", PAIRS)
def test_psnr_equals_scikit_image(name):
    a, b = PAIRS[name]
    expected = peak_signal_noise_ratio(
        a[0, 0].double().numpy(), b[0, 0].double().numpy(), data_range=1
    )
    assert float(metrics.psnr(a, b)) == pytest.approx(expected, abs=1e-4)


def test_psnr_closed_form():
    a = torch.zeros(2, 1, 8, 8)
    b = torch.tensor([0.1, 0.01]).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    torch.testing.assert_close(metrics.psnr(a, b), torch.tensor([20.0, 40.0]))
    torch.testing.assert_close(metrics.psnr(a, b, data_range=10.0), torch.tensor([40.0, 60.0]))


def test_psnr_of_equal_images_is_infinite():
    images = noise_images(2, 1, 8, 8)
    assert metrics.psnr(images, images).tolist() == [math.inf, math.inf]


# ------------------------------------------------------------ floors


def check_partners(subjects, positions, partner):
    for slice_, other in enumerate(partner.tolist()):
        candidates = (positions == positions[slice_]) & (subjects != subjects[slice_])
        assert (other == -1) == (not candidates.any())
        assert other == -1 or candidates[other]


@pytest.mark.parametrize("seed", range(10))
def test_other_subject_keeps_the_position_and_never_the_subject(seed):
    generator = torch.Generator().manual_seed(seed)
    subjects = torch.randint(5, (60,), generator=generator)
    positions = torch.randint(8, (60,), generator=generator)
    check_partners(subjects, positions, metrics.other_subject(subjects, positions))


def test_other_subject_in_a_full_split():
    subjects, positions = torch.arange(6).repeat_interleave(4), torch.arange(4).repeat(6)
    partner = metrics.other_subject(subjects, positions)
    check_partners(subjects, positions, partner)
    assert sorted(partner.tolist()) == list(range(24))  # everybody stands in for somebody else once


def test_other_subject_is_minus_one_where_nobody_else_has_the_position():
    subjects, positions = torch.tensor([3, 3, 9, 3]), torch.tensor([0, 1, 1, 1])
    assert metrics.other_subject(subjects, positions).tolist() == [-1, 2, 1, 2]
    alone = torch.zeros(3, dtype=torch.long)
    assert metrics.other_subject(alone, alone).tolist() == [-1, -1, -1]


@pytest.fixture(scope="module")
def split():
    """Three subjects with slices at two positions: discs, whose radius grows with both."""
    subjects, positions = torch.arange(3).repeat_interleave(2), torch.arange(2).repeat(3)
    return discs(40, (8 + 2 * subjects + positions).tolist()), subjects, positions


def test_floors_are_the_scores_of_worthless_images(split):
    images, subjects, positions = split
    mean = images.mean(0)
    found = metrics.floors(images, mean, subjects, positions)
    assert set(found) == {"black", "mean", "other_subject"}
    assert found["black"] == metrics.score(images, torch.zeros_like(images))
    assert found["mean"] == metrics.score(images, mean.expand(6, 1, 40, 40))
    assert found["other_subject"] == metrics.score(
        images, images[metrics.other_subject(subjects, positions)]
    )


def test_black_scores_least_inside_the_brain(split):
    images, subjects, positions = split
    found = metrics.floors(images, images.mean(0), subjects, positions)
    assert found["black"]["brain_ssim"] < 0.1 < found["black"]["ssim"]  # the background flatters
    assert all(floor["brain_ssim"] < 1 and floor["psnr"] < 40 for floor in found.values())


def test_floors_leave_out_slices_without_a_partner(split):
    images, subjects, positions = split
    alone = torch.cat([images, discs(40, [4])])
    found = metrics.floors(
        alone,
        images.mean(0),
        torch.cat([subjects, torch.tensor([3])]),
        torch.cat([positions, torch.tensor([7])]),
    )
    without = metrics.floors(images, images.mean(0), subjects, positions)
    assert found["other_subject"] == without["other_subject"]


def test_a_single_subject_has_no_other_subject(split):
    images, _, positions = split
    found = metrics.floors(
        images[:2], images.mean(0), torch.zeros(2, dtype=torch.long), positions[:2]
    )
    assert set(found) == {"black", "mean"}


def test_the_neighbour_is_the_next_slice_of_the_same_subject():
    subjects, positions = torch.tensor([1, 2, 1, 1, 2, 3]), torch.tensor([0, 0, 1, 2, 2, 1])
    assert metrics.neighbour(subjects, positions).tolist() == [2, -1, 3, 2, -1, -1]


def test_two_sessions_of_a_subject_are_two_heads():
    """One entry for each slice, never one of another session, although subject and position are the
    same.
    """
    series, positions = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 0, 1, 0, 1])
    assert metrics.neighbour(series, positions).tolist() == [1, 0, 3, 2, 5, 4]
    subjects = torch.tensor([7, 7, 7, 7, 8, 8])
    assert metrics.other_subject(subjects, positions).tolist() == [4, 5, 4, 5, 0, 1]
    with pytest.raises(
        ValueError, match="2 slices share series and position with another one: pass Split.series"
    ):
        metrics.neighbour(subjects, positions)


@pytest.mark.parametrize("seed", range(10))
def test_the_neighbour_is_of_the_same_series_and_one_position_away(seed):
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(60, generator=generator)[
        :40
    ]  # of 6 series with 10 positions, in any order
    series, positions = chosen // 10, chosen % 10
    near = metrics.neighbour(series, positions)
    assert near.shape == (40,)
    for row, other in enumerate(near.tolist()):
        beside = (series == series[row]) & ((positions - positions[row]).abs() == 1)
        assert beside[other] if other >= 0 else not beside.any()


def test_yardsticks_score_every_slice_of_two_sessions(split):
    images, subjects, positions = split
    series = torch.cat([subjects, subjects + 3])
    found = metrics.yardsticks(torch.cat([images, images]), images[:2], series, positions.repeat(2))
    assert found["neighbour"] == pytest.approx(metrics.score(images, images[[1, 0, 3, 2, 5, 4]]))


def test_yardsticks_are_the_scores_of_informed_answers(split):
    images, subjects, positions = split
    means = torch.stack([images[positions == p].mean(0) for p in range(2)])
    found = metrics.yardsticks(images, means, subjects, positions)
    assert list(found) == ["position_mean", "blur_2", "blur_1", "neighbour"]
    assert found["position_mean"] == metrics.score(images, means.repeat(3, 1, 1, 1))
    assert found["neighbour"] == metrics.score(images, images[[1, 0, 3, 2, 5, 4]])
    for metric in ("ssim", "brain_ssim", "psnr"):
        assert found["blur_2"][metric] < found["blur_1"][metric]


def test_blur_is_a_gaussian_of_that_width(split):
    images, subjects, positions = split
    fakes = torch.from_numpy(gaussian_filter(images.numpy(), (0, 0, 2, 2), mode="mirror"))
    found = metrics.yardsticks(images, images[:2], subjects, positions)["blur_2"]
    assert found == pytest.approx(metrics.score(images, fakes), rel=1e-3)


def test_score_of_a_perfect_reconstruction():
    images = torch.cat(
        [discs(40, [12, 8]), torch.zeros(1, 1, 40, 40)]
    )  # the empty slice has no brain
    found = metrics.score(images, images)
    one = pytest.approx(1, abs=1e-6)
    assert found == {"ssim": one, "brain_ssim": one, "psnr": 100.0}


def test_score_is_the_mean_over_slices(split):
    images, _, _ = split
    fakes = images + 0.1 * noise_images(*images.shape)
    found = metrics.score(images, fakes)
    assert found["ssim"] == pytest.approx(float(metrics.ssim(images, fakes).mean()))
    assert found["psnr"] == pytest.approx(float(metrics.psnr(images, fakes).mean()))


def test_a_training_may_follow_a_first_look_in_inference_mode():
    """What is kept from call to call must not be an inference tensor."""
    metrics._banded_matrix.cache_clear()
    images = noise_images(2, 1, 20, 24)
    with torch.inference_mode():
        first = metrics.ssim(images, images.flip(-1))
    reconstruction = images.flip(-1).clone().requires_grad_()
    found = metrics.ssim(reconstruction, images)
    found.sum().backward()
    assert torch.equal(found.detach(), first) and reconstruction.grad.abs().sum() > 0
