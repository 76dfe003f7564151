"""Finds T1 volumes: OASIS-1 discs, packed or not, and what layouts.py recognises; no
voxel is read.

OASIS-1 (Marcus et al. 2007, J Cogn Neurosci 19:1498) comes as twelve .tar.gz of
`discN/OAS1_xxxx_MRy/`, where MR2 is a second session of the same person.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from oasis_utils.data.layouts import SINGLE, VOLUME, Scan, by_pattern, recognise
from oasis_utils.data.splits import Person
from oasis_utils.runtime import DataError

MAX_BYTES = 2**30  # of a file
CHUNK = 2**20

ARCHIVE = re.compile(r"oasis_cross-sectional_disc\d+\.(tar\.gz|tgz)")
T88 = re.compile(r"(OAS1_\d{4})_(MR\d+)_mpr_n\d+_anon_111_t88_(masked_)?gfc(_fseg)?\.(hdr|img)")
NOTES = re.compile(r"OAS1_\d{4}_MR\d+\.txt")
POINTER = b"version https://git-lfs"
GZIP_ERRORS = (OSError, EOFError, zlib.error)
TAR_ERRORS = (
    *GZIP_ERRORS,
    tarfile.TarError,
    ValueError,
    LookupError,
    OverflowError,
    RecursionError,
)

# ---------------------------------------------------------------- discovery


def find_scans(source: str | Path, pattern: re.Pattern | None = None) -> list[Scan]:
    """The T1 volumes of a file or folder, by subject and session; empty where there are none. Reads
    no voxels.

    Found are OASIS-1 discs (archives are listed, never unpacked, and checked to their end), else
    what `layouts.recognise` knows. pattern: volumes whose path below the folder it finds, and no
    others; its groups say subject and session. A session counts once: unpacked before packed,
    without the skull (`_t88_masked_gfc`) before
    with it, then by name. Ages, sex and CDR come from oasis_cross-sectional.csv or participants.tsv
    up to two levels above or below, else from a session's .txt. DataError: no such file or folder,
    an archive or table that cannot be read, or names that do not say whose a volume is.
    """
    source = Path(source).absolute()
    if not source.exists():
        raise DataError(
            f"no file or folder {source}: give a volume, an OASIS disc or the folder that holds"
            " them"
        )
    if source.is_dir():
        root, files = source, _walk(source)
        packed = [p for p in files if ARCHIVE.fullmatch(p.name)]
        volumes = files
    else:
        root, files = source.parent, sorted(p for p in source.parent.iterdir() if p.is_file())
        packed = [source] if source.name.endswith((".tar.gz", ".tgz")) else []
        volumes = _companions(source, files)
    notes: dict[str, Person] = {}
    if pattern is not None:
        scans = by_pattern(root, volumes, pattern)
    else:
        scans = _oasis_scans([str(p) for p in volumes], None)
        for archive in packed:
            members, found = _list_archive(archive)
            scans += _oasis_scans(members, archive)
            notes |= found
        scans = scans or recognise(root, volumes)
    if source.is_file() and not packed:
        scans = [scan for scan in scans if str(source) in scan.image]
    if not scans:
        return []
    notes |= {p.stem: _person_of_notes(_small_text(p)) for p in files if NOTES.fullmatch(p.name)}
    people = notes | _people_of_tables(root, files)
    first = {(scan.subject, scan.session): scan for scan in reversed(scans)}
    return [_with_person(first[key], people) for key in sorted(first)]


def _companions(source: Path, files: list[Path]) -> list[Path]:
    """A volume, the other half of its pair, and what may be its label map."""
    match = VOLUME.fullmatch(source.name)
    if not match:
        return []
    copies = {f"{match[1]}{end}" for end in (*SINGLE, ".hdr", ".img")} - {source.name}
    if match[2] in ("hdr", "img"):
        copies -= {f"{match[1]}.hdr", f"{match[1]}.img"}
    return [
        p
        for p in files
        if p.name.startswith(match[1].removesuffix("_T1w")) and p.name not in copies
    ]


def _list_archive(archive: Path) -> tuple[list[str], dict[str, Person]]:
    """Names of the files of a disc, and what its notes tell of each session."""
    members, notes = [], {}
    for name, content in archive_members(
        archive, lambda name: bool(NOTES.fullmatch(PurePosixPath(name).name))
    ):
        members.append(name)
        if content is not None:
            notes[PurePosixPath(name).stem] = _person_of_notes(content.decode("utf-8", "replace"))
    return members, notes


def _walk(folder: Path) -> list[Path]:
    """All files below a folder; hidden ones and linked folders are left out."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _oasis_scans(names: list[str], archive: Path | None) -> list[Scan]:
    """Sessions of OASIS-1 among paths or members: T88_111 volumes, with the FSL_SEG map of the
    masked one.
    """
    sessions: dict[tuple[str, str], dict[tuple[bool, bool], list[str]]] = {}
    for name in names:
        if match := T88.fullmatch(PurePosixPath(name).name):
            kind = bool(match[3]), bool(match[4])
            sessions.setdefault((match[1], match[2]), {}).setdefault(kind, []).append(name)
    scans = []
    for (subject, session), kinds in sessions.items():
        if image := _pair(kinds.get((True, False)) or kinds.get((False, False), [])):
            where = f"{archive}!{image[0]}" if archive else image[0]
            scans.append(
                Scan(
                    subject,
                    session,
                    where,
                    image=image,
                    labels=_pair(kinds.get((True, True), [])),
                    archive=archive,
                )
            )
    return scans


