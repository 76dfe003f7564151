"""The command line: help, exit codes and messages. (test_pipeline.py runs the commands on a real run.)"""

import numpy as np
import pytest
from PIL import Image

from oasis_utils.checkpoints import save_model, weights_digest
from oasis_utils.cli import main
from oasis_utils.config import PixelCNNConfig, VQVAEConfig
from oasis_utils.pixelcnn import PixelCNN
from oasis_utils.vqvae import VQVAE

COMMANDS = ("run", "prepare", "sample", "reconstruct", "evaluate", "report", "app")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert command in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["fly"], ["sample"], ["report"], ["app", "--port", "80000"],
                                       ["sample", "--run", "x", "--out", "y", "--n", "0"],
                                       ["sample", "--run", "x", "--out", "y", "--top-p", "2"],
                                       ["sample", "--run", "x", "--out", "y", "--temperature", "-1"],
                                       *(["sample", "--run", "x", "--out", "y", "--age", age]
                                         for age in ("-1", "nan", "200", "old"))])
def test_bad_arguments_exit_with_2(arguments, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err


def test_a_missing_run_folder_is_named(tmp_path, capsys):
    assert main(["sample", "--run", str(tmp_path / "none"), "--out", str(tmp_path / "o.npz")]) == 2
    assert "make one with `python -m oasis_utils run`" in capsys.readouterr().err


def test_an_empty_run_folder_says_what_to_run(tmp_path, capsys):
    assert main(["sample", "--run", str(tmp_path), "--out", str(tmp_path / "o.npz")]) == 1
    assert "run the notebook that trains it first" in capsys.readouterr().err


def test_an_age_needs_a_model_that_knows_ages(tmp_path, capsys):
    vqvae = VQVAE(VQVAEConfig(image_size=32, channels=32, residual_blocks=1, n_codes=8, code_dim=4))
    save_model(tmp_path / "checkpoints" / "vqvae.safetensors", vqvae)
    shape = dict(grid=4, n_codes=8, n_positions=2, channels=8, blocks=2, hidden=8)
    ask = ["sample", "--run", str(tmp_path), "--out", str(tmp_path / "o.npz"), "--n", "2", "--age", "70"]
    for scale, code in ((0.0, 2), (20.0, 0)):
        prior = PixelCNN(PixelCNNConfig(**shape, age_mean=50.0, age_std=scale))
        save_model(tmp_path / "checkpoints" / "pixelcnn.safetensors", prior, inputs={"vqvae": weights_digest(vqvae)})
        assert main(ask) == code
        assert ("was trained without ages" in capsys.readouterr().err) == (code == 2)


def test_prepare_builds_a_cache_and_counts_it(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for split, subject in (("train", 1), ("validate", 2), ("test", 3)):
        folder = tmp_path / "in" / f"keras_png_slices_{split}"
        folder.mkdir(parents=True)
        for position in range(2):
            image = Image.fromarray(rng.integers(0, 255, (64, 64)).astype(np.uint8))
            image.save(folder / f"case_{subject:03d}_slice_{position}.nii.png")
    assert main(["prepare", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--size", "32"]) == 0
    assert "train: 2 slices of 1 subjects" in capsys.readouterr().out
    assert (tmp_path / "out" / "manifest.json").exists()


def test_prepare_names_what_is_missing(tmp_path, capsys):
    assert main(["prepare", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "expected keras_png_slices_train/" in capsys.readouterr().err


def test_evaluate_refuses_a_foreign_file(tmp_path, capsys):
    np.savez(tmp_path / "x.npz", other=np.zeros(3))
    assert main(["evaluate", str(tmp_path / "x.npz"), "--against", str(tmp_path)]) == 1
    assert "has no array 'images'" in capsys.readouterr().err
