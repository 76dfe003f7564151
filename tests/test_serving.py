"""A run is used while another process writes it: each answer is whole, of the old or new state."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from slice_files import write
from small_models import MODELS

from oasis_utils.cli.parser import main
from oasis_utils.models.checkpoints import save_model, weights_digest
from oasis_utils.runtime import RunFolder, write_json

pytestmark = [pytest.mark.faults, pytest.mark.slow]
OTHER = "was trained on the codes of another VQ-VAE"
SECONDS = 6


def write_run(run, version):
    """Everything that a run writes, different in each version."""
    torch.manual_seed(version)
    models = {name: make() for name, make in MODELS.items()}
    inputs = {"vqvae": weights_digest(models["vqvae"])}
    for name, model in models.items():
        save_model(run.checkpoint(name), model, **({} if name == "vqvae" else {"inputs": inputs}))
    write_json(run.summary("01_data_exploration"), {"summary": f"version {version} " * 1000})
    figure = write(run.figures / "new.png", np.full((64, 64), version, np.uint8))
    figure.replace(run.figures / "01_slices.png")


def keep_writing(root):
    while True:
        for version in (1, 2):
            write_run(RunFolder(root), version)


@pytest.fixture
def answers(tmp_path):
    """What `sample` draws from each version."""
    drawn = []
    for version in (1, 2):
        write_run(RunFolder(tmp_path / str(version)), version)
        drawn.append(sample(tmp_path / str(version), tmp_path / "drawn.npz"))
    assert not np.array_equal(*drawn)
    return drawn


def sample(root, out):
    assert main(["sample", "--run", str(root), "--n", "3", "--out", str(out)]) == 0
    with np.load(out) as arrays:
        return arrays["images"]


def test_a_run_that_is_being_written_is_read_whole(tmp_path, answers, capsys):
    root, out, seen = tmp_path / "run", tmp_path / "new.npz", set()
    write_run(RunFolder(root), 1)
    code = "import sys, pathlib, test_serving; test_serving.keep_writing(pathlib.Path(sys.argv[1]))"
    writer = subprocess.Popen([sys.executable, "-c", code, str(root)], cwd=Path(__file__).parent)
    try:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end or seen != {0, 1}:
            assert writer.poll() is None and time.monotonic() < end + 60
            if main(["sample", "--run", str(root), "--n", "3", "--out", str(out)]):
                assert OTHER in capsys.readouterr().err  # two files of different moments
            else:
                with np.load(out) as arrays:
                    same = [np.array_equal(answer, arrays["images"]) for answer in answers]
                assert sum(same) == 1
                seen.add(same.index(True))
            assert main(["report", str(root), "--out", str(tmp_path / "page.html")]) == 0
    finally:
        writer.kill()
        writer.wait()
