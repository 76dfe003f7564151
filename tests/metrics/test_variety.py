"""Variety within a position: pairs of slices, and MS-SSIM against its definition."""

import numpy as np
import pytest
import torch
from random_slices import blobs
from scipy.ndimage import gaussian_filter

from oasis_utils.metrics import image_quality as metrics
from oasis_utils.metrics.variety import pair_similarity


@pytest.mark.parametrize("measure", [metrics.ssim, metrics.ms_ssim])
def test_pairs_share_the_position_and_not_the_owner(measure):
    images = blobs(4, 0)[[0, 0, 1, 1]]
    assert pair_similarity(images, np.array([0, 0, 1, 1]), np.arange(4), measure) == pytest.approx(
        1.0
    )
    assert pair_similarity(images, np.array([0, 1, 0, 1]), np.arange(4), measure) < 0.9
    assert pair_similarity(images, np.array([0, 0, 0, 0]), np.array([5, 5, 6, 6]), measure) < 0.9
    assert np.isnan(pair_similarity(blobs(3, 0), np.arange(3), np.arange(3), measure))


def plain_ms_ssim(a, b, weights):
    """Wang 2003 with scipy's filter; means over whole windows only."""

    def smooth(x):
        return gaussian_filter(x, 1.5, truncate=3.5)[5:-5, 5:-5]

    result = 1.0
    for scale, weight in enumerate(weights):
        mean_a, mean_b = smooth(a), smooth(b)
        var_a, var_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
        part = (2 * (smooth(a * b) - mean_a * mean_b) + 0.03**2) / (var_a + var_b + 0.03**2)
        if scale == len(weights) - 1:
            part = part * (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        result *= part.mean() ** weight
        a, b = (x.reshape(len(x) // 2, 2, len(x) // 2, 2).mean((1, 3)) for x in (a, b))
    return result


@pytest.mark.parametrize(("size", "scales"), [(192, 5), (128, 4), (64, 3), (16, 1)])
def test_ms_ssim_of_as_many_scales_as_fit(size, scales):
    a, b = (torch.from_numpy(blobs(1, s, size))[:, None].double() / 255 for s in (0, 1))
    b = 0.7 * a + 0.3 * b
    weights = np.array(metrics.SCALE_WEIGHTS[:scales]) / sum(metrics.SCALE_WEIGHTS[:scales])
    expected = plain_ms_ssim(a[0, 0].numpy(), b[0, 0].numpy(), weights)
    assert float(metrics.ms_ssim(a, b)) == pytest.approx(expected, abs=1e-5)
    assert float(metrics.ms_ssim(a, a)) == pytest.approx(1)
