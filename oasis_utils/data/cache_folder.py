"""The folder of a cache: what belongs to it, and the replacement of a cache by a new one.

A new cache is built in a draft inside the folder. Its renaming to NEXT is the moment from which the
new cache counts; then its files take the places of the old ones. Where a killed process left that
unfinished, whoever opens or prepares the folder next finishes it. One process at a time does
either: it holds the lock of the folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oasis_utils.runtime import (
    DataError,
    FolderInUse,
    atomic,
    exclusive,
    read_json,
    storage_errors,
)
from oasis_utils.runtime.files import refuse_special, to_disk

MANIFEST = "manifest.json"
SLICES, MASKS = "slices.npy", "masks.npy"
SHARDS = "shards"  # folder of a copy of the training slices, see `shards_of_slices`
SHARDS_INDEX = "index.json"
SHARDS_LOCK = ".lock"  # in the folder of shards, held by the process that writes them
SHARD_FILES = re.compile(r"(\d{6,}\.safetensors|index\.json)(\.\d+-[0-9a-f]+\.partial)?")
NEXT = ".oasis-next"  # folder of a finished cache whose files are not all in their places
DRAFT = ".oasis-draft-"  # beginning of the name of a folder in which a cache is being built
PREPARING = ".oasis-draft-any.lock"  # held by the process that prepares the folder, or finishes it
WAIT = 60.0  # seconds for a process that is putting files in their places


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
        FolderInUse: another process is preparing the folder.
    """
    if _has_next(folder):
        with _alone(folder / PREPARING, folder, WAIT):
            _put_next(folder)


def _has_next(folder: Path) -> bool:
    return _is_folder(folder / NEXT)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


@contextlib.contextmanager
def _alone(lock: Path, folder: Path, wait: float = 0.0) -> Iterator[None]:
    """A lock of the folder, whose file is gone afterwards."""
    with exclusive(lock, folder, wait):
        try:
            yield
        finally:
            lock.unlink(
                missing_ok=True
            )  # whoever opened it before finds it unlinked and tries again


def _put_next(folder: Path) -> None:
    """`finish_replacement` for the holder of the lock."""
    if not _has_next(folder):
        return
    new = folder / NEXT
    with storage_errors(folder):
        manifest = read_manifest(new)
        if manifest is not None:  # it is moved last
            for name in (SLICES, MASKS):
                _put(new / name, folder)
            if not manifest.get("masks"):
                (folder / MASKS).unlink(missing_ok=True)
            _remove_shards(folder / SHARDS)  # of the older cache
            to_disk(folder)
            _put(new / MANIFEST, folder)
        _put_shards(new / SHARDS, folder / SHARDS)  # those put are not removed, if this is repeated
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
        A folder inside it; write slices.npy, masks.npy if there are masks, and manifest.json there;
        shards may be linked there.

    Raises:
        DataError: the folder holds foreign files.
        FolderInUse: another process is preparing the folder.
        StorageError: there is no room or no permission.
    """
    refuse_foreign(folder)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / PREPARING, folder):
            yield from _replaced(folder)


def _replaced(folder: Path) -> Iterator[Path]:
    """`replaced_cache` for the holder of the lock."""
    _put_next(folder)
    _remove_drafts(folder)
    draft = folder / f"{DRAFT}{secrets.token_hex(4)}"
    try:
        draft.mkdir()
        yield draft
        to_disk(draft)
        refuse_foreign(folder)
        draft.rename(folder / NEXT)
        to_disk(folder)
        _put_next(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """The same file under a second name, or on another file system a copy."""
    with atomic(target) as partial:
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder in which a cache would be mixed with, or replace, files of other origin.

    Args:
        folder: where a cache will be written. Hidden files do not count: they are left alone.

    Raises:
        DataError: it is a link, no folder, or holds a file that is no part of a cache.
        StorageError: a file of the cache is a link or another special file.
    """
    if folder.is_symlink():
        raise DataError(
            f"{folder} is a link, and what it leads to is not replaced: give the folder itself,"
            " or remove the link"
        )
    if not folder.is_dir():
        if os.path.lexists(folder):
            raise DataError(f"{folder} is no folder: choose another")
        return
    own = {MANIFEST, SLICES, MASKS} if read_manifest(folder) else set()
    names, inside = sorted(n for n in os.listdir(folder) if not n.startswith(".")), []
    if own and SHARDS in names and _is_folder(folder / SHARDS):
        names.remove(SHARDS)
        inside = [f"{SHARDS}/{name}" for name in _foreign_to_shards(folder / SHARDS)]
    _refuse_names(folder, [name for name in names if name not in own] + inside, "a cache")
    for name in names:
        refuse_special(folder / name)


