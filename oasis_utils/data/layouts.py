"""Recognises published layouts of T1 volumes by their names; no voxel is
read.

BIDS and fMRIPrep (Gorgolewski et al. 2016, Sci Data 3:160044; Esteban et al. 2019, Nat Methods
16:111), neurite-OASIS (Hoopes et al. 2021, arXiv 2101.01035), Learn2Reg OASIS (Hering et al. 2022,
arXiv 2112.04489), FreeSurfer subjects (Fischl 2012, NeuroImage 62:774), else plain files. All
volumes of a person become one subject; where names do not say whose a volume is, or which of a
person's volumes is the head, it is refused with the option that decides, --pattern.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from oasis_utils.runtime import DataError

VOLUME = re.compile(r"(.+?)\.(nii|nii\.gz|hdr|img|mgz|mgh)")
SINGLE = (".nii", ".nii.gz", ".mgz", ".mgh")
WORDS = re.compile(r"[_\-.+ ]+")  # between the words of a name
LABELS = re.compile(
    r"([adfpw]|prob|pve|wm)?segs?\d*|segmentations?|(brain)?masks?(tr|ts)?\d*|labels?(maps?|tr|ts)?\d*"
    r"|aparc.*|parcellations?|ribbon",
    re.IGNORECASE,
)  # a word of a file name: no T1 volume
PEOPLE = re.compile(
    r"(OAS[12]_\d{4})(?:_(MR\d+))?|(OAS3\d{4})(?:_MR_(d\d+))?|(OASIS_\d{4})(?=_\d{4}$)"
    r"|(sub-[A-Za-z0-9]+)(?:_(ses-[A-Za-z0-9]+))?|(\d{3}_S_\d{4})"
)  # names that say who it is
VISIT = re.compile(r"(ses|session|visit|tp|timepoint|mr|run|baseline|followup)\d*", re.IGNORECASE)
ROLE = re.compile(
    r"(t1|t1w|t2|t2w|pd|pdw|flair|mprage|mp2rage|spgr|orig|norm|nu|raw|brain|bet|stripped|head|anat|mri|"
    r"images?|img|scan|volume|nii|nifti|n3|n4|corrected|aligned|reg|registered|warped|mni\d*|crop|"
    r"cropped|defaced|native|preproc|masked|gfc|3t)",
    re.IGNORECASE,
)  # says what it is, not whose
T1 = re.compile(r"t1|t1w|mprage|mp2rage", re.IGNORECASE)
COLLECTION = re.compile(
    r"(disc|disk|site|group|batch|fold|part|set|class|cohort|cent(er|re)|study|scanner|train\w*|"
    r"test\w*|val\w*|data\w*|release|images?\w*|oasis|adni|ixi|cdr)[_-]?\d*",
    re.IGNORECASE,
)
NEURITE = (
    "aligned_norm",
    "norm",
    "aligned_orig",
    "orig",
)  # the first that a person has is the head
FREESURFER = ("norm", "brain", "brainmask", "T1", "nu", "orig")
EXAMPLE = r"(?P<subject>[^/]+)/(?P<session>ses-\d+)?.*T1\.nii"


@dataclass(frozen=True)
class Scan:
    """One volume that can be read, and what is known of the person."""

    subject: str  # OAS1_0001, sub-01, a folder's name or the file's stem
    session: str  # MR1, ses-1, or empty
    where: str  # path, or archive!member
    age: float | None = None  # years
    sex: str | None = None  # F or M
    cdr: float | None = None  # clinical dementia rating: 0, 0.5, 1, 2
    image: tuple[
        str, ...
    ] = ()  # paths or members: one .nii, .nii.gz or .mgz, or a .hdr and its .img
    labels: tuple[str, ...] = ()  # the same of a segmentation on the same grid
    archive: Path | None = None  # the .tar.gz that holds them
    coding: str = "fsl"  # what the labels mean, see volumes.TISSUES
    notes: tuple[str, ...] = ()  # choices that were made, to be counted and said


Volumes = Mapping[
    Path, tuple[str, ...]
]  # by path without suffix: the one file, or header and image


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


def recognise(root: Path, files: Iterable[Path]) -> list[Scan]:
    """The heads below `root`, of the first layout that is there; empty where there are none. Raises
    DataError.
    """
    volumes = collect(files)
    for layout in (_bids, _neurite, _learn2reg, _freesurfer, _plain):
        if scans := layout(root, volumes):
            return scans
    return []


def by_pattern(root: Path, files: Iterable[Path], expression: re.Pattern) -> list[Scan]:
    """The volumes whose path below `root` the expression finds, as its groups subject and session
    say.
    """
    volumes, owners, maps = collect(files), defaultdict(list), 0
    for stem, parts in volumes.items():
        match = expression.search(Path(parts[0]).relative_to(root).as_posix())
        if match and match["subject"]:
            if _is_label_map(stem, root):
                maps += 1
            else:
                owners[match["subject"], match.groupdict().get("session") or ""].append(stem)
    for (subject, session), stems in owners.items():
        if len(stems) > 1:
            raise DataError(
                f"{volumes[stems[0]][0]} and {volumes[stems[1]][0]} are two volumes of subject"
                f" {subject}{f', session {session}' if session else ''}: narrow --pattern to one of"
                " them, or name what differs with its group `session`"
            )
    notes = (f"{maps} label maps that --pattern finds, not taken for heads",) if maps else ()
    return [
        _scan(stems[0], volumes, subject, session, notes[: not i])
        for i, ((subject, session), stems) in enumerate(owners.items())
    ]


# ---------------------------------------------------------------- one volume


def _scan(
    stem: Path, volumes: Volumes, subject: str, session: str, notes: tuple[str, ...] = ()
) -> Scan:
    labels, coding = _labels_of(stem, volumes)
    return Scan(
        subject,
        session,
        volumes[stem][0],
        image=volumes[stem],
        labels=labels,
        coding=coding,
        notes=notes,
    )


def _labels_of(stem: Path, volumes: Volumes) -> tuple[tuple[str, ...], str]:
    """The segmentation that layouts keep for a head, and its coding; empty without one."""
    name, parent = stem.name, stem.parent
    bids = re.sub(r"_desc-[A-Za-z0-9]+|_T1w$", "", name)
    space = "aligned_" if name.startswith("aligned_") else ""
    candidates = [(parent / f"{name}_dseg", "bids"), (parent / f"{bids}_dseg", "bids")]
    if name in NEURITE:
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


def _is_label_map(stem: Path, root: Path) -> bool:
    words = (
        WORDS.split(stem.name) if stem.name != "brainmask" else []
    )  # FreeSurfer's brainmask is a head
    return any(map(LABELS.fullmatch, [*words, *stem.relative_to(root).parts[:-1]]))


def _known(name: str) -> tuple[str, str] | None:
    """Subject and session that a name itself says."""
    if match := PEOPLE.search(name):
        found = [group for group in match.groups() if group]
        return found[0], found[1] if len(found) > 1 else ""
    return None


# ---------------------------------------------------------------- published layouts


def _bids(root: Path, volumes: Volumes) -> list[Scan]:
    """sub-*_T1w files; those below derivatives/ only when there are no others, and other spaces
    when no native one.
    """
    stems = sorted(p for p in volumes if re.fullmatch(r"sub-[A-Za-z0-9]+(_.+)?_T1w", p.name))
    stems = [p for p in stems if "derivatives" not in p.relative_to(root).parts] or stems
    owners: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for stem in stems:
        owners[_known(stem.name)].append(stem)
    scans = []
    for (subject, session), own in owners.items():
        homes = sorted({_above(stem, subject) for stem in own})
        if len(homes) > 1:
            raise DataError(
                f"{subject} is in {homes[0]} and in {homes[1]}: give the folder of one of them, or"
                " say with --pattern who is who, such as --pattern"
                " '(?P<subject>site.+/sub-.+)/.*_T1w.nii'"
            )
        own.sort(key=lambda stem: ("_space-" in stem.name, stem.name))
        scans.append(_scan(own[0], volumes, subject, session, _left_out(own)))
    return scans


def _above(stem: Path, subject: str) -> Path:
    """The folder that holds the subject's folder: the data set."""
    parts = stem.parent.parts
    return Path(*parts[: parts.index(subject)]) if subject in parts else stem.parent


