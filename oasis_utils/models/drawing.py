"""Draws codes from predicted distributions, with temperature, top-k and top-p.

Nucleus sampling (top-p): The Curious Case of Neural Text Degeneration (Holtzman 2020, arXiv
1904.09751). Codes are drawn by inversion of the distribution function at given uniform noise, so
the same noise gives the same codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

LARGEST = 1e6
SMALLEST = 1e-6  # logits divided by less overflow, and shares below it round to nothing


@dataclass(frozen=True)
class SamplingOptions:
    """How codes are drawn from the predicted distributions; the defaults change nothing.

    Attributes:
        temperature: divides the logits, in [1e-6, 1e6]; 0 takes the likeliest code.
        top_k: the number of likeliest codes that are kept, in [0, 2^31); 0, or K and more: all.
        top_p: the likeliest codes that hold this much probability are kept, in [1e-6, 1]; 1: all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self):
        if not 0 <= self.temperature <= LARGEST:
            raise ValueError(
                f"temperature must be from 0 (likeliest code) to {LARGEST:g}, not"
                f" {self.temperature}"
            )
        if not 0 <= self.top_k < 2**31:
            raise ValueError(f"top_k must be from 0 (all codes) to 2^31 - 1, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], not {self.top_p}")
        if 0 < self.temperature < SMALLEST or self.top_p < SMALLEST:
            raise ValueError(
                f"temperature and top_p must be {SMALLEST:g} or more: take temperature 0 for the"
                " likeliest code"
            )


AS_LEARNED = SamplingOptions()


@dataclass(frozen=True)
class DrawingRule:
    """Which operations draw a code. A CUDA graph is recorded for one rule; option values
    are read from fixed addresses and may change.

    Attributes:
        likeliest: the likeliest code is taken (temperature 0).
        top_k: fewer than all codes are kept by their rank.
        top_p: fewer than all codes are kept by their probability.
    """

    likeliest: bool
    top_k: bool
    top_p: bool

    @classmethod
    def of(cls, options: SamplingOptions, n_codes: int) -> DrawingRule:
        """The operations that these options need with a codebook of n_codes codes."""
        if options.temperature == 0:
            return cls(True, False, False)
        return cls(False, 0 < options.top_k < n_codes, options.top_p < 1)


def draw(
    logits: Float[Tensor, "batch n_codes"], noise: Float[Tensor, " batch"], options: SamplingOptions
) -> Int[Tensor, " batch"]:
    """One code for each row, by inversion of the distribution function.

    The codes are sorted from the likeliest to the least likely, so a small change of the options or
    the model changes few draws.

    Args:
        logits: of each code.
        noise: uniform in [0, 1).
        options: temperature, top-k and top-p.

    Returns:
        Codes in [0, n_codes).
    """
    rule = DrawingRule.of(options, logits.shape[1])
    return draw_by(rule, logits, noise, options.temperature, options.top_k, options.top_p)


def draw_by(
    rule: DrawingRule,
    logits: Float[Tensor, "batch n_codes"],
    noise: Float[Tensor, " batch"],
    temperature: float | Tensor,
    top_k: int | Tensor,
    top_p: float | Tensor,
) -> Int[Tensor, " batch"]:
    """`draw` with numbers, or tensors of one number on the device of the logits; `rule` says which
    of them are used.
    """
    if rule.likeliest:
        return logits.argmax(1)
    codes = descending(logits)
    shares = kept_shares(rule, logits.gather(1, codes), temperature, top_k, top_p)
    reached = shares.cumsum(1)
    chosen = torch.searchsorted(reached, noise[:, None] * reached[:, -1:], right=True)
    # rounding can pass the last code that is kept
    chosen = torch.minimum(chosen, (shares > 0).sum(1, keepdim=True) - 1)
    return codes.gather(1, chosen)[:, 0]


def kept_shares(
    rule: DrawingRule,
    ordered: Float[Tensor, "batch n_codes"],
    temperature: float | Tensor,
    top_k: int | Tensor,
    top_p: float | Tensor,
) -> Float[Tensor, "batch n_codes"]:
    """Probabilities at this temperature, 0 for codes that top-k or top-p remove; their sum can be
    below 1.

    Args:
        rule: which of the options are used; not for the likeliest code.
        ordered: logits from the largest to the smallest.
        temperature: as in `SamplingOptions`, and so are the others.
        top_k: see there.
        top_p: see there.
    """
    shares = (ordered.float() / temperature).softmax(1)
    if rule.top_k:
        shares = torch.where(torch.arange(shares.shape[1], device=shares.device) < top_k, shares, 0)
    if rule.top_p:
        before = shares.cumsum(1) - shares  # mass of the likelier codes: the first always stays
        shares = torch.where(before < top_p * shares.sum(1, keepdim=True), shares, 0)
    return shares


def probabilities(
    logits: Float[Tensor, "batch n_codes"], options: SamplingOptions
) -> Float[Tensor, "batch n_codes"]:
    """The probability with which `draw` takes each code.

    Args:
        logits: of each code.
        options: temperature, top-k and top-p.

    Returns:
        Probabilities in [0, 1] in the order of the codes; each row sums to 1.
    """
    rule = DrawingRule.of(options, logits.shape[1])
    if rule.likeliest:
        return torch.zeros_like(logits).scatter(1, logits.argmax(1, keepdim=True), 1.0)
    codes = descending(logits)
    shares = kept_shares(
        rule, logits.gather(1, codes), options.temperature, options.top_k, options.top_p
    )
    return torch.zeros_like(shares).scatter(1, codes, shares / shares.sum(1, keepdim=True))


def descending(logits: Float[Tensor, "batch n_codes"]) -> Int[Tensor, "batch n_codes"]:
    """The codes of each row from the likeliest to the least likely. On a CPU NumPy sorts three
    times faster.
    """
    if logits.device.type == "cpu":
        return torch.from_numpy(np.argsort(-logits.detach().numpy(), axis=1))
    return logits.argsort(dim=1, descending=True)


def uniform_noise(
    seeds: list[int], grid: int, rows: int | None = None
) -> Float[Tensor, "batch rows cols"]:
    """Uniform noise that depends on each image's seed alone, in any batch and on any device.

    Codes drawn with it differ only where rounding, which depends on device and batch size, selects
    a neighbouring code.

    Args:
        seeds: one for each map.
        grid: columns, and rows of a map.
        rows: of the noise; None: as many as the map has.

    Returns:
        Numbers in [0, 1), on the CPU.
    """
    rows = grid if rows is None else rows
    maps = [torch.rand(rows, grid, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(maps)


def great_circle(ends: Float[Tensor, " two *shape"], steps: int) -> Float[Tensor, " steps *shape"]:
    """Points between two normal noises, along a great circle (White 2016, arXiv 1609.04468)."""
    a, b = ends
    angle = torch.linspace(0, torch.pi / 2, steps, device=a.device, dtype=a.dtype).view(
        -1, *[1] * a.dim()
    )
    return a * angle.cos() + b * angle.sin()
