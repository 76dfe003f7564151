"""The whole series on data with gaps: nobody has all positions, and some positions nobody has."""

import re
import shutil

import numpy as np
import pytest
from command_line import contents, oasis

from oasis_utils import data
from oasis_utils.config import PROFILES, SPLITS
from oasis_utils.data.dataset import open_cache
from oasis_utils.models.samples import Samples
from oasis_utils.runtime import RunFolder, read_json

pytestmark = pytest.mark.slow
NOBODY = range(10, 14)


def with_gaps(folder):
    """Sample brains without a third of each person's positions, and without those of nobody."""
    source = data.make_sample_brains(PROFILES["smoke"].data)
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("sample_brains.json"))
    for path in folder.rglob("*.png"):
        subject, position = map(int, re.findall(r"\d+", path.name))
        if position in NOBODY or (subject + position) % 3 == 0:
            path.unlink()
    return folder


def of_three_people(folder):
    """Sample brains of the first person of each split."""
    source = data.make_sample_brains(PROFILES["smoke"].data)
    for images in source.glob("keras_png_slices_*"):
        numbers = {path: int(re.findall(r"\d+", path.name)[0]) for path in images.glob("*.png")}
        for path in (path for path, n in numbers.items() if n == min(numbers.values())):
            (folder / images.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / images.name)
    return folder


def test_three_people_go_as_far_as_people_are_compared(tmp_path):
    source, run = of_three_people(tmp_path / "data"), tmp_path / "run"
    done = oasis("run", "--profile", "smoke", "--data", source, "--out", run, "-p", "epochs=1")
    assert done.returncode == 1
    assert (
        "08_evaluation" in done.stderr and "holds 1 subject, at least 2 are needed" in done.stderr
    )
    executed = RunFolder.at(run)
    assert len(Samples.load(executed.samples("pixelcnn")).images) > 0
    told = (executed.root / "notebooks" / "01_data_exploration.ipynb").read_text()
    assert "1 subject in validate and test: notebook 08 compares people" in told


def test_gaps_in_positions_go_through_all_notebooks(tmp_path):
    source, run = with_gaps(tmp_path / "data"), tmp_path / "run"
    before = contents(source)
    arguments = ("--profile", "smoke", "--data", source, "--out", run, "-p", "epochs=1")
    done = oasis("run", *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    assert contents(source) == before
    dataset, report = open_cache(run / "data"), read_json(run / "report.json")
    positions = np.concatenate([dataset.split(name).positions for name in SPLITS])
    assert not set(NOBODY) & set(positions.tolist())
    assert np.isfinite(report["priors"]["pixelcnn"]["kid"])
