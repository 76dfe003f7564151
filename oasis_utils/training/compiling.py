"""Decides whether a training step is compiled by torch.compile, and compiles it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Sequence
from functools import cache, wraps

import torch

from oasis_utils.metrics import image_quality
from oasis_utils.models.quantizer import VectorQuantizer

# steps; measured on a CPU only: up to 30 s to compile, 5 to 18 ms saved a step of the demo
COMPILE_FROM = 10_000


def compiling_pays(phases: Sequence[str], device: torch.device, total_steps: int) -> bool:
    """Whether a training should use torch.compile: a long one, on a machine with a
    C++ compiler or Triton.

    Args:
        phases: of the model. Models of two phases differentiate within a step, which torch.compile
            does not support.
        device: where the model is.
        total_steps: length of the whole training, so that a resumed one makes the same steps. The
            limit is that from which it pays on a CPU; on a GPU compiling may pay sooner, which is
            not measured.
    """
    if len(phases) > 1 or total_steps < COMPILE_FROM:
        return False
    return bool(
        importlib.util.find_spec("triton")
        if device.type == "cuda"
        else shutil.which(os.getenv("CXX", "g++"))
    )


def compiled(step: Callable) -> Callable:
    """The step under torch.compile; where that fails, it goes on uncompiled, with a warning. The
    setting holds during the step only, so errors of other compilations are not hidden.
    """
    _leave_out()
    fast = torch.compile(step)

    @wraps(step)
    def run(*args):
        with torch._dynamo.config.patch(suppress_errors=True):
            return fast(*args)

    return run


@cache
def _leave_out() -> None:
    """Mark what is not compiled. Decorators in its place would load the compiler, which takes two
    seconds, in every command.
    """
    # the compiler cannot see through the cache
    torch.compiler.assume_constant_result(image_quality.window_matrix)
    # little to fuse, and much that happens once
    slow = torch.compiler.disable(VectorQuantizer.forward)
    VectorQuantizer.forward = slow  # pyright: ignore[reportAttributeAccessIssue]  # of the decorator
