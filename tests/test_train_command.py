"""The command `train`: one model of a run, in one process or several, as its notebook trains it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from oasis_utils.cli.parser import main
from oasis_utils.config import PROFILES
from oasis_utils.data import open_cache
from oasis_utils.models.checkpoints import load_model, load_tensors, read_about
from oasis_utils.models.codes import encode_dataset
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import RunFolder, exclusive
from oasis_utils.training import launching, stages
from oasis_utils.training.history import read_history

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
NAMES = {"vqvae": "02_train_vqvae", "dcgan": "04_train_dcgan", "pixelcnn": "05_train_pixelcnn"}
SMOKE, CPU = PROFILES["smoke"], torch.device("cpu")


def words(run, model, *options):
    return ["train", model, "--run", str(run.root), "--profile", "smoke", *options]


@pytest.fixture(scope="module")
def coded(brains, tmp_path_factory):
    """A run folder with data, a VQ-VAE of one epoch, and codes."""
    run = RunFolder(tmp_path_factory.mktemp("coded"))
    shutil.copytree(brains.folder, run.data)
    assert main(words(run, "vqvae", "-p", "epochs=1")) == 0
    vqvae, _ = load_model(run.checkpoint("vqvae"), VQVAE)
    encode_dataset(vqvae, open_cache(run.data), SMOKE.codes, run.codes, CPU, 0)
    return run


# ---------------------------------------------------------------- usage


def test_help_names_the_options(capsys):
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("--run", "--devices", "--nodes", "--rdzv-endpoint", "--seed", "-p NAME=VALUE"):
        assert option in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile", "none"], "unknown profile 'none': choose one of"),
        (["-p", "epochs"], "expected NAME=VALUE"),
        (["-p", "epochs=many"], "parameter epochs='many' is not int"),
        (["-p", "blocks=3"], "unknown parameter 'blocks': vqvae has batch_size, code_dim"),
        (["--nodes", "2"], "--nodes 2 needs --rdzv-endpoint HOST:PORT"),
        (["--devices", "0"], "argument --devices"),
    ],
)
def test_invalid_usage_exits_with_2(coded, options, message, capsys):
    assert main(words(coded, "vqvae", *options)) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "notebook"),
    [("vqvae", "01_data_exploration"), ("dcgan", "01_data"), ("pixelcnn", "01_data")],
)
def test_missing_inputs_name_the_notebook_that_writes_them(tmp_path, capsys, model, notebook):
    assert main(words(RunFolder(tmp_path / "none"), model)) == 2
    assert "no run folder" in capsys.readouterr().err
    assert main(words(RunFolder(tmp_path), model, "--devices", "2")) == 1
    assert f"run notebook {notebook}" in capsys.readouterr().err


def test_a_value_out_of_range_is_one_line(coded, capsys):
    assert main(words(coded, "vqvae", "-p", "epochs=0")) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: epochs must be at least 1")


# ---------------------------------------------------------------- as the notebooks


def cell_sources(notebook, *ids):
    cells = json.loads((NOTEBOOKS / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    found = {cell["id"]: "".join(cell["source"]) for cell in cells}
    return [found[name] for name in ids]


CELLS = {
    "vqvae": ("02-02", "02-04", "02-12"),
    "dcgan": ("04-02", "04-04", "04-19", "04-19b", "04-08"),
    "pixelcnn": ("05-02", "05-06", "05-47", "05-11", "05-x20"),
}
BEFORE = {"04-08": "fixed = seeds = None; untrained = new_dcgan(config)"}  # of cells between


def notebook_call(model, run, monkeypatch, **parameters):
    """Positional and named arguments of the last call of `fit` in the cells of the notebook."""
    from oasis_utils import training

    calls = []

    def remember(*arguments, **named):
        calls.append((arguments, named))
        return arguments[0], [{"improved": 1.0, "steps": 1.0, "epoch": 1.0}]

    monkeypatch.setattr(training, "fit", remember)
    names = {"profile": "smoke", "run_folder": str(run.root), "seed": 3, **parameters}
    space = {}
    exec(cell_sources(NAMES[model], CELLS[model][0].rpartition("-")[0] + "-01")[0], space)
    space.update(names)
    for name, source in zip(CELLS[model], cell_sources(NAMES[model], *CELLS[model]), strict=True):
        exec(BEFORE.get(name, ""), space)
        exec(source, space)
    return calls[-1]


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("vqvae", {"epochs": 2, "n_codes": 32, "learning_rate": 0.003}),
        ("dcgan", {"gamma": 1.5}),
        ("pixelcnn", {"blocks": 2, "batch_size": 4}),
        ("pixelcnn", {}),
    ],
)
def test_a_stage_is_the_training_of_its_notebook(coded, model, changes, monkeypatch):
    arguments, named = notebook_call(model, coded, monkeypatch, **changes)
    inputs = stages.Inputs(SMOKE, coded, CPU, open_cache(coded.data), 3, changes)
    stage = stages.build(model, inputs)
    network, train, held_out, schedule, run, name, seed = arguments
    ours = (stage.model, stage.schedule, 3, stage.inputs)
    theirs = (network, schedule, seed, named["inputs"])
    from oasis_utils.training.loop import configuration_hash

    assert configuration_hash(*ours) == configuration_hash(*theirs)
    assert (name, run) == (stage.name, coded)
    for own, other in ((stage.train, train), (stage.held_out, held_out)):
        assert (own.batch_size, own.shuffle, own.mirror) == (
            other.batch_size,
            other.shuffle,
            other.mirror,
        )
        assert own.shuffle is False or own.seed == other.seed
        for batch, expected in zip(own, other, strict=True):
            assert all(torch.equal(value, expected[key]) for key, value in batch.items())
    buffers = dict(network.named_buffers())  # fitted to the maps, not drawn
    assert all(
        torch.equal(value, buffers[key])
        for key, value in stage.model.named_buffers()
        if model != "vqvae"
    )
    # what shows warnings needs no process
    assert set(stage.observers) <= {"on_epoch", "on_milestone"} & set(named)


@pytest.mark.parametrize("model", NAMES)
def test_parameters_are_those_of_the_notebook(model):
    from oasis_utils.pipeline.parameters import SHARED, notebook_parameters, plan

    known = notebook_parameters(NOTEBOOKS / f"{NAMES[model]}.ipynb")
    of_all = {*SHARED, "devices"}
    expected = {name: known[name].kind for name in known if name not in of_all}
    assert stages.parameter_types(model) == expected
    assert known["devices"].default == 1
    (step,) = plan("smoke", "", RunFolder(Path("/x")), NAMES[model], {"devices": "2"})
    assert step.parameters["devices"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("model", ["dcgan", "pixelcnn"])
def test_a_prior_is_trained_with_its_pictures_and_loaded_then(coded, model, capsys):
    assert main(words(coded, model, "-p", "epochs=1")) == 0
    assert f"trained {model}: 1 epochs" in capsys.readouterr().out
    assert coded.snapshots(model).exists()
    assert main(words(coded, model, "-p", "epochs=1")) == 0
    assert f"loaded {model}.safetensors: trained before" in capsys.readouterr().out


# ---------------------------------------------------------------- several processes


def test_the_process_that_failed_first_is_named():
    killed, lost = {0: 1, 1: -9}, "the connection broke"
    text = launching.what_failed(killed, {}, 2)
    assert text.startswith("process 1 of 2 (numbered from 0) was ended by signal 9 (SIGKILL; the")
    assert text.endswith("run the same command again to go on after the last whole epoch")
    assert launching.what_failed({1: 1, 0: -15}, {1: "no memory"}, 2).endswith("failed: no memory")
    assert "process 1 of 3 (numbered from 0) ended with exit code 4" in launching.what_failed(
        {1: 4, 2: -15}, {}, 3
    )
    assert lost in launching.what_failed({0: 1}, {0: lost}, 2)


def test_a_broken_connection_keeps_the_words_of_its_error(monkeypatch):
    monkeypatch.setattr(launching, "_end_with", lambda parent: None)
    monkeypatch.setattr(launching, "SECONDS_FOR_OTHERS", 0)
    monkeypatch.setattr(signal, "signal", lambda *handler: None)
    expected = r"another process broke \(NCCL error: invalid usage\): run the same command again"
    with pytest.raises(launching.ProcessFailed, match=expected), launching.watched():
        raise RuntimeError("NCCL error: invalid usage\nLast error: ...")
    with pytest.raises(RuntimeError, match="^no connection$"), launching.watched():
        raise RuntimeError("no connection")


def started(run, model, *options):
    """A running training of two processes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "oasis_utils", *words(run, model, "--devices", "2", *options)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_epoch(run, model, process, epoch, seconds=120):
    resume = run.checkpoint(model).with_suffix(".resume.safetensors")
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if resume.exists() and len(read_history(run.history(model))) >= epoch:
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate())


