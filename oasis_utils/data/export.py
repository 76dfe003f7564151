"""Writes a cache as PNG slices in the layout of keras_png_slices, with a participants.tsv."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from oasis_utils.config import SPLITS
from oasis_utils.data.dataset import Dataset
from oasis_utils.data.keras_layout import EXPORT_RECORD, mask_path, save_png, slice_path
from oasis_utils.data.people import PARTICIPANTS, participants_text
from oasis_utils.runtime import DataError, atomic_folder, write_json

COLUMNS = ("participant_id", "age", "sex", "cdr", "split", "name", "session")


def export_png(
    dataset: Dataset,
    folder: str | Path,
    progress: Callable[[int, int], None] | None = None,
    as_source: bool = False,
) -> Path:
    """Write keras_png_slices_{train,validate,test}/ (and _seg_ for masks), all or nothing.

    The layout has no sessions: a subject's further sessions get numbers of their own, in the same
    split, and participants.tsv names their subject, so that they are one subject again when the
    export is read.

    Args:
        dataset: the cache.
        folder: a new or empty folder.
        progress: called with the slices done and all slices after each; None: not called.
        as_source: turn the slices back as they are in the source.

    Returns:
        The folder.

    Raises:
        DataError: the folder is not empty.
    """
    folder = Path(folder)
    refuse_full(folder)
    with atomic_folder(folder) as draft:
        _write(dataset, draft, progress, dataset.as_source if as_source else np.asarray)
    return folder


def refuse_full(folder: Path) -> None:
    """DataError for a path at which an export would be mixed with other files."""
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder} is not empty: slices would be mixed with what is there; choose a new folder"
        )


def _write(
    dataset: Dataset,
    folder: Path,
    progress: Callable[[int, int], None] | None,
    turn: Callable[[np.ndarray], np.ndarray],
) -> None:
    entries = dataset.manifest["subjects"]
    splits = {name: dataset.split(name) for name in SPLITS}
    rows: dict[str, int] = dict.fromkeys(splits, 0)
    done, total, table = 0, sum(map(len, splits.values())), []
    for case, entry in zip(case_numbers(entries), entries, strict=True):
        name = entry["split"]
        for position in entry["positions"]:
            row, masks = rows[name], splits[name].masks
            _save(slice_path(folder, name, case, position), turn(splits[name].images[row]))
            if masks is not None:
                _save(mask_path(folder, name, case, position), turn(masks[row]))
            rows[name], done = row + 1, done + 1
            if progress:
                progress(done, total)
        table.append({**entry, "participant_id": f"case_{case:03d}"})
    (folder / PARTICIPANTS).write_text(participants_text(COLUMNS, table), encoding="utf-8")
    record = {key: dataset.manifest[key] for key in ("kind", "source")}
    write_json(folder / EXPORT_RECORD, record)


def case_numbers(entries: list[dict[str, Any]]) -> list[int]:
    """Number the cases of an export.

    Args:
        entries: a manifest's "subjects", one a session, with the number `subject`.

    Returns:
        The subject's number for its first session, and free numbers above all others for the rest.
    """
    taken: set[int] = set()
    free, cases = max(entry["subject"] for entry in entries), []
    for entry in entries:
        if entry["subject"] in taken:
            free += 1
        cases.append(free if entry["subject"] in taken else entry["subject"])
        taken.add(entry["subject"])
    return cases


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(path, image)