def _left_out(stems: list[Path]) -> tuple[str, ...]:
    return ("further volumes of the same session, left out",) * (len(stems) - 1)


def _neurite(root: Path, volumes: Volumes) -> list[Scan]:
    """OASIS_OAS1_0001_MR1/aligned_norm and so on; refuses the form that has one slice a person."""
    folders = sorted(
        {
            p.parent
            for p in volumes
            if p.name.startswith("aligned_") or re.match(r"OASIS_OAS1_\d{4}", p.parent.name)
        }
    )
    scans = []
    for folder in folders:
        head = next((name for name in NEURITE if folder / name in volumes), None)
        if head is not None:
            subject, session = _known(folder.name) or (folder.name, "")
            scans.append(_scan(folder / head, volumes, subject, session, (_neurite_note(head),)))
    flat = [p for p in volumes if re.fullmatch(r"(.+_)?slice_(orig|norm)", p.name)]
    if flat and not scans:
        raise DataError(
            f"{volumes[flat[0]][0]} is one coronal slice of neurite-OASIS's 2-D form: the models"
            " take stacks of slices, so give the 3-D form (neurite-oasis.v1.0.tar) instead"
        )
    _refuse_doubles(scans)
    return scans


def _neurite_note(head: str) -> str:
    skull = "without the skull" if "norm" in head else "with the skull"
    space = "in template space" if "aligned" in head else "in scanner space"
    return (
        f"heads of neurite-OASIS are {head} ({skull}, {space}), other volumes are left out; another"
        " one: "
        r"--pattern '(?P<subject>OAS1_\d+)_(?P<session>MR\d)/orig\.nii'"
    )


