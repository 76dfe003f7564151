"""Two processes that train together against one on the joined batch."""

import contextlib
import dataclasses
import shutil
from pathlib import Path
from unittest import mock

import pytest
import torch
from golden import float64_throughout
from small_trainings import (
    Interrupted,
    Line,
    LineConfig,
    fit_line,
    line_batches,
    map_batches,
    picture_batches,
    tiny_gan,
    tiny_pixelcnn,
    tiny_vqvae,
)
from two_processes import in_two

from oasis_utils.config import TrainingConfig
from oasis_utils.data.batches import Batches
from oasis_utils.models.checkpoints import load_tensors
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.quantizer import VectorQuantizer
from oasis_utils.runtime import RunFolder, processes, seed_everything
from oasis_utils.training.history import read_history
from oasis_utils.training.loop import fit
from oasis_utils.training.trainer import Trainer

pytestmark = pytest.mark.slow

TOLERANCE = 1e-9  # of losses, metrics and weights, in float64 after 51 steps
STEPS = 17  # of an epoch: the weights are made equal at its start only
SCHEDULE = dict(epochs=3, warmup_steps=3, validate_every_steps=7)


def pictures(steps=STEPS):
    """Batches of 6 slices, in order, the last one of 4."""
    rows = torch.arange(6 * steps - 2) % 16
    return Batches({"images": picture_batches().tensors["images"][rows]}, 6)


def maps(steps=STEPS):
    """Batches of 13 maps, the last one of 8, in packs of 4 or 5: 9 and 4 for two processes, then 4
    and 4.
    """
    generator = torch.Generator().manual_seed(0)
    indices = torch.randint(8, (13 * steps - 5, 4, 4), generator=generator)
    return Batches({"indices": indices, "positions": torch.arange(len(indices)) % 3}, 13)


def changed(model, **changes):
    """A new model of the same kind with other settings."""
    return type(model)(dataclasses.replace(model.config, **changes))


def deterministic_gan():
    """The penalty is taken on the whole batch, so that no row is chosen at random."""
    return changed(tiny_gan(), penalty_share=1.0)


def deterministic_pixelcnn():
    return changed(tiny_pixelcnn(), dropout=0.0, context_noise=0.0)


CASES = {
    "vqvae": (tiny_vqvae, pictures, {}),
    "vqvae, gradient codebook": (
        lambda: changed(tiny_vqvae(), codebook="gradient", revive_below=0.0, cosine=False),
        pictures,
        dict(clip_norm=0.5, muon_rate=0.01),
    ),
    "vqvae, discriminator": (
        lambda: changed(
            tiny_vqvae(), adversarial_weight=0.2, adversarial_start=3, revive_below=0.0
        ),
        pictures,
        {},
    ),
    "pixelcnn": (deterministic_pixelcnn, maps, dict(ema_decay=0.9, weight_decay=0.01)),
    "dcgan": (deterministic_gan, maps, dict(ema_decay=0.8, betas=(0.0, 0.99))),
}


class JoinedNoise:
    """torch.randn of which each process gets its rows of the same numbers."""

    def __init__(self):
        self.calls, self.randn = 0, torch.randn

    def __call__(self, rows, columns, device):
        self.calls += 1
        sizes = processes.numbers(rows)
        generator = torch.Generator().manual_seed(self.calls)
        first = sum(sizes[: processes.rank()])
        return self.randn(sum(sizes), columns, generator=generator)[first : first + rows]


@contextlib.contextmanager
def with_joined_noise():
    """Steps of the DCGAN draw the rows of their noise that one process would draw for them."""
    noise, step = JoinedNoise(), DCGAN.step

    def step_with_noise(model, batch, phase):
        with mock.patch.object(torch, "randn", noise):
            return step(model, batch, phase)

    with mock.patch.object(DCGAN, "step", step_with_noise):
        yield


def train(folder, case):
    """(weights of the model as this process trained it, those of the best one, history) of a
    case.
    """
    make, batches, schedule = CASES[case]
    run = RunFolder(Path(folder) / case)
    with float64_throughout():
        seed_everything(8)
        model = make()
        with with_joined_noise():
            best, history = fit(
                model,
                batches(),
                batches(3),
                TrainingConfig(batch_size=batches().batch_size, **SCHEDULE, **schedule),
                run,
                "model",
            )
        return (
            model.state_dict(),
            best.state_dict(),
            [{**record, "seconds": 0.0} for record in history],
        )


