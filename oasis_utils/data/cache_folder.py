"""The folder of a cache: what belongs to it, and the replacement of a cache by a new one.

A new cache is built in a draft inside the folder. Its renaming to NEXT is the moment from which the
new cache counts; then its files take the places of the old ones. Where a killed process left that
unfinished, whoever opens or prepares the folder next finishes it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oasis_utils.runtime import DataError, read_json, storage_errors
from oasis_utils.runtime.files import refuse_special, to_disk

MANIFEST = "manifest.json"
SLICES, MASKS = "slices.npy", "masks.npy"
NEXT = ".oasis-next"  # folder of a finished cache whose files are not all in their places
DRAFT = ".oasis-draft-"  # beginning of the name of a folder in which a cache is being built
LOCK = ".lock"  # end of the name of the lock that the process which builds a draft holds


def is_cache(folder: str | Path) -> bool:
    """Whether a folder holds a finished cache.

    Args:
        folder: any path, whether it exists or not.

    Returns:
        True if both the manifest and the slices are there.
    """
    folder = Path(folder)
    in_place = (folder / MANIFEST).exists() and (folder / SLICES).exists()
    return in_place or (folder / NEXT / MANIFEST).exists()


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest in a folder; None without one, or if it is not one of this package."""
    path = folder / MANIFEST
    try:
        manifest = read_json(path) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
    written_here = (
        isinstance(manifest, dict)
        and isinstance(manifest.get("format"), int)
        and isinstance(manifest.get("subjects"), list)
    )
    return manifest if written_here else None


def finish_replacement(folder: Path) -> None:
    """Put the files of a cache that counts already in their places, if a killed process did not.

    Args:
        folder: the cache's folder, whether it exists or not; mostly there is nothing to do.

    Raises:
        StorageError: there is no permission, or one of the places holds no plain file.
    """
    new = folder / NEXT
    if new.is_symlink() or not new.is_dir():
        return
    with storage_errors(folder):
        manifest = read_manifest(new)
        if manifest is not None:  # it is moved last
            for name in (SLICES, MASKS):
                _put(new / name, folder)
            if not manifest.get("masks"):
                (folder / MASKS).unlink(missing_ok=True)
            to_disk(folder)
            _put(new / MANIFEST, folder)
        with contextlib.suppress(FileNotFoundError):
            new.rmdir()
        to_disk(folder)


def _put(path: Path, folder: Path) -> None:
    refuse_special(folder / path.name)
    with contextlib.suppress(FileNotFoundError):  # it is there already
        os.replace(path, folder / path.name)
        if path.samefile(folder / path.name):  # two names of one file: the system leaves both
            path.unlink()


@contextlib.contextmanager
def replaced_cache(folder: Path) -> Iterator[Path]:
    """A draft whose cache replaces the one in `folder` when the block ends without an error.

    After an error, the older cache stays. Killed at any moment, the process leaves either.

    Args:
        folder: the cache's folder; it is made if it does not exist.

    Yields:
        A folder inside it; write slices.npy, masks.npy if there are masks, and manifest.json there.

    Raises:
        DataError: the folder holds foreign files.
        StorageError: there is no room or no permission.
    """
    from filelock import FileLock

    refuse_foreign(folder)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        finish_replacement(folder)
        remove_abandoned(folder)
        draft = folder / f"{DRAFT}{secrets.token_hex(4)}"
        lock = folder / f"{draft.name}{LOCK}"
        try:
            with FileLock(lock, timeout=0):
                draft.mkdir()
                yield draft
                to_disk(draft)
                finish_replacement(folder)
                refuse_foreign(folder)
                draft.rename(folder / NEXT)
                to_disk(folder)
            finish_replacement(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            lock.unlink(missing_ok=True)


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder in which a cache would be mixed with, or replace, files of other origin.

    Args:
        folder: where a cache will be written. Hidden files do not count: they are left alone.

    Raises:
        DataError: it is no folder, or holds a file that is no part of a cache.
        StorageError: a file of the cache is a link or another special file.
    """
    if not folder.is_dir():
        if os.path.lexists(folder):
            raise DataError(f"{folder} is no folder: choose another")
        return
    own = {MANIFEST, SLICES, MASKS} if read_manifest(folder) else set()
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    foreign = [name for name in names if name not in own]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise DataError(
            f"{folder} holds {foreign[0]}{more}, which is no part of a cache: choose a new folder,"
            " or move it away; nothing was changed"
        )
    for name in names:
        refuse_special(folder / name)


def remove_abandoned(folder: Path) -> None:
    """Remove drafts in a folder whose processes died: the system released their locks.

    What cannot be removed is harmless, and stays.
    """
    from filelock import FileLock

    for lock in folder.glob(f"{DRAFT}*{LOCK}"):
        with contextlib.suppress(OSError), FileLock(lock, timeout=0):
            shutil.rmtree(lock.with_name(lock.name.removesuffix(LOCK)), ignore_errors=True)
            lock.unlink(missing_ok=True)