def _learn2reg(root: Path, volumes: Volumes) -> list[Scan]:
    """imagesTr/OASIS_0001_0000 and imagesTs, with labelsTr; masksTr says no more than that a voxel
    is brain.
    """
    stems = sorted(
        p
        for p in volumes
        if p.parent.name in ("imagesTr", "imagesTs") and re.fullmatch(r"OASIS_\d{4}_0000", p.name)
    )
    scans = [_scan(p, volumes, *_known(p.name)) for p in stems]
    _refuse_doubles(scans)
    return scans


def _freesurfer(root: Path, volumes: Volumes) -> list[Scan]:
    """SUBJECT/mri/norm.mgz and so on. Templates (fsaverage) and longitudinal copies (.long.) are
    nobody.
    """
    owners: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for folder in sorted({p.parent for p in volumes if p.parent.name == "mri"}):
        name = folder.parent.name
        head = next((head for head in FREESURFER if folder / head in volumes), None)
        if head is not None and not name.startswith("fsaverage") and ".long." not in name:
            owners[_known(name) or (name, "")].append(folder / head)
    _refuse_shared([subject for subject, _ in owners if not _known(subject)], root)
    scans = [
        _scan(own[0], volumes, subject, session, (_freesurfer_note(own[0].name), *_left_out(own)))
        for (subject, session), own in owners.items()
    ]
    _refuse_doubles(scans)
    return scans


def _freesurfer_note(head: str) -> str:
    skull = "without the skull" if head in ("norm", "brain", "brainmask") else "with the skull"
    return f"heads of FreeSurfer subjects are mri/{head} ({skull}), other volumes are left out"


def _refuse_doubles(scans: list[Scan]) -> None:
    first: dict[tuple[str, str], Scan] = {}
    for scan in scans:
        other = first.setdefault((scan.subject, scan.session), scan)
        if other is not scan:
            raise DataError(
                f"{other.where} and {scan.where} are the same session of {scan.subject}: keep one,"
                f" or say who is who with --pattern, such as --pattern '{EXAMPLE}'"
            )


# ---------------------------------------------------------------- plain files


@dataclass(frozen=True)
class Owner:
    """Whose a plain volume is, as far as names say."""

    person: str
    visit: str
    label: str  # what the names call the person
    known: bool  # the name is of a form that says so; else it is a guess


def identity(name: str) -> tuple[str, str]:
    """(person, visit) of a name: its words without those that say what the volume is; empty where
    none are left.
    """
    words = [word for word in WORDS.split(name) if word]
    visits = [word for word in words if VISIT.fullmatch(word)]
    return "_".join(w for w in words if w not in visits and not ROLE.fullmatch(w)), "_".join(visits)


