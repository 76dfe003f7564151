"""Quality of single images: PSNR and SSIM in the full frame and inside the brain, and MS-SSIM.

SSIM: Wang 2004 (doi 10.1109/TIP.2003.819861), Gaussian window of sigma 1.5 over 11 pixels, as in
scikit-image with gaussian_weights=True, sigma=1.5, use_sample_covariance=False. Images are float32
in [0, 1], so the data range is 1. MS-SSIM: Wang 2003 (doi 10.1109/ACSSC.2003.1292216).
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from oasis_utils.config import BRAIN_LEVEL

DATA_RANGE = 1.0  # of every metric in this project unless said otherwise

WINDOW, SIGMA = 11, 1.5  # pixels

K1, K2 = 0.01, 0.03  # stabilising constants of the paper

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of MS-SSIM, finest scale first

PSNR_LIMIT = 100.0  # dB that equal images count as in a mean; their own value is infinite


@lru_cache(maxsize=8)
def _banded_matrix(size: int, device: str, dtype: torch.dtype) -> Float[Tensor, "valid size"]:
    if size < WINDOW:
        raise ValueError(f"SSIM needs images of at least {WINDOW} pixels a side, not {size}")
    with torch.inference_mode(False):  # the cached matrix must also serve trainings
        taps = torch.exp(
            -0.5 * ((torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2) / SIGMA) ** 2
        )
        windows = torch.eye(size, dtype=torch.float64).unfold(0, WINDOW, 1)
        return (windows @ (taps / taps.sum())).to(device, dtype)


def window_matrix(size: int, device: str, dtype: torch.dtype) -> Float[Tensor, "valid size"]:
    """Gaussian filtering along one axis as a banded matrix: two products replace a convolution of
    one channel.
    """
    return _banded_matrix(size, device, dtype)


def _filter(images: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch 1 rows cols"]:
    rows, cols = (
        window_matrix(size, str(images.device), images.dtype) for size in images.shape[-2:]
    )
    return rows @ images @ cols.t()


def _ssim_parts(
    a: Float[Tensor, "batch 1 height width"],
    b: Float[Tensor, "batch 1 height width"],
    data_range: float,
) -> tuple[Tensor, Tensor]:
    """(luminance, contrast times structure) of every whole window."""
    with torch.autocast(a.device.type, enabled=False):
        dtype = torch.promote_types(
            a.dtype, torch.float32
        )  # variances cancel: float32 errs by up to 1e-4
        a, b = a.to(dtype), b.to(dtype)
        mean_a, mean_b = _filter(a), _filter(b)
        var_a = _filter(a * a) - mean_a.square()
        var_b = _filter(b * b) - mean_b.square()
        cov = _filter(a * b) - mean_a * mean_b
        c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
        luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
        return luminance, (2 * cov + c2) / (var_a + var_b + c2)


def ssim_map(
    a: Float[Tensor, "batch 1 height width"],
    b: Float[Tensor, "batch 1 height width"],
    data_range: float = DATA_RANGE,
) -> Float[Tensor, "batch 1 rows cols"]:
    """SSIM of every whole window (height - 10 by width - 10), eq. 13 of the paper."""
    luminance, structure = _ssim_parts(a, b, data_range)
    return luminance * structure


def ssim(
    a: Float[Tensor, "batch 1 height width"],
    b: Float[Tensor, "batch 1 height width"],
    data_range: float = DATA_RANGE,
) -> Float[Tensor, " batch"]:
    """Mean SSIM of each pair over the full frame; differentiable.

    Args:
        a: Images, at least 11 pixels a side.
        b: Images of the same shape.
        data_range: Largest minus smallest possible grey level.

    Returns:
        One value in [-1, 1] for each pair.

    Reference:
        Wang 2004, doi 10.1109/TIP.2003.819861, equation 13.
    """
    return ssim_map(a, b, data_range).mean(dim=(1, 2, 3))


def ms_ssim(
    a: Float[Tensor, "batch 1 height width"],
    b: Float[Tensor, "batch 1 height width"],
    data_range: float = DATA_RANGE,
) -> Float[Tensor, " batch"]:
    """Multi-scale SSIM of each pair, in [0, 1]: structure at every scale, luminance at the
    coarsest, each halving by 2x2 means. Five scales need 176 pixels; smaller slices use as many as
    fit, their weights scaled to sum 1.
    """
    scales = min(len(SCALE_WEIGHTS), max(1, (min(a.shape[-2:]) // WINDOW).bit_length()))
    weights = torch.tensor(SCALE_WEIGHTS[:scales], device=a.device) / sum(SCALE_WEIGHTS[:scales])
    result = torch.ones(len(a), device=a.device, dtype=torch.promote_types(a.dtype, torch.float32))
    for scale, weight in enumerate(weights):
        luminance, structure = _ssim_parts(a, b, data_range)
        last = scale == scales - 1
        value = (luminance * structure if last else structure).mean(dim=(1, 2, 3))
        result = result * value.clamp(min=0) ** weight  # a negative similarity has no power
        if not last:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return result


def brain_mask(
    images: Float[Tensor, "batch 1 height width"],
) -> Bool[Tensor, "batch 1 height width"]:
    """Pixels of the brain in skull-stripped slices: everything brighter than the empty background.
    With the skull on it is the head; use `Split.region` there.
    """
    return images > BRAIN_LEVEL


def brain_ssim(
    reference: Float[Tensor, "batch 1 height width"],
    images: Float[Tensor, "batch 1 height width"],
    data_range: float = DATA_RANGE,
    region: Bool[Tensor, "batch 1 height width"] | None = None,
) -> Float[Tensor, " batch"]:
    """SSIM averaged over the brain of `reference` only: the black background flatters the metric of
    the full frame.

    region: the pixels of the brain, `brain_mask` of the reference by default. A slice without any
    scores nan.
    """
    edge = WINDOW // 2
    mask = (brain_mask(reference) if region is None else region)[..., edge:-edge, edge:-edge]
    values = ssim_map(reference, images, data_range) * mask
    return values.sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3))


def psnr(
    a: Float[Tensor, "batch 1 height width"],
    b: Float[Tensor, "batch 1 height width"],
    data_range: float = DATA_RANGE,
) -> Float[Tensor, " batch"]:
    """Peak signal-to-noise ratio of each pair.

    Args:
        a: Images.
        b: Images of the same range.
        data_range: Largest minus smallest possible value.

    Returns:
        Decibels; infinite for equal images.
    """
    error = (a - b).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(data_range**2 / error)


@torch.no_grad()
def slice_scores(
    reference: Float[Tensor, "batch 1 height width"],
    images: Float[Tensor, "batch 1 height width"],
    region: Bool[Tensor, "batch 1 height width"] | None = None,
) -> dict[str, Float[Tensor, " batch"]]:
    """How like each image is to its reference.

    Args:
        reference: the true slices, in [0, 1].
        images: others to compare with them, in [0, 1].
        region: the pixels of the reference that "brain_ssim" covers, see `brain_ssim`;
            `Split.region_name` names them.

    Returns:
        {"ssim", "brain_ssim", "psnr"}: SSIM in the full frame and inside the brain (nan where a
        slice has none), PSNR in dB, at most PSNR_LIMIT.
    """
    reference, images = reference.double(), images.double()
    return {
        "ssim": ssim(reference, images),
        "brain_ssim": brain_ssim(reference, images, region=region),
        "psnr": psnr(reference, images).clamp(max=PSNR_LIMIT),
    }


def score(
    reference: Float[Tensor, "batch 1 height width"],
    images: Float[Tensor, "batch 1 height width"],
    region: Bool[Tensor, "batch 1 height width"] | None = None,
) -> dict[str, float]:
    """Means of `slice_scores` over a set of slices; those without any brain are left out inside the
    brain.
    """
    return {
        name: float(values.nanmean())
        for name, values in slice_scores(reference, images, region).items()
    }
