"""Losses of ten training steps of each model on fixed tensors, to be compared with the recorded
ones.

    python -m tests.golden        record the values of models whose version was raised, and of new
    cases

Weights, batches and dropout masks come from NumPy's RandomState, whose stream is frozen; the few
draws that are left (noise, restarts of codes) come from torch's generator on the CPU. All is
computed in float64: in float32 the rounding of another processor tips a latent over to another
code, and ten steps later losses differ by up to a percent.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from oasis_utils.config import load_profile
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.linear_maps import LinearMaps
from oasis_utils.models.neighbour_pixelcnn import NO_SLICE, NeighbourPixelCNN
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.training import trainer as training

PATH = Path(__file__).with_name("golden.json")
STEPS, BATCH, PICTURES = 10, 8, 3
TOLERANCE = (
    1e-6  # relative; instruction sets (SSE, AVX2, AVX-512) and two threads differ by less than 1e-9
)
SMOKE = load_profile("smoke")
Values = dict[str, list[float]]  # {loss: its value at each step}


class FixedDropout(nn.Module):
    """Dropout whose mask is the same on every machine."""

    def __init__(self, p: float):
        super().__init__()
        self.p, self.random = p, np.random.RandomState(5)

    def forward(self, x: Tensor) -> Tensor:
        mask = (
            self.random.random_sample(x.shape[:2] + (1,) * (x.dim() - 2)) >= self.p
        )  # whole channels
        return x * torch.from_numpy(mask).to(x) / (1 - self.p)


def with_fixed_weights(model: nn.Module, seed: int = 0) -> nn.Module:
    """Weights of the usual size, and dropout, from a frozen stream."""
    random = np.random.RandomState(seed)
    with torch.no_grad():
        for name, value in sorted(model.named_parameters()):
            size = 1 / np.sqrt(max(value[0].numel(), 1)) if value.dim() > 1 else 0.1
            value.copy_(
                torch.from_numpy(random.uniform(-size, size, tuple(value.shape)) * np.sqrt(3))
            )
            assert value.isfinite().all(), name
        if "codebook" in dict(model.named_buffers()):
            codes = random.standard_normal(tuple(model.codebook.shape))
            model.codebook.copy_(torch.from_numpy(codes))
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, FixedDropout(child.p))
    return model


def pictures(seed: int) -> Tensor:
    """Smooth blobs with some noise, (n, 1, size, size) in [0, 1]."""
    random, size = np.random.RandomState(seed), SMOKE.vqvae.image_size
    rows, cols = np.mgrid[:size, :size] / size - 0.5
    images = []
    for _ in range(PICTURES):
        a, b, c, d = random.uniform(0.5, 1.5, 4)
        inside = np.exp(-8 * (a * rows**2 + b * cols**2))
        images.append(inside * (0.6 + 0.3 * np.sin(12 * c * rows) * np.cos(9 * d * cols)))
    images = np.stack(images)[:, None] + 0.02 * random.standard_normal((PICTURES, 1, size, size))
    return torch.from_numpy(images.clip(0, 1))


def maps(seed: int, count: int = BATCH) -> dict[str, Tensor]:
    """Index maps that depend on position, age and three free factors, as brains do, and are a
    little noisy.
    """
    random, grid, n_codes = np.random.RandomState(seed), SMOKE.pixelcnn.grid, SMOKE.pixelcnn.n_codes
    rows, cols = np.mgrid[:grid, :grid] / grid - 0.5
    positions, ages = random.randint(0, 4, count), random.uniform(20, 80, count)
    free = random.standard_normal((3, count, 1, 1))
    height = (
        np.exp(-6 * (rows**2 + cols**2)) * (8 + 4 * positions[:, None, None])
        + 0.2 * ages[:, None, None] * rows
        + 4 * free[0] * cols
        + 3 * free[1] * np.sin(6 * rows)
        + 2 * free[2] * rows * cols * 4
    )
    indices = (
        (height + random.standard_normal(height.shape) + n_codes / 3)
        .astype(int)
        .clip(0, n_codes - 1)
    )
    ages[::5] = np.nan
    return {
        "indices": torch.from_numpy(indices),
        "positions": torch.from_numpy(positions),
        "ages": torch.from_numpy(ages),
    }


def vqvae(**changes) -> nn.Module:
    return with_fixed_weights(VQVAE(replace(SMOKE.vqvae, **changes)))


def pixelcnn(**changes) -> nn.Module:
    """With layouts only if the changes say so; these are fitted."""
    plain = {"layout": 0, "start": "random"}
    model = with_fixed_weights(PixelCNN(replace(SMOKE.pixelcnn, **(plain | changes))))
    if model.layout is not None:
        known = maps(2, 64)
        model.use_maps(codes_of_uneven_use(model.config), *(known[key] for key in known))
        same_signs(model.layout.linear)
    return model


def neighbour(**changes) -> nn.Module:
    """With layouts only if the changes say so; these are fitted."""
    plain = {"layout": 0, "start": "random"}
    model = with_fixed_weights(NeighbourPixelCNN(replace(SMOKE.neighbour, **(plain | changes))))
    if model.layout is not None:
        model.layout.fit(codes_of_uneven_use(model.config), *maps(2, 64).values())
        same_signs(model.layout.linear)
    return model


def codes_of_uneven_use(config) -> Tensor:
    codes = np.random.RandomState(1).standard_normal((config.n_codes, config.code_dim))
    return torch.from_numpy(codes + 2 * np.linspace(-1, 1, config.n_codes)[:, None])


def same_signs(linear: LinearMaps) -> None:
    """The directions with signs that no linear algebra library chose."""
    directions = linear.directions.flatten(1)
    weights = torch.linspace(1, 2, directions.shape[1])
    directions *= torch.where((directions * weights).sum(1, keepdim=True) < 0, -1, 1)


def dcgan(**changes) -> nn.Module:
    """With standardised codes of uneven use; a linear start, where there is one, is fitted, signs
    made the same.
    """
    model = with_fixed_weights(DCGAN(replace(SMOKE.dcgan, **{"per_position": False, **changes})))
    config = model.config
    model.use_codebook(codes_of_uneven_use(config), torch.arange(1.0, config.n_codes + 1))
    known = maps(2, 64)
    model.use_maps(
        known["indices"], known["positions"], known["ages"] if config.knows_age else None
    )
    if config.linear:
        same_signs(model.generator.linear)
    return model


MUON = "muon"  # the case that is trained by it; the others are trained by AdamW alone
AGES = dict(age_mean=50.0, age_std=15.0)
CASES: dict[type, dict[str, Callable[[], nn.Module]]] = {
    VQVAE: {
        "smoke": vqvae,
        "gradient codebook, mse": lambda: vqvae(
            codebook="gradient", cosine=False, pixel_loss="mse"
        ),
        "rotation, discriminator": lambda: vqvae(
            gradient="rotation", adversarial_weight=0.2, adversarial_start=3
        ),
        "fast averages, revival": lambda: vqvae(codebook_decay=0.5, revive_below=0.5),
        "chance start, no revival": lambda: vqvae(kmeans=False, revive_below=0.0, cosine=False),
        MUON: vqvae,
    },
    PixelCNN: {
        "smoke": pixelcnn,
        "ages": lambda: pixelcnn(**AGES),
        "layouts": lambda: pixelcnn(layout=8, **AGES),
        "start from the codebook": lambda: pixelcnn(layout=8, start="codebook", **AGES),
        MUON: pixelcnn,
    },
    NeighbourPixelCNN: {
        "smoke": neighbour,
        "layouts": lambda: neighbour(layout=8, **AGES),
        MUON: neighbour,
    },
    DCGAN: {
        "smoke": dcgan,
        "ages": lambda: dcgan(**AGES),
        "per position": lambda: dcgan(per_position=True, **AGES),
        "classical, index numbers": lambda: dcgan(loss="bce", start="blank", space="index"),
    },
}
TRAINING = {
    VQVAE: SMOKE.vqvae_training,
    PixelCNN: SMOKE.pixelcnn_training,
    NeighbourPixelCNN: SMOKE.neighbour_training,
    DCGAN: SMOKE.dcgan_training,
}


def batches(kind: type) -> list[dict[str, Tensor]]:
    if kind is VQVAE:
        return [{"images": pictures(seed)} for seed in range(STEPS)]
    if kind is NeighbourPixelCNN:
        return [maps(10 + seed) | beside(20 + seed) for seed in range(STEPS)]
    return [maps(10 + seed) for seed in range(STEPS)]


def beside(seed: int) -> dict[str, Tensor]:
    """Maps below and above those of a batch; the first has none below, the second none above."""
    below, above = (maps(seed + more)["indices"] for more in (0, 50))
    below[0], above[1] = NO_SLICE, NO_SLICE
    return {"below": below, "above": above}


def losses(kind: type, case: str, steps: int = STEPS) -> Values:
    """Every loss of the first steps of a `Trainer`, and the lengths of the directions of a linear
    start.
    """
    with torch.random.fork_rng(devices=[]), float64_throughout():
        torch.manual_seed(0)
        model = CASES[kind][case]().train()
        rate = TRAINING[kind].muon_rate if case == MUON else 0.0
        trainer = training.Trainer(model, replace(TRAINING[kind], muon_rate=rate), STEPS)
        found: Values = {}
        if kind is DCGAN and model.config.linear:
            found["lengths of directions"] = (
                model.generator.linear.directions.flatten(1).norm(dim=1).tolist()
            )
        for batch in batches(kind)[:steps]:
            for name, value in trainer.step(batch).items():
                found.setdefault(name, []).append(float(value))
    return found


@contextlib.contextmanager
def float64_throughout():
    """No autocast, new tensors of float64, and `float()` of a tensor keeps that."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with (
            mock.patch.object(training, "autocast", return_value=contextlib.nullcontext()),
            mock.patch.object(torch.Tensor, "float", torch.Tensor.double),
        ):
            yield
    finally:
        torch.set_default_dtype(default)


