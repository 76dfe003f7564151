"""Batches with plain papermill: parameters explain themselves, files of parameters work, from any
folder.
"""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from papermill.cli import papermill

from oasis_utils.pipeline.series import PRODUCTS
from oasis_utils.runtime import project_root

NOTEBOOKS = project_root() / "notebooks"


@pytest.mark.parametrize("name", PRODUCTS)
def test_help_shows_every_parameter_with_its_meaning(name):
    path = NOTEBOOKS / f"{name}.ipynb"
    shown = CliRunner().invoke(papermill, ["--help-notebook", str(path)])
    (cell,) = [
        c
        for c in nbformat.read(path, as_version=4).cells
        if "parameters" in c.metadata.get("tags", [])
    ]
    told = " ".join(shown.output.split())
    assert shown.exit_code == 0
    for line in cell.source.splitlines():
        parameter, default, meaning = re.fullmatch(
            r"(\w+)(?:: \w+)? = (.+?)  # (.+)", line
        ).groups()
        assert f"{parameter}: " in told and f"(default {default})" in told and meaning in told


@pytest.mark.slow
def test_a_file_of_parameters_works_from_another_folder(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "profile: smoke\nrun_folder: " + str(tmp_path / "run"), encoding="utf-8"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "papermill",
            str(NOTEBOOKS / "01_data_exploration.ipynb"),
            "out.ipynb",
            "-f",
            "mine.yaml",
            "-k",
            "python3",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "data" / "manifest.json").exists()
    assert {path.name for path in Path(tmp_path).iterdir()} == {"mine.yaml", "out.ipynb", "run"}
