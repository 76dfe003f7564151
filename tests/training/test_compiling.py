"""torch.compile: when a training uses it, and that its errors are hidden during a step only."""

import pytest
import torch
from torch import nn

from oasis_utils.training import compiling
from oasis_utils.training.compiling import COMPILE_FROM, compiled, compiling_pays


@pytest.mark.parametrize(
    ("device", "phases", "steps", "compilers", "expected"),
    [
        ("cpu", 1, COMPILE_FROM, ("g++",), True),
        ("cpu", 1, COMPILE_FROM - 1, ("g++",), False),
        ("cpu", 2, COMPILE_FROM, ("g++",), False),
        ("cpu", 1, COMPILE_FROM, ("triton",), False),
        ("cuda", 1, COMPILE_FROM, ("triton",), True),
        ("cuda", 1, COMPILE_FROM, ("g++",), False),
        ("cuda", 1, COMPILE_FROM - 1, ("triton",), False),
    ],
)
def test_only_long_trainings_are_compiled_and_only_where_a_compiler_is(
    monkeypatch, device, phases, steps, compilers, expected
):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compiling.shutil, "which", lambda name: name if name in compilers else None)
    monkeypatch.setattr(
        compiling.importlib.util, "find_spec", lambda name: name if name in compilers else None
    )
    model = nn.Identity()
    model.phases = ("all",) * phases
    assert compiling_pays(model, torch.device(device), steps) is expected


def test_errors_of_the_compiler_are_hidden_during_a_step_only(monkeypatch):
    seen = []
    monkeypatch.setattr(torch, "compile", lambda step: step)
    step = compiled(lambda *args: seen.append((args, torch._dynamo.config.suppress_errors)))
    step("batch", "phase")
    assert seen == [(("batch", "phase"), True)] and not torch._dynamo.config.suppress_errors
