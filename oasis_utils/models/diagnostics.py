"""Diagnostics of a DCGAN: variety of its maps, use of its codes, signs of a failing training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from oasis_utils.config import DCGANConfig

# real minus drawn score (odds of 55 to 1) from which the discriminator overpowers the generator
MARGIN_LIMIT = 4.0
# share of the real variety at one position below which drawn maps are nearly alike
VARIETY_LIMIT = 0.3


def symptoms(history: Sequence[Mapping[str, float]]) -> list[str]:
    """Signs of a failing adversarial training.

    Args:
        history: records of the epochs so far, as from `DCGAN.step` and `DCGAN.validate`.

    Returns:
        A sentence for each problem after the last epoch, with what to try; empty if there is none.
    """
    found, last = [], history[-1]
    if (
        last.get("discriminator_margin", 0.0) > MARGIN_LIMIT
        and last.get("held_out_accuracy", 0.0) > 0.95
    ):
        found.append(
            "the discriminator overpowers the generator: try a larger gamma, a smaller"
            " learning_rate or loss='relativistic'"
        )
    if len(history) > 1 and last.get("variety", 1.0) < min(
        VARIETY_LIMIT, history[-2].get("variety", 1.0)
    ):
        found.append(
            "the drawn maps of one position are nearly alike, and more so than before (mode"
            " collapse): try loss='relativistic', a larger gamma or a larger batch_size"
        )
    return found


def with_adversarial_losses(
    history: Sequence[Mapping[str, Any]], config: DCGANConfig
) -> list[dict[str, Any]]:
    """Records of a training with the losses that compare scores, without penalty and commitment.

    Args:
        history: records as from `DCGAN.step` and `DCGAN.validate`.
        config: the weights `gamma` and `commitment`.

    Returns:
        The records; those with losses also have "discriminator_adversarial" and
        "generator_adversarial".
    """
    records = [dict(record) for record in history]
    for record in records:
        if "generator_loss" in record:  # not at step 0
            penalty = 0.5 * config.gamma * record.get("discriminator_penalty", 0.0)
            commitment = config.commitment * record["generator_commitment"]
            record["discriminator_adversarial"] = record["discriminator_loss"] - penalty
            record["generator_adversarial"] = record["generator_loss"] - commitment
    return records


def position_spread(vectors: Float[Tensor, "n dim"], positions: Int[Tensor, " n"]) -> float:
    """Unbiased variance within a position, summed over dimensions, mean over rows; 0 if no position
    occurs twice.
    """
    positions = positions.unique(return_inverse=True)[1]
    counts = torch.bincount(positions)
    means = torch.zeros(len(counts), vectors.shape[1], device=vectors.device, dtype=vectors.dtype)
    means = means.index_add_(0, positions, vectors) / counts[:, None]
    squares = (vectors - means[positions]).square().sum()
    return float(squares / (counts - 1).sum().clamp(min=1))


def code_divergence(a: Int[Tensor, ...], b: Int[Tensor, ...], n_codes: int) -> float:
    """Jensen-Shannon divergence of two code histograms.

    Args:
        a: codes in [0, n_codes), of any shape.
        b: codes of the other set.
        n_codes: K, size of the codebook.

    Returns:
        Nats, in [0, ln 2]; 0 for equal histograms.

    Reference:
        Lin 1991, doi 10.1109/18.61115.
    """
    p, q = (torch.bincount(x.flatten(), minlength=n_codes).double() / x.numel() for x in (a, b))
    middle = (p + q) / 2
    of_p, of_q = (torch.xlogy(x, x / middle.clamp(min=1e-30)).sum() for x in (p, q))
    return float((of_p + of_q) / 2)
