"""A small untrained DCGAN and random maps for it: shared by the tests of its modules."""

import dataclasses

import torch
from torch import nn

from oasis_utils.config import DCGANConfig
from oasis_utils.models.dcgan import DCGAN

CONFIG = DCGANConfig(grid=8, n_codes=12, code_dim=3, n_positions=5, noise_dim=6, channels=8)


def changed(**values):
    return dataclasses.replace(CONFIG, **values)


def tiny(config=CONFIG):
    torch.manual_seed(0)
    return DCGAN(config)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_maps(count, config=CONFIG, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.n_codes, (count, config.grid, config.grid), generator=generator)


def batch(count=6):
    return {
        "indices": random_maps(count),
        "positions": torch.arange(count) * CONFIG.n_positions // count,
    }


class StandIn(nn.Module):
    """A discriminator whose score of a map x is a given function of x alone."""

    def __init__(self, score):
        super().__init__()
        self.weight, self.score = nn.Parameter(torch.zeros(())), score

    def forward(self, maps, positions, ages=None):
        return self.score(maps) + self.weight
