"""torch.compile: when a training uses it, and that its errors are hidden during a step only."""

import subprocess
import sys

import jaxtyping
import pytest
import torch
from small_trainings import broken, profile_batch

from oasis_utils.config import TrainingConfig, load_profile
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import seed_everything
from oasis_utils.training import compiling
from oasis_utils.training import trainer as trainer_module
from oasis_utils.training.compiling import COMPILE_FROM, compiled, compiling_pays
from oasis_utils.training.trainer import Trainer


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
    assert compiling_pays(("all",) * phases, torch.device(device), steps) is expected


def test_errors_of_the_compiler_are_hidden_during_a_step_only(monkeypatch):
    seen = []
    monkeypatch.setattr(torch, "compile", lambda step: step)
    step = compiled(lambda *args: seen.append((args, torch._dynamo.config.suppress_errors)))
    step("batch", "phase")
    assert seen == [(("batch", "phase"), True)] and not torch._dynamo.config.suppress_errors


@pytest.mark.parametrize(
    ("kind", "backend"), [("vqvae", "aot_eager"), ("pixelcnn", "aot_eager"), ("pixelcnn", broken)]
)
def test_a_compiled_training_makes_the_same_steps(monkeypatch, request, in_float32, kind, backend):
    """With the compiler's front only, which follows the code but leaves the sums as they are: equal
    to the bit. And
    with a compiler that fails.
    """
    was = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update(
        "jaxtyping_disable", True
    )  # the compiler of old versions trips over the checks of types
    request.addfinalizer(lambda: jaxtyping.config.update("jaxtyping_disable", was))
    settings, compiler = load_profile("smoke"), torch.compile
    model, batch = {"vqvae": VQVAE, "pixelcnn": PixelCNN}[kind], profile_batch(settings)
    traced = []

    def front(step):
        traced.append(step)
        return compiler(step, backend=backend)

    def trained():
        seed_everything(0)
        trainer = Trainer(model(getattr(settings, kind)), TrainingConfig(warmup_steps=0), 10)
        found = [
            {name: float(value) for name, value in trainer.step(batch).items()} for _ in range(3)
        ]
        return found, trainer.model.state_dict()

    losses, weights = trained()
    monkeypatch.setattr(trainer_module, "compiling_pays", lambda *_: True)
    monkeypatch.setattr(torch, "compile", front)
    torch._dynamo.utils.counters.clear()
    compiled_losses, compiled_weights = trained()
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert (graphs > 0) == (
        backend != broken
    )  # without a compiler it gives up and goes on uncompiled
    torch.compiler.reset()
    assert len(traced) == 1 and compiled_losses == losses
    assert all(torch.equal(compiled_weights[name], value) for name, value in weights.items())


def test_the_compiler_is_loaded_only_where_something_is_compiled():
    """It takes two seconds, and `sample` or a panel needs none."""
    code = (
        "import sys\n"
        "from oasis_utils import evaluation, metrics, models, pipeline, plotting, training\n"
        "from oasis_utils.widgets import app\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