def differences(found: Values, recorded: Values) -> list[str]:
    """What is not equal up to the tolerance, in words."""
    if found.keys() != recorded.keys():
        return [f"losses {sorted(found)} instead of {sorted(recorded)}"]
    wrong = []
    for name, values in found.items():
        for step, (new, old) in enumerate(
            zip(values, recorded[name], strict=False)
        ):  # fewer steps are enough
            scale = max(abs(old), 0.05 * max(map(abs, recorded[name])), 1e-6)
            if not abs(new - old) <= TOLERANCE * scale:
                wrong.append(f"{name} at step {step}: {new:.7g} instead of {old:.7g}")
    return wrong


def read() -> dict[str, dict[str, dict[str, Values]]]:
    """{class: {its version: {case: losses}}}"""
    return json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else {}


def record() -> None:
    """Replace the values of older versions, add new cases; SystemExit where values changed and the
    version did not.
    """
    known = read()
    for kind, cases in CASES.items():
        version = str(kind.version)
        kept = known.get(kind.__name__, {}).get(version, {})
        found = {case: losses(kind, case) for case in cases}
        for case in kept.keys() & found.keys():
            if wrong := differences(found[case], kept[case]):
                raise SystemExit(
                    f"{kind.__name__} ({case}): {wrong[0]}: raise {kind.__name__}.version first"
                )
        known[kind.__name__] = {
            version: {case: kept.get(case, values) for case, values in found.items()}
        }
    rounded = json.loads(json.dumps(known), parse_float=lambda text: float(f"{float(text):.10g}"))
    PATH.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
    print(f"recorded in {PATH}")


if __name__ == "__main__":
    record()
