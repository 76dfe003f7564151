"""Which runs may become a book, and their executed notebooks without what belongs to a machine."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

from oasis_utils.pipeline.cache_keys import read_record
from oasis_utils.pipeline.series import UsageError
from oasis_utils.runtime import DataError, RunFolder, read_json

WIDGET = "application/vnd.jupyter.widget-view+json"
# metadata: times, paths, states of widgets
PER_MACHINE = ("papermill", "execution", "widgets", "finished")


def executed_notebooks(run: RunFolder, names: list[str], publish: bool = False) -> list[Path]:
    """The executed notebooks of a finished run whose pictures may be published.

    Args:
        run: The run folder.
        names: Names of all notebooks of the series, in order, without ending.
        publish: Whether the user states that pictures of other data may be published.

    Returns:
        The path of each notebook, in the same order.

    Raises:
        UsageError: There is no such run, it is not finished, or its data are not sample brains.
    """
    if not run.root.is_dir():
        raise UsageError(f"no run folder {run.root}: make one with `make demo`")
    paths = [run.notebooks / f"{name}.ipynb" for name in names]
    records = {name: read_record(run, name) for name in names}
    finished: dict[str, int] = {}
    for name, path in zip(names, paths, strict=True):
        record = records[name]
        if record is None or not path.is_file():
            raise UsageError(_unfinished(run, name, "has not run to its end"))
        if record["earlier"] != finished:
            raise UsageError(_unfinished(run, name, "is older than a notebook before it"))
        finished = {**finished, name: record["finished"]}
    _require_sample_brains(run, publish)
    return paths


def _unfinished(run: RunFolder, name: str, reason: str) -> str:
    return (
        f"{run.root} is not finished: notebook {name} {reason}. Run `python -m oasis_utils run"
        f" --out {run.root} --only {name[:2]}` first, with the profile and data of this run"
    )


def _require_sample_brains(run: RunFolder, publish: bool) -> None:
    manifest = read_json(run.data / "manifest.json")
    kind = manifest.get("kind") if isinstance(manifest, dict) else None
    if kind != "synthetic" and not publish:
        raise UsageError(
            f"{run.root} shows data of the kind {kind}, not sample brains. Images of OASIS must"
            " not be published. If you have the right to publish these pictures, add"
            " --publish-pictures (make book PUBLISH=yes)"
        )


def read_notebook(path: Path) -> dict[str, Any]:
    """The JSON of a notebook.

    Args:
        path: An .ipynb file.

    Returns:
        Its dictionary, with cells and metadata.

    Raises:
        DataError: The file holds no notebook.
    """
    notebook = read_json(path)
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise DataError(f"{path} is no notebook: run its step again")
    return notebook


def without_machine(notebook: dict[str, Any], run: RunFolder) -> dict[str, Any]:
    """A copy of an executed notebook without paths of the machine and without dead widgets.

    Args:
        notebook: As `read_notebook` returns it.
        run: The run folder, whose path becomes runs/NAME.

    Returns:
        The copy: no cell of injected parameters, no widget that needs a kernel, the last state of
        each progress line, and a description for each picture.
    """
    result = copy.deepcopy(notebook)
    result["cells"] = [cell for cell in result["cells"] if "injected-parameters" not in _tags(cell)]
    paths = _paths(notebook, run)
    heading = ""
    for cell in result["cells"]:
        _drop(cell["metadata"])
        if cell["cell_type"] == "markdown":
            found = re.findall(r"^#+ (.+)$", "".join(cell["source"]), re.MULTILINE)
            heading = found[-1] if found else heading
            continue
        cell["outputs"] = [_output(o, paths) for o in cell.get("outputs", []) if _is_alive(o)]
        if any("image/png" in o.get("data", {}) for o in cell["outputs"]):
            described = {"image": {"alt": f"Figure: {heading}"}}
            cell["metadata"]["mystnb"] = described | cell["metadata"].get("mystnb", {})
    _drop(result["metadata"])
    return result


def _tags(cell: dict[str, Any]) -> list[str]:
    return cell["metadata"].get("tags", [])


def _drop(metadata: dict[str, Any]) -> None:
    for name in PER_MACHINE:
        metadata.pop(name, None)


def _paths(notebook: dict[str, Any], run: RunFolder) -> dict[str, str]:
    """{path of this or of the executing machine: what a reader sees instead}."""
    executed = notebook["metadata"].get("papermill", {})
    roots = {str(run.root), executed.get("parameters", {}).get("run_folder")}
    found = {root: f"runs/{run.root.name}" for root in roots if root}
    source = executed.get("input_path")
    if source and len(Path(source).parents) > 2:
        found[f"{Path(source).parents[1]}/"] = ""
    return found


def _is_alive(output: dict[str, Any]) -> bool:
    """False for a widget: without a kernel it is an empty box."""
    return WIDGET not in output.get("data", {})


def _output(output: dict[str, Any], paths: dict[str, str]) -> dict[str, Any]:
    if "text" in output:
        output["text"] = last_states(_shown("".join(output["text"]), paths))
    for kind, value in output.get("data", {}).items():
        if kind.startswith("text/"):
            output["data"][kind] = _shown("".join(value), paths)
    output.get("metadata", {}).pop("papermill", None)
    return output


def _shown(text: str, paths: dict[str, str]) -> str:
    for path, instead in sorted(paths.items(), key=lambda item: -len(item[0])):
        text = text.replace(path, instead)
    return text


def last_states(text: str) -> str:
    """A text as a terminal shows it: of parts separated by carriage returns, the last one.

    Args:
        text: Any text.

    Returns:
        The same lines without what was overwritten.
    """
    return re.sub(r"[^\n]*\r(?!\n|$)", "", text.replace("\r\n", "\n"))
