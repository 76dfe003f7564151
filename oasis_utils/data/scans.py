"""Finds T1 volumes: OASIS-1 discs, packed or not, and the layouts of layouts.py; no voxel is read.

OASIS-1 (Marcus et al. 2007, J Cogn Neurosci 19:1498) comes as twelve .tar.gz of
`discN/OAS1_xxxx_MRy/`, where MR2 is a second session of the same person.
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path, PurePosixPath

from oasis_utils.data.archives import archive_members
from oasis_utils.data.keras_layout import unreadable_folder
from oasis_utils.data.layouts import by_pattern, recognise
from oasis_utils.data.people import (
    UNKNOWN_PERSON,
    Person,
    look_up,
    people_near,
    person_of_notes,
    small_text,
)
from oasis_utils.data.volume_names import SINGLE, VOLUME, Scan
from oasis_utils.runtime import DataError

ARCHIVE = re.compile(r"oasis_cross-sectional_disc\d+\.(tar\.gz|tgz)")
T88 = re.compile(r"(OAS1_\d{4})_(MR\d+)_mpr_n\d+_anon_111_t88_(masked_)?gfc(_fseg)?\.(hdr|img)")
NOTES = re.compile(r"OAS1_\d{4}_MR\d+\.txt")
MAX_NOTE_BYTES = 2**20

# ---------------------------------------------------------------- discovery


def find_scans(
    source: str | Path,
    pattern: re.Pattern | None = None,
    unreadable: list[DataError] | None = None,
) -> list[Scan]:
    """Find the T1 volumes of a file or folder without reading voxels.

    Found are OASIS-1 discs (archives are listed, never unpacked, and checked to their end), else
    the layouts of `layouts.recognise`. A session counts once: unpacked before packed, without the
    skull (`_t88_masked_gfc`) before with it, then by name. Ages, sex and CDR come from
    oasis_cross-sectional.csv or participants.tsv up to two levels above or below, else from a
    session's .txt.

    Args:
        source: a volume, a packed disc, or a folder.
        pattern: only volumes in whose path below the folder it is found; its groups `subject` and,
            if there, `session` name whose they are. None: names are recognised.
        unreadable: receives an error for each folder that cannot be listed. Default: it is raised.

    Returns:
        Scans in the order of subject and session; empty where there are none.

    Raises:
        DataError: there is no such file or folder, an archive or table cannot be read, or names do
            not say whose a volume is.
    """
    source = Path(source).absolute()
    if not source.exists():
        raise DataError(
            f"no file or folder {source}: give a volume, an OASIS disc or the folder that holds"
            " them"
        )
    if source.is_dir():
        root, files = source, visible_files(source, unreadable)
        packed = [p for p in files if ARCHIVE.fullmatch(p.name)]
        scans, people = _scans_among(root, files, packed, pattern)
    else:
        root, files = source.parent, sorted(p for p in source.parent.iterdir() if p.is_file())
        packed = [source] if source.name.endswith((".tar.gz", ".tgz")) else []
        scans, people = _scans_among(root, _companions(source, files), packed, pattern)
        scans = [scan for scan in scans if packed or str(source) in scan.image]
    if not scans:
        return []
    people |= {p.stem: person_of_notes(small_text(p)) for p in files if NOTES.fullmatch(p.name)}
    people |= people_near(root, files)
    first = {(scan.subject, scan.session): scan for scan in reversed(scans)}
    return _with_people([first[key] for key in sorted(first)], people)


def _scans_among(
    root: Path, files: list[Path], packed: list[Path], pattern: re.Pattern | None
) -> tuple[list[Scan], dict[str, Person]]:
    """Scans among files and archives, and the people of the archives' notes by session."""
    people: dict[str, Person] = {}
    if pattern is not None:
        return by_pattern(root, files, pattern), people
    scans = _oasis_scans([str(p) for p in files], None)
    for archive in packed:
        members, notes = _list_archive(archive)
        scans += _oasis_scans(members, archive)
        people |= notes
    return scans or recognise(root, files), people


def _with_people(scans: list[Scan], people: dict[str, Person]) -> list[Scan]:
    """The scans with what is known of their people, and a note where a table names none of them."""
    found = [look_up(people, f"{scan.subject}_{scan.session}", scan.subject) for scan in scans]
    notes: tuple[str, ...] = ()
    if people and all(person is UNKNOWN_PERSON for person in found):
        notes = (
            f"volumes of people that the table beside them does not name, so without ages: the"
            f" subjects here are called such as {scans[0].subject}, its rows such as"
            f" {next(iter(people))}; --pattern can find the same names",
        )
    return [
        dataclasses.replace(scan, person=person, notes=scan.notes + notes)
        for scan, person in zip(scans, found, strict=True)
    ]


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
    """Names of the files of a disc, and the person of each session's notes."""
    members: list[str] = []
    notes: dict[str, Person] = {}
    for name, content in archive_members(
        archive, lambda name: bool(NOTES.fullmatch(PurePosixPath(name).name)), MAX_NOTE_BYTES
    ):
        members.append(name)
        if content is not None:
            notes[PurePosixPath(name).stem] = person_of_notes(content.decode("utf-8", "replace"))
    return members, notes


def visible_files(folder: Path, unreadable: list[DataError] | None = None) -> list[Path]:
    """All files below a folder, in order; hidden ones and linked folders are left out.

    Args:
        folder: the folder.
        unreadable: receives an error for each folder that cannot be listed. Default: it is raised.

    Raises:
        DataError: a folder cannot be listed, and `unreadable` is None.
    """

    def on_error(error: OSError) -> None:
        if isinstance(error, NotADirectoryError):  # a file has nothing below it
            return
        if unreadable is None or str(error.filename) == str(folder):
            raise DataError(
                f"{unreadable_folder(error)} (`prepare --skip-bad` goes on without such folders)"
            )
        unreadable.append(unreadable_folder(error))

    found = []
    for parent, folders, names in os.walk(folder, onerror=on_error):
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
