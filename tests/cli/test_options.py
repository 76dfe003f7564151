"""Options that several commands share: parameters, run folders and slices."""

import os

import pytest

from oasis_utils.cli import options, run, train
from oasis_utils.cli.options import name_and_value
from oasis_utils.cli.parser import main
from oasis_utils.pipeline.series import UsageError

SLICES = "DATA PNG slices, volumes, or a folder made by `prepare`"


@pytest.mark.parametrize(
    ("item", "parts"),
    [("epochs=50", ("epochs", "50")), ("a=b=c", ("a", "b=c")), ("name=", ("name", ""))],
)
def test_a_parameter_is_split_at_the_first_equals_sign(item, parts):
    assert name_and_value(item) == parts


def test_a_parameter_without_a_value_is_refused():
    with pytest.raises(UsageError, match="-p 'epochs': expected NAME=VALUE, such as epochs=50"):
        name_and_value("epochs")


def test_run_and_train_take_parameters_alike():
    assert run.name_and_value is train.name_and_value is options.name_and_value


@pytest.mark.skipif(os.name == "nt", reason="paths are text there")
@pytest.mark.parametrize("command", [["train", "vqvae"], ["sample", "--out", "o.npz"]])
def test_a_run_folder_that_is_not_utf8_is_refused(tmp_path, capsys, command):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/run\xff")
    os.mkdir(folder)
    assert main([*command, "--run", folder]) == 2
    assert "is not encoded in UTF-8: rename the folder" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "name"), [("evaluate", "--against "), ("reconstruct", "")])
def test_slices_are_described_alike(capsys, command, name):
    assert main([command, "--help"]) == 0
    assert name + SLICES in " ".join(capsys.readouterr().out.split())
    assert main([command, "x"]) == 2  # --against, --run and --out are required
