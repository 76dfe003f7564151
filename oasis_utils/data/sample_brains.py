"""Writes synthetic sample brains to disk in the layout of the OASIS PNG slices."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from oasis_utils.config import DataConfig
from oasis_utils.data.keras_layout import (
    SAMPLE_RECORD,
    mask_folder,
    mask_path,
    save_png,
    slice_folder,
    slice_path,
)
from oasis_utils.data.orientation import oriented, quarter_turns
from oasis_utils.data.people import Person
from oasis_utils.data.splits import balanced_splits
from oasis_utils.data.synthetic import SLICES, begin_subject, make_subject
from oasis_utils.data.template import load_template
from oasis_utils.runtime import atomic, project_root

FOLDER_NAME = "keras_png_slices_data"
PARTIAL_RECORD = "sample_brains.partial.json"  # present while a set is being written
NOTICE = "Synthetic sample brains derived from the Colin27 template; not OASIS data."
MAX_SUBJECTS = 999  # names have three digits
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def write_sample_brains(
    root: str | os.PathLike,
    train: int,
    validate: int,
    test: int,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    whole_head: bool = False,
    orient: str = "as-is",
) -> Path:
    """Write sample subjects in the layout of the OASIS PNG slices.

    Each split is a folder `keras_png_slices_<split>` of 8-bit grey PNGs
    `case_<001...>_slice_<0-31>.nii.png`; `keras_png_slices_seg_<split>` holds their tissue masks
    `seg_<001...>_slice_<0-31>.nii.png` with the grey levels `synthetic.MASK_LEVELS`. Ages are
    spread alike in all splits (`splits.balanced_splits`). Beside the folders are `participants.tsv`
    (participant_id, age, split) and, once all is written, `sample_brains.json`. A complete set with
    the same settings is left as it is; one that was interrupted, or lacks masks, is completed.

    Args:
        root: folder in which `keras_png_slices_data` is made.
        train: subjects of the training split, 1 or more; all splits together have 999 at most.
        validate: subjects of the validation split, 0 or more.
        test: subjects of the test split, 0 or more.
        seed: 0 or more; another seed gives other subjects.
        workers: processes, 1 for this one. Default: one per CPU. A script that asks for more than
            1 must call under `if __name__ == "__main__"`.
        progress: called with (done, total) after each subject.
        whole_head: with skull and scalp, as the OASIS PNG slices have them.
        orient: how the pictures are turned, see `orientation.oriented`. "rot270" puts the forehead
            to the right, as in the OASIS PNG slices.

    Returns:
        `root/keras_png_slices_data`.

    Raises:
        ValueError: the counts make no set, or the turn is unknown.
        FileExistsError: the folder holds anything else.
    """
    counts = {
        "train": _check_count("train", train, least=1),
        "validate": _check_count("validate", validate, least=0),
        "test": _check_count("test", test, least=0),
    }
    seed = _check_count("seed", seed, least=0)
    quarter_turns(orient)
    workers = _check_count("workers", os.cpu_count() or 1 if workers is None else workers, least=1)
    split_of = _assign_splits(counts, seed)
    settings = _settings(counts, seed, whole_head, orient)
    folder = Path(root) / FOLDER_NAME
    present = _present_pictures(folder)
    _refuse_other_data(folder, settings, split_of, present)
    missing = [
        n for n, split in split_of.items() if not _picture_paths(folder, n, split) <= present
    ]
    if not missing and (folder / SAMPLE_RECORD).exists():
        return folder
    for split in counts:
        for pictures in (slice_folder(folder, split), mask_folder(folder, split)):
            pictures.mkdir(parents=True, exist_ok=True)
    _write_text(folder / PARTIAL_RECORD, json.dumps(settings, indent=2) + "\n")
    jobs = [(folder, number, split_of[number], seed, whole_head, orient) for number in missing]
    first = len(split_of) - len(jobs) + 1
    for done, _ in enumerate(_run_jobs(jobs, min(workers, len(jobs))), start=first):
        if progress is not None:
            progress(done, len(split_of))
    _write_participants(folder / "participants.tsv", split_of, seed)
    _write_text(folder / SAMPLE_RECORD, json.dumps(settings, indent=2) + "\n")
    (folder / PARTIAL_RECORD).unlink(missing_ok=True)
    return folder


def _settings(counts: dict[str, int], seed: int, whole_head: bool, orient: str) -> dict:
    """The content of the record; defaults are left out, as in records of older versions."""
    settings = {
        "generator": "oasis_utils.synthetic",
        "format": 2,
        "seed": seed,
        **counts,
        "notice": NOTICE,
    }
    if whole_head:
        settings["whole_head"] = True
    if orient != "as-is":
        settings["orient"] = orient
    return settings


def _check_count(name: str, value: int, least: int) -> int:
    """The value as an int, or ValueError saying what to write."""
    if value < least:
        raise ValueError(f"{name} is {value}; write a whole number, {least} or more")
    return operator.index(value)


def _assign_splits(counts: dict[str, int], seed: int) -> dict[int, str]:
    """The split of each subject number, counting from 1 over all splits; ages are spread
    alike.
    """
    total = sum(counts.values())
    if total > MAX_SUBJECTS:
        raise ValueError(
            f"{total} subjects are too many: names count to {MAX_SUBJECTS}; write smaller numbers"
        )
    ages = {f"{number:03d}": begin_subject(number, seed)[1] for number in range(1, total + 1)}
    split_of = balanced_splits({name: Person(age) for name, age in ages.items()}, counts, seed)
    return {int(name): split_of[name] for name in ages}


def _picture_paths(folder: Path, number: int, split: str) -> set[Path]:
    """The slices of a subject and their masks."""
    return {
        path(folder, split, number, position)
        for path in (slice_path, mask_path)
        for position in range(SLICES)
    }


def _present_pictures(folder: Path) -> set[Path]:
    return {
        path for kind in ("case", "seg") for path in folder.glob(f"keras_png_slices_*/{kind}_*.png")
    }


def _refuse_other_data(
    folder: Path, settings: dict, split_of: dict[int, str], present: set[Path]
) -> None:
    """Raise FileExistsError unless the folder is empty or holds this very set, whole or in part."""
    records = [
        folder / name for name in (SAMPLE_RECORD, PARTIAL_RECORD) if (folder / name).exists()
    ]
    same = all(_read_record(path) == settings for path in records)
    expected = set().union(
        *(_picture_paths(folder, number, split) for number, split in split_of.items())
    )
    if same and (records or not present) and present <= expected:
        return
    found = "sample brains with other settings" if records else "slices that are not sample brains"
    raise FileExistsError(
        f"{folder} already holds {found}; choose another folder, or delete this one first"
    )


def _read_record(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def _run_jobs(jobs: Sequence[tuple], workers: int) -> Iterator[None]:
    """Write the subjects of all jobs, yielding once after each."""
    if workers <= 1:
        yield from (_write_subject(*job) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    with _one_thread_each(), ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            for future in as_completed([pool.submit(_write_subject, *job) for job in jobs]):
                yield future.result()
        finally:
            # an error or an interrupt must not wait for the whole set
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started meanwhile use one thread each in numeric libraries."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _write_subject(
    folder: Path, number: int, split: str, seed: int, whole_head: bool, orient: str
) -> None:
    subject = make_subject(load_template(), number, seed, whole_head=whole_head)
    slices, masks = oriented(subject.slices, orient), oriented(subject.masks, orient)
    for position in range(SLICES):
        _write_picture(slice_path(folder, split, number, position), slices[position])
        _write_picture(mask_path(folder, split, number, position), masks[position])


def _write_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture unless it exists: pictures are written whole or not at all."""
    if path.exists():
        return
    with atomic(path) as partial:
        save_png(partial, picture)


def _write_participants(path: Path, split_of: dict[int, str], seed: int) -> None:
    """A table like BIDS's participants.tsv."""
    ages = {number: begin_subject(number, seed)[1] for number in split_of}
    rows = [f"case_{number:03d}\t{ages[number]:.1f}\t{split}" for number, split in split_of.items()]
    _write_text(path, "\n".join(["participant_id\tage\tsplit", *rows]) + "\n")


def _write_text(path: Path, text: str) -> None:
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def make_sample_brains(
    config: DataConfig, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Path:
    """The synthetic sample brains of a profile, made on first use and shared by all runs.

    Args:
        config: how many subjects each split has.
        seed: 0 or more; another seed gives other subjects.
        progress: called with (done, total) after each subject that is made.

    Returns:
        Their folder, in the layout of the OASIS PNG slices, see `write_sample_brains`.
    """
    counts = config.train_subjects, config.validate_subjects, config.test_subjects
    name = f"sample_brains_{'_'.join(map(str, counts))}_seed{seed}_format2"
    return write_sample_brains(
        project_root() / "data" / name, *counts, seed=seed, progress=progress
    )
