"""Folders and files of a command: those it reads, and refusals of those it must not write."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from oasis_utils.config import DataConfig
from oasis_utils.pipeline.series import UsageError
from oasis_utils.runtime import DataError, Progress, RunFolder, refuse_inside

if TYPE_CHECKING:
    from oasis_utils.data.dataset import Dataset


def run_folder(path: str) -> RunFolder:
    """The run folder of that path; UsageError if there is none."""
    folder = Path(path).resolve()
    if not folder.is_dir():
        raise UsageError(f"no run folder {folder}: make one with `python -m oasis_utils run`")
    require_utf8(folder)
    return RunFolder(folder)


def require_utf8(*paths: Path) -> None:
    """UsageError for a path that notebooks, pages and JSON cannot hold."""
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"the path {path} is not encoded in UTF-8: rename the folder"
            ) from None


def refuse_in_data(source: str | Path, out: str | Path) -> None:
    """DataError for a file to write that is what a command reads, or lies in it."""
    data = Path(source, "data")
    if Path(source).resolve() == Path(out).resolve():
        raise DataError(f"{out} is read by this command: choose another file to write")
    refuse_inside(data if data.is_dir() else Path(source), Path(out))


def refuse_results(out: str) -> None:
    """DataError for a file to write among those that the series wrote, into any run folder."""
    path = Path(out).resolve()
    for run in map(RunFolder, path.parents):
        is_run = run.checkpoint("vqvae").exists() or run.begun
        if is_run and any(map(path.is_relative_to, run.products)):
            raise DataError(f"{out} is among the results of the run: choose another file to write")


@contextlib.contextmanager
def opened_dataset(source: str, config: DataConfig) -> Iterator[Dataset]:
    """A prepared folder, the data of a run folder, or a source prepared in a temporary folder."""
    from oasis_utils.data import dataset as data

    for folder in (Path(source), Path(source) / "data"):
        if data.is_cache(folder):
            yield data.open_cache(folder)
            return
    with tempfile.TemporaryDirectory() as folder:
        with Progress("reading slices", 1) as progress:
            dataset = data.build_cache(source, folder, config, progress)
        yield dataset


def data_of_run(run: str) -> Dataset:
    """The data set of a run; UsageError if the run has none."""
    from oasis_utils.data import dataset as data

    folder = run_folder(run).data
    if not data.is_cache(folder):
        raise UsageError(
            f"--as-source: {run} has no data, so the orientation of its source is unknown;"
            " leave the option out"
        )
    return data.open_cache(folder)