def _pair(names: list[str]) -> tuple[str, ...]:
    """Header before image, of the first pair among the names."""
    first = sorted(names)[:1]
    return tuple(sorted(n for n in set(names) if n[:-4] == first[0][:-4]))


# ---------------------------------------------------------------- people


def _with_person(scan: Scan, people: dict[str, Person]) -> Scan:
    nobody = (None, None, None)
    keys = f"{scan.subject}_{scan.session}", scan.subject, f"sub-{scan.subject}"
    age, sex, cdr = next((people[key] for key in keys if key in people), nobody)
    return dataclasses.replace(scan, age=age, sex=sex, cdr=cdr)


def _person(age: str | None, sex: str | None, cdr: str | None) -> Person:
    letter = (sex or "").strip()[:1].upper()
    return _number(age), letter if letter in ("F", "M") else None, _number(cdr)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < 150 else None


def _person_of_notes(text: str) -> Person:
    """OAS1_0001_MR1.txt: lines such as 'AGE:          74'."""
    found = dict(re.findall(r"^(AGE|M/F|CDR):[ \t]*(\S+)", text, re.MULTILINE))
    return _person(found.get("AGE"), found.get("M/F"), found.get("CDR"))


def _people_of_tables(root: Path, files: list[Path]) -> dict[str, Person]:
    """Rows of oasis_cross-sectional*.csv and participants.tsv; the table nearest to the data
    wins.
    """
    near = [p for p in files if len(p.relative_to(root).parts) <= 3]
    above = [p for folder in list(root.parents)[:2] for p in sorted(folder.glob("*.[ct]sv"))]
    people: dict[str, Person] = {}
    for path in near + above:
        if re.fullmatch(r"oasis_cross-sectional.*\.csv", path.name):
            rows = _rows(path, ",", "ID", "M/F", "Age", "CDR")
        elif path.name == "participants.tsv":
            rows = _rows(path, "\t", "participant_id", "sex", "age", "cdr")
        else:
            continue
        for key, sex, age, cdr in rows:
            people.setdefault(key, _person(age, sex, cdr))
    return people


def _rows(path: Path, delimiter: str, key: str, *columns: str) -> Iterator[list[str | None]]:
    try:
        rows = list(csv.DictReader(io.StringIO(_small_text(path)), delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"cannot read {path}: {error}; repair or remove the table") from None
    if rows and key not in rows[0]:
        raise DataError(f"{path} has no column {key}: repair or remove the table")
    yield from ([row.get(name) for name in (key, *columns)] for row in rows if row[key])


def _small_text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(CHUNK).decode("utf-8-sig", "replace")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; repair or remove it") from None


# ---------------------------------------------------------------- files and archives


def open_file(path: str) -> io.BufferedIOBase:
    try:
        with open(path, "rb") as file:
            refuse_pointer(file.read(len(POINTER)), path)
        return gzip.open(path) if path.endswith((".gz", ".mgz")) else open(path, "rb")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; replace the file") from None


def refuse_pointer(content: bytes, where: str) -> None:
    if content.startswith(POINTER):
        raise DataError(
            f"{where} is a Git LFS pointer, not the file itself: run `git lfs pull` there"
        )


def archive_members(
    archive: Path, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, bytes | None]]:
    """Names of the plain files of a .tar.gz in their order, with the content of wanted ones.
    Nothing touches the disk.

    Links, devices and names that lead out of the archive are passed over. At the end gzip has
    compared its checksum.
    """
    open_file(str(archive)).close()
    try:
        with (
            gzip.open(archive) as stream,
            tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK) as tar,
        ):
            for member in tar:
                path = PurePosixPath(member.name)
                if not member.isreg() or path.is_absolute() or ".." in path.parts:
                    continue
                content = None
                if wanted(member.name):
                    if member.size > MAX_BYTES:
                        raise DataError(
                            f"{archive}!{member.name} claims {member.size} bytes: the archive is"
                            " damaged, fetch it again"
                        )
                    content = bytes(take(tar.extractfile(member), member.size))
                yield member.name, content
            _check_end(tar)
    except DataError:
        raise
    except TAR_ERRORS as error:
        raise DataError(
            f"{archive} is damaged or incomplete ({error}): fetch it again or move it away"
        ) from None


def _check_end(tar: tarfile.TarFile) -> None:
    """tarfile takes a broken header for the end of the archive; at the real end only zeros
    follow.
    """
    rest = tar.fileobj.read(512)
    if len(rest) < 512 or any(rest):
        raise tarfile.ReadError("no end mark")
    for _ in range(MAX_BYTES // CHUNK):
        rest = tar.fileobj.read(CHUNK)
        if not rest:
            return
        if any(rest):
            break
    raise tarfile.ReadError("data behind the end mark")


def take(stream: io.BufferedIOBase, n: int) -> bytearray:
    """Up to n bytes, in pieces: a damaged n must not reserve memory."""
    content = bytearray()
    while len(content) < n and (piece := stream.read(min(CHUNK, n - len(content)))):
        content += piece
    return content
