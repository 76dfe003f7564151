import shutil

import pytest

from oasis_utils import pipeline
from oasis_utils.config import load_profile
from oasis_utils.runtime import RunFolder


def test_opens_profile_folder_device_and_slices(brains, tmp_path):
    run = RunFolder(tmp_path / "a run")
    shutil.copytree(brains.folder, run.data)
    settings, folder, device, dataset = pipeline.open_run("smoke", str(run.root), "cpu")
    assert settings == load_profile("smoke") and device.type == "cpu"
    assert folder.root == run.root and dataset.identity == brains.identity


def test_a_run_without_slices_names_the_notebook_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="run notebook 01_data_exploration"):
        pipeline.open_run("smoke", str(tmp_path / "empty"), "cpu")
    assert not (tmp_path / "empty").exists()
