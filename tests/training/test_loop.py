"""The training loop: schedule, learning, best epoch, patience, load-or-train, resume to the bit,
blow-ups.
"""

import json
import math
import os
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jaxtyping
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from oasis_utils.config import (
    DCGANConfig,
    PixelCNNConfig,
    TrainingConfig,
    VQVAEConfig,
    load_profile,
)
from oasis_utils.data.batches import Batches
from oasis_utils.models.checkpoints import CheckpointError, load_model, read_about
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import FolderInUse, RunFolder, exclusive, seed_everything
from oasis_utils.runtime.symmetry import LEFT_RIGHT
from oasis_utils.training import loop as training
from oasis_utils.training.history import Snapshots, best_record, read_history
from oasis_utils.training.loop import Trainer, configuration_hash, fit
from oasis_utils.training.schedule import learning_rate

LINE = TrainingConfig(epochs=5, batch_size=8, learning_rate=0.05, warmup_steps=2)


@dataclass(frozen=True)
class LineConfig:
    width: int = 1
    explode_at: int = 0  # step whose loss is not finite; 0: none
    label: int = 0  # another configuration of the same model


class Line(nn.Module):
    """y = 2 x + 1 by least squares; `scores` replaces the validation figures, to steer what the
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
    """The same with a figure that should rise."""

    monitor = ("error", "max")


class NewLine(Line):
    """The same model of a later version of the code."""

    version = 2


NewLine.__name__ = "Line"


def line_batches(n=32, shuffle=True):
    x = torch.linspace(-1, 1, n)[:, None]
    return Batches({"x": x, "y": 2 * x + 1}, 8, shuffle=shuffle)


def fit_line(run, model=None, config=LINE, **options):
    model = model or Line(LineConfig())
    return fit(model, line_batches(), line_batches(shuffle=False), config, run, "line", **options)


def steered(kind, scores):
    """A model whose validation figures are given."""
    return type(kind.__name__, (kind,), {"scores": scores})(LineConfig())


@pytest.fixture
def run(tmp_path):
    seed_everything(0)
    return RunFolder(tmp_path)


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def without_seconds(history):
    return [
        {name: value for name, value in record.items() if name != "seconds"} for record in history
    ]


# ---------------------------------------------------------------- schedule


def test_learning_rate_closed_form():
    config = TrainingConfig(learning_rate=0.4, final_rate=0.1, warmup_steps=10)
    rates = [learning_rate(config, step, 110) for step in range(111)]
    assert rates[:10] == pytest.approx([0.04 * (step + 1) for step in range(10)])
    assert rates[9] == pytest.approx(0.4) and rates[10] == pytest.approx(0.4)
    assert rates[60] == pytest.approx(0.4 * (0.1 + 0.9 / 2))  # half of the cosine
    assert rates[35] == pytest.approx(0.4 * (0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2))
    assert rates[110] == pytest.approx(0.04)


def test_learning_rate_rises_then_falls_and_stays_within_bounds():
    config = TrainingConfig(learning_rate=1.0, final_rate=0.02, warmup_steps=7)
    rates = np.array([learning_rate(config, step, 50) for step in range(80)])
    assert (np.diff(rates[:7]) > 0).all() and (np.diff(rates[7:50]) < 0).all()
    assert rates.max() == 1.0 and rates[50:] == pytest.approx(0.02)


@pytest.mark.parametrize(("warmup", "total"), [(0, 10), (10, 10), (50, 10), (0, 1)])
def test_learning_rate_of_short_trainings_is_positive(warmup, total):
    config = TrainingConfig(learning_rate=1.0, warmup_steps=warmup)
    assert all(0 < learning_rate(config, step, total) <= 1 for step in range(total + 1))


def test_optimizer_follows_the_schedule(run):
    trainer = Trainer(Line(LineConfig()), LINE, 20)
    for step, batch in zip(range(4), line_batches(), strict=True):
        trainer.step(batch)
        assert trainer.optimizers["all"].param_groups[0]["lr"] == learning_rate(LINE, step, 20)


# ---------------------------------------------------------------- learning


def test_fit_learns(run):
    model = Line(LineConfig())
    start = model.validate(line_batches(shuffle=False))["error"]
    config = TrainingConfig(epochs=5, batch_size=8, learning_rate=0.4, warmup_steps=2)
    best, history = fit_line(run, model, config)
    assert best.validate(line_batches(shuffle=False))["error"] < 0.1 * start
    assert [record["epoch"] for record in history] == [1, 2, 3, 4, 5]
    assert history[-1]["loss"] < 0.2 * history[0]["loss"]
    assert all(record["half"] == pytest.approx(record["loss"] / 2) for record in history)
    assert not best.training


def test_fit_leaves_checkpoint_and_history_and_nothing_else(run):
    best, history = fit_line(run, inputs={"data": "abc"}, seed=3)
    assert read_history(run.history("line")) == history
    lines = run.history("line").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4, 5]
    about = read_about(run.checkpoint("line"))
    assert (
        about["complete"]
        and about["inputs"] == {"data": "abc"}
        and about["provenance"]["seed"] == 3
    )
    assert about["metrics"]["error"] == min(record["error"] for record in history)
    assert same_weights(load_model(run.checkpoint("line"), Line)[0], best)
    files = sorted(str(p.relative_to(run.root)) for p in run.root.rglob("*") if p.is_file())
    assert files == ["checkpoints/.line.lock", "checkpoints/line.safetensors", "history/line.jsonl"]


def test_history_without_a_file_is_empty(run):
    assert read_history(run.history("line")) == []


def test_loss_of_an_epoch_is_the_mean_over_its_batches(run):
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


# ---------------------------------------------------------------- which epoch is kept


def test_best_epoch_is_kept_not_the_last(run):
    weights = {}

    def note(model, record):
        weights[record["epoch"]] = model.layer.weight.item()

    best, history = fit_line(run, steered(Line, [5.0, 3.0, 1.0, 4.0, 2.0]), on_epoch=note)
    assert best.layer.weight.item() == weights[3]
    assert len(set(weights.values())) == 5
    assert read_about(run.checkpoint("line"))["metrics"]["epoch"] == 3
    assert len(history) == 5


def test_figure_that_should_rise(run):
    fit_line(run, steered(HighLine, [1.0, 3.0, 5.0, 5.0, 2.0]))
    assert read_about(run.checkpoint("line"))["metrics"]["epoch"] == 3


def test_patience_stops_early_and_keeps_the_best(run, capsys):
    config = TrainingConfig(epochs=9, batch_size=8, patience=2)
    model = steered(Line, [5.0, 4.0, 4.5, 3.0, 3.1, 3.0, 0.0, 0.0, 0.0])
    _, history = fit_line(run, model, config)
    assert len(history) == 6  # epochs 5 and 6 are no better than epoch 4
    assert read_about(run.checkpoint("line"))["metrics"]["epoch"] == 4
    assert "6 epochs (stopped early)" in capsys.readouterr().out


def test_no_patience_goes_to_the_end(run):
    _, history = fit_line(run, steered(Line, [1.0, 2.0, 3.0, 4.0, 5.0]))
    assert len(history) == 5


def test_validation_happens_now_and_then_and_at_the_end(run):
    seen = []
    config = TrainingConfig(epochs=5, batch_size=8, validate_every=2)
    _, history = fit_line(
        run, config=config, on_epoch=lambda _model, record: seen.append(record["epoch"])
    )
    assert seen == [2, 4, 5]
    assert [record["epoch"] for record in history if "error" in record] == seen


def test_validation_within_epochs_starts_at_step_0_and_counts_steps(run):
    seen = []
    config = TrainingConfig(
        epochs=3, batch_size=8, validate_every_steps=3, validate_every=2
    )  # epochs of 4 steps
    _, history = fit_line(
        run, config=config, on_epoch=lambda _model, record: seen.append(record["steps"])
    )
    assert [(record["epoch"], record["steps"]) for record in history] == [
        (0, 0),
        (1, 3),
        (1, 4),
        (2, 6),
        (2, 8),
        (3, 9),
        (3, 12),
    ]
    assert [record["steps"] for record in history if "error" in record] == [0, 3, 6, 8, 9, 12]
    assert seen == [3, 6, 8, 9, 12]
    assert "loss" not in history[0] and all("loss" in record for record in history[1:])
    assert read_history(run.history("line")) == history


def test_losses_of_a_record_are_means_since_the_record_before(run):
    frozen = TrainingConfig(
        epochs=1, batch_size=8, learning_rate=1e-12, warmup_steps=0, validate_every_steps=3
    )
    losses, model = [], Line(LineConfig())

    class Watched(Batches):
        def epoch(self, number):
            for batch in super().epoch(number):
                losses.append(float(F.mse_loss(model.layer(batch["x"]), batch["y"]).detach()))
                yield batch

    train = Watched(line_batches().tensors, 8, shuffle=True)
    _, history = fit(model, train, line_batches(shuffle=False), frozen, run, "line")
    assert [record["loss"] for record in history[1:]] == pytest.approx(
        [np.mean(losses[:3]), losses[3]], rel=1e-4
    )


def test_best_model_may_come_from_within_an_epoch_but_not_from_within_the_first(run, capsys):
    weights = {}

    def note(model, record):
        weights[record["steps"]] = model.layer.weight.item()

    config = TrainingConfig(
        epochs=2, batch_size=8, validate_every_steps=3
    )  # validations at 0, 3, 4, 6 and 8 steps
    best, history = fit_line(run, steered(Line, [0.0, 0.5, 3.0, 1.0, 2.0]), config, on_epoch=note)
    assert [record["steps"] for record in history if record.get("improved")] == [4, 6]
    assert best.layer.weight.item() == weights[6] and len(set(weights.values())) == 4
    assert (
        best_record(history)["steps"] == read_about(run.checkpoint("line"))["metrics"]["steps"] == 6
    )
    assert "after 6 steps (epoch 2)" in capsys.readouterr().out


def test_patience_counts_validations_within_epochs(run, capsys):
    config = TrainingConfig(epochs=3, batch_size=8, validate_every_steps=1, patience=2)
    _, history = fit_line(run, steered(Line, [9.0, 5.0, 4.0, 4.5, 3.0, 3.1, 3.2, 0.0]), config)
    assert [record["steps"] for record in history] == [0, 1, 2, 3, 4, 5, 6]
    assert "1 epochs (stopped early), 6 steps" in capsys.readouterr().out
    assert not run.checkpoint("line").with_suffix(".resume.safetensors").exists()


def test_validating_more_often_does_not_change_the_training(tmp_path, monkeypatch):
    """Validation draws nothing from the global random numbers and puts the model back into training
    mode.
    """
    states = spy_on_resume_files(monkeypatch)
    for kind, batches, config in (
        (tiny_pixelcnn, map_batches, dict(ema_decay=0.9)),
        (tiny_pixelcnn, map_batches, {}),
        (tiny_gan, map_batches, dict(ema_decay=0.8)),
        (tiny_vqvae, picture_batches, {}),
    ):
        ends = []
        for every in (0, 1, 3):
            seed_everything(1)
            schedule = TrainingConfig(
                epochs=2, batch_size=4, warmup_steps=3, validate_every_steps=every, **config
            )
            fit(
                kind(),
                batches(),
                batches(False),
                schedule,
                RunFolder(tmp_path / f"{kind}{config}{every}"),
                "model",
            )
            ends.append(tensors_of(states[2]))
        assert ends[0] == ends[1] == ends[2], kind


def test_stages_are_the_start_powers_of_four_and_the_end(run):
    seen, modes = [], []

    def look(model, steps):
        seen.append(steps)
        modes.append(model.training)
        model.eval()

    def look_again(model, steps):
        seen.append(-steps)

    config = TrainingConfig(epochs=9, batch_size=1, warmup_steps=2)
    best, _ = fit_line(run, config=config, on_stage=look)
    total = seen[-1]
    assert (
        seen == [0] + [n for n in (16, 64, 256) if n < total] + [total]
        and not any(modes)
        and not best.training
    )
    fit_line(run, config=config, on_stage=look_again)
    assert min(seen) >= 0  # a finished training has no stages


def test_the_last_stage_shows_the_model_of_the_last_step_not_the_best(run):
    weights, stages = {}, {}

    def note(model, record):
        weights[record["steps"]] = model.layer.weight.item()

    def look(model, steps):
        stages[steps] = model.layer.weight.item()

    best, history = fit_line(
        run, steered(Line, [5.0, 1.0, 3.0, 4.0, 2.0]), on_epoch=note, on_stage=look
    )
    assert stages[20] == weights[20] and best.layer.weight.item() == weights[8] != weights[20]
    assert best_record(history)["steps"] == 8


def test_looking_at_stages_does_not_change_the_training(tmp_path):
    def weights(folder, **options):
        return fit_pixelcnn(RunFolder(tmp_path / folder), **options)[0].state_dict()

    seed_everything(0)
    plain = weights("a")
    seed_everything(0)
    watched = weights(
        "b",
        on_stage=lambda model, _steps: model(torch.zeros(1, 4, 4).long(), torch.zeros(1).long()),
    )
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


def test_on_epoch_sees_the_model_as_it_is_validated(run):
    modes = []
    fit_line(
        run, on_epoch=lambda model, _record: modes.append((model.training, torch.is_grad_enabled()))
    )
    assert modes == [(False, False)] * 5


# ---------------------------------------------------------------- load or train


def test_finished_training_is_loaded_and_not_repeated(run, capsys):
    best, history = fit_line(run)
    model = Line(LineConfig())
    again, read = fit_line(run, model)
    assert model.steps == 0
    assert same_weights(again, best) and read == history and not again.training
    assert "trained line" in (text := capsys.readouterr().out) and "loaded line.safetensors" in text


@pytest.mark.parametrize(
    "change",
    [
        dict(seed=1),
        dict(inputs={"data": "other"}),
        dict(config=TrainingConfig(epochs=5, batch_size=8, learning_rate=0.04)),
        dict(model=HighLine(LineConfig())),
        dict(model=NewLine(LineConfig())),
        dict(model=Line(LineConfig(label=1))),
    ],
)
def test_another_configuration_trains_anew(run, change):
    fit_line(run)
    model = change.pop("model", None) or Line(LineConfig())
    fit_line(run, model, **change)
    assert model.steps == 20
    about = read_about(run.checkpoint("line"))
    assert (about["kind"], about["version"]) == (type(model).__name__, model.version)


def test_configuration_hash_depends_on_everything_a_model_depends_on():
    base = dict(model=Line(LineConfig()), config=LINE, seed=0, inputs={"data": "a"})
    changes = [
        {},
        {"model": HighLine(LineConfig())},
        {"model": Line(LineConfig(label=1))},
        {"seed": 1},
        {"model": NewLine(LineConfig())},
        {"config": TrainingConfig(epochs=6)},
        {"inputs": {"data": "b"}},
    ]
    assert len({configuration_hash(**{**base, **change}) for change in changes}) == len(changes)
    assert configuration_hash(**base) == configuration_hash(
        **{**base, "model": Line(LineConfig())}
    )  # the weights are no part of it


def test_unfinished_checkpoint_is_not_taken_for_a_whole_one(run):
    with pytest.raises(Interrupted):
        fit_line(run, on_epoch=interrupt_at(2))
    assert not read_about(run.checkpoint("line"))["complete"]
    model = Line(LineConfig())
    fit_line(run, model)
    assert model.steps == 16  # four of five epochs: the second was not whole


def test_unfinished_training_of_another_configuration_is_not_gone_on_with(run):
    with pytest.raises(Interrupted):
        fit_line(run, on_epoch=interrupt_at(3))
    model = Line(LineConfig())
    _, history = fit_line(run, model, seed=1)
    assert model.steps == 20 and [record["epoch"] for record in history] == [1, 2, 3, 4, 5]


def test_damaged_resume_file_is_named(run):
    with pytest.raises(Interrupted):
        fit_line(run, on_epoch=interrupt_at(3))
    path = run.checkpoint("line").with_suffix(".resume.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(
        CheckpointError, match=r"line.resume.safetensors is not a whole OASIS-VQ checkpoint"
    ):
        fit_line(run)


# ---------------------------------------------------------------- resume to the bit


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


def tiny_pixelcnn():
    return PixelCNN(
        PixelCNNConfig(
            grid=4, n_codes=8, n_positions=3, channels=8, blocks=2, hidden=8, dropout=0.3
        )
    )


def tiny_gan():
    return DCGAN(DCGANConfig(grid=4, n_codes=8, code_dim=4, n_positions=3, noise_dim=4, channels=8))


def fit_vqvae(run, every=0, **options):
    config = TrainingConfig(epochs=4, batch_size=4, warmup_steps=3, validate_every_steps=every)
    return fit(
        tiny_vqvae(), picture_batches(), picture_batches(False), config, run, "model", **options
    )


def fit_pixelcnn(run, every=0, **options):
    config = TrainingConfig(
        epochs=4,
        batch_size=4,
        warmup_steps=3,
        ema_decay=0.9,
        weight_decay=0.01,
        clip_norm=1.0,
        validate_every_steps=every,
    )
    return fit(tiny_pixelcnn(), map_batches(), map_batches(False), config, run, "model", **options)


def fit_gan(run, every=0, **options):
    config = TrainingConfig(
        epochs=4,
        batch_size=4,
        warmup_steps=3,
        ema_decay=0.8,
        betas=(0.0, 0.99),
        validate_every_steps=every,
    )
    return fit(tiny_gan(), map_batches(), map_batches(False), config, run, "model", **options)


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


@pytest.mark.parametrize("fit_model", [fit_vqvae, fit_pixelcnn, fit_gan])
@pytest.mark.parametrize(
    ("epoch", "every"), [(1, 0), (3, 0), (3, 3)]
)  # epochs of four steps: 3 is within one
def test_interrupted_training_ends_bit_for_bit_as_a_whole_one(
    tmp_path, monkeypatch, fit_model, epoch, every
):
    fit_model = partial(fit_model, every=every)
    whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    states = spy_on_resume_files(monkeypatch)
    seed_everything(1)
    expected, history = fit_model(whole)
    expected_state = tensors_of(states[4])
    seed_everything(1)
    with pytest.raises(Interrupted):
        fit_model(broken, on_epoch=interrupt_at(epoch))
    if epoch > 1:
        seed_everything(99)  # another session: only what was saved can tell how to go on
    else:
        seed_everything(1)  # nothing was saved, so it begins again
    resumed, resumed_history = fit_model(broken)
    assert same_weights(resumed, expected)
    assert without_seconds(resumed_history) == without_seconds(history)
    assert without_seconds(read_history(broken.history("model"))) == without_seconds(history)
    assert (
        tensors_of(states[4]) == expected_state
    )  # also averages, optimisers, random state, last weights


@pytest.mark.parametrize("fit_model", [fit_vqvae, fit_pixelcnn, fit_gan])
def test_another_random_start_ends_elsewhere(tmp_path, fit_model):
    """What the test above sees as equal is not equal by chance."""
    results = []
    for seed in (1, 2):
        seed_everything(seed)
        results.append(fit_model(RunFolder(tmp_path / str(seed)))[0])
    assert not same_weights(*results)


def test_vqvae_training_revives_codes(monkeypatch, run):
    """Else the test of resuming would not cover revival."""
    from oasis_utils.models.quantizer import VectorQuantizer

    dead = []
    revive = VectorQuantizer._revive

    def watch(quantizer, flat, mean_use):
        dead.append(int((quantizer.counts < quantizer.revive_below * mean_use).sum()))
        return revive(quantizer, flat, mean_use)

    monkeypatch.setattr(VectorQuantizer, "_revive", watch)
    fit_vqvae(run)
    assert sum(dead) > 0


def test_what_was_validated_after_the_last_whole_epoch_is_validated_again(run, capsys):
    def stop(_model, record):
        if record["steps"] == 7:
            raise KeyboardInterrupt

    config = TrainingConfig(epochs=3, batch_size=8, validate_every_steps=1)
    with pytest.raises(KeyboardInterrupt):
        fit_line(run, config=config, on_epoch=stop)
    assert (
        "stopped in epoch 2 of 3" in (said := capsys.readouterr().out)
        and "go on after epoch 1" in said
    )
    assert [record["steps"] for record in read_history(run.history("line"))] == [
        0,
        1,
        2,
        3,
        4,
        5,
        6,
    ]
    steps = []
    _, history = fit_line(
        run, config=config, on_epoch=lambda _model, record: steps.append(record["steps"])
    )
    assert steps == [5, 6, 7, 8, 9, 10, 11, 12]
    assert [record["steps"] for record in history] == list(range(13))


def test_resume_says_where_it_goes_on(run, capsys):
    with pytest.raises(Interrupted):
        fit_line(run, on_epoch=interrupt_at(3))
    fit_line(run)
    assert "going on with line after epoch 2 of 5" in capsys.readouterr().out


def test_patience_is_counted_over_an_interruption(run):
    config = TrainingConfig(epochs=9, batch_size=8, patience=3)
    model = steered(Line, [1.0, 2.0, 3.0, 4.0, 5.0])
    with pytest.raises(Interrupted):
        fit_line(run, model, config, on_epoch=interrupt_at(3))
    model = steered(Line, [2.0, 2.0, 2.0, 2.0, 2.0])
    _, history = fit_line(run, model, config)
    assert len(history) == 4
    assert read_about(run.checkpoint("line"))["metrics"]["epoch"] == 1


def test_interruption_after_the_last_epoch_loses_nothing(run, monkeypatch):
    save = training.checkpoints.save_model

    def stop_at_the_end(path, model, **about):
        if about["complete"]:
            raise Interrupted
        save(path, model, **about)

    with monkeypatch.context() as patch:
        patch.setattr(training.checkpoints, "save_model", stop_at_the_end)
        with pytest.raises(Interrupted):
            fit_line(run)
    model = Line(LineConfig())
    _, history = fit_line(run, model)
    assert model.steps == 0 and len(history) == 5
    assert read_about(run.checkpoint("line"))["complete"]


# ---------------------------------------------------------------- blow-ups


def test_loss_that_is_not_finite_is_named_and_the_last_good_checkpoint_stays(run):
    model = Line(LineConfig(explode_at=11))  # in the third epoch
    with pytest.raises(
        FloatingPointError, match=r"loss, half is not finite at step 11: try a smaller"
    ):
        fit_line(run, model)
    about = read_about(run.checkpoint("line"))
    assert about["metrics"]["epoch"] == 2 and not about["complete"]
    kept, _ = load_model(run.checkpoint("line"), Line)
    assert all(value.isfinite().all() for value in kept.state_dict().values())
    assert [record["epoch"] for record in read_history(run.history("line"))] == [1, 2]


def test_loss_is_looked_at_within_long_epochs(run):
    model = Line(LineConfig(explode_at=2))
    batches = Batches(line_batches(8 * training.LOOK_EVERY * 3).tensors, 8)
    with pytest.raises(FloatingPointError, match="step 2:"):
        fit(model, batches, batches, LINE, run, "line")
    assert model.steps == training.LOOK_EVERY
    assert not run.checkpoint("line").exists()


def test_the_slices_of_a_bad_step_are_named(run):
    tensors = line_batches().tensors | {
        "subjects": torch.arange(32) + 400,
        "positions": torch.arange(32) % 4,
    }
    batches = Batches(tensors, 8)  # in order: the third step sees 416 to 423
    with pytest.raises(
        FloatingPointError,
        match=r"at step 3 \(slices, as subject/position: 416/0, 417/1, .*423/3\)",
    ):
        fit(Line(LineConfig(explode_at=3)), batches, batches, LINE, run, "line")


def test_weights_that_are_not_finite_are_named_before_they_are_kept(run):
    class Broken(Line):
        def validate(self, batches):
            self.layer.bias.data.fill_(float("inf"))
            return {"error": 0.0}

    with pytest.raises(FloatingPointError, match="layer.bias is not finite after step 4"):
        fit_line(run, Broken(LineConfig()))
    assert not run.checkpoint("line").exists()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 80 GB"),
    ],
)
def test_exhausted_memory_gives_the_batch_size_to_try(run, monkeypatch, error):
    def exhausted(self, batch, phase):
        raise error

    monkeypatch.setattr(Line, "step", exhausted)
    with pytest.raises(MemoryError, match="at step 1 with batch_size=8: try batch_size=4"):
        fit_line(run)


def test_any_other_runtime_error_passes_unchanged(run, monkeypatch):
    def wrong(self, batch, phase):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(Line, "step", wrong)
    with pytest.raises(RuntimeError, match="^shapes do not fit$"):
        fit_line(run)


def test_ctrl_c_says_what_is_kept_and_where_to_go_on(run, capsys):
    with pytest.raises(KeyboardInterrupt):
        fit_line(run, on_epoch=interrupt_at(3, KeyboardInterrupt))
    assert (
        "is in line.safetensors and can be used; run this again to go on after epoch 2"
        in capsys.readouterr().out
    )
    load_model(run.checkpoint("line"), Line)


def test_a_second_training_of_the_same_model_is_refused(run):
    with (
        exclusive(run.checkpoint("line").with_name(".line.lock"), "elsewhere"),
        pytest.raises(
            FolderInUse, match=f"line.safetensors is in use by process {os.getpid()} on "
        ),
    ):
        fit_line(run)


def test_held_out_figure_that_is_not_finite_stops_with_its_name(run):
    with pytest.raises(FloatingPointError, match="error is not finite"):
        fit_line(run, steered(Line, [1.0, float("nan"), 1.0, 1.0, 1.0]))
    assert read_about(run.checkpoint("line"))["metrics"]["epoch"] == 1


def test_empty_held_out_slices_do_not_stop_a_vqvae(run):
    """A black slice is reproduced exactly, so its PSNR is infinite: JSON has no such number."""
    black = Batches({"images": torch.zeros(4, 1, 32, 32, dtype=torch.uint8)}, 4)
    model = tiny_vqvae()
    nn.init.zeros_(model.decoder[-2].weight)
    nn.init.constant_(model.decoder[-2].bias, -10.0)
    config = TrainingConfig(epochs=1, batch_size=4)
    _, history = fit(model, picture_batches(), black, config, run, "model")
    assert math.isfinite(history[0]["psnr"])


# ------------------------------------------------------------ snapshots


def test_snapshots_outlive_the_training_and_forget_those_of_a_later_one(run):
    path = run.root / "history" / "seen.npz"
    snapshots = Snapshots(path, lambda model: np.full((2, 3), model.validations))
    assert snapshots.arrays() == {}
    model, _history = fit(
        Line(LineConfig()),
        line_batches(),
        line_batches(),
        TrainingConfig(epochs=3),
        run,
        "line",
        on_epoch=lambda now, record: snapshots.keep(now, record["epoch"]),
    )
    seen = Snapshots(path, lambda model: 1 / 0).arrays()  # a loaded training looks at nothing
    assert list(seen) == [1, 2, 3] and [int(array[0, 0]) for array in seen.values()] == [1, 2, 3]
    snapshots.keep(model, 2)
    assert list(snapshots.arrays()) == [1, 2]


def test_snapshots_of_a_resumed_training_are_those_of_one_left_alone(tmp_path):
    def watch(folder, **options):
        seed_everything(0)
        kept = Snapshots(
            RunFolder(tmp_path / folder).watched("line"),
            lambda model: model.layer.weight.detach().numpy().copy(),
        )
        fit_line(
            RunFolder(tmp_path / folder),
            config=TrainingConfig(epochs=9),
            on_stage=kept.keep,
            **options,
        )
        return kept.arrays()

    def stop(_model, record):
        if record["epoch"] == 6:
            raise KeyboardInterrupt

    whole = watch("whole")
    with pytest.raises(KeyboardInterrupt):
        watch("stopped", on_epoch=stop)
    again = watch("stopped")
    assert list(again) == list(whole) == [0, 16, 36]
    assert all(np.array_equal(again[moment], whole[moment]) for moment in whole)


def test_the_best_model_is_a_row_of_its_own_after_the_moments(run):
    snapshots = Snapshots(run.root / "seen.npz", lambda model: np.zeros(1))
    for moment in (0, 16, 20):
        snapshots.keep(nn.Identity(), moment)
    rows = snapshots.rows(np.ones(1), 16)
    assert (
        list(rows) == ["0 steps", "16 steps", "20 steps", "best\n(16 steps)"]
        and rows["best\n(16 steps)"] == 1
    )


def test_a_history_without_a_best_model_is_refused():
    assert best_record([{"steps": 0}, {"steps": 4, "improved": True}, {"steps": 8}])["steps"] == 4
    with pytest.raises(ValueError, match="the history names no best model: .* train again"):
        best_record([{"steps": 4, "ssim": 0.9}])


# ------------------------------------------------------------ profiles


def profile_batch(settings, size=2):
    """Random slices, maps and positions as a profile's models take them."""
    side, grid, n_codes = settings.data.image_size, settings.vqvae.grid, settings.vqvae.n_codes
    generator = torch.Generator().manual_seed(0)
    return {
        "images": torch.rand(size, 1, side, side, generator=generator),
        "positions": torch.full((size,), 3),
        "indices": torch.randint(n_codes, (size, grid, grid), generator=generator),
    }


@pytest.mark.parametrize("profile", ["smoke", "demo", "full"])
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


def broken(_graph, _inputs):
    raise RuntimeError("no compiler works here")


@pytest.mark.parametrize(
    ("kind", "backend"), [("vqvae", "aot_eager"), ("pixelcnn", "aot_eager"), ("pixelcnn", broken)]
)
def test_a_compiled_training_makes_the_same_steps(monkeypatch, request, kind, backend):
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
    monkeypatch.setattr(training, "compiling_pays", lambda *_: True)
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