def workers(process):
    found = psutil.Process(process.pid).children()
    return {int(child.environ()["RANK"]): child for child in found if "RANK" in child.environ()}


def copy_of(run, folder):
    shutil.copytree(run.root, folder)
    return RunFolder(folder)


def is_free(run, model):
    with exclusive(run.checkpoint(model).with_name(f".{model}.lock"), "it"):
        return True


@pytest.mark.slow
@pytest.mark.faults
def test_a_killed_process_ends_the_job_which_goes_on_to_the_same_end(coded, tmp_path):
    """Layouts with noise, so the random numbers of both processes must go on where they were."""
    whole, broken = copy_of(coded, tmp_path / "whole"), copy_of(coded, tmp_path / "broken")
    options = ("-p", "epochs=5")
    process = started(broken, "pixelcnn", *options)
    wait_for_epoch(broken, "pixelcnn", process, 2)
    victims = workers(process)
    victims[1].send_signal(signal.SIGKILL)
    start = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1 and time.monotonic() - start < 30
    lines = [line for line in errors.splitlines() if "training pixelcnn" not in line]
    assert len(lines) == 1 and "process 1 of 2" in lines[0] and "signal 9" in lines[0], errors
    assert not any(victim.is_running() for victim in victims.values())
    assert is_free(broken, "pixelcnn")
    assert not read_about(broken.checkpoint("pixelcnn"))["complete"]
    ends = []
    for run in (broken, whole):
        process = started(run, "pixelcnn", *options)
        printed, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert ("going on with pixelcnn after epoch" in printed) == (run is broken)
        ends.append(load_tensors(run.checkpoint("pixelcnn"))[0])
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    histories = [read_history(run.history("pixelcnn")) for run in (broken, whole)]
    for record, expected in zip(*histories, strict=True):
        assert {**record, "seconds": 0} == {**expected, "seconds": 0}


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("request_to_stop", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_ends_all_processes(coded, tmp_path, request_to_stop):
    run = copy_of(coded, tmp_path / "run")
    process = started(run, "vqvae", "-p", "epochs=900")
    wait_for_epoch(run, "vqvae", process, 1)
    victims = workers(process)
    process.send_signal(request_to_stop)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == "stopped; run the same command again to continue"
    assert len(re.findall("stopped; run", errors)) == 1
    assert not any(victim.is_running() for victim in victims.values()) and is_free(run, "vqvae")


@pytest.mark.slow
@pytest.mark.faults
def test_a_request_to_stop_one_process_is_told(coded, tmp_path):
    run = copy_of(coded, tmp_path / "run")
    process = started(run, "vqvae", "-p", "epochs=900")
    wait_for_epoch(run, "vqvae", process, 1)
    workers(process)[1].send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == (
        "error: process 1 of 2 (numbered from 0) failed: it was asked to stop: run the same command"
        " again to go on after the last whole epoch"
    )


@pytest.mark.slow
@pytest.mark.faults
def test_processes_end_with_a_launcher_that_is_killed(coded, tmp_path):
    run = copy_of(coded, tmp_path / "run")
    process = started(run, "vqvae", "-p", "epochs=900")
    wait_for_epoch(run, "vqvae", process, 1)
    victims = workers(process)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(victims.values(), timeout=15)
    assert not alive and is_free(run, "vqvae")


@pytest.mark.slow
def test_a_notebook_trains_in_processes_and_loads_the_model(coded, tmp_path, capsys):
    run = copy_of(coded, tmp_path / "run")
    config, schedule = SMOKE.vqvae, SMOKE.schedule("vqvae", 64, epochs=2)
    arguments = ("vqvae", config, schedule, run, "smoke", 0, "cpu")
    launching.in_processes(1, *arguments)
    assert capsys.readouterr().out == ""
    launching.in_processes(2, *arguments)
    printed = capsys.readouterr().out
    assert "2 processes" in printed and "trained vqvae: 2 epochs" in printed
    assert main(words(run, "vqvae", "-p", "epochs=2")) == 0
    assert "trained before" in capsys.readouterr().out
    single = SMOKE.schedule("vqvae", 64, batch_size=1)
    with pytest.raises(RuntimeError, match="a batch of 1 rows is too small for 2 processes"):
        launching.in_processes(2, "vqvae", config, single, run, "smoke", 0, "cpu")
