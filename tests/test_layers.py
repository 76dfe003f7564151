"""Imports point one way: a module may import modules of earlier layers only."""

import ast
from pathlib import Path

import pytest

import oasis_utils

FOLDER = Path(oasis_utils.__file__).parent
LAYERS = [
    {"__init__"},
    {"config", "live", "symmetry", "gpu", "kernel"},
    {"runtime", "quantizer", "metrics", "linear", "splits", "orientation", "incremental"},
    {"layouts", "images", "synthetic"},
    {"scans"},
    {"voxels"},
    {"volumes"},
    {"sources"},
    {"importing"},
    {
        "data",
        "vqvae",
        "pixelcnn",
        "dcgan",
        "checkpoints",
        "plotting",
        "pipeline",
        "features",
        "verdicts",
        "codebook",
        "history",
        "error_maps",
    },
    {"exporting", "training", "codes", "fidelity", "anatomy", "memorisation"},
    {"ageing", "sampling", "twosample", "sensitivity"},
    {"reference"},
    {"anomalies", "collapse", "evaluation", "likelihood", "widgets"},
    {"painter", "roc"},
    {"panels", "app", "report"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
LEVEL = {module: level for level, layer in enumerate(LAYERS) for module in layer}
HEAVY = {"torch", "torchvision", "umap", "papermill", "matplotlib"}


def imported_modules(name, top_level_only=False):
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own(modules):
    return {
        m.split(".")[1]
        for m in modules
        if m.startswith("oasis_utils.") and m.split(".")[1] in LEVEL
    }


def test_every_module_has_a_layer():
    assert set(LEVEL) == {path.stem for path in FOLDER.glob("*.py")}


@pytest.mark.parametrize("name", sorted(set(LEVEL) - {"__init__"}))
def test_imports_come_from_earlier_layers(name):
    later = {module for module in own(imported_modules(name)) if LEVEL[module] >= LEVEL[name]}
    assert not later


@pytest.mark.parametrize(
    "name",
    ["__init__", "config", "runtime", "synthetic", "pipeline", "app", "report", "commands", "cli"],
)
def test_the_command_line_starts_without_heavy_imports(name):
    assert not {m.split(".")[0] for m in imported_modules(name, top_level_only=True)} & HEAVY


@pytest.mark.parametrize("name", sorted(LEVEL))
def test_no_module_unpickles_or_calls_the_network(name):
    modules = {m.split(".")[0] for m in imported_modules(name)}
    asks_for_a_free_port = {"socket"} if name == "app" else set()
    assert not (modules - asks_for_a_free_port) & {
        "pickle",
        "dill",
        "joblib",
        "marshal",
        "shelve",
        "urllib",
        "requests",
        "httpx",
        "socket",
    }
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert "allow_pickle=True" not in source
    assert all("weights_only=True" in line for line in source.splitlines() if "torch.load(" in line)


@pytest.mark.parametrize("name", sorted(set(LEVEL) - {"__init__", "__main__"}))
def test_a_module_says_what_it_is(name):
    assert ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8")))
