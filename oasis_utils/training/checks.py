"""Finds losses, metrics and weights that are not finite, and names the step and slices at fault."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from oasis_utils.runtime import processes
from oasis_utils.training.history import Record

SLICE_KEYS = ("subjects", "positions")  # the keys of a batch that name its slices
REMEDY = (
    "try a smaller learning_rate or clip_norm=1, and look at the data; the last good checkpoint is"
    " kept"
)


def first_bad_step(recent: list[tuple[int, dict[str, Tensor], dict[str, Tensor]]]) -> str:
    """The step that went wrong, its slices, and what to try."""
    for step, losses, origin in recent:
        bad = [name for name, value in losses.items() if not torch.isfinite(value).all()]
        if bad:
            return f"{', '.join(bad)} is not finite at step {step}{_slices(origin)}: {REMEDY}"
    return f"the sum of the losses is not finite at step {recent[-1][0]}: {REMEDY}"


def _slices(origin: dict[str, Tensor]) -> str:
    if len(origin) < len(SLICE_KEYS):
        return ""
    own = [
        f"{subject}/{position}"
        for subject, position in zip(*(origin[key].tolist() for key in SLICE_KEYS), strict=True)
    ]
    names = [name for names in processes.gathered(own) for name in names]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f" (slices, as subject/position: {', '.join(names[:8])}{more})"


def check_finite(model: nn.Module, record: Record, steps: int) -> None:
    """FloatingPointError if a held-out metric or a weight is not finite after `steps` steps."""
    bad = [name for name, value in record.items() if not math.isfinite(value)]
    bad += [name for name, value in model.named_parameters() if not torch.isfinite(value).all()][:3]
    if bad:
        raise FloatingPointError(f"{', '.join(bad)} is not finite after step {steps}: {REMEDY}")
