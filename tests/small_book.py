"""A small checkout and a finished run of it, to make a book of."""

import base64
import io

import numpy as np
from PIL import Image

from oasis_utils.runtime import RunFolder, write_json

NAMES = ["01_first", "02_second"]
WIDGET = "application/vnd.jupyter.widget-view+json"


def picture():
    """A small PNG, as notebooks hold it."""
    file = io.BytesIO()
    Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (32, 1))).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def markdown(*lines):
    return {"cell_type": "markdown", "metadata": {}, "source": "\n".join(lines)}


def code(source, *outputs, tags=()):
    return {
        "cell_type": "code",
        "metadata": {"tags": list(tags), "papermill": {"duration": 1}},
        "execution_count": 1,
        "source": source,
        "outputs": list(outputs),
    }


def shown(**data):
    return {"output_type": "display_data", "metadata": {}, "data": data}


def printed(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


def notebook(name, run, outputs=True):
    """A notebook with formulas, tables, a picture, a widget and paths of the machine."""
    table = "| n | value |\n|---|---:|\n| $x^2$ | [4](../docs/data.md) |"
    widget = {WIDGET: {"model_id": "1"}, "text/plain": "HBox(children=())"}
    cells = [
        markdown(
            f"# {name}", "", "See [data](../docs/data.md#Kinds-of-data).", "", "$$a = \\sqrt{b}$$"
        ),
        code("run_folder = None", tags=["parameters"]),
        code(f"run_folder = {str(run.root)!r}", tags=["injected-parameters"]),
        markdown("## A figure", "", "| a | b |", "|---|---|", "| $y$ | `x|y` |"),
        code(
            "show()",
            shown(**{"image/png": picture(), "text/plain": "<Figure>"}),
            shown(**{"text/markdown": table, "text/plain": "table"}),
            shown(**widget),
            printed(f"0 of 2\r2 of 2\nwrote {run.root}/codes.npz\n"),
        ),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
        if not outputs and cell["cell_type"] == "code":
            cell["outputs"] = []
    about = {"parameters": {"run_folder": str(run.root)}}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "papermill": about}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def make_checkout(root):
    """README, docs with a glossary, exercises, notebooks without outputs, a file to download."""
    run = RunFolder(root / "runs" / "demo")
    pages = {
        "README.md": "# Title\n\nStart with [first](notebooks/01_first.ipynb).\n\n"
        "## Kept\n\n[Docs](docs/index.md), [licence](LICENSE)\n\n## Repository\n\nTREE\n",
        "CONTRIBUTING.md": "# Contributing\n\n[Back](README.md)\n",
        "docs/index.md": "# Documentation\n\n[Data](data.md), [words](glossary.md)\n",
        "docs/data.md": "# Data\n\n## Kinds of data\n\n[numbers](../results/x.json), "
        "[results](../results), `[code](none.md)`\n\n```text\n[code](none.md)\n```\n",
        "docs/glossary.md": "# Glossary\n\n## Code\n\n[01](../notebooks/01_first.ipynb#A-figure)\n",
        "docs/added.md": "# Added\n",
        "exercises/README.md": "# Exercises\n\n[First](01_first.ipynb)\n",
        "results/x.json": "{}",
        "LICENSE": "MIT",
    }
    for path, text in pages.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    write_json(root / "exercises" / "01_first.ipynb", notebook("First", run, outputs=False))
    for name in NAMES:
        write_json(root / "notebooks" / f"{name}.ipynb", notebook(name, run, outputs=False))
    return run


def make_run(run, kind="synthetic"):
    """A finished run: a manifest, executed notebooks and their records."""
    write_json(run.data / "manifest.json", {"kind": kind})
    finished = {}
    for number, name in enumerate(NAMES):
        write_json(run.notebooks / f"{name}.ipynb", notebook(name, run))
        record = {"cache_key": "x", "seconds": 1.0, "finished": number, "earlier": dict(finished)}
        write_json(run.root / "cache_keys" / f"{name}.json", record)
        finished[name] = number
    return run
