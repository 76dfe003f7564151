"""Learned features of slices, and the scale of features in training deviations.

The network (`feature_network`) was trained on photographs: its features react to blur and noise
more than to anatomy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from oasis_utils.metrics.feature_network import feature_network
from oasis_utils.runtime import Progress

LEARNED = "EfficientNet-Lite0, ImageNet weights, pooled last layer (1280), slices resized to 224"
NETWORK_BATCH = {"cpu": 4, "cuda": 128}  # slices in the network at once
# training deviations at which a radiomic number is cut: one wild slice must not decide a distance
MAX_DEVIATIONS = 5.0


def as_floats(images: UInt8[np.ndarray, "n height width"]) -> Float[Tensor, "n 1 height width"]:
    """8-bit slices as float32 in [0, 1]."""
    return torch.from_numpy(np.array(images))[:, None].float() / 255


@torch.inference_mode()
def learned(
    images: UInt8[np.ndarray, "n height width"], device: torch.device, label: str = ""
) -> Float[np.ndarray, "n 1280"]:
    """Pooled network features of grey slices: three equal channels, (255 x - 127) / 128, 224
    pixels. label: names the progress; without one none is shown.
    """
    network, rows, size = feature_network(str(device)), [], NETWORK_BATCH.get(device.type, 32)
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
            rows.append(network(batch).mean(dim=(2, 3)).float().cpu().numpy())
            if progress:
                progress.update(start + len(batch))
    return np.concatenate(rows)


def projection(
    features: Float[np.ndarray, "n dim"], kept: int
) -> Callable[[np.ndarray], np.ndarray]:
    """The function to coordinates along the `kept` leading principal components of training rows.

    Signs of the coordinates are arbitrary; distances between rows do not depend on them.
    """
    from sklearn.decomposition import PCA  # slow to import

    return PCA(kept, svd_solver="full").fit(features.astype(np.float64)).transform


@dataclass(frozen=True)
class Standardizer:
    """Mean and deviation of training features, to express each feature in units of the real spread.

    Values beyond MAX_DEVIATIONS are cut, which scikit-learn's StandardScaler cannot do.

    Attributes:
        mean: Of each feature over the training rows.
        deviation: Of each feature; 1 where the training rows do not differ.
    """

    mean: Float[np.ndarray, " dim"]
    deviation: Float[np.ndarray, " dim"]

    @classmethod
    def fit(cls, features: Float[np.ndarray, "n dim"]) -> Standardizer:
        """From training features, one row a slice."""
        deviation = features.std(0).astype(np.float64)
        return cls(features.mean(0).astype(np.float64), np.where(deviation > 1e-9, deviation, 1.0))

    def __call__(self, features: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n dim"]:
        """Features in training deviations, cut at MAX_DEVIATIONS."""
        return np.clip((features - self.mean) / self.deviation, -MAX_DEVIATIONS, MAX_DEVIATIONS)
