"""The training loop: learning, its files, and whether a finished training is loaded."""

import json

import pytest
from small_trainings import (
    LINE,
    HighLine,
    Interrupted,
    Line,
    LineConfig,
    fit_line,
    interrupt_at,
    line_batches,
    same_weights,
)

from oasis_utils.config import TrainingConfig
from oasis_utils.models.checkpoints import CheckpointError, load_model, read_about
from oasis_utils.training.history import read_history
from oasis_utils.training.loop import configuration_hash


class NewLine(Line):
    """The same model of a later version of the code."""

    version = 2


NewLine.__name__ = "Line"


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
