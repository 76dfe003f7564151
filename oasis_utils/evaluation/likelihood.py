"""Likelihood of maps under a trained prior."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from oasis_utils.data.batches import Batches
from oasis_utils.models.pixelcnn import PixelCNN


@torch.inference_mode()
def prior_nats(prior: PixelCNN, batches: Batches) -> Float[np.ndarray, " n"]:
    """Likelihood of index maps under a trained prior.

    Args:
        prior: A PixelCNN.
        batches: Batches of {"indices", "positions"[, "ages"]}.

    Returns:
        Mean nats per code of each map, in the order of the batches.
    """
    parts = [
        prior.surprisal(batch["indices"], batch["positions"], batch.get("ages"))
        .double()
        .mean((1, 2))
        .cpu()
        .numpy()
        for batch in batches
    ]
    return np.concatenate(parts)
