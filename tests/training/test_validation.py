"""When a training is validated, which model is kept, patience, and what observers see."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_trainings import (
    HighLine,
    Line,
    LineConfig,
    fit_line,
    fit_pixelcnn,
    line_batches,
    map_batches,
    picture_batches,
    spy_on_resume_files,
    steered,
    tensors_of,
    tiny_gan,
    tiny_pixelcnn,
    tiny_vqvae,
)

from oasis_utils.config import TrainingConfig
from oasis_utils.data.batches import Batches
from oasis_utils.models.checkpoints import read_about
from oasis_utils.runtime import RunFolder, seed_everything
from oasis_utils.training.history import best_record, read_history
from oasis_utils.training.loop import fit


def test_best_epoch_is_kept_not_the_last(run):
    weights = {}

    def note(model, record):
        weights[record["epoch"]] = model.layer.weight.item()

    best, history = fit_line(run, steered(Line, [5.0, 3.0, 1.0, 4.0, 2.0]), on_epoch=note)
    assert best.layer.weight.item() == weights[3]
    assert len(set(weights.values())) == 5
    assert read_about(run.checkpoint("line"))["metrics"]["epoch"] == 3
    assert len(history) == 5


def test_metric_that_should_rise(run):
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


def test_losses_of_a_record_are_means_since_the_record_before(run, in_float32):
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


def test_milestones_are_the_start_powers_of_four_and_the_end(run):
    seen, modes = [], []

    def observe(model, steps):
        seen.append(steps)
        modes.append(model.training)
        model.eval()

    def observe_again(model, steps):
        seen.append(-steps)

    config = TrainingConfig(epochs=9, batch_size=1, warmup_steps=2)
    best, _ = fit_line(run, config=config, on_milestone=observe)
    total = seen[-1]
    assert (
        seen == [0] + [n for n in (16, 64, 256) if n < total] + [total]
        and not any(modes)
        and not best.training
    )
    fit_line(run, config=config, on_milestone=observe_again)
    assert min(seen) >= 0  # a finished training has no milestones


def test_the_last_milestone_shows_the_model_of_the_last_step_not_the_best(run):
    weights, milestones = {}, {}

    def note(model, record):
        weights[record["steps"]] = model.layer.weight.item()

    def observe(model, steps):
        milestones[steps] = model.layer.weight.item()

    best, history = fit_line(
        run, steered(Line, [5.0, 1.0, 3.0, 4.0, 2.0]), on_epoch=note, on_milestone=observe
    )
    assert milestones[20] == weights[20] and best.layer.weight.item() == weights[8] != weights[20]
    assert best_record(history)["steps"] == 8


def test_observing_milestones_does_not_change_the_training(tmp_path):
    def weights(folder, **options):
        return fit_pixelcnn(RunFolder(tmp_path / folder), **options)[0].state_dict()

    seed_everything(0)
    plain = weights("a")
    seed_everything(0)
    watched = weights(
        "b",
        on_milestone=lambda model, _steps: model(
            torch.zeros(1, 4, 4).long(), torch.zeros(1).long()
        ),
    )
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


def test_on_epoch_sees_the_model_as_it_is_validated(run):
    modes = []
    fit_line(
        run, on_epoch=lambda model, _record: modes.append((model.training, torch.is_grad_enabled()))
    )
    assert modes == [(False, False)] * 5
