"""What names of volume files say: which files are one volume, its label map and its person.

Files are named, never opened. The layouts that give the names a meaning are in layouts.py and
plain_volumes.py.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from oasis_utils.data.people import UNKNOWN_PERSON, Person

VOLUME = re.compile(r"(.+?)\.(nii|nii\.gz|hdr|img|mgz|mgh)")
SINGLE = (".nii", ".nii.gz", ".mgz", ".mgh")
WORDS = re.compile(r"[_\-.+ ]+")  # between the words of a name
LABELS = re.compile(
    r"([adfpw]|prob|pve|wm)?segs?\d*|segmentations?|(brain)?masks?(tr|ts)?\d*|labels?(maps?|tr|ts)?\d*"
    r"|aparc.*|parcellations?|ribbon",
    re.IGNORECASE,
)  # a word of a file name that says it is no T1 volume
PEOPLE = re.compile(
    r"(OAS[12]_\d{4})(?:_(MR\d+))?|(OAS3\d{4})(?:_MR_(d\d+))?|(OASIS_\d{4})(?=_\d{4}$)"
    r"|(sub-[A-Za-z0-9]+)(?:_(ses-[A-Za-z0-9]+))?|(\d{3}_S_\d{4})"
)  # names of known forms that say who it is
# heads of neurite-OASIS; the first that a person has is read
NEURITE_HEADS = ("aligned_norm", "norm", "aligned_orig", "orig")
EXAMPLE = r"(?P<subject>[^/]+)/(?P<session>ses-\d+)?.*T1\.nii"  # of --pattern, for messages


@dataclass(frozen=True)
class Scan:
    """One volume that can be read, and what is known of the person.

    Attributes:
        subject: name such as OAS1_0001 or sub-01, a folder's name or the file's stem.
        session: such as MR1 or ses-1; empty where names say none.
        where: path, or archive!member, for messages.
        person: age, sex and CDR at this session.
        image: paths or members: one .nii, .nii.gz, .mgh or .mgz, or a .hdr and its .img.
        labels: the same of a segmentation on the same grid; empty without one.
        archive: the .tar.gz that holds the members; None for files.
        coding: what the labels mean, a key of `tissues.TISSUES`.
        notes: choices that were made, which are counted and reported.
    """

    subject: str
    session: str
    where: str
    person: Person = UNKNOWN_PERSON
    image: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    archive: Path | None = None
    coding: str = "fsl"
    notes: tuple[str, ...] = ()


# by path without suffix: the one file, or header and image
Volumes = Mapping[Path, tuple[str, ...]]


def collect(files: Iterable[Path]) -> dict[Path, tuple[str, ...]]:
    """Volumes among the files; of one stem the NIfTI or MGH file counts, else the pair."""
    found: dict[Path, list[str]] = defaultdict(list)
    for path in files:
        if match := VOLUME.fullmatch(path.name):
            found[path.with_name(match[1])].append(str(path))
    return {
        stem: tuple(sorted(n for n in names if n.endswith(SINGLE))[:1]) or tuple(sorted(names))
        for stem, names in found.items()
    }


def scan_of(
    stem: Path, volumes: Volumes, owner: tuple[str, str], notes: tuple[str, ...] = ()
) -> Scan:
    """The scan of a volume.

    Args:
        stem: its path without suffix.
        volumes: all volumes, among them its label map if there is one.
        owner: subject and session.
        notes: choices that were made.
    """
    labels, coding = _labels_of(stem, volumes)
    return Scan(
        *owner, volumes[stem][0], image=volumes[stem], labels=labels, coding=coding, notes=notes
    )


def _labels_of(stem: Path, volumes: Volumes) -> tuple[tuple[str, ...], str]:
    """The segmentation that layouts keep for a head, and its coding; empty without one."""
    name, parent = stem.name, stem.parent
    bids = re.sub(r"_desc-[A-Za-z0-9]+|_T1w$", "", name)
    space = "aligned_" if name.startswith("aligned_") else ""
    candidates = [(parent / f"{name}_dseg", "bids"), (parent / f"{bids}_dseg", "bids")]
    if name in NEURITE_HEADS:
        candidates += [
            (parent / f"{space}seg4", "neurite4"),
            (parent / f"{space}seg35", "neurite35"),
        ]
    if parent.name == "mri":
        candidates.append((parent / "aseg", "freesurfer"))
    if parent.name in ("imagesTr", "imagesTs"):
        candidates.append(
            (parent.with_name(parent.name.replace("images", "labels")) / name, "neurite35")
        )
    return next(
        ((volumes[path], coding) for path, coding in candidates if path in volumes), ((), "fsl")
    )


def is_label_map(stem: Path, root: Path) -> bool:
    """Whether a word of the file's name, or of a folder's below `root`, says that it is no head."""
    words = WORDS.split(stem.name)
    if stem.name == "brainmask":  # of FreeSurfer, where it is a head
        words = []
    return any(map(LABELS.fullmatch, [*words, *stem.relative_to(root).parts[:-1]]))


def owner_in(name: str) -> tuple[str, str] | None:
    """Subject and session in a name of a known form (`PEOPLE`); None in any other name."""
    if match := PEOPLE.search(name):
        found = [group for group in match.groups() if group]
        return found[0], found[1] if len(found) > 1 else ""
    return None


def left_out(stems: list[Path]) -> tuple[str, ...]:
    """One note for each volume of a session but the one that is read."""
    return ("further volumes of the same session, left out",) * (len(stems) - 1)
