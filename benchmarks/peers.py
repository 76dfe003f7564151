"""Quality after equal CPU time: the demo profile beside the recipes of widespread tutorials.

    OMP_NUM_THREADS=1 python benchmarks/peers.py PINS [--seconds 60 240 900]

PINS is made by `speed_pins.py`: 64 training people, 128 pixels, and maps of 16×16 codes of one
VQ-VAE, so that nats per code compare. VQ-VAEs are judged by the SSIM of validation slices, priors
by the nats per code of validation maps; one seed. Networks, losses, optimisers and rates are those
of

- the keras example "Vector-Quantized Variational Autoencoders" (codebook by gradient, plain
  PixelCNN told nothing but the map),
- MONAI's tutorial of the 2D VQ-VAE, with MONAI's own network,

with batches of 8 as in the demo profile, since their 128 and 64 would leave them a few steps. They
train in float32 at a constant rate, so one training gives all rows; the schedule of the demo
profile is as long as the time, so each row is a training of its own. Time is that of this process
on one thread, without the looks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oasis_utils.config import load_profile
from oasis_utils.data.batches import Batches
from oasis_utils.metrics import image_quality as metrics
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import (
    hardware,
    keep_freed_memory,
    project_root,
    read_json,
    revision,
    seed_everything,
    write_json,
)
from oasis_utils.runtime.symmetry import LEFT_RIGHT
from oasis_utils.training.trainer import Trainer

CPU, BATCH = torch.device("cpu"), 8
LOOKED_AT = 4  # every so many-th validation slice, because one peer takes a second for each
DEMO = load_profile("demo")
RESULT = project_root() / "benchmarks/results/peers.json"
Step = Callable[[dict[str, Tensor]], Any]


class KerasVQVAE(nn.Module):
    """Two strided convolutions, 128 codes of 16 numbers that learn by gradient."""

    def __init__(self, variance: float):
        super().__init__()
        self.variance = variance
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(64, 16, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(16, 64, 3, 2, 1, 1), nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 3, 2, 1, 1), nn.ReLU(), nn.ConvTranspose2d(32, 1, 3, 1, 1),
        )  # fmt: skip
        self.codes = nn.Parameter(torch.empty(128, 16).uniform_(-0.05, 0.05))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(reconstructions, loss); images in [0, 1]."""
        x = images - 0.5
        latents = self.encoder(x).movedim(1, -1)
        nearest = torch.cdist(latents.flatten(0, 2), self.codes).argmin(1)
        found = F.embedding(nearest, self.codes).view_as(latents)
        loss = 0.25 * F.mse_loss(latents, found.detach()) + F.mse_loss(found, latents.detach())
        decoded = self.decoder((latents + (found - latents).detach()).movedim(-1, 1))
        return decoded + 0.5, loss + F.mse_loss(decoded, x) / self.variance


