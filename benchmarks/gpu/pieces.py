"""Results as zip files of bounded size, for machines from which only small files come back."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

CHUNK = 2**22  # bytes of a file that stay together
HEADERS = 1024  # bytes that an entry may take besides its contents


def pack(
    files: Iterable[tuple[str, Path]], out: Path, piece_bytes: int, pieces: int
) -> dict[str, str]:
    """Write files into results-0.zip, results-1.zip and so on, the most wanted first.

    A file larger than a chunk becomes NAME.00, NAME.01 and so on, which `restore` joins.

    Args:
        files: (name in the archive, path), in order of preference.
        out: Folder of the zip files; those of an earlier call are replaced.
        piece_bytes: Most bytes of one zip file.
        pieces: Most zip files.

    Returns:
        {name of a file that found no room, or is gone: why}.
    """
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("results-*.zip"):
        old.unlink()
    free, left = [piece_bytes - HEADERS] * pieces, {}
    for name, path in files:
        try:
            chunks = list(_chunks(name, path.read_bytes()))
        except OSError as error:
            left[name] = str(error)
            continue
        places = _places([cost for *_, cost in chunks], free)
        if places is None:
            left[name] = f"no room for {path.stat().st_size / 1e6:.1f} MB"
            continue
        for (part, data, cost), place in zip(chunks, places, strict=True):
            free[place] -= cost
            with zipfile.ZipFile(out / f"results-{place}.zip", "a", zipfile.ZIP_DEFLATED) as file:
                file.writestr(part, data)
    return left


def _chunks(name: str, data: bytes) -> Iterator[tuple[str, bytes, int]]:
    """(name, contents, bytes in the archive) of the parts of a file."""
    starts = range(0, max(len(data), 1), CHUNK)
    for number, start in enumerate(starts):
        part = data[start : start + CHUNK]
        own = name if len(starts) == 1 else f"{name}.{number:02d}"
        yield own, part, len(zlib.compress(part)) + HEADERS


def _places(costs: list[int], free: list[int]) -> list[int] | None:
    """The first piece with room for each part; None if one finds none."""
    free, places = list(free), []
    for cost in costs:
        fitting = [i for i, room in enumerate(free) if room >= cost]
        if not fitting:
            return None
        places.append(fitting[0])
        free[fitting[0]] -= cost
    return places


def restore(folder: Path, out: Path) -> list[str]:
    """Unpack all zip files of a folder and join the parts of larger files.

    Args:
        folder: With results-*.zip.
        out: Where the files are written.

    Returns:
        Their names.
    """
    parts: dict[str, bytes] = {}
    for path in sorted(folder.glob("results-*.zip")):
        with zipfile.ZipFile(path) as file:
            parts |= {name: file.read(name) for name in file.namelist()}
    whole: dict[str, list[bytes]] = {}
    for name in sorted(parts):
        stem, dot, number = name.rpartition(".")
        divided = bool(dot) and len(number) == 2 and number.isdigit()
        whole.setdefault(stem if divided else name, []).append(parts[name])
    for name, contents in whole.items():
        target = (out / name).resolve()
        if not target.is_relative_to(out.resolve()):
            raise ValueError(f"{name} leads out of {out}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"".join(contents))
    return sorted(whole)
