"""Hand-crafted radiomic features of slices, after the Frechet radiomic distance (arXiv 2412.01496).

About thirty named features describe shape, symmetry, grey levels, edges, texture (Haralick 1973,
doi 10.1109/TSMC.1973.4309314) and spectrum of the foreground: the brain in skull-stripped slices,
the head where the skull is on.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from oasis_utils.config import BRAIN_LEVEL
from oasis_utils.metrics.features import as_floats
from oasis_utils.runtime.symmetry import LEFT_RIGHT, Symmetry

RADIOMIC = (
    "hand-crafted features of shape, grey levels, edges, texture and spectrum, in training"
    " deviations"
)
SLICES_AT_ONCE = 64  # slices described at once; torch sorts at most 16 million pixels
RING_EDGES = (0.01, 0.03, 0.06, 0.12, 0.25, 0.5)  # edges of the spectrum's rings, cycles per pixel
TEXTURE_LEVELS = 8  # grey levels of the texture counts


def radiomic(
    images: UInt8[np.ndarray, "n height width"], symmetry: Symmetry = LEFT_RIGHT
) -> Float[np.ndarray, "n numbers"]:
    """The numbers of each slice, not yet standardised; `radiomic_table` names them."""
    return np.stack(list(radiomic_table(images, symmetry).values()), axis=1)


@torch.inference_mode()
def radiomic_table(
    images: UInt8[np.ndarray, "n height width"], symmetry: Symmetry = LEFT_RIGHT
) -> dict[str, Float[np.ndarray, " n"]]:
    """The radiomic numbers by name, of slices turned so that their mid-line is vertical.

    Args:
        images: uint8 (n, height, width).
        symmetry: Where the mid-line is.

    Returns:
        {name: value of each slice}: 30 numbers, 28 without symmetry. Lengths are fractions of the
        frame, grey levels lie in [0, 1]. An empty slice scores 0 where a number needs a foreground.

    Reference:
        Haralick 1973, doi 10.1109/TSMC.1973.4309314, for the numbers on texture.
    """
    parts = [
        _describe(symmetry.upright(as_floats(images[i : i + SLICES_AT_ONCE])[:, 0]), bool(symmetry))
        for i in range(0, len(images), SLICES_AT_ONCE)
    ]
    return {
        name: np.nan_to_num(
            torch.cat([part[name] for part in parts]).double().numpy(), posinf=0, neginf=0
        )
        for name in parts[0]
    }


def radiomic_text(symmetry: Symmetry = LEFT_RIGHT) -> str:
    """How many radiomic numbers there are, and on what."""
    count = len(radiomic_table(np.zeros((1, 16, 16), np.uint8), symmetry))
    return f"{count} {RADIOMIC.replace('shape,', 'shape, symmetry,') if symmetry else RADIOMIC}"


def _describe(x: Float[Tensor, "n height width"], symmetric: bool) -> dict[str, Tensor]:
    brain = x > BRAIN_LEVEL
    return {
        **_shape(x, brain),
        **(_asymmetry(x, brain) if symmetric else {}),
        **_grey_levels(x, brain),
        **_edges(x, brain),
        **_texture(x, brain),
        **_spectrum(x),
    }


def _mean(values: Tensor, where: Tensor) -> Float[Tensor, " n"]:
    return (values * where).sum((1, 2)) / where.sum((1, 2))


def _shape(
    x: Float[Tensor, "n height width"], brain: Bool[Tensor, "n height width"]
) -> dict[str, Tensor]:
    _, rows, cols = x.shape
    area = brain.sum((1, 2)).clamp(min=1)
    height, width = brain.any(2).sum(1) / rows, brain.any(1).sum(1) / cols
    row = (brain.sum(2) * torch.arange(rows)).sum(1) / area
    col = (brain.sum(1) * torch.arange(cols)).sum(1) / area
    edge = brain & ~(-F.max_pool2d(-brain.float()[:, None], 3, 1, 1)[:, 0]).bool()
    return {
        "area": area / (rows * cols),
        "height": height,
        "width": width,
        "fill": area / (rows * cols) / (height * width),
        "row": row / rows,
        "column": col / cols,
        "outline": edge.sum((1, 2)) / area.sqrt(),
    }


def _asymmetry(
    x: Float[Tensor, "n height width"], brain: Bool[Tensor, "n height width"]
) -> dict[str, Tensor]:
    """Against the mirror image across the column of the centre of mass."""
    n, rows, cols = x.shape
    col = (brain.sum(1) * torch.arange(cols)).sum(1) / brain.sum((1, 2)).clamp(min=1)
    mirror = (
        (2 * col.round()[:, None] - torch.arange(cols))
        .clamp(0, cols - 1)
        .long()[:, None]
        .expand(n, rows, cols)
    )
    twin, twin_brain = x.gather(2, mirror), brain.gather(2, mirror)
    return {
        "asymmetry": (x - twin).abs().sum((1, 2)) / x.sum((1, 2)).clamp(min=1e-6),
        "overlap": (brain & twin_brain).sum((1, 2)) / (brain | twin_brain).sum((1, 2)).clamp(min=1),
    }


def _grey_levels(
    x: Float[Tensor, "n height width"], brain: Bool[Tensor, "n height width"]
) -> dict[str, Tensor]:
    mean = _mean(x, brain)
    centred = x - mean[:, None, None]
    deviation = _mean(centred.square(), brain).sqrt()
    scaled = centred / deviation.clamp(min=1e-6)[:, None, None]
    low, middle, high = (
        x.masked_fill(~brain, torch.nan)
        .flatten(1)
        .nanquantile(torch.tensor([0.1, 0.5, 0.9]), dim=1)
    )
    ring = (F.max_pool2d(brain.float()[:, None], 5, 1, 2)[:, 0] > 0) & ~brain
    return {
        "mean": mean,
        "deviation": deviation,
        "skewness": _mean(scaled**3, brain),
        "kurtosis": _mean(scaled**4, brain),
        "10th percentile": low,
        "median": middle,
        "90th percentile": high,
        "around the outline": _mean(x, ring),
    }


def _edges(
    x: Float[Tensor, "n height width"], brain: Bool[Tensor, "n height width"]
) -> dict[str, Tensor]:
    down, right = torch.gradient(x, dim=(1, 2))
    laplace = F.conv2d(
        x[:, None], torch.tensor([[[[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]]]), padding=1
    )[:, 0]
    return {
        "gradient": _mean((down.square() + right.square()).sqrt(), brain),
        "sharpness": _mean(laplace.square(), brain).sqrt(),
    }


def _texture(
    x: Float[Tensor, "n height width"], brain: Bool[Tensor, "n height width"]
) -> dict[str, Tensor]:
    """Haralick's contrast, homogeneity, correlation and energy of neighbours 1 pixel apart, the
    first also 4 apart.
    """
    level = (x * TEXTURE_LEVELS).clamp(max=TEXTURE_LEVELS - 1).floor()
    near, far = _neighbours(level, brain, 1), _neighbours(level, brain, 4)
    a, b, where = near
    counts = torch.zeros(len(x), TEXTURE_LEVELS * TEXTURE_LEVELS).scatter_add_(
        1, (a * TEXTURE_LEVELS + b).long(), where.float()
    )
    share = counts / where.sum(1, keepdim=True).clamp(min=1)
    return {
        "contrast": _pairs((a - b).square(), where),
        "contrast, 4 pixels": _pairs((far[0] - far[1]).square(), far[2]),
        "homogeneity": _pairs(1 / (1 + (a - b).square()), where),
        "energy": share.square().sum(1),
        "correlation": _correlation(*near),
        "correlation, 4 pixels": _correlation(*far),
    }


def _neighbours(level: Tensor, brain: Tensor, apart: int) -> tuple[Tensor, Tensor, Tensor]:
    """(grey level, grey level of the neighbour, both in the foreground), each (n, pairs), down and
    to the right.
    """

    def pairs(x: Tensor) -> tuple[Tensor, Tensor]:
        first = torch.cat([x[:, :-apart].flatten(1), x[:, :, :-apart].flatten(1)], 1)
        return first, torch.cat([x[:, apart:].flatten(1), x[:, :, apart:].flatten(1)], 1)

    (a, b), (in_a, in_b) = pairs(level), pairs(brain)
    return a, b, in_a & in_b


def _pairs(values: Tensor, where: Tensor) -> Float[Tensor, " n"]:
    return (values * where).sum(1) / where.sum(1)


def _correlation(a: Tensor, b: Tensor, where: Tensor) -> Float[Tensor, " n"]:
    mean_a, mean_b = _pairs(a, where), _pairs(b, where)
    spread = (_pairs(a * a, where) - mean_a**2).clamp(min=0) * (
        _pairs(b * b, where) - mean_b**2
    ).clamp(min=0)
    return (_pairs(a * b, where) - mean_a * mean_b) / spread.sqrt().clamp(min=1e-6)


def _spectrum(x: Float[Tensor, "n height width"]) -> dict[str, Tensor]:
    """log10 of the share of power in rings of spatial frequency."""
    power = torch.fft.rfft2(x).abs().square()
    frequency = torch.hypot(
        torch.fft.fftfreq(x.shape[1])[:, None], torch.fft.rfftfreq(x.shape[2])[None]
    )
    total = (power * (frequency >= RING_EDGES[0])).sum((1, 2)).clamp(min=1e-9)
    rings = {
        f"{low:g} to {high:g} cycles a pixel": (
            power * ((frequency >= low) & (frequency < high))
        ).sum((1, 2))
        for low, high in itertools.pairwise(RING_EDGES)
    }
    return {name: torch.log10(ring / total + 1e-9) for name, ring in rings.items()}
