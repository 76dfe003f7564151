"""Likelihood of maps under a trained prior."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from oasis_utils.data.batches import Batches
from oasis_utils.models.pixelcnn import PixelCNN


@torch.inference_mode()
def prior_nats(prior: PixelCNN, batches: Batches) -> Float[np.ndarray, " n"]:
    """Mean nats per code of each map under a prior, in the order of the batches {"indices",
    "positions"[, "ages"]}.
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
