"""The wheel holds every package, and the notebooks of an installed copy are found and copied."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from attacks.reports import run as small_run

import oasis_utils
from oasis_utils.pipeline import series
from oasis_utils.pipeline.series import RECORDED_RESULTS, Step
from oasis_utils.runtime import project_files

ROOT = Path(oasis_utils.__file__).parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]


def test_the_wheel_lists_every_package():
    found = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for path in (ROOT / "oasis_utils").rglob("__init__.py")
    }
    assert set(SETUPTOOLS["packages"]) == found | set(SETUPTOOLS["package-dir"])
    assert (ROOT / "oasis_utils" / "py.typed").exists()


def test_notebooks_of_an_installed_copy_are_copied_once(tmp_path, monkeypatch):
    package, work = tmp_path / "site" / "oasis_utils", tmp_path / "work"
    for name in ("notebooks/01_data_exploration.ipynb", RECORDED_RESULTS):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("packed")
    monkeypatch.setattr(project_files.oasis_utils, "__file__", str(package / "__init__.py"))
    for module in (project_files, series):
        monkeypatch.setattr(module, "project_root", lambda: work)
    name = "01_data_exploration"
    step = Step(name, series.notebook_file(name), {})
    assert step.source.parent == package / "notebooks"
    assert series.unpack_notebooks([step]) == work / "notebooks"
    assert step.source.read_text() == (work / RECORDED_RESULTS).read_text() == "packed"
    step.source.write_text("edited")
    again = Step(name, series.notebook_file(name), {})
    assert series.unpack_notebooks([again]) is None and again.source.read_text() == "edited"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The files of the wheel in a folder of their own; what runs Python with them, elsewhere."""
    site, work = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("work")
    for package in SETUPTOOLS["packages"]:
        source = ROOT / SETUPTOOLS["package-dir"].get(package, package.replace(".", "/"))
        target = site / package.replace(".", "/")
        target.mkdir(parents=True, exist_ok=True)
        patterns = SETUPTOOLS["package-data"]
        for pattern in ("*.py", *patterns["*"], *patterns.get(package, ())):
            for path in filter(Path.is_file, source.glob(pattern)):
                copy = target / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)

    def python(*words):
        return subprocess.run(
            [sys.executable, *map(str, words)],
            env=os.environ | {"PYTHONPATH": str(site)},
            cwd=work,
            capture_output=True,
            text=True,
        )

    return python


def test_a_report_of_an_installed_copy_is_that_of_the_project(installed, tmp_path):
    small_run(tmp_path / "run", {})
    figures = tmp_path / "run" / "figures"
    shutil.copyfile(figures / "01_slices.png", figures / "01_ages.png")
    pages = []
    for python in (installed, lambda *w: subprocess.run([sys.executable, *map(str, w)], cwd=ROOT)):
        out = tmp_path / f"{len(pages)}.html"
        done = python("-m", "oasis_utils", "report", tmp_path / "run", "--out", out)
        assert done.returncode == 0, done.stderr
        pages.append(out.read_text(encoding="utf-8"))
    assert pages[0] == pages[1] and "data exploration" in pages[0].lower()


def test_the_app_of_an_installed_copy_finds_its_notebook(installed, tmp_path):
    done = installed(
        "-c",
        f"""
from pathlib import Path
import oasis_utils
from oasis_utils.runtime import RunFolder
from oasis_utils.widgets.app import app_notebook
assert "site" in oasis_utils.__file__, oasis_utils.__file__
app_notebook(RunFolder(Path({str(tmp_path)!r})))
""",
    )
    assert done.returncode == 0, done.stderr
    assert "panels" in (tmp_path / "app" / "brains.ipynb").read_text(encoding="utf-8")
