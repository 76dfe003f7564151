"""Names of folders that mean something to matplotlib, papermill, the shell or Jupyter."""

import json
import os

import nbformat
import pytest
from command_line import contents, oasis
from slice_files import make_tree

from oasis_utils.cli.parser import main
from oasis_utils.pipeline import runner, series
from oasis_utils.pipeline.parameters import notebook_parameters
from oasis_utils.runtime import RunFolder

ODD_NAMES = ["{profile}", "run{x}", "{", "a:b", "pay$5_and_$6", "two\nlines", "'\"\\", "ü %s #;&"]


def step_at(folder):
    """A notebook that writes its parameter into a file beside it."""
    write = "import json\nwith open(run_folder + '/seen.json', 'w') as f: json.dump(run_folder, f)"
    cells = [nbformat.v4.new_code_cell(source) for source in ("run_folder = ''", write)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = folder / "01_data_exploration.ipynb"
    folder.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return series.Step(path.stem, path, {"run_folder": str(folder), "profile": "smoke"})


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_notebook_runs_in_any_folder(name, tmp_path):
    step = step_at(tmp_path / name)
    (tmp_path / "smoke").mkdir()
    run = RunFolder(tmp_path / name / name)
    run.notebooks.mkdir(parents=True)
    assert set(notebook_parameters(step.source)) == {"run_folder"}
    runner.execute(step, run)
    assert json.loads((tmp_path / name / "seen.json").read_text()) == str(tmp_path / name)
    assert (run.notebooks / f"{step.name}.ipynb").exists()
    assert not list((tmp_path / "smoke").iterdir())


@pytest.mark.slow
def test_the_first_notebook_takes_data_with_an_odd_name(tmp_path):
    odd = tmp_path / "{profile}:\n'x'"
    data, run = odd / "pay$5_and_$6\n{x}", odd / "run $1 {seed}"
    make_tree(data, subjects={"train": (1, 2), "validate": (3, 4), "test": (5, 6)}, positions=8)
    before = contents(data)
    done = oasis("run", "--profile", "smoke", "--only", "01", "--data", data, "--out", run)
    assert done.returncode == 0, done.stderr
    assert len(list((run / "figures").glob("01_*.png"))) > 3
    assert contents(data) == before
    done = oasis("report", run)
    assert done.returncode == 0, done.stderr
    assert "pay$5_and_$6" in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "command",
    [
        ["run", "--profile", "smoke", "--out"],
        ["run", "--profile", "smoke", "--out", "run", "--data"],
        ["report"],
        ["app", "--run"],
        ["sample", "--out", "x.npz", "--run"],
    ],
)
def test_a_folder_whose_name_is_no_text_is_refused(command, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"b\xff")
    (tmp_path / name).mkdir()
    before = contents(tmp_path)
    assert main([*command, str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert r"b\udcff is not encoded in UTF-8: rename" in error and error.count("\n") == 1
    assert contents(tmp_path) == before
