"""`python -m book.solutions`: executes the solutions of the exercises once; every later book of the
run shows their outputs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from book.executed import executed_notebooks, read_notebook
from oasis_utils.cli.messages import in_words
from oasis_utils.pipeline.cache_keys import read_record
from oasis_utils.pipeline.execution import execute_notebook
from oasis_utils.pipeline.series import UsageError
from oasis_utils.runtime import DataError, RunFolder, project_root, read_json

FOLDER = "exercises"  # in the checkout and in a run
OF_RUN = "finished"  # metadata of an executed copy: when the notebooks that it read had finished


def sources(root: Path) -> list[Path]:
    """The solutions in a checkout, in order."""
    return sorted((root / FOLDER).glob("*.ipynb"))


def executed_solution(root: Path, run: RunFolder, page: str) -> Path | None:
    """The executed copy of a solution, unless the solution or the run has changed since.

    Args:
        root: The checkout.
        run: The run folder.
        page: Path in the checkout.

    Returns:
        Its path; None if it is no solution, or has no executed copy that is up to date.
    """
    path = run.root / FOLDER / Path(page).name
    if not page.startswith(f"{FOLDER}/") or not path.is_file():
        return None
    try:
        copy = read_notebook(path)
    except DataError:
        return None
    same_run = copy["metadata"].get(OF_RUN) == _state(run, path.stem)
    return path if same_run and _cells(copy) == _cells(read_notebook(root / page)) else None


def without_outputs(root: Path, run: RunFolder) -> list[str]:
    """The numbers of the solutions that a book of this run shows without outputs.

    Args:
        root: The checkout.
        run: The run folder.

    Returns:
        Such as 02, in order.
    """
    pages = [f"{FOLDER}/{path.name}" for path in sources(root)]
    return [Path(page).stem[:2] for page in pages if executed_solution(root, run, page) is None]


def execute_solutions(root: Path, run: RunFolder) -> None:
    """Execute every solution that has no executed copy in the run, or an outdated one; a line each.

    Args:
        root: The checkout.
        run: A finished run.

    Raises:
        UsageError: There is no such run, or it is not finished.
        DataError: A cell failed; the message names the notebook that shows it.
    """
    from papermill.exceptions import PapermillExecutionError

    names = [path.stem for path in sorted((root / "notebooks").glob("*.ipynb"))]
    executed_notebooks(run, names, publish=True)  # refuses an unfinished run; publishes nothing
    (run.root / FOLDER).mkdir(exist_ok=True)
    settings = _settings(run)
    for source in sources(root):
        if executed_solution(root, run, f"{FOLDER}/{source.name}"):
            print(f"solutions of {source.stem}: up to date", flush=True)
            continue
        print(f"solutions of {source.stem} …", flush=True)
        partial = run.root / FOLDER / f"partial_{source.name}"
        state = _state(run, source.stem)
        try:
            execute_notebook(source, partial, settings)
        except PapermillExecutionError as error:
            raise DataError(f"solutions of {source.stem} failed: see {partial}") from error
        done = read_notebook(partial)
        done["metadata"][OF_RUN] = state
        partial.write_text(json.dumps(done, ensure_ascii=False, indent=1), encoding="utf-8")
        partial.replace(run.root / FOLDER / source.name)


def _settings(run: RunFolder) -> dict[str, Any]:
    """Parameters of the solutions: those of the run."""
    report = read_json(run.report)
    seed = (report.get("provenance") or {}).get("seed", 0)
    return {"profile": report["profile"], "run_folder": str(run.root), "seed": seed}


def _state(run: RunFolder, name: str) -> dict[str, int] | None:
    """When the notebook of a solution, and those before it, had finished."""
    record = read_record(run, name)
    return {**record["earlier"], name: record["finished"]} if record else None


def _cells(notebook: dict[str, Any]) -> list[str]:
    cells = notebook["cells"]
    own = [c for c in cells if "injected-parameters" not in c["metadata"].get("tags", [])]
    return ["".join(cell["source"]) for cell in own]


def main(arguments: list[str] | None = None) -> int:
    """Execute the solutions.

    Args:
        arguments: Words of the command line; None: those of this process.

    Returns:
        The exit code: 0 done, 1 failed, 2 invalid usage, 130 interrupted.
    """
    options = argparse.ArgumentParser(
        prog="python -m book.solutions",
        description="Execute the solutions of the exercises, so that `make book` shows outputs.",
    )
    options.add_argument("--run", default="runs/demo", metavar="DIR", help="default: runs/demo")
    run = RunFolder.at(options.parse_args(arguments).run)
    try:
        execute_solutions(project_root(), run)
    except (UsageError, ValueError, OSError) as error:
        print(f"error: {in_words(error)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("interrupted: finished solutions are kept, the same command does the others")
        return 130
    print(f"kept in {run.root / FOLDER}: `make book` of this run shows their outputs")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
