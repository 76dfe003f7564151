"""The command line: help, exit codes, messages. (pipeline/test_runner.py uses a real run.)"""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from slice_files import make_collection, make_tree

from oasis_utils.cli import folders
from oasis_utils.cli.parser import main
from oasis_utils.config import PixelCNNConfig, VQVAEConfig
from oasis_utils.models.checkpoints import save_model, weights_digest
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.pipeline.series import NotebookFailed, UsageError
from oasis_utils.runtime import DataError, project_root

COMMANDS = (
    *("run", "prepare", "sample", "reconstruct", "evaluate", "report", "app", "page", "readers"),
)


@pytest.mark.parametrize("command", [*COMMANDS, "sweep"])
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert command in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["sample"],
        ["report"],
        ["app", "--port", "80000"],
        ["sample", "--run", "x", "--out", "y", "--n", "0"],
        ["sample", "--run", "x", "--out", "y", "--top-p", "2"],
        ["sample", "--run", "x", "--out", "y", "--temperature", "-1"],
        ["run", "--seed", "-1"],
        ["run", "--seed", "1.5"],
        ["run", "--device", "gpu"],
        ["app", "--device", "cuda:x"],
        ["app", "--port", "80.5"],
        ["prepare", "x", "--out", "y", "--seed", "-1"],
        ["prepare", "x", "--out", "y", "--count", "0"],
        ["prepare", "x", "--out", "y", "--every", "-1"],
        ["prepare", "x", "--out", "y", "--every", "nan"],
        ["prepare", "x", "--out", "y", "--every", "1e300"],
        ["prepare", "x", "--out", "y", "--split", "nan,0.1,0.1"],
        *(
            ["sample", "--run", "x", "--out", "y", option, value]
            for option, value in (
                ("--temperature", "nan"),
                ("--temperature", "inf"),
                ("--top-p", "nan"),
                ("--top-k", "-1"),
                ("--seed", "-1"),
                ("--position", "-1"),
                ("--n", "100001"),
            )
        ),
        *(
            ["sample", "--run", "x", "--out", "y", "--age", age]
            for age in ("-1", "nan", "200", "old")
        ),
    ],
)
def test_bad_arguments_exit_with_2(arguments, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "kind"),
    [
        ("--temperature", "float"),
        ("--top-p", "float"),
        ("--top-k", "int"),
        ("--age", "float"),
        ("--n", "int"),
    ],
)
def test_a_text_instead_of_a_number_is_named(option, kind, capsys):
    assert main(["sample", "--run", "x", "--out", "y", option, "old"]) == 2
    assert f"argument {option}: invalid {kind} value: 'old'" in capsys.readouterr().err


