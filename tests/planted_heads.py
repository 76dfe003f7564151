"""Drawn heads whose sides differ, for the tests of anomalies."""

import numpy as np


def heads(n=4, size=64):
    """Ellipses with a bright left and a darker right half, and a little noise."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    inside = (y / 28) ** 2 + (x / 24) ** 2 < 1
    noise = np.random.default_rng(0).integers(0, 20, (n, size, size))
    return np.where(inside, np.where(x < 0, 150, 90) + noise, 0).astype(np.uint8)