def train_all(folder):
    return {case: train(folder, case) for case in CASES}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Results of one process, and of each of two."""
    folder = tmp_path_factory.mktemp("two")
    return train_all(tmp_path_factory.mktemp("one")), in_two(train_all, folder), folder


def watched_codebook(folder):
    """(revived codes, distances of the two nearest codes) of each step of the VQ-VAE."""
    revived, nearest, revive = [], [], VectorQuantizer._revive

    def watch(quantizer, flat, mean_use):
        revived.append(int((quantizer.counts < quantizer.revive_below * mean_use).sum()))
        revive(quantizer, flat, mean_use)
        nearest.append(float(torch.pdist(quantizer.codebook).min()))

    with mock.patch.object(VectorQuantizer, "_revive", watch):
        train(folder, "vqvae")
    return revived, nearest


@pytest.mark.parametrize("case", CASES)
def test_two_processes_end_as_one_on_the_joined_batch(trained, case):
    alone, (first, second), _ = trained
    *models, history = alone[case]
    assert history[-1]["steps"] == 51
    for *found_models, found_history in (first[case], second[case]):
        for found, weights in zip(found_models, models, strict=True):
            assert found.keys() == weights.keys()
            for name, value in weights.items():
                torch.testing.assert_close(
                    found[name], value, rtol=TOLERANCE, atol=TOLERANCE, msg=f"{name} of {case}"
                )
        for record, expected in zip(found_history, history, strict=True):
            assert record == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE)


@pytest.mark.parametrize("case", CASES)
def test_both_processes_have_the_same_weights_to_the_bit(trained, case):
    """As they were trained, at the end of an epoch, not as they were read from the file."""
    _, (first, second), _ = trained
    for name, value in first[case][0].items():
        assert torch.equal(value, second[case][0][name]), name


def test_the_compared_training_revives_codes_and_has_no_ties(tmp_path):
    """Of two equal codes, which a revival can make, rounding would choose the nearest: then any
    change of the order of sums ends elsewhere.
    """
    revived, nearest = watched_codebook(tmp_path)
    assert sum(revived) > 20 and min(nearest) > 1e-3


def test_files_are_those_of_one_process(trained):
    _, _, folder = trained
    for case in CASES:
        files = sorted(str(p.relative_to(folder / case)) for p in (folder / case).rglob("*.*"))
        assert files == [
            "checkpoints/.model.lock",
            "checkpoints/model.safetensors",
            "history/model.jsonl",
        ]


# ---------------------------------------------------------------- resume


def fit_prior(folder, name, stop_after=0):
    """The model as this process trained it, with random draws; stops after an epoch if asked."""
    save = Trainer.save

    def save_and_stop(trainer, path, identity):
        save(trainer, path, identity)
        if trainer.epochs == stop_after:
            raise Interrupted

    run = RunFolder(Path(folder) / name)
    config = TrainingConfig(epochs=4, batch_size=4, warmup_steps=3, ema_decay=0.9)
    model = tiny_pixelcnn(3)
    stops = pytest.raises(Interrupted) if stop_after else contextlib.nullcontext()
    with mock.patch.object(Trainer, "save", save_and_stop), stops:
        fit(model, map_batches(), map_batches(False), config, run, "model")
    return model.state_dict()


def interrupt_and_go_on(folder):
    found = {}
    seed_everything(1)
    found["whole"] = fit_prior(folder, "whole")
    seed_everything(1)
    fit_prior(folder, "broken", stop_after=2)
    seed_everything(99 + processes.rank())  # only what was saved can tell how to go on
    found["resumed"] = fit_prior(folder, "broken")
    seed_everything(1)
    fit_prior(folder, "for one", stop_after=2)
    found["begun by one"] = resumed_after_seeds(folder, "for two")
    return found


def resumed_after_seeds(folder, name):
    """Weights of a training that goes on from the same state after other random numbers."""
    found = []
    for seed in (5, 6):
        if processes.is_first():
            shutil.copytree(Path(folder) / name, Path(folder) / f"{name} {seed}")
        processes.wait()
        seed_everything(seed)
        found.append(fit_prior(folder, f"{name} {seed}"))
    return found


def same(weights, others):
    return all(torch.equal(value, others[name]) for name, value in weights.items())


def resume_file(folder, name):
    return RunFolder(folder / name).checkpoint("model").with_suffix(".resume.safetensors")


def test_resume_with_as_many_processes_or_others(tmp_path, capsys):
    seed_everything(1)
    fit_prior(tmp_path, "for two", stop_after=2)
    first, second = in_two(interrupt_and_go_on, tmp_path)
    for found in (first, second):
        assert same(found["resumed"], found["whole"]) and same(found["whole"], first["whole"])
        assert all(same(weights, first["begun by one"][0]) for weights in found["begun by one"])

    states, _ = load_tensors(resume_file(tmp_path, "for one"))
    assert not torch.equal(states["random.cpu"], states["random.cpu.1"])
    capsys.readouterr()
    begun_by_two = resumed_after_seeds(tmp_path, "for one")
    assert same(*begun_by_two)
    assert capsys.readouterr().out.count("going on with model after epoch 2 of 4") == 2
    for name in ("for one 5", "for two 6"):
        history = read_history(RunFolder(tmp_path / name).history("model"))
        assert [record["epoch"] for record in history] == [1, 2, 3, 4]
        assert not resume_file(tmp_path, name).exists()


# ---------------------------------------------------------------- callbacks, errors


def watch_and_fail(folder):
    """Callbacks that validate, as only the first process does, and a loss that is not finite."""
    seen = []
    held_out = line_batches(shuffle=False)

    def validate(model, _moment):
        seen.append(model.validate(held_out)["error"])

    fit_line(RunFolder(Path(folder) / "seen"), on_epoch=validate, on_milestone=validate)
    explosive = Line(LineConfig(explode_at=5 if processes.rank() else 0))
    with pytest.raises(FloatingPointError, match="loss, half is not finite at step 5"):
        fit_line(RunFolder(Path(folder) / "failed"), explosive)
    return seen


def test_callbacks_see_the_whole_split_and_an_infinite_loss_ends_both(tmp_path, capfd):
    first, second = in_two(watch_and_fail, tmp_path)
    assert second == [] and len(first) == 5 + 3  # milestones 0, 16 and 20
    printed = capfd.readouterr()
    assert printed.out.count("trained line") == 1
    assert printed.err.count("· stopped") == 1