class MonaiVQVAE(nn.Module):
    """MONAI's network with the sizes of its tutorial."""

    def __init__(self):
        super().__init__()
        from monai.networks import nets

        self.net = nets.VQVAE(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            channels=(256, 256),
            num_res_layers=2,
            num_res_channels=(256, 256),
            downsample_parameters=((2, 4, 1, 1), (2, 4, 1, 1)),
            upsample_parameters=((2, 4, 1, 1, 0), (2, 4, 1, 1, 0)),
            num_embeddings=256,
            embedding_dim=32,
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(reconstructions, loss); images in [0, 1]."""
        decoded, quantised = self.net(images)
        return decoded, F.l1_loss(decoded, images) + quantised


class MaskedConv2d(nn.Conv2d):
    """A kernel of 7 or 3 that sees the rows above and the cells to the left."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, side: int, own: bool):
        super().__init__(inputs, outputs, side, padding=side // 2)
        mask = torch.zeros(side, side)
        mask[: side // 2] = 1
        mask[side // 2, : side // 2 + own] = 1
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        """Convolution with the masked kernel."""
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class KerasPixelCNN(nn.Module):
    """One-hot maps, 128 channels, two residual blocks; no gates, no conditions."""

    def __init__(self, n_codes: int):
        super().__init__()
        self.n_codes = n_codes
        self.first = MaskedConv2d(n_codes, 128, 7, own=False)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(128, 128, 1), nn.ReLU(), MaskedConv2d(128, 64, 3, own=True), nn.ReLU(),
                nn.Conv2d(64, 128, 1), nn.ReLU(),
            )
            for _ in range(2)
        )  # fmt: skip
        self.last = nn.Sequential(
            nn.Conv2d(128, 128, 1), nn.ReLU(), nn.Conv2d(128, 128, 1), nn.ReLU(),
            nn.Conv2d(128, n_codes, 1),
        )  # fmt: skip

    def forward(self, indices: Tensor) -> Tensor:
        """Logits of every code of every cell."""
        x = F.relu(self.first(F.one_hot(indices, self.n_codes).movedim(-1, 1).float()))
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


# ---------------------------------------------------------------- trainings


def spent(step: Step, batches: Batches) -> Iterator[float]:
    """CPU seconds of all steps so far, after each."""
    seconds, epoch = 0.0, 0
    while True:
        for batch in batches.epoch(epoch):
            start = time.process_time()
            step(batch)
            seconds += time.process_time() - start
            yield seconds
        epoch += 1


def peer(
    model: nn.Module,
    loss: Callable[[dict[str, Tensor]], Tensor],
    rate: float,
    batches: Batches,
    look: Callable[[nn.Module], float],
    marks: list[float],
) -> dict[str, dict[str, float]]:
    """Looks at one training at a constant rate."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)

    def step(batch: dict[str, Tensor]) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(batch).backward()
        optimizer.step()

    found, left = {}, sorted(marks)
    for steps, seconds in enumerate(spent(step, batches), 1):
        if seconds >= left[0]:
            with torch.inference_mode():
                found[f"{left.pop(0):g}"] = {"value": look(model.eval()), "steps": steps}
            model.train()
            if not left:
                return found
    return found


def ours(
    model: VQVAE | PixelCNN,
    training: Any,
    batches: Batches,
    look: Callable[[Any], float],
    seconds: float,
) -> dict[str, float]:
    """A training of the package whose schedule is as long as the time."""
    trainer = Trainer(model.train(), training, 1)
    for used in spent(trainer.step, batches):
        trainer.total_steps = round(trainer.steps * seconds / used)
        if used >= seconds:
            break
    with torch.inference_mode():
        return {"value": look(trainer.evaluated.eval()), "steps": trainer.steps}


# ---------------------------------------------------------------- the comparison


class Study:
    """Slices, maps and what is looked at."""

    def __init__(self, pins: Path, seed: int):
        self.seed = seed
        slices, self.maps = (dict(np.load(pins / f"{kind}.npz")) for kind in ("slices", "maps"))
        self.images = torch.from_numpy(slices["train_images"])[:, None]
        self.truth = torch.from_numpy(slices["validate_images"])[::LOOKED_AT, None].float() / 255
        self.train, self.held_out = self._told("train"), self._told("validate")

    def _told(self, split: str) -> dict[str, Tensor]:
        kinds = {"indices": np.int64, "positions": np.int64, "ages": np.float32}
        return {k: torch.from_numpy(self.maps[f"{k}_{split}"].astype(t)) for k, t in kinds.items()}

    def slices(self) -> Batches:
        """Training slices, half of them mirrored."""
        return Batches({"images": self.images}, BATCH, True, LEFT_RIGHT, self.seed)

    def codes(self) -> Batches:
        """Training maps."""
        return Batches(self.train, BATCH, True, seed=self.seed)

    def ssim(self, reconstruct: Callable[[Tensor], Tensor]) -> float:
        """Of the validation slices."""
        parts = [metrics.ssim(reconstruct(x).clamp(0, 1), x) for x in self.truth.split(32)]
        return float(torch.cat(parts).mean())

    def vqvae(self) -> VQVAE:
        """Of the demo profile, untrained."""
        seed_everything(self.seed)
        return VQVAE(DEMO.vqvae)

    def pixelcnn(self) -> PixelCNN:
        """Of the demo profile for these maps, untrained."""
        seed_everything(self.seed)
        fields = ("grid", "n_codes", "code_dim", "n_positions", "age_mean", "age_std")
        model = PixelCNN(replace(DEMO.pixelcnn, **{k: self.maps[k].item() for k in fields}))
        known = self.train["indices"], self.train["positions"], self.train["ages"]
        codebook, n_plain = torch.from_numpy(self.maps["codebook"]), int(self.maps["n_plain"])
        model.use_maps(codebook, *known, n_plain)
        return model

    def package_vqvae(self, marks: list[float]) -> dict[str, dict[str, float]]:
        """SSIM by time."""
        return {
            f"{mark:g}": ours(
                self.vqvae(), DEMO.vqvae_training, self.slices(),
                lambda model: self.ssim(model.reconstruct), mark,
            )
            for mark in marks
        }  # fmt: skip

    def package_pixelcnn(self, marks: list[float]) -> dict[str, dict[str, float]]:
        """Nats per code by time: a bound, because of the layout."""
        return {
            f"{mark:g}": ours(
                self.pixelcnn(), DEMO.pixelcnn_training, self.codes(),
                lambda model: model.validate(Batches(self.held_out, 64))["nats_per_code"], mark,
            )
            for mark in marks
        }  # fmt: skip

    def keras_vqvae(self, marks: list[float]) -> dict[str, dict[str, float]]:
        """SSIM by time."""
        seed_everything(self.seed)
        return self._peer_vqvae(KerasVQVAE(float((self.images / 255.0).var())), 1e-3, marks)

    def monai_vqvae(self, marks: list[float]) -> dict[str, dict[str, float]]:
        """SSIM by time."""
        seed_everything(self.seed)
        return self._peer_vqvae(MonaiVQVAE(), 1e-4, marks)

    def _peer_vqvae(self, model: nn.Module, rate: float, marks: list[float]) -> dict:
        def look(model: nn.Module) -> float:
            return self.ssim(lambda images: model(images)[0])

        return peer(model, lambda b: model(b["images"])[1], rate, self.slices(), look, marks)

    def keras_pixelcnn(self, marks: list[float]) -> dict[str, dict[str, float]]:
        """Nats per code by time."""
        seed_everything(self.seed)
        model = KerasPixelCNN(int(self.maps["n_codes"]))

        def look(model: nn.Module) -> float:
            parts = [F.cross_entropy(model(x), x) for x in self.held_out["indices"].split(64)]
            return float(torch.stack(parts).mean())

        def loss(batch: dict[str, Tensor]) -> Tensor:
            return F.cross_entropy(model(batch["indices"]), batch["indices"])

        return peer(model, loss, 3e-4, self.codes(), look, marks)


RECIPES = {
    "VQ-VAE, this package": Study.package_vqvae,
    "VQ-VAE, keras example": Study.keras_vqvae,
    "VQ-VAE, MONAI tutorial": Study.monai_vqvae,
    "PixelCNN, this package": Study.package_pixelcnn,
    "PixelCNN, keras example": Study.keras_pixelcnn,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("pins", type=Path)
    parser.add_argument("--seconds", type=float, nargs="+", default=[60.0, 240.0, 900.0])
    parser.add_argument(
        "--only", nargs="+", choices=RECIPES, default=list(RECIPES), help="others are kept"
    )
    parser.add_argument("--json", type=Path, default=RESULT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    study, about = Study(args.pins, 0), {"hardware": hardware(CPU), "seed": 0}
    for name in args.only:
        row = RECIPES[name](study, sorted(args.seconds))
        print(name, row, flush=True)
        rows = read_json(args.json)["rows"] if args.json.exists() else {}
        rows[name] = {"revision": revision(), "after": row}
        write_json(args.json, about | {"rows": {k: rows[k] for k in RECIPES if k in rows}})


if __name__ == "__main__":
    main()
