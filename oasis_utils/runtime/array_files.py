"""Reads the .npz files of a run folder; what else is there is named, with what to do."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from oasis_utils.runtime.plain_files import DataError, open_plain

ARCHIVE_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    SyntaxError,
    OverflowError,
    MemoryError,
    RuntimeError,  # a password, or a compression that Python lacks
    zipfile.BadZipFile,
    zlib.error,
)


def read_arrays(path: str | Path, advice: str) -> dict[str, np.ndarray]:
    """All arrays of an .npz file.

    Args:
        path: of the file.
        advice: what to do about a damaged one, as the end of a sentence.

    Returns:
        The arrays by name.

    Raises:
        DataError: it is no plain file, or damaged.
    """
    with open_plain(path) as opened:
        try:
            with np.load(opened, allow_pickle=False) as file:
                return dict(file)
        except (*ARCHIVE_ERRORS, AttributeError) as error:  # AttributeError: a single array
            reason = str(error) or type(error).__name__
            raise DataError(f"{path} is damaged ({reason}): {advice}") from None


def require_arrays(arrays: dict[str, np.ndarray], names: tuple[str, ...], path: str | Path) -> None:
    """DataError that names the first array that a file lacks."""
    for name in names:
        if name not in arrays:
            raise DataError(f"{path} has no array {name!r}: it is a file of another kind")
