"""Marks and values of the tests of what must hold on a GPU."""

import pytest
import torch
from small_pixelcnn import sharpened, tiny

from oasis_utils.models.cached_sampling import RowCache
from oasis_utils.models.drawing import uniform_noise
from oasis_utils.models.kept_steps import Step

CPU = torch.device("cpu")

HAS_GPU = torch.cuda.is_available()

needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")


def prior(device, **changes):
    return sharpened(tiny(**changes)).to(device)


def inputs(model, batch=5, seed=0):
    config, device = model.config, model.cell_bias.device
    noise = uniform_noise([seed * 100 + i for i in range(batch)], config.grid).to(device)
    return (torch.arange(batch) % config.n_positions).to(device), noise


@torch.no_grad()
def one_by_one(model, positions, noise, options):
    """Codes of a fresh step that is not recorded: each kernel launched by itself."""
    cache, maps = (
        RowCache(model, positions),
        torch.zeros(noise.shape, dtype=torch.long, device=noise.device),
    )
    step = Step(cache, options, record=False)
    for row in range(noise.shape[1]):
        cache.start_row(row, maps[:, row - 1] if row else None)
        for col in range(noise.shape[2]):
            maps[:, row, col] = step(noise[:, row, col])
    return maps
