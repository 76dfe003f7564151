"""The solutions of the exercises: their structure, and that they run on a finished run."""

import ast
import json
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from test_course import tasks
from test_notebooks import FOLDER, NOTEBOOKS, lines, text

from book.worksheets import write_worksheets

SOLUTIONS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))["cells"]
    for path in sorted((FOLDER.parent / "exercises").glob("*.ipynb"))
}
each_solution = pytest.mark.parametrize("name", SOLUTIONS)
PARAMETERS = ("profile", "run_folder", "seed", "device")


def code(name):
    return [text(cell) for cell in SOLUTIONS[name] if cell["cell_type"] == "code"]


def test_solutions_belong_to_notebooks():
    assert set(SOLUTIONS) <= set(NOTEBOOKS)


@each_solution
def test_the_title_leads_back_to_the_notebook(name):
    first = text(SOLUTIONS[name][0])
    title = re.match(r"# (.+)", text(NOTEBOOKS[name]["cells"][0]))[1]
    assert first.startswith(f"# Solutions to {title}\n")
    assert f"(../notebooks/{name}.ipynb)" in first


@each_solution
def test_parameters_are_commented_literals(name):
    (cell,) = [c for c in SOLUTIONS[name] if "parameters" in c["metadata"].get("tags", [])]
    found = [re.match(r"(\w+): (int|float|str|bool) = (.+?)  # .+", line) for line in lines(cell)]
    assert tuple(match[1] for match in found)[: len(PARAMETERS)] == PARAMETERS
    for match in found:
        ast.literal_eval(match[3])


@each_solution
def test_one_import_cell_ends_with_the_banner(name):
    (cell,) = [c for c in code(name) if re.search(r"^(import|from) ", c, re.M)]
    assert cell.splitlines()[-1] == "print(banner(seed, device))"


@each_solution
def test_every_exercise_has_a_text_and_short_code(name):
    kinds = [cell["cell_type"] for cell in SOLUTIONS[name]]
    headings = [text(cell) for cell in SOLUTIONS[name] if re.match(r"## \d", text(cell))]
    assert [int(heading[3]) for heading in headings] == list(range(1, len(tasks(name)) + 1))
    assert all(re.match(r"## \d\. \w", heading) for heading in headings)
    assert kinds.count("code") - 2 >= len(tasks(name))
    assert max(len(cell.splitlines()) for cell in code(name)) <= 25
    for forbidden in (r"^\s*class ", r"\.backward\(", r"\bpip\b", r"sys\.path", r"torch\.optim"):
        assert not any(re.search(forbidden, cell, re.M) for cell in code(name)), forbidden


@each_solution
def test_every_solution_repeats_its_task(name):
    stated = re.findall(r"^## \d\. .+\n\n> (\(.+)$", "\n\n".join(map(text, SOLUTIONS[name])), re.M)
    assert stated == [re.sub(r"^\d+\. ", "", task) for task in tasks(name)]


@each_solution
def test_stripped_with_unique_ids(name):
    ids = [cell["id"] for cell in SOLUTIONS[name]]
    assert len(set(ids)) == len(ids)
    for cell in SOLUTIONS[name]:
        assert cell.get("outputs", []) == [] and cell.get("execution_count") is None


@each_solution
def test_a_worksheet_has_the_tasks_and_the_set_up_without_the_solutions(name, tmp_path):
    assert tmp_path / f"{name}.ipynb" in write_worksheets(FOLDER.parent, tmp_path)
    made = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4)
    nbformat.validate(made)
    shown = [cell.source for cell in made.cells if cell.source.startswith("## ")]
    wanted = [re.sub(r"^(\d\. \([\w ]+\)) ", r"## \1\n\n", task) for task in tasks(name)]
    assert shown[-len(wanted) :] == wanted
    sources = [cell.source for cell in made.cells if cell.cell_type == "code"]
    set_up = [source for source in sources if source]
    assert set_up == code(name)[: len(set_up)] and len(set_up) < len(code(name))
    assert sources.count("") == sum("(words)" not in task for task in tasks(name))


def test_worksheets_with_answers_are_kept(tmp_path):
    (tmp_path / "02_train_vqvae.ipynb").write_text("answers")
    assert len(write_worksheets(FOLDER.parent, tmp_path)) == len(SOLUTIONS) - 1
    assert (tmp_path / "02_train_vqvae.ipynb").read_text() == "answers"
    assert write_worksheets(FOLDER.parent, tmp_path) == []


@pytest.mark.slow
@each_solution
def test_solutions_run_on_a_finished_run(name, series, tmp_path):
    """On a copy, since a solution may write figures."""
    run = tmp_path / "run"
    shutil.copytree(series[1].root, run)
    source, output = FOLDER.parent / "exercises" / f"{name}.ipynb", tmp_path / "out.ipynb"
    given = ("-p", "profile", "smoke", "-p", "run_folder", run, "-k", "python3")
    words = [sys.executable, "-m", "papermill", source, output, *given]
    done = subprocess.run([*map(str, words)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    shown = [o for c in nbformat.read(output, as_version=4).cells for o in c.get("outputs", [])]
    assert not [o for o in shown if o.get("name") == "stderr"], f"{name} warns"
