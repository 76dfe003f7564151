"""Small quantisers and latents: shared by the tests of quantisation."""

import torch

from oasis_utils.models.quantizer import VectorQuantizer


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def latent_map(flat, rows=4):
    """(n, dim) vectors as latents (1, dim, rows, n / rows), in the order of the cells."""
    return flat.view(1, rows, -1, flat.shape[1]).permute(0, 3, 1, 2)


def prepared(codebook, **options):
    """A quantiser that has already begun with this codebook, each code used once."""
    quantizer = VectorQuantizer(*codebook.shape, **options)
    quantizer.load_state_dict(
        {
            "codebook": codebook,
            "sums": codebook,
            "counts": torch.ones(len(codebook)),
            "started": torch.tensor(True),
        }
    )
    return quantizer


def used(quantizer, latents):
    return len(quantizer(latents).indices.unique())
