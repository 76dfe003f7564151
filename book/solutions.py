"""Executes the solutions of the exercises on a finished run; the book shows their outputs."""

from __future__ import annotations

from pathlib import Path

from oasis_utils.pipeline.execution import execute_notebook
from oasis_utils.runtime import DataError, RunFolder, read_json

FOLDER = "exercises"  # in the checkout and in a run


def executed_solution(run: RunFolder, page: str) -> Path | None:
    """The executed copy of a solution.

    Args:
        run: The run folder.
        page: Path in the checkout.

    Returns:
        Its path; None if it is no solution or was not executed.
    """
    path = run.root / FOLDER / Path(page).name
    return path if page.startswith(f"{FOLDER}/") and path.is_file() else None


def execute_solutions(root: Path, run: RunFolder) -> None:
    """Execute every solution that has no executed copy in the run, a line each.

    Args:
        root: The checkout.
        run: A finished run.

    Raises:
        DataError: A cell failed; the message names the notebook that shows it.
    """
    from papermill.exceptions import PapermillExecutionError

    (run.root / FOLDER).mkdir(exist_ok=True)
    settings = {"profile": read_json(run.report)["profile"], "run_folder": str(run.root)}
    for source in sorted((root / FOLDER).glob("*.ipynb")):
        target = run.root / FOLDER / source.name
        if target.is_file() and target.stat().st_mtime > source.stat().st_mtime:
            continue
        print(f"solutions of {source.stem} …", flush=True)
        partial = target.with_name(f"partial_{source.name}")
        try:
            execute_notebook(source, partial, settings)
        except PapermillExecutionError as error:
            raise DataError(f"solutions of {source.stem} failed: see {partial}") from error
        partial.replace(target)
