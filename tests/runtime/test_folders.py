"""Paths of the project and of a run."""

import pytest

import oasis_utils
from oasis_utils.runtime import (
    RunFolder,
    from_project_root,
    project_root,
)


def test_relative_path_counts_from_the_project_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert from_project_root("runs/demo") == project_root() / "runs" / "demo"
    assert from_project_root("runs/demo").is_absolute()


def test_absolute_path_stays_and_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert from_project_root(tmp_path / "x") == tmp_path / "x"
    assert from_project_root("~/x") == tmp_path / "x"


def test_project_root_holds_the_notebooks():
    assert (project_root() / "pyproject.toml").is_file()
    assert (project_root() / "notebooks").is_dir()


def test_installed_copy_takes_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(
        oasis_utils, "__file__", str(tmp_path / "site" / "oasis_utils" / "__init__.py")
    )
    monkeypatch.chdir(tmp_path)
    assert project_root() == tmp_path


def test_run_folder_keeps_everything_inside_and_apart(tmp_path):
    run = RunFolder.at(tmp_path)
    paths = [
        run.data,
        run.figures,
        run.notebooks,
        run.codes,
        run.report,
        run.checkpoint("vqvae"),
        run.history("vqvae"),
        run.snapshots("vqvae"),
        run.samples("dcgan"),
        run.samples("pixelcnn"),
        run.summary("02"),
    ]
    assert all(tmp_path in path.parents for path in paths)
    assert len(set(paths)) == len(paths)


def test_require_gives_the_path_or_names_the_notebook(tmp_path):
    run = RunFolder(tmp_path)
    with pytest.raises(
        FileNotFoundError, match="codes.npz is missing: run notebook 03_codebook_analysis"
    ):
        run.require(run.codes, "03_codebook_analysis")
    run.codes.touch()
    assert run.require(run.codes, "03_codebook_analysis") == run.codes


def test_a_folder_called_notebooks_alone_is_no_run(tmp_path):
    run = RunFolder(tmp_path)
    (tmp_path / "data").mkdir()
    run.notebooks.mkdir()
    assert not run.begun
    run.lock.touch()
    assert run.begun
    (tmp_path / "other" / "summaries").mkdir(parents=True)
    assert RunFolder(tmp_path / "other").begun
