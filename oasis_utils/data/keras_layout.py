"""The layout of keras_png_slices: names of its folders and files, finding them and writing them.

keras_png_slices_{train,validate,test} hold case_001_slice_0.nii.png and so on, and
keras_png_slices_seg_{train,validate,test} the tissue mask of each slice, seg_001_slice_0.nii.png.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from oasis_utils.config import SPLITS
from oasis_utils.runtime import DataError, read_json

SPLIT_NAMES = {"train": ("train",), "validate": ("validate", "val"), "test": ("test",)}
SLICE_NAME = re.compile(r"case_(\d+)_slice_(\d+)(?:\.nii)?\.png")
MASK_NAME = re.compile(r"seg_(\d+)_slice_(\d+)(?:\.nii)?\.png")
LEVELS = ("", "*/", "*/*/")  # where a tree is looked for: in a folder and up to two levels below
EXPORT_RECORD = "source.json"  # beside slices that `prepare --png` wrote: what they were made from
KINDS = ("keras", "synthetic", "images", "oasis", "nifti")  # of sources
SAMPLE_RECORD = "sample_brains.json"  # beside a complete set of sample brains: its settings

MAX_CASE, MAX_POSITION = 999_999_999, 9999  # numbers that names may hold

SlicesOfCases = dict[tuple[str, int], dict[int, Path]]  # files by split and case, then by position

# ---------------------------------------------------------------- names and writing


def slice_folder(root: Path, split: str) -> Path:
    """The folder of a split's slices."""
    return root / f"keras_png_slices_{split}"


def mask_folder(root: Path, split: str) -> Path:
    """The folder of a split's masks."""
    return root / f"keras_png_slices_seg_{split}"


def slice_path(root: Path, split: str, case: int, position: int) -> Path:
    """Where a slice is written.

    Args:
        root: folder of the tree.
        split: "train", "validate" or "test".
        case: number of the subject, or of a further session of one.
        position: of the slice, counted from 0.
    """
    return slice_folder(root, split) / f"case_{case:03d}_slice_{position}.nii.png"


def mask_path(root: Path, split: str, case: int, position: int) -> Path:
    """Where the mask of a slice is written; arguments as in `slice_path`."""
    return mask_folder(root, split) / f"seg_{case:03d}_slice_{position}.nii.png"


def save_png(path: Path, image: UInt8[np.ndarray, "height width"]) -> None:
    """Write an 8-bit grey PNG, compressed little and fast."""
    Image.fromarray(np.asarray(image)).save(path, format="PNG", compress_level=1)


# ---------------------------------------------------------------- finding


def files_named(root: Path, name: str) -> list[Path]:
    """Files and folders of that name in a folder and up to two levels below, nearest first."""
    return [path for level in LEVELS for path in sorted(root.glob(level + name))]


class UnreadableFolder(DataError):
    """The system does not list a folder."""


def unreadable_folder(error: OSError) -> UnreadableFolder:
    """What is said of a folder that the system does not list."""
    return UnreadableFolder(
        f"cannot read the folder {os.path.abspath(error.filename)}: {error.strerror}; make it"
        " readable or move it away"
    )


def is_keras_tree(root: Path) -> bool:
    """Whether there is a folder of slices of any split."""
    names = (name for split in SPLITS for name in SPLIT_NAMES[split])
    return any(_folder_named(root, slice_folder(root, name).name) for name in names)


def kind_of_tree(root: Path) -> str:
    """What the slices were made from: "synthetic", the kind that an export records, or "keras"."""
    if files_named(root, SAMPLE_RECORD):
        return "synthetic"
    records = files_named(root, EXPORT_RECORD)
    if not records:
        return "keras"
    record = read_json(records[0])
    kind = record.get("kind", "keras") if isinstance(record, dict) else None
    if kind not in KINDS:
        raise DataError(
            f"{records[0]} is no record of an export of this project: repair or remove it"
        )
    return kind


def find_slices(root: Path) -> SlicesOfCases:
    """The slices of all splits.

    Args:
        root: folder that holds the tree, in itself or up to two levels below.

    Returns:
        Files by split and case, then by position, all in ascending order.

    Raises:
        DataError: a split is missing or empty, a slice is there twice, or a subject is in two
            splits.
    """
    files: SlicesOfCases = {}
    for split in SPLITS:
        folder = _split_folder(root, split)
        found = _numbered(folder, SLICE_NAME)
        if not found:
            raise DataError(
                f"no slices in {folder}: expected names such as case_001_slice_0.nii.png; "
                "see README, Data"
            )
        files |= {(split, case): slices for case, slices in found.items()}
    _refuse_shared_subjects(files)
    return files


def find_masks(root: Path, unreadable: list[DataError] | None = None) -> SlicesOfCases:
    """The masks that there are, ordered like `find_slices`.

    Args:
        root: folder of the tree.
        unreadable: receives an error for each folder that cannot be read. Default: it is raised.

    Raises:
        DataError: a mask is there twice.
    """
    masks: SlicesOfCases = {}
    for split in SPLITS:
        for name in SPLIT_NAMES[split]:
            if folder := _folder_named(root, mask_folder(root, name).name):
                try:
                    found = _numbered(folder, MASK_NAME)
                except UnreadableFolder as error:
                    if unreadable is None:
                        raise
                    unreadable.append(error)
                    continue
                masks |= {(split, case): slices for case, slices in found.items()}
    return masks


def _folder_named(root: Path, name: str) -> Path | None:
    """The folder of that name within two levels; its slices/ folder where there is one."""
    for folder in files_named(root, name):
        if folder.is_dir():
            return folder / "slices" if (folder / "slices").is_dir() else folder
    return None


def _split_folder(root: Path, split: str) -> Path:
    names = [slice_folder(root, name).name for name in SPLIT_NAMES[split]]
    for name in names:
        if folder := _folder_named(root, name):
            return folder
    found = ", ".join(sorted(p.name for p in root.iterdir())[:5]) or "nothing"
    raise DataError(f"expected {names[0]}/ under {root}, found {found}; see README, Data")


def _numbered(folder: Path, name: re.Pattern) -> dict[int, dict[int, Path]]:
    """Files by case and position, both in order."""
    found: dict[int, dict[int, Path]] = defaultdict(dict)
    try:
        entries = sorted(os.listdir(folder))
    except OSError as error:
        raise unreadable_folder(error) from None
    for entry in entries:
        if match := name.fullmatch(entry):
            case, position = int(match[1]), int(match[2])
            if case > MAX_CASE or position > MAX_POSITION:
                raise DataError(
                    f"{folder / entry} has a number above {MAX_CASE} for a subject or above"
                    f" {MAX_POSITION} for a slice: rename it"
                )
            slices = found[case]
            if position in slices:
                raise DataError(
                    f"{slices[position].name} and {entry} in {folder} are the same slice: keep one"
                )
            slices[position] = folder / entry
    return {case: dict(sorted(found[case].items())) for case in sorted(found)}


def _refuse_shared_subjects(files: SlicesOfCases) -> None:
    split_of: dict[int, str] = {}
    for (split, case), slices in files.items():
        if split_of.setdefault(case, split) != split:
            raise DataError(
                f"subject {case} is in both {split_of[case]} and {split}"
                f" ({next(iter(slices.values()))}): a subject may be in one split only, else every"
                " metric is too good"
            )
