"""Recognises published layouts of T1 volumes by the names of their files.

BIDS and fMRIPrep (Gorgolewski et al. 2016, Sci Data 3:160044; Esteban et al. 2019, Nat Methods
16:111), neurite-OASIS (Hoopes et al. 2021, arXiv 2101.01035), Learn2Reg OASIS (Hering et al. 2022,
arXiv 2112.04489), FreeSurfer subjects (Fischl 2012, NeuroImage 62:774), else plain files. All
volumes of a person become one subject. Names that do not say whose a volume is, or which of a
person's volumes is the head, are refused with the option that decides, --pattern.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from oasis_utils.data.plain_volumes import plain_scans, refuse_shared
from oasis_utils.data.volume_names import (
    EXAMPLE,
    NEURITE_HEADS,
    Scan,
    Volumes,
    collect,
    is_label_map,
    left_out,
    owner_in,
    scan_of,
)
from oasis_utils.runtime import DataError

# heads of FreeSurfer subjects; the first that a person has is read
FREESURFER_HEADS = ("norm", "brain", "brainmask", "T1", "nu", "orig")


def recognise(root: Path, files: Iterable[Path]) -> list[Scan]:
    """The heads below a folder, in the first layout that is there.

    Args:
        root: folder whose layout is recognised.
        files: files below it.

    Returns:
        One scan a session; empty where there are no heads.

    Raises:
        DataError: names do not say whose a volume is, or which volume is the head.
    """
    volumes = collect(files)
    for layout in (_bids, _neurite, _learn2reg, _freesurfer, plain_scans):
        if scans := layout(root, volumes):
            return scans
    return []


def by_pattern(root: Path, files: Iterable[Path], expression: re.Pattern) -> list[Scan]:
    """The volumes that a pattern finds.

    Args:
        root: folder to which paths are relative.
        files: files below it.
        expression: searched in each path; has a group `subject` and may have a group `session`.

    Returns:
        One scan a session, label maps left out; empty where nothing is found.

    Raises:
        DataError: two volumes of one session are found.
    """
    volumes, maps = collect(files), 0
    owners: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for stem, parts in volumes.items():
        match = expression.search(Path(parts[0]).relative_to(root).as_posix())
        if match and match["subject"]:
            if is_label_map(stem, root):
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
        scan_of(stems[0], volumes, owner, notes if i == 0 else ())
        for i, (owner, stems) in enumerate(owners.items())
    ]


# ---------------------------------------------------------------- published layouts


def _bids(root: Path, volumes: Volumes) -> list[Scan]:
    """sub-*_T1w files; those below derivatives/ only when there are no others, and other spaces
    when no native one.
    """
    stems = sorted(p for p in volumes if re.fullmatch(r"sub-[A-Za-z0-9]+(_.+)?_T1w", p.name))
    stems = [p for p in stems if "derivatives" not in p.relative_to(root).parts] or stems
    owners: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for stem in stems:
        owners[_owner(stem.name)].append(stem)
    scans = []
    for (subject, session), own in owners.items():
        data_sets = sorted({_above(stem, subject) for stem in own})
        if len(data_sets) > 1:
            raise DataError(
                f"{subject} is in {data_sets[0]} and in {data_sets[1]}: give the folder of one of"
                " them, or say with --pattern who is who, such as --pattern"
                " '(?P<subject>site.+/sub-.+)/.*_T1w.nii'"
            )
        own.sort(key=lambda stem: ("_space-" in stem.name, stem.name))
        scans.append(scan_of(own[0], volumes, (subject, session), left_out(own)))
    return scans


def _above(stem: Path, subject: str) -> Path:
    """The folder that holds the subject's folder: the data set."""
    parts = stem.parent.parts
    return Path(*parts[: parts.index(subject)]) if subject in parts else stem.parent


def _owner(name: str) -> tuple[str, str]:
    """Subject and session of a name; the whole name where it is of no known form."""
    return owner_in(name) or (name, "")


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
        head = next((name for name in NEURITE_HEADS if folder / name in volumes), None)
        if head is not None:
            owner, note = _owner(folder.name), _neurite_note(head)
            scans.append(scan_of(folder / head, volumes, owner, (note,)))
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
    """imagesTr/OASIS_0001_0000 and imagesTs, with labelsTr; masksTr, which only tells brain
    from background, is not used.
    """
    stems = sorted(
        p
        for p in volumes
        if p.parent.name in ("imagesTr", "imagesTs") and re.fullmatch(r"OASIS_\d{4}_0000", p.name)
    )
    scans = [scan_of(p, volumes, _owner(p.name)) for p in stems]
    _refuse_doubles(scans)
    return scans


def _freesurfer(root: Path, volumes: Volumes) -> list[Scan]:
    """SUBJECT/mri/norm.mgz and so on. Templates (fsaverage) and longitudinal copies (.long.) are
    left out.
    """
    owners: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for folder in sorted({p.parent for p in volumes if p.parent.name == "mri"}):
        name = folder.parent.name
        head = next((head for head in FREESURFER_HEADS if folder / head in volumes), None)
        if head is not None and not name.startswith("fsaverage") and ".long." not in name:
            owners[_owner(name)].append(folder / head)
    refuse_shared([subject for subject, _ in owners if not owner_in(subject)], root)
    scans = [
        scan_of(own[0], volumes, owner, (_freesurfer_note(own[0].name), *left_out(own)))
        for owner, own in owners.items()
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