ARGUMENTS = {
    "run": ["--profile", "none"],
    "prepare": ["none", "--out", "y"],
    "report": ["none"],
    "sample": ["--run", "none", "--out", "y"],
    "reconstruct": ["none", "--run", "none", "--out", "y"],
    "evaluate": ["none.npz", "--against", "none"],
    "app": ["--run", "none"],
    "page": ["--out", "y"],
    "readers": ["--run", "none", "--out", "y.html"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "error", [ValueError, RuntimeError, MemoryError, OSError, UsageError, NotebookFailed]
)
def test_debug_raises_errors_before_and_after_the_command(monkeypatch, capsys, command, error):
    def fail(_args):
        raise error("no such thing")

    monkeypatch.setattr(f"oasis_utils.cli.{command}.{command}", fail)
    whole = [command, *ARGUMENTS[command]]
    assert main(whole) == (2 if error is UsageError else 1)
    assert capsys.readouterr().err == "error: no such thing\n"
    for arguments in (["--debug", *whole], [*whole, "--debug"]):
        with pytest.raises(error, match="no such thing"):
            main(arguments)


@pytest.mark.slow
def test_a_traceback_ends_with_code_1(tmp_path):
    command = [
        sys.executable,
        "-m",
        "oasis_utils",
        "--debug",
        "sample",
        "--run",
        str(tmp_path),
        "--out",
        "y",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (
        done.returncode == 1
        and "Traceback" in done.stderr
        and "CheckpointError: no checkpoint" in done.stderr
    )


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
    ask = [
        "sample",
        "--run",
        str(tmp_path),
        "--out",
        str(tmp_path / "o.npz"),
        "--n",
        "2",
        "--age",
        "70",
    ]
    for scale, code in ((0.0, 2), (20.0, 0)):
        prior = PixelCNN(PixelCNNConfig(**shape, age_mean=50.0, age_std=scale))
        save_model(
            tmp_path / "checkpoints" / "pixelcnn.safetensors",
            prior,
            inputs={"vqvae": weights_digest(vqvae)},
        )
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
    assert (
        main(["prepare", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--size", "32"]) == 0
    )
    assert "train: 2 slices of 1 subjects" in capsys.readouterr().out
    assert (tmp_path / "out" / "manifest.json").exists()


def test_prepare_names_what_is_missing(tmp_path, capsys):
    assert main(["prepare", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "expected keras_png_slices_train/" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    [
        ["--split", "0.8"],
        ["--split", "a,b,c"],
        ["--slices", "3"],
        ["--size", "50"],
        ["--plane", "oblique"],
        ["--orient", "up"],
        ["--every", "0"],
        ["--slices", "1:2", "--every", "3"],
    ],
)
def test_prepare_refuses_invalid_options(tmp_path, option, capsys):
    assert main(["prepare", str(tmp_path), "--out", str(tmp_path / "out"), *option]) == 2
    assert capsys.readouterr().err and not (tmp_path / "out").exists()


def test_prepare_takes_a_collection_skips_what_is_bad_and_writes_png(tmp_path, capsys):
    names = [f"OAS1_{i:04d}" for i in range(5)]
    make_collection(tmp_path / "in", names, positions=3)
    (tmp_path / "in" / "ill" / "OAS1_0000_MR1_mpr-1_101.png").write_bytes(b"")
    out, png = tmp_path / "out", tmp_path / "png"
    command = [
        "prepare",
        str(tmp_path / "in"),
        "--out",
        str(out),
        "--size",
        "32",
        "--split",
        "0.6,0.2,0.2",
        "--pattern",
        r"(?P<subject>OAS1_\d+)_MR1_mpr-1_(?P<slice>\d+)",
        "--png",
        str(png),
    ]
    assert main(command) == 1
    assert (
        "OAS1_0000_MR1_mpr-1_101.png: it is empty; replace the file (`prepare --skip-bad`"
        in capsys.readouterr().err
    )
    assert main([*command, "--skip-bad"]) == 0
    printed = capsys.readouterr().out
    assert "skipped 1 (all are listed in manifest.json):" in printed and "kind images" in printed
    assert len(list(png.glob("*/case_*.png"))) == 14 and "of 3 subjects" in printed
    assert main(["prepare", str(png), "--out", str(tmp_path / "again"), "--size", "32"]) == 0


def test_prepare_of_oasis_slices_ends_with_the_acknowledgement(tmp_path, capsys):
    make_tree(tmp_path / "in")
    assert (
        main(["prepare", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--size", "32"]) == 0
    )
    assert (
        "Data were provided by OASIS: Cross-Sectional" in capsys.readouterr().out.splitlines()[-1]
    )


def test_evaluate_refuses_a_foreign_file(tmp_path, capsys):
    np.savez(tmp_path / "x.npz", other=np.zeros(3))
    assert main(["evaluate", str(tmp_path / "x.npz"), "--against", str(tmp_path)]) == 1
    assert "has no array 'images'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((5, 32, 32), np.uint8), "at least 16 images on either side, got 5"),
        (np.full((20, 32, 32), 3.0), "scale them to [0, 1]"),
        (np.full((20, 32, 32), np.nan), "hold nan"),
    ],
)
def test_evaluate_refuses_bad_images_before_it_reads_the_data(tmp_path, capsys, images, message):
    np.savez(tmp_path / "x.npz", images=images)
    assert main(["evaluate", str(tmp_path / "x.npz"), "--against", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err


def test_a_seed_is_one_that_every_library_takes(capsys):
    assert main(["sample", "--run", "x", "--out", "y", "--seed", str(10**30)]) == 2
    assert f"{10**30} is not from 0 to 4294967295" in capsys.readouterr().err


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize(
    "name",
    [
        "codes.npz",
        "report.json",
        "model_card.md",
        "notebooks/01_data_exploration.ipynb",
        "samples/pixelcnn.npz",
        "history/vqvae.jsonl",
        "checkpoints/../codes.npz",
    ],
)
@pytest.mark.parametrize("command", [["sample", "--run"], ["report"]])
def test_results_of_the_series_are_not_replaced(tmp_path, capsys, command, name):
    (tmp_path / "run" / "summaries").mkdir(parents=True)
    out = tmp_path / "run" / name
    assert main([*command, str(tmp_path / "run"), "--out", str(out)]) == 1
    assert "is among the results of the run" in capsys.readouterr().err
    for option in ("--json", "--card"):
        assert main(["evaluate", "x.npz", "--against", "y", option, str(out)]) == 1
        assert "is among the results of the run" in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_with_checkpoints_of_others_is_no_run(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet.pt").touch()
    folders.refuse_results(str(tmp_path / "samples" / "new.npz"))
    (tmp_path / "checkpoints" / "vqvae.safetensors").touch()
    with pytest.raises(DataError, match="among the results of the run"):
        folders.refuse_results(str(tmp_path / "samples" / "new.npz"))


def test_two_outputs_need_two_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["evaluate", "x.npz", "--against", "y", "--json", "out", "--card", "./out"]
    assert main(arguments) == 2
    assert "give two files" in capsys.readouterr().err
    tree = make_tree(tmp_path / "tree")
    for png in (tmp_path / "a", tmp_path, tmp_path / "a" / "b"):
        words = ["prepare", str(tree), "--out", str(tmp_path / "a"), "--png", str(png)]
        assert main([*words, "--size", "32"]) in (1, 2)
        assert not (tmp_path / "a").exists()


def test_the_app_takes_a_run_folder_from_where_it_is_called(tmp_path, monkeypatch, capsys):
    from oasis_utils.widgets import app

    served = []
    monkeypatch.setattr(app, "serve", lambda run, *_: served.append(run.root))
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["app", "--run", "mine"]) == 0
    assert served == [tmp_path / "mine"]
    assert main(["app", "--run", "missing"]) == 2
    assert "no run folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]
    assert main(["app"]) == 0
    assert served[1] == project_root() / "runs" / "demo"
