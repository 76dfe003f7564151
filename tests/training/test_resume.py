"""Interrupted trainings end to the bit as those that were left alone."""

from functools import partial

import pytest
from small_trainings import (
    Interrupted,
    Line,
    LineConfig,
    fit_gan,
    fit_line,
    fit_pixelcnn,
    interrupt_at,
    picture_batches,
    same_weights,
    spy_on_resume_files,
    steered,
    tensors_of,
    tiny_vqvae,
)

from oasis_utils.config import TrainingConfig
from oasis_utils.models.checkpoints import read_about
from oasis_utils.runtime import RunFolder, seed_everything
from oasis_utils.training import loop as training
from oasis_utils.training.history import read_history
from oasis_utils.training.loop import fit


def without_seconds(history):
    return [
        {name: value for name, value in record.items() if name != "seconds"} for record in history
    ]


def fit_vqvae(run, every=0, muon_rate=0.0, **options):
    config = TrainingConfig(
        epochs=4, batch_size=4, warmup_steps=3, validate_every_steps=every, muon_rate=muon_rate
    )
    return fit(
        tiny_vqvae(), picture_batches(), picture_batches(False), config, run, "model", **options
    )


def fit_vqvae_with_muon(run, **options):
    return fit_vqvae(run, muon_rate=0.01, **options)


def fit_pixelcnn_with_layouts_and_muon(run, **options):
    return fit_pixelcnn(run, layout=3, muon_rate=0.02, **options)


FITS = [
    fit_vqvae,
    fit_vqvae_with_muon,
    fit_pixelcnn,
    fit_pixelcnn_with_layouts_and_muon,
    fit_gan,
]


@pytest.mark.parametrize("fit_model", FITS)
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


@pytest.mark.parametrize("fit_model", FITS)
def test_another_random_start_ends_elsewhere(tmp_path, fit_model):
    """What the test above sees as equal depends on the random start."""
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
        "stopped in epoch 2 of 3" in (printed := capsys.readouterr().out)
        and "go on after epoch 1" in printed
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
