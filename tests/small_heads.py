"""Small heads with a texture of their own and ventricles that widen with age."""

import numpy as np
import torch

from oasis_utils.data.dataset import Split


def small_heads(n=12, positions=16, size=32, seed=0):
    """(blocks of heads, their ages): leaning ellipsoids, smooth along the stack."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(
        np.linspace(-0.8, 0.8, positions), *[np.linspace(-1.2, 1.2, size)] * 2, indexing="ij"
    )
    ages, blocks = rng.uniform(20, 90, n), []
    for age in ages:
        coarse = torch.from_numpy(rng.uniform(90, 220, (1, 1, 3, 5, 5)))
        fine = torch.nn.functional.interpolate(
            coarse, size=(positions, size, size), mode="trilinear", align_corners=True
        )[0, 0].numpy()
        shape = (x / rng.uniform(0.75, 0.9)) ** 2 + (y - 0.15 * z) ** 2 + (z / 1.2) ** 2 < 1
        fluid = x**2 + y**2 + z**2 < (0.15 + 0.004 * age) ** 2
        blocks.append(np.where(shape, np.where(fluid, 20, fine), 0))
    return np.array(blocks).astype(np.uint8), ages


def split_of_heads(blocks, ages, name="train", people=None):
    """A split with one session for each head; people: whose it is."""
    n, positions = blocks.shape[:2]
    people = np.arange(n) if people is None else people
    return Split(
        name,
        blocks.reshape(-1, *blocks.shape[2:]),
        np.repeat(people, positions),
        np.tile(np.arange(positions), n),
        np.repeat(ages, positions).astype(np.float32),
        series=np.repeat(np.arange(n) + 50, positions),
    )
