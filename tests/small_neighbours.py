"""A small untrained PixelCNN that is told the neighbouring slice, one without, and random stacks of
maps for them.
"""

import math

import torch
from small_pixelcnn import AGES, random_maps, sharpened

from oasis_utils.config import NeighbourConfig, PixelCNNConfig
from oasis_utils.models.neighbour_pixelcnn import NO_SLICE, NeighbourPixelCNN, Neighbours
from oasis_utils.models.pixelcnn import PixelCNN

GRID, CODES, POSITIONS, LAYOUT = 6, 10, 4, 8
SIZES = dict(
    grid=GRID, n_codes=CODES, n_positions=POSITIONS, channels=8, blocks=3, first_kernel=5,
    kernel=3, hidden=16, dropout=0.1, code_dim=3,
)  # fmt: skip
KINDS = {
    "plain": {},
    "ages": AGES,
    "layouts": dict(layout=LAYOUT),
    "layouts and ages": dict(layout=LAYOUT, **AGES),
}


def stacks(heads=6, seed=0):
    """Maps of whole stacks with the maps below and above each; a third of the ages is unknown."""
    maps = random_maps(heads * POSITIONS, GRID, CODES, seed).view(heads, POSITIONS, GRID, GRID)
    none = torch.full_like(maps[:, :1], NO_SLICE)
    ages = 30 + 50 * torch.rand(heads, generator=torch.Generator().manual_seed(seed))
    ages[::3] = math.nan
    return {
        "indices": maps.flatten(0, 1),
        "positions": torch.arange(POSITIONS).repeat(heads),
        "ages": ages.repeat_interleave(POSITIONS),
        "below": torch.cat([none, maps[:, :-1]], dim=1).flatten(0, 1).int(),
        "above": torch.cat([maps[:, 1:], none], dim=1).flatten(0, 1).int(),
        "stacks": torch.arange(heads).repeat_interleave(POSITIONS),
    }


def tiny_start(**changes):
    """A PixelCNN with confident predictions; layouts are fitted."""
    torch.manual_seed(0)
    model = PixelCNN(PixelCNNConfig(**SIZES | changes)).eval()
    known = stacks()
    ages = known["ages"] if model.config.knows_age else None
    codebook = torch.randn(CODES, 3, generator=torch.Generator().manual_seed(4))
    model.use_maps(codebook, known["indices"], known["positions"], ages)
    if model.layout is not None:
        for parameter in model.layout.parameters():
            parameter.data.mul_(3)
    return sharpened(model, 5.0)


def tiny_neighbour(start=None, **changes):
    """Begun from a PixelCNN, with stacks of layouts fitted; its neighbour matters at every cell."""
    start = start or tiny_start(**changes)
    torch.manual_seed(1)
    config = NeighbourConfig(stack_directions=3).sized_as(start.config)
    model = NeighbourPixelCNN(config).eval()
    model.start_from(start)
    known = stacks()
    ages = known["ages"] if config.knows_age else None
    model.use_stacks(known["indices"], known["positions"], ages, known["stacks"])
    for parameter in model.neighbour_network.parameters():
        parameter.data.mul_(2)
    return model


def told(model, count=5, seed=3):
    """(positions, ages, neighbours) of some maps: both sides, ages known and unknown."""
    generator = torch.Generator().manual_seed(seed)
    ages = torch.tensor([30.0, math.nan, 81.0, 55.0, 20.0])[:count]
    layouts = torch.randn(count, LAYOUT, generator=generator).to(model.cell_bias)
    neighbours = Neighbours(
        random_maps(count, GRID, CODES, seed),
        torch.tensor([0, 1, 1, 0, 1])[:count],
        layouts if model.layout is not None else None,
    )
    positions = torch.tensor([3, 0, 2, 1, 2])[:count]
    return positions, ages if model.config.knows_age else None, neighbours
