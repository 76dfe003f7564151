"""Image quality: agreement with scikit-image, no flattery by the background, scores of worthless
images.
"""

import math

import numpy as np
import pytest
import torch
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


@pytest.fixture(scope="module")
def split():
    """Three subjects with slices at two positions: discs, whose radius grows with both."""
    subjects, positions = torch.arange(3).repeat_interleave(2), torch.arange(2).repeat(3)
    return discs(40, (8 + 2 * subjects + positions).tolist()), subjects, positions


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
