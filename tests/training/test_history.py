"""History files, the best record and the snapshots of a training."""

import numpy as np
import pytest
from small_trainings import Line, LineConfig, fit_line, line_batches
from torch import nn

from oasis_utils.config import TrainingConfig
from oasis_utils.runtime import RunFolder, seed_everything
from oasis_utils.training.history import Snapshots, best_record, read_history
from oasis_utils.training.loop import fit

# ---------------------------------------------------------------- learning


def test_history_without_a_file_is_empty(run):
    assert read_history(run.history("line")) == []


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
    seen = Snapshots(path, lambda model: 1 / 0).arrays()  # a loaded training makes none
    assert list(seen) == [1, 2, 3] and [int(array[0, 0]) for array in seen.values()] == [1, 2, 3]
    snapshots.keep(model, 2)
    assert list(snapshots.arrays()) == [1, 2]


def test_snapshots_of_a_resumed_training_are_those_of_one_left_alone(tmp_path):
    def watch(folder, **options):
        seed_everything(0)
        kept = Snapshots(
            RunFolder(tmp_path / folder).snapshots("line"),
            lambda model: model.layer.weight.detach().numpy().copy(),
        )
        fit_line(
            RunFolder(tmp_path / folder),
            config=TrainingConfig(epochs=9),
            on_milestone=kept.keep,
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


def test_the_kept_model_is_a_row_of_its_own_after_the_moments(run):
    snapshots = Snapshots(run.root / "seen.npz", lambda model: np.zeros(1))
    for moment in (0, 16, 20):
        snapshots.keep(nn.Identity(), moment)
    rows = snapshots.rows(np.ones(1), 16)
    assert (
        list(rows) == ["0 steps", "16 steps", "20 steps", "kept\n(16 steps)"]
        and rows["kept\n(16 steps)"] == 1
    )
    assert list(snapshots.rows(np.zeros(1), 16)) == ["0 steps", "20 steps", "kept\n(16 steps)"]


def test_a_history_without_a_best_model_is_refused():
    assert best_record([{"steps": 0}, {"steps": 4, "improved": True}, {"steps": 8}])["steps"] == 4
    with pytest.raises(ValueError, match="the history names no best model: .* train again"):
        best_record([{"steps": 4, "ssim": 0.9}])


def test_files_of_earlier_versions_are_read_under_the_names_of_this_one(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text(
        '{"steps": 1, "autoencoder_opinion": 0.5, "autoencoder_opinion_weight": 2.0}\n',
        encoding="utf-8",
    )
    assert read_history(path) == [
        {"steps": 1, "autoencoder_adversarial": 0.5, "autoencoder_adversarial_weight": 2.0}
    ]