def _plain(root: Path, volumes: Volumes) -> list[Scan]:
    """Any other volumes. A file's name says who it is, else (T1.nii) the nearest folder that has a
    name of its own.
    """
    stems = sorted(p for p in volumes if not _is_label_map(p, root))
    stems = [
        p for p in stems if not p.name.startswith("sub-") or "-" in p.name.split("_")[-1]
    ]  # no other modality
    stems = [p for p in stems if "derivatives" not in p.relative_to(root).parts] or stems
    owners = {stem: _owner(stem, root) for stem in stems}
    _refuse_shared([owner.person for owner in owners.values() if not owner.known], root)
    _refuse_folders({stem: owner.person for stem, owner in owners.items() if not owner.known}, root)
    sessions, count = defaultdict(list), Counter(owner.person for owner in owners.values())
    for stem, owner in owners.items():
        sessions[owner.person, owner.visit].append(stem)
    scans = []
    for (person, visit), own in sessions.items():
        head = _head_of(own, owners[own[0]], volumes)
        subject = owners[head].label if count[person] == 1 and not visit else person
        scans.append(_scan(head, volumes, subject, visit, _left_out(own)))
    return scans


def _owner(stem: Path, root: Path) -> Owner:
    *folders, name = stem.relative_to(root).parts
    if found := _known(name) or _known("_".join(folders)):
        return Owner(*found, found[0], known=True)
    visits: list[str] = []
    for part in (name, *reversed(folders)):
        person, visit = identity(part)
        visits = [visit, *visits] if visit else visits
        if person:
            return Owner(person, "_".join(visits), part, known=False)
    path = "_".join((*folders, name))
    return Owner(path, "", path, known=False)


def _head_of(stems: list[Path], owner: Owner, volumes: Volumes) -> Path:
    """The T1 volume among those of one session; DataError where names do not say which it is."""
    named = [p for p in stems if any(map(T1.fullmatch, WORDS.split(p.name)))]
    if len(stems) == 1 or owner.known:
        return (named or stems)[0]
    if len(named) == 1 and len({p.parent for p in stems}) == 1:
        return named[0]
    raise DataError(
        f"{volumes[stems[0]][0]} and {volumes[stems[1]][0]} seem to be volumes of one person"
        f" ({owner.person}): say with --pattern which file is whose head, such as --pattern"
        f" '{EXAMPLE}'"
    )


def _refuse_shared(people: Iterable[str], root: Path) -> None:
    """DataError where one person may have several names: p01_a and p01_b, or alice_1 and alice_2
    beside bob_1.
    """
    names = sorted(set(people))
    words = [
        [w for w in name.split("_") if not COLLECTION.fullmatch(w)] or [name] for name in names
    ]
    same = len(os.path.commonprefix([w[:-1] for w in words])) if len(words) > 1 else 0  # noqa: RUF071
    numbered, named, rests = defaultdict(list), defaultdict(list), defaultdict(set)
    for name, (first, *rest) in zip(names, (w[same:] for w in words), strict=True):
        if match := re.match(r"\D*\d+", "_".join((first, *rest))):
            numbered[match[0]].append(name)
        if rest:
            named[first].append(name)
            rests[tuple(rest)].add(first)
    again = {first for firsts in rests.values() if len(firsts) > 1 for first in firsts}
    doubtful = [some for some in numbered.values() if len(some) > 1]
    doubtful += [some for first, some in named.items() if first in again and len(some) > 1]
    if doubtful:
        raise DataError(
            f"{doubtful[0][0]} and {doubtful[0][1]} in {root} may be two volumes of one person: say"
            f" with --pattern which part of a path names the subject, such as --pattern '{EXAMPLE}'"
        )


def _refuse_folders(people: Mapping[Path, str], root: Path) -> None:
    """DataError where folders are numbered like people (P01/, P02/) and one holds volumes of
    different names.
    """
    held: dict[Path, set[str]] = defaultdict(set)
    for stem, person in people.items():
        for folder in stem.relative_to(root).parents:
            held[folder].add(person)
    for folder, names in held.items():
        alone = len(held[folder.parent]) == len(names)  # it holds all that its parent does
        if (
            len(names) > 1
            and not alone
            and re.search(r"\d", folder.name)
            and not COLLECTION.fullmatch(folder.name)
        ):
            some = ", ".join(sorted(names)[:3])
            raise DataError(
                f"{root / folder} holds {len(names)} volumes of different names ({some}): if they"
                " are one person's is not clear; say with --pattern which part of a path names the"
                f" subject, such as --pattern '{EXAMPLE}'"
            )
