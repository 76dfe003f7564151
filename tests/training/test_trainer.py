"""One training step: losses, phases, clipping and the average of the weights."""

import math

import pytest
import torch
from small_trainings import (
    LINE,
    Line,
    LineConfig,
    fit_gan,
    fit_line,
    line_batches,
    map_batches,
    picture_batches,
    profile_batch,
    tiny_gan,
    tiny_vqvae,
)

from oasis_utils.config import TrainingConfig, load_profile
from oasis_utils.data.batches import Batches
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import seed_everything
from oasis_utils.training.loop import fit
from oasis_utils.training.trainer import Trainer

# ---------------------------------------------------------------- learning


def test_loss_of_an_epoch_is_the_mean_over_its_batches(run, in_float32):
    frozen = TrainingConfig(epochs=1, batch_size=8, learning_rate=1e-12, warmup_steps=0)
    model = Line(LineConfig())
    expected = model.validate(line_batches(shuffle=False))["error"]
    _, history = fit_line(run, model, frozen)
    assert history[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_losses_of_two_phases_carry_their_names(run):
    _, history = fit_gan(run)
    names = {
        "discriminator_loss",
        "discriminator_penalty",
        "generator_loss",
        "generator_commitment",
    }
    assert names <= set(history[0])
    assert "loss" not in history[0]


def test_a_phase_moves_its_own_weights_only():
    seed_everything(0)
    model = tiny_gan()
    model.train()
    config = TrainingConfig(epochs=1, batch_size=8, learning_rate=0.01, warmup_steps=0)
    trainer = Trainer(model, config, 10)
    trainer.groups = {"generator": trainer.groups["generator"]}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer.step(next(iter(map_batches())))
    moved = {
        name.split(".")[0]
        for name, value in model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert moved == {"generator"}


def test_gradients_are_clipped(run):
    """Adam does not see the size of a gradient, but its second moment does."""
    sizes = []
    for clip in (0.0, 1e-3):
        seed_everything(0)
        trainer = Trainer(Line(LineConfig()), TrainingConfig(clip_norm=clip), 10)
        trainer.step(next(iter(line_batches())))
        sizes.append(math.sqrt(sum(float((p.grad**2).sum()) for p in trainer.model.parameters())))
    assert sizes[0] > 0.1
    assert sizes[1] == pytest.approx(1e-3, rel=1e-3)


def test_average_lags_behind_and_is_what_is_kept(run):
    config = TrainingConfig(
        epochs=5, batch_size=8, learning_rate=0.05, warmup_steps=2, ema_decay=0.9
    )
    model = Line(LineConfig())
    start = model.layer.weight.item()
    best, _ = fit_line(run, model, config)
    assert start < best.layer.weight.item() < model.layer.weight.item() or (
        start > best.layer.weight.item() > model.layer.weight.item()
    )


def test_average_closed_form():
    """Decay min(ema_decay, (1 + t) / (10 + t)) after step t."""
    config = TrainingConfig(ema_decay=0.3, learning_rate=0.1, warmup_steps=0)
    trainer = Trainer(Line(LineConfig()), config, 10)
    expected = trainer.model.layer.bias.item()
    for step, batch in zip(range(1, 4), line_batches(), strict=False):
        trainer.step(batch)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * trainer.model.layer.bias.item()
        assert trainer.average.layer.bias.item() == pytest.approx(expected, rel=1e-5)


def test_average_takes_over_what_is_no_weight():
    """A codebook that moves by itself must stay with its encoder's latest counts."""
    seed_everything(0)
    trainer = Trainer(tiny_vqvae().train(), TrainingConfig(ema_decay=0.9, warmup_steps=0), 10)
    before = trainer.average.quantizer.codebook.clone()
    for batch in picture_batches():
        trainer.step(batch)
    assert not torch.equal(trainer.average.quantizer.codebook, before)
    assert torch.equal(trainer.average.quantizer.codebook, trainer.model.quantizer.codebook)


def test_every_epoch_has_its_own_order(run):
    orders = []

    class Watched(Batches):
        def epoch(self, number):
            for batch in super().epoch(number):
                orders.append(batch["x"].flatten().tolist())
                yield batch

    train = Watched(line_batches().tensors, 32, shuffle=True)
    fit(Line(LineConfig()), train, line_batches(shuffle=False), LINE, run, "line")
    assert len(orders) == len(set(map(tuple, orders))) == 5


# ------------------------------------------------------------ profiles


@pytest.mark.parametrize("profile", ["smoke", "demo", "large", "full"])
def test_every_model_of_a_profile_makes_a_step(profile):
    settings = load_profile(profile)
    batch = profile_batch(settings)
    seed_everything(0)
    for kind, config, schedule in (
        (VQVAE, settings.vqvae, settings.vqvae_training),
        (PixelCNN, settings.pixelcnn, settings.pixelcnn_training),
        (DCGAN, settings.dcgan, settings.dcgan_training),
    ):
        losses = Trainer(kind(config), schedule, 10).step(batch)
        assert all(value.isfinite().all() for value in losses.values()), kind


# ------------------------------------------------------------ several GPUs, torch.compile


def test_the_random_state_is_that_of_the_model_s_gpu(run, monkeypatch, tmp_path):
    """As if the model were on the second of two GPUs."""
    trainer, asked = Trainer(Line(LineConfig()), LINE, 20), []
    trainer.device = torch.device("cuda:1")
    monkeypatch.setattr(
        torch.cuda, "get_rng_state", lambda device: asked.append(device) or torch.arange(16).byte()
    )
    monkeypatch.setattr(
        torch.cuda,
        "set_rng_state",
        lambda state, device: asked.append((state.sum().item(), device)),
    )
    trainer.save(tmp_path / "a.safetensors", "x")
    assert trainer.restore(tmp_path / "a.safetensors", "x")
    assert asked == [trainer.device, (120, trainer.device)]
