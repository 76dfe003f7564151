"""The wheel holds every package, and the notebooks of an installed copy are found and copied."""

import tomllib
from pathlib import Path

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
