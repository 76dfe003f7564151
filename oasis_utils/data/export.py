"""A cache out, as PNG slices in the layout of keras_png_slices, with a participants.tsv that holds
the ages.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from oasis_utils.config import SPLITS
from oasis_utils.data.dataset import Dataset
from oasis_utils.data.sources import EXPORT_RECORD
from oasis_utils.runtime import DataError, write_json

COLUMNS = ("participant_id", "age", "sex", "cdr", "split", "name", "session")


def export_png(
    dataset: Dataset,
    folder: str | Path,
    progress: Callable[[int, int], None] | None = None,
    as_source: bool = False,
) -> Path:
    """Write keras_png_slices_{train,validate,test}/ (and _seg_ for masks) into a new folder, all or
    nothing.

    The layout has no sessions: a subject's further sessions get numbers of their own, in the same
    split, and participants.tsv says whose they are, so that they are one subject again when the
    export is read. as_source: turn the slices back as the source's lie. DataError if the folder is
    there and not empty.
    """
    folder = Path(folder)
    refuse_full(folder)
    draft = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        _write(dataset, draft, progress, dataset.as_source if as_source else np.asarray)
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def refuse_full(folder: Path) -> None:
    """DataError for a path at which an export would be mixed with other files."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder} is not empty: slices would be mixed with what is there; choose a new folder"
        )


def _write(
    dataset: Dataset,
    folder: Path,
    progress: Callable[[int, int], None] | None,
    turn: Callable[[np.ndarray], np.ndarray],
) -> None:
    splits = {name: dataset.split(name) for name in SPLITS}
    done, total, rows, table = 0, sum(map(len, splits.values())), dict.fromkeys(SPLITS, 0), []
    for case, entry in zip(
        case_numbers(dataset.manifest["subjects"]), dataset.manifest["subjects"], strict=True
    ):
        split = splits[entry["split"]]
        for position in entry["positions"]:
            row = rows[split.name]
            _save(
                folder
                / f"keras_png_slices_{split.name}"
                / f"case_{case:03d}_slice_{position}.nii.png",
                turn(split.images[row]),
            )
            if split.masks is not None:
                _save(
                    folder
                    / f"keras_png_slices_seg_{split.name}"
                    / f"seg_{case:03d}_slice_{position}.nii.png",
                    turn(split.masks[row]),
                )
            rows[split.name], done = row + 1, done + 1
            if progress:
                progress(done, total)
        told = {**entry, "participant_id": f"case_{case:03d}"}
        table.append("\t".join("n/a" if told[c] in (None, "") else str(told[c]) for c in COLUMNS))
    (folder / "participants.tsv").write_text(
        "\n".join(["\t".join(COLUMNS), *table]) + "\n", encoding="utf-8"
    )
    write_json(
        folder / EXPORT_RECORD,
        {"kind": dataset.manifest["kind"], "source": dataset.manifest["source"]},
    )


def case_numbers(entries: list[dict[str, Any]]) -> list[int]:
    """The subject's number for its first session, and free numbers above all others for the
    rest.
    """
    free, taken, cases = max(entry["subject"] for entry in entries), set(), []
    for entry in entries:
        if entry["subject"] in taken:
            free += 1
        cases.append(free if entry["subject"] in taken else entry["subject"])
        taken.add(entry["subject"])
    return cases


def _save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(image)).save(path, format="PNG", compress_level=1)
