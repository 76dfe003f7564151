"""The notebook contract: structure, size and cleanliness of every notebook. (test_pipeline.py runs
them.)
"""

import ast
import json
import re
import statistics
from pathlib import Path

import pytest

from oasis_utils.pipeline.parameters import SHARED
from oasis_utils.pipeline.series import PRODUCTS

FOLDER = Path(__file__).parent.parent / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))
NOTEBOOKS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in PATHS}
each_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def cells(name, kind=None):
    return [cell for cell in NOTEBOOKS[name]["cells"] if kind in (None, cell["cell_type"])]


def text(cell):
    return "".join(cell["source"])


def lines(cell):
    return [line for line in text(cell).splitlines() if line.strip()]


def import_cells(name):
    return [
        cell
        for cell in cells(name, "code")
        if re.search(r"^(import|from) ", text(cell), re.MULTILINE)
    ]


def parameter_cells(name):
    return [cell for cell in cells(name) if "parameters" in cell["metadata"].get("tags", [])]


def test_the_runner_knows_exactly_the_notebooks_on_disk():
    assert list(PRODUCTS) == list(NOTEBOOKS)


@each_notebook
def test_first_cell_introduces(name):
    first = text(cells(name)[0])
    assert re.match(rf"# {name[:2]}\. \S", first)
    for word in (
        "You will see",
        "**Time**",
        "**Reads**" if name[:2] != "01" else "**Writes**",
        "**Writes**",
    ):
        assert word in first
    names = list(NOTEBOOKS)
    here = names.index(name)
    for neighbour in names[max(here - 1, 0) : here] + names[here + 1 : here + 2]:
        assert f"({neighbour}.ipynb)" in first


@each_notebook
def test_one_short_import_cell_ends_with_the_banner(name):
    (cell,) = import_cells(name)
    assert len(lines(cell)) <= 12
    assert lines(cell)[-1] == "print(banner(seed, device))"


@each_notebook
def test_parameters_are_commented_literals(name):
    (cell,) = parameter_cells(name)
    for line in lines(cell):
        assert re.fullmatch(r"\w+: (int|float|str|bool) = .+  # .+", line), line
        ast.literal_eval(line.split("=", 1)[1].split("#")[0].strip())
    known = {re.match(r"\w+", line)[0] for line in lines(cell)}
    assert known >= set(SHARED) - {"data"}


@each_notebook
def test_code_cells_are_short(name):
    sizes = [len(text(cell).splitlines()) for cell in cells(name, "code")]
    assert max(sizes) <= 25
    assert statistics.median(sizes) <= 8


@each_notebook
def test_code_cells_hold_narrative_not_machinery(name):
    for cell in cells(name, "code"):
        for forbidden in (
            r"^\s*class ",
            r"\.backward\(",
            r"\bpip\b",
            r"sys\.path",
            r"import \*",
            r"torch\.optim",
        ):
            assert not re.search(forbidden, text(cell), re.MULTILINE), (forbidden, text(cell))


@each_notebook
def test_prose_accompanies_code(name):
    kinds = [cell["cell_type"] for cell in cells(name)]
    assert "code code code" not in " ".join(kinds)
    assert kinds.count("markdown") >= 0.8 * kinds.count("code")


@each_notebook
def test_ends_with_findings_limits_and_references(name):
    prose = [text(cell) for cell in cells(name, "markdown")]
    assert any("## What we learned" in part for part in prose[-4:])
    assert "## Limits" in prose[-1] and "## References" in prose[-1]
    assert re.search(r"arxiv\.org/abs|doi\.org/", prose[-1])
    assert re.search(r"\[\d\d\. [^]]+\]\(\d\d_\w+\.ipynb\)\s*$", prose[-1])


@each_notebook
def test_links_lead_somewhere(name):
    for target in re.findall(
        r"\]\(([^)#]+\.ipynb)\)", "\n".join(text(c) for c in cells(name, "markdown"))
    ):
        assert (FOLDER / target).exists(), target


@each_notebook
def test_stripped_with_stable_ids(name):
    ids = [cell["id"] for cell in cells(name)]
    assert len(set(ids)) == len(ids)
    for cell in cells(name, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None
    assert (
        "papermill" not in NOTEBOOKS[name]["metadata"]
        and "widgets" not in NOTEBOOKS[name]["metadata"]
    )


def test_sliders_follow_a_static_figure_of_each_panel():
    sources = [text(cell) for cell in cells("07_generation", "code")]
    (slider,) = [i for i, source in enumerate(sources) if "display(panel.widget)" in source]
    assert "save_figure" in sources[slider - 1]
    for figure in ("07_panel", "07_positions", "07_walk", "07_completion", "07_painted"):
        assert any(f'"{figure}")' in source for source in sources[:slider]), figure


@each_notebook
def test_every_figure_is_named_after_its_notebook(name):
    for figure in re.findall(
        r'save_figure\(figure, run\.figures, "([^"]+)"\)', "\n".join(map(text, cells(name)))
    ):
        assert figure.startswith(name[:2] + "_")
