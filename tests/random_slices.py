"""Random vectors, pictures and splits for the tests of metrics and evaluation."""

import numpy as np
import torch

from oasis_utils.data.dataset import Split


def blobs(n, seed, size=32):
    """Smooth random pictures, no two alike."""
    coarse = torch.rand(n, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(
        coarse, size=(size, size), mode="bilinear", align_corners=True
    )
    return (smooth[:, 0] * 255).to(torch.uint8).numpy()


def split_of(name, images, per_subject=4):
    n = len(images)
    rows = np.arange(n)
    ages = np.full(n, np.nan, np.float32)
    return Split(name, images, rows // per_subject + 100 * len(name), rows % per_subject, ages)


def vectors(n, seed, shift=0.0, dim=8):
    return (np.random.default_rng(seed).standard_normal((n, dim)) + shift).astype(np.float32)
