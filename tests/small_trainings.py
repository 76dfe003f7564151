"""Small models, batches and trainings: shared by the tests of the training loop."""

import json
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from oasis_utils.config import DCGANConfig, PixelCNNConfig, TrainingConfig, VQVAEConfig
from oasis_utils.data.batches import Batches
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.trainable import Trainable
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime.symmetry import LEFT_RIGHT
from oasis_utils.training.loop import fit
from oasis_utils.training.trainer import Trainer

LINE = TrainingConfig(epochs=5, batch_size=8, learning_rate=0.05, warmup_steps=2)


@dataclass(frozen=True)
class LineConfig:
    width: int = 1
    explode_at: int = 0  # step whose loss is not finite; 0: none
    label: int = 0  # another configuration of the same model


class Line(Trainable):
    """y = 2 x + 1 by least squares; `scores` replaces the validation metrics, to steer what the
    loop does.
    """

    Config = LineConfig
    version = 1
    phases = ("all",)
    monitor = ("error", "min")
    scores: ClassVar[list[float]] = []

    def __init__(self, config: LineConfig):
        super().__init__()
        self.config, self.layer, self.steps, self.validations = (
            config,
            nn.Linear(config.width, 1),
            0,
            0,
        )

    def parameter_groups(self):
        return {"all": list(self.parameters())}

    def step(self, batch, phase):
        self.steps += 1
        loss = F.mse_loss(self.layer(batch["x"]), batch["y"])
        if self.steps == self.config.explode_at:
            loss = loss * float("nan")
        return {"loss": loss, "half": loss / 2}

    @torch.no_grad()
    def validate(self, batches):
        self.validations += 1
        if self.scores:
            return {"error": self.scores[self.validations - 1]}
        errors = [
            F.mse_loss(self.layer(batch["x"]), batch["y"], reduction="none") for batch in batches
        ]
        return {"error": float(torch.cat(errors).mean())}


class HighLine(Line):
    """The same with a metric that should rise."""

    monitor = ("error", "max")


def line_batches(n=32, shuffle=True):
    x = torch.linspace(-1, 1, n)[:, None]
    return Batches({"x": x, "y": 2 * x + 1}, 8, shuffle=shuffle)


def fit_line(run, model=None, config=LINE, **options):
    model = model or Line(LineConfig())
    return fit(model, line_batches(), line_batches(shuffle=False), config, run, "line", **options)


def steered(kind, scores):
    """A model whose validation metrics are given."""
    return type(kind.__name__, (kind,), {"scores": scores})(LineConfig())


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


class Interrupted(Exception):
    pass


def interrupt_at(epoch, error=Interrupted):
    def on_epoch(_model, record):
        if record["epoch"] == epoch:
            raise error

    return on_epoch


def picture_batches(shuffle=True):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(16, 1, 4, 4, generator=generator)
    images = (F.interpolate(coarse, size=(32, 32), mode="bilinear") * 255).to(torch.uint8)
    return Batches({"images": images}, 4, shuffle=shuffle, mirror=LEFT_RIGHT if shuffle else None)


def map_batches(shuffle=True):
    generator = torch.Generator().manual_seed(0)
    indices = torch.randint(8, (16, 4, 4), generator=generator)
    return Batches({"indices": indices, "positions": torch.arange(16) % 3}, 4, shuffle=shuffle)


def tiny_vqvae():
    return VQVAE(
        VQVAEConfig(
            image_size=32,
            channels=32,
            residual_blocks=1,
            n_codes=32,
            code_dim=4,
            codebook_decay=0.8,
            revive_below=0.3,
            cosine=True,
        )
    )


def tiny_pixelcnn(layout=0):
    config = PixelCNNConfig(
        grid=4,
        n_codes=8,
        n_positions=3,
        channels=8,
        blocks=2,
        hidden=8,
        dropout=0.3,
        layout=layout,
        code_dim=4,
    )
    model, maps = PixelCNN(config), map_batches(shuffle=False).tensors
    codebook = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    model.use_maps(codebook, maps["indices"], maps["positions"])
    return model


def tiny_gan():
    return DCGAN(DCGANConfig(grid=4, n_codes=8, code_dim=4, n_positions=3, noise_dim=4, channels=8))


def fit_prior(model, schedule, run, every, options):
    config = TrainingConfig(
        epochs=4, batch_size=4, warmup_steps=3, validate_every_steps=every, **schedule
    )
    return fit(model, map_batches(), map_batches(False), config, run, "model", **options)


def fit_pixelcnn(run, every=0, layout=0, muon_rate=0.0, **options):
    schedule = dict(ema_decay=0.9, weight_decay=0.01, clip_norm=1.0, muon_rate=muon_rate)
    return fit_prior(tiny_pixelcnn(layout), schedule, run, every, options)


def fit_gan(run, every=0, **options):
    return fit_prior(tiny_gan(), dict(ema_decay=0.8, betas=(0.0, 0.99)), run, every, options)


def spy_on_resume_files(monkeypatch):
    """Keeps the whole state of the training after each epoch."""
    states, save = {}, Trainer.save

    def keep(trainer, path, identity):
        save(trainer, path, identity)
        states[trainer.epochs] = path.read_bytes()

    monkeypatch.setattr(Trainer, "save", keep)
    return states


def tensors_of(content):
    """Everything in a resume file but the history, which holds seconds."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header.pop("__metadata__")
    return header, content[8 + size :]


def profile_batch(settings, size=2):
    """Random slices, maps and positions as a profile's models take them."""
    side, grid, n_codes = settings.data.image_size, settings.vqvae.grid, settings.vqvae.n_codes
    generator = torch.Generator().manual_seed(0)
    return {
        "images": torch.rand(size, 1, side, side, generator=generator),
        "positions": torch.full((size,), 3),
        "indices": torch.randint(n_codes, (size, grid, grid), generator=generator),
    }


def broken(_graph, _inputs):
    raise RuntimeError("no compiler works here")
