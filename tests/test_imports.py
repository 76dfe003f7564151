"""Directions of imports, a light command line, no unpickling, no network."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import oasis_utils

FOLDER = Path(oasis_utils.__file__).parent
MODULES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.py"))
HEAVY = {"torch", "torchvision", "umap", "sklearn", "papermill", "matplotlib"}
LIGHT = ["__init__", "config", "runtime", "pipeline.runner", "pipeline.html_report", "widgets.app"]


def imported_modules(name):
    for node in ast.walk(ast.parse((FOLDER / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_subpackages_import_downwards():
    """The contract is stated in pyproject.toml."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache"], cwd=FOLDER.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_package_is_a_table_of_contents():
    entries = [path for path in FOLDER.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 14
    sizes = {name: len((FOLDER / name).read_text("utf-8").splitlines()) for name in MODULES}
    assert not {name: lines for name, lines in sizes.items() if lines > 400}


@pytest.mark.parametrize("module", [*LIGHT, "cli.parser"])
def test_the_command_line_starts_without_heavy_imports(module):
    name = f"oasis_utils.{module}".removesuffix(".__init__")
    code = f"import sys, {name}; print(*{HEAVY!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", MODULES)
def test_no_module_unpickles_or_calls_the_network(name):
    modules = {m.split(".")[0] for m in imported_modules(name)}
    asks_for_a_free_port = {"socket"} if name == "widgets/app.py" else set()
    forbidden = {"pickle", "dill", "joblib", "marshal", "shelve", "urllib", "requests", "httpx"}
    assert not (modules - asks_for_a_free_port) & (forbidden | {"socket"})
    source = (FOLDER / name).read_text(encoding="utf-8")
    assert "allow_pickle=True" not in source
    assert all("weights_only=True" in line for line in source.splitlines() if "torch.load(" in line)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_it_is(name):
    assert ast.get_docstring(ast.parse((FOLDER / name).read_text(encoding="utf-8")))
