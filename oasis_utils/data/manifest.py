"""The manifest of a cache, and the check of a cache against it that opening makes.

Checked are the form of the manifest, the order of its entries, that no person is in two splits,
type and size of the arrays, and a digest of a few slices: what an interrupted copy, an edited
manifest or files of two caches would break. A single altered slice is not found.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le, MinLen

from oasis_utils.config import SPLITS, DataConfig, digest, from_dict
from oasis_utils.data.cache_folder import MANIFEST, MASKS, SLICES
from oasis_utils.data.keras_layout import KINDS
from oasis_utils.data.orientation import quarter_turns
from oasis_utils.runtime import DataError, open_plain

CACHE_FORMAT = 3  # 3: upright, with its symmetry
DIGEST_SLICES = 16  # of an array, spread evenly
AGAIN = "prepare the source again, into a new folder"

# ---------------------------------------------------------------- form


class _Known:
    """No conversion and no nan, but further entries: settings that pydantic reads."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"strict": True, "allow_inf_nan": False}


@dataclass(frozen=True)
class _Entry(_Known):
    subject: Annotated[int, Ge(0), Le(2**31)]
    name: str
    session: str
    split: Literal["train", "validate", "test"]
    age: float | None
    sex: str | None
    cdr: float | None
    positions: Annotated[list[Annotated[int, Ge(0), Le(2**20)]], MinLen(1)]


@dataclass(frozen=True)
class _Crop(_Known):
    top: int  # below 0: the square reaches out of the picture
    left: int
    side: Annotated[int, Ge(1)]


@dataclass(frozen=True)
class _Orientation(_Known):
    turned: str
    measured: bool


@dataclass(frozen=True)
class _Symmetry(_Known):
    axis: Literal[-1, -2] | None


@dataclass(frozen=True)
class _Slices(_Known):
    orient: str


@dataclass(frozen=True)
class _Options(_Known):
    slices: _Slices


@dataclass(frozen=True)
class _Manifest(_Known):
    kind: str
    source: str
    source_size: Annotated[int, Ge(1)]
    config: dict[str, Any]
    options: _Options
    crop: _Crop
    masks: bool
    orientation: _Orientation
    symmetry: _Symmetry
    content: Literal["brain", "head"]
    notes: dict[str, int]
    skipped: list[dict[str, str]]
    subjects: Annotated[list[_Entry], MinLen(1)]


@functools.cache
def _adapter() -> Any:
    from pydantic import TypeAdapter  # slow to import

    return TypeAdapter(_Manifest)


def _check_form(manifest: dict[str, Any], path: Path) -> None:
    from pydantic import ValidationError

    try:
        _adapter().validate_json(json.dumps(manifest))
        size = from_dict(DataConfig, manifest["config"]).image_size
        quarter_turns(manifest["orientation"]["turned"])
        if manifest["kind"] not in KINDS or not isinstance(size, int):
            raise ValueError("an unknown kind of source, or a size that is no whole number")
    except ValidationError as error:
        first = error.errors()[0]
        entry = ".".join(map(str, first["loc"]))
        raise DataError(f"{path} is damaged ({entry}: {first['msg'].lower()}): {AGAIN}") from None
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}): {AGAIN}") from None


# ---------------------------------------------------------------- check


def checked_arrays(folder: Path, manifest: Any) -> dict[str, np.ndarray]:
    """The arrays of a cache, which agree with its manifest.

    Args:
        folder: the cache.
        manifest: what its manifest.json holds.

    Returns:
        Memory maps by name of the file.

    Raises:
        DataError: the manifest is of another version or form, a subject is in two splits, or the
            arrays are others than it describes.
    """
    path = folder / MANIFEST
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise DataError(f"{path} is no manifest of prepared data: {AGAIN}")
    if manifest["format"] != CACHE_FORMAT:
        raise DataError(
            f"{folder} was prepared by another version of oasis_utils: delete it and prepare again"
        )
    _check_form(manifest, path)
    _check_splits(manifest["subjects"], path)
    n, size = sum(len(e["positions"]) for e in manifest["subjects"]), _size(manifest)
    arrays = {SLICES: opened_array(folder / SLICES, (n, size, size))}
    if manifest["masks"]:
        arrays[MASKS] = opened_array(folder / MASKS, (n, size, size))
    if "digests" in manifest and manifest["digests"] != digests(manifest["subjects"], arrays):
        raise DataError(
            f"the slices in {folder} are others than its {MANIFEST} describes, or it was edited:"
            f" {AGAIN}"
        )
    return arrays


def _size(manifest: dict[str, Any]) -> int:
    return from_dict(DataConfig, manifest["config"]).image_size


def _check_splits(entries: list[dict[str, Any]], path: Path) -> None:
    """DataError unless entries come in the order of splits, which share no subject."""
    ranks = [SPLITS.index(entry["split"]) for entry in entries]
    if ranks != sorted(ranks) or set(ranks) != set(range(len(SPLITS))):
        raise DataError(
            f"{path} is damaged (subjects are not in the order {', '.join(SPLITS)}, or a split is"
            f" empty): {AGAIN}"
        )
    split_of: dict[int, str] = {}
    for entry in entries:
        if split_of.setdefault(entry["subject"], entry["split"]) != entry["split"]:
            raise DataError(
                f"{path} has subject {entry['subject']} in two splits, {entry['split']} and"
                f" {split_of[entry['subject']]}: metrics would be too good; {AGAIN}"
            )
        if any(b <= a for a, b in zip(entry["positions"], entry["positions"][1:], strict=False)):
            raise DataError(
                f"{path} is damaged (positions of subject {entry['subject']} are not ascending):"
                f" {AGAIN}"
            )


def opened_array(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """The memory map of an array of a cache.

    Args:
        path: slices.npy or masks.npy.
        shape: what the manifest describes.

    Returns:
        uint8 of that shape, read-only.

    Raises:
        DataError: the file is another array, or none.
    """
    try:
        open_plain(path).close()
        array = np.lib.format.open_memmap(path, mode="r")
    except DataError:
        raise
    except (OSError, ValueError, OverflowError, SyntaxError, EOFError) as error:
        raise DataError(f"{path} is damaged ({error}): {AGAIN}") from None
    if array.dtype != np.uint8 or array.shape != shape or not array.flags.c_contiguous:
        raise DataError(
            f"{path} holds {array.dtype} {array.shape}, but the manifest describes uint8 {shape}:"
            f" {AGAIN}"
        )
    return array


def digests(entries: list[dict[str, Any]], arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """What the manifest says of the content of its cache, cheap to take.

    Args:
        entries: its "subjects".
        arrays: by name of the file.

    Returns:
        {name: digest of a few slices}, and the digest of the entries as "subjects".
    """
    found = {"subjects": digest(entries)}
    for name, array in arrays.items():
        rows = np.unique(np.linspace(0, len(array) - 1, DIGEST_SLICES).astype(int))
        found[name] = hashlib.sha256(np.ascontiguousarray(array[rows]).data).hexdigest()[:16]
    return found
