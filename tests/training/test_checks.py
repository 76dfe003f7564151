"""Losses that are not finite, exhausted memory and other failures of a training."""

import math
import os

import pytest
import torch
from small_trainings import (
    LINE,
    Line,
    LineConfig,
    fit_line,
    interrupt_at,
    line_batches,
    picture_batches,
    steered,
    tiny_vqvae,
)
from torch import nn

from oasis_utils.config import TrainingConfig
from oasis_utils.data.batches import Batches
from oasis_utils.models.checkpoints import load_model, read_about
from oasis_utils.runtime import FolderInUse, exclusive
from oasis_utils.training import loop as training
from oasis_utils.training.history import read_history
from oasis_utils.training.loop import fit


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


def test_loss_is_checked_within_long_epochs(run):
    model = Line(LineConfig(explode_at=2))
    batches = Batches(line_batches(8 * training.CHECK_EVERY * 3).tensors, 8)
    with pytest.raises(FloatingPointError, match="step 2:"):
        fit(model, batches, batches, LINE, run, "line")
    assert model.steps == training.CHECK_EVERY
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


def test_held_out_metric_that_is_not_finite_stops_with_its_name(run):
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