def _refuse_names(folder: Path, foreign: list[str], whole: str) -> None:
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise DataError(
            f"{folder} holds {foreign[0]}{more}, which is no part of {whole}: choose a new folder,"
            " or move it away; nothing was changed"
        )


def remove_abandoned(folder: Path) -> None:
    """Remove what processes that died have left in a folder, unless one of them lives.

    What cannot be removed is harmless, and stays.
    """
    if any(folder.glob(f"{DRAFT}*")):
        with contextlib.suppress(OSError, FolderInUse), _alone(folder / PREPARING, folder):
            _remove_drafts(folder)


def _remove_drafts(folder: Path) -> None:
    own = (PREPARING, f"{PREPARING}.json")  # of the lock that is held now
    for draft in folder.glob(f"{DRAFT}*"):
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        elif draft.name not in own:
            with contextlib.suppress(OSError):
                draft.unlink()


# ---------------------------------------------------------------- shards


def shard_files(folder: Path) -> list[str]:
    """Names of the files in a folder that a writer of shards makes: shards, index and drafts.

    Args:
        folder: any path; what does not exist holds none.
    """
    return sorted(filter(SHARD_FILES.fullmatch, os.listdir(folder))) if folder.is_dir() else []


def refuse_foreign_to_shards(folder: Path) -> None:
    """Refuse a folder in which shards would be mixed with, or replace, files of other origin.

    Args:
        folder: where shards will be written. Hidden files do not count: they are left alone.

    Raises:
        DataError: it is no folder, or holds a file that is no part of shards.
    """
    if folder.is_dir():
        _refuse_names(folder, _foreign_to_shards(folder), "a set of shards")
    elif os.path.lexists(folder):
        raise DataError(f"{folder} is no folder: choose another")


def _foreign_to_shards(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        plain = {e.name: e.is_file(follow_symlinks=False) for e in entries if e.name[0] != "."}
    foreign = [name for name in sorted(plain) if not (plain[name] and SHARD_FILES.fullmatch(name))]
    if list(plain) == [SHARDS_INDEX] and not _index(folder):  # many programs write an index.json
        return [SHARDS_INDEX]
    return foreign


def _index(folder: Path) -> dict[str, Any]:
    """What the index of shards holds; empty if there is none, or it is no index of shards."""
    try:
        index = read_json(folder / SHARDS_INDEX)
    except DataError:
        return {}
    return index if isinstance(index, dict) and {"about", "shards"} <= index.keys() else {}


def link_shards(source: Path, folder: Path) -> None:
    """Give a cache the finished shards of the one that it is linked to.

    Args:
        source: the cache that `prepare` made, with or without shards.
        folder: draft of a cache of the same data, see `replaced_cache`.
    """
    source, folder = source / SHARDS, folder / SHARDS
    try:
        listed = {str(entry["file"]) for entry in _index(source).get("shards", [])}
    except (KeyError, TypeError):
        return  # a damaged index
    own = [name for name in shard_files(source) if name in listed | {SHARDS_INDEX}]
    for name in own if listed else []:
        link_or_copy(source / name, folder / name)


def _remove_shards(folder: Path) -> None:
    """Remove shards, and their folder if nothing else is in it; what cannot be removed stays.

    So do those that a process is writing, which finds the cache replaced and removes them.
    """
    if _is_folder(folder):
        with contextlib.suppress(OSError, FolderInUse), _alone(folder / SHARDS_LOCK, folder):
            for name in reversed(shard_files(folder)):  # the index first
                (folder / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _put_shards(new: Path, folder: Path) -> None:
    """Put linked shards in their places, unless a process writes shards there."""
    if _is_folder(new):
        with contextlib.suppress(FolderInUse), _alone(folder / SHARDS_LOCK, folder):
            for name in shard_files(new):  # the index last
                _put(new / name, folder)
        shutil.rmtree(new)
