"""The whole series on data with gaps: nobody has all positions, and some positions nobody has."""

import re
import shutil

import numpy as np
import pytest
from command_line import contents, oasis

from oasis_utils import data
from oasis_utils.config import PROFILES, SPLITS
from oasis_utils.data.dataset import open_cache
from oasis_utils.runtime import read_json

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
