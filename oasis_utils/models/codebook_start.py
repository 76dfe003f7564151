"""A start for a network that reads and predicts codes: codes that look alike start alike.

From random weights every code is a stranger, which a prior must meet often before it knows that two
of them are nearly the same. The codebook of the VQ-VAE tells it at once.
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from oasis_utils.models.gated_network import GatedNetwork

OWN = 0.1  # share of the variance of an embedding that a code has for itself
LOGITS = 0.3  # standard deviation of what an input of unit variance adds to the logits


@torch.no_grad()
def start_from_codebook(
    network: GatedNetwork,
    codebook: Float[Tensor, "n_codes dim"],
    indices: Int[Tensor, "n rows cols"],
) -> None:
    """Set the embedding and the layer of logits by the codes of the VQ-VAE, through random
    projections.

    Args:
        network: whose embedding of codes and layer of logits are set.
        codebook: the codes of the VQ-VAE.
        indices: training maps. The logits start with the frequencies of their codes.
    """
    codes = (codebook - codebook.mean(0)) / codebook.std(0).clamp(min=1e-6)
    embedding, output = network.embedding.weight, cast("nn.Conv2d", network.head[-1])
    own = torch.randn_like(embedding)
    read = _projected(codes, network.config.channels)
    embedding.copy_((1 - OWN) ** 0.5 * read + OWN**0.5 * own)
    weights = LOGITS * _projected(codes, network.config.hidden) / network.config.hidden**0.5
    output.weight.copy_(weights[:, :, None, None])
    assert output.bias is not None  # as `GatedNetwork` makes it
    counts = torch.bincount(indices.flatten(), minlength=len(codes)) + 1.0
    output.bias.copy_((counts / counts.sum()).log())


def _projected(codes: Tensor, width: int) -> Tensor:
    """The codes in a space of so many dimensions, of unit variance in each."""
    directions = torch.randn(codes.shape[1], width).to(codes)
    return codes @ directions / codes.shape[1] ** 0.5
