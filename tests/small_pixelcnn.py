"""A small untrained PixelCNN and random maps for it: shared by the tests of the network and of its
sampler.
"""

import torch

from oasis_utils.config import PixelCNNConfig
from oasis_utils.models.pixelcnn import PixelCNN

AGES = dict(age_mean=50.0, age_std=20.0)


def tiny(**changes):
    values = (
        dict(
            grid=6,
            n_codes=10,
            n_positions=4,
            channels=8,
            blocks=3,
            first_kernel=5,
            kernel=3,
            hidden=16,
            dropout=0.1,
        )
        | changes
    )
    torch.manual_seed(0)
    return PixelCNN(PixelCNNConfig(**values)).eval()


def random_maps(count, grid=6, n_codes=10, seed=0):
    return torch.randint(
        n_codes, (count, grid, grid), generator=torch.Generator().manual_seed(seed)
    )


def sharpened(model, factor=20.0):
    """The same model with confident predictions, so that a wrong logit changes the samples."""
    with torch.no_grad():
        model.head[-1].weight.mul_(factor)
        model.cell_bias.normal_(generator=torch.Generator().manual_seed(1))
    return model
