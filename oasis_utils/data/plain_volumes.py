"""Finds the heads among plain volumes, which follow no published layout, by the names of files and
folders.

A name that does not identify the person is refused: one person must never become two subjects.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from oasis_utils.data.volume_names import (
    EXAMPLE,
    WORDS,
    Scan,
    Volumes,
    is_label_map,
    left_out,
    owner_in,
    scan_of,
)
from oasis_utils.runtime import DataError

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


@dataclass(frozen=True)
class Owner:
    """Whose a plain volume is, as far as names say.

    Attributes:
        person: words of the name without those of role and visit.
        visit: words that name the session; empty without any.
        label: what the names call the person, in full.
        known: the name is of a known form; False: it is a guess.
    """

    person: str
    visit: str
    label: str
    known: bool


def identity(name: str) -> tuple[str, str]:
    """Person and visit in a name.

    Args:
        name: of a file, without suffix, or of a folder.

    Returns:
        The words that say who it is, without those that say what the volume is, and the words of
        the visit; each joined by underscores, empty where there are none.
    """
    words = [word for word in WORDS.split(name) if word]
    visits = [word for word in words if VISIT.fullmatch(word)]
    who = [word for word in words if word not in visits and not ROLE.fullmatch(word)]
    return "_".join(who), "_".join(visits)


def plain_scans(root: Path, volumes: Volumes) -> list[Scan]:
    """Volumes of no published layout. A file's name says who it is, else (T1.nii) the nearest
    folder with a name of its own.

    Args:
        root: folder below which names count.
        volumes: all volumes there, label maps among them.

    Returns:
        One scan a session.

    Raises:
        DataError: names do not say whose a volume is, or which volume of a person is the head.
    """
    stems = sorted(p for p in volumes if not is_label_map(p, root))
    stems = [p for p in stems if not _of_other_modality(p.name)]
    stems = [p for p in stems if "derivatives" not in p.relative_to(root).parts] or stems
    owners = {stem: _owner(stem, root) for stem in stems}
    refuse_shared([owner.person for owner in owners.values() if not owner.known], root)
    _refuse_folders({stem: owner.person for stem, owner in owners.items() if not owner.known}, root)
    count = Counter(owner.person for owner in owners.values())
    sessions: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for stem, owner in owners.items():
        sessions[owner.person, owner.visit].append(stem)
    scans = []
    for (person, visit), own in sessions.items():
        head = _head_of(own, owners[own[0]], volumes)
        subject = owners[head].label if count[person] == 1 and not visit else person
        scans.append(scan_of(head, volumes, (subject, visit), left_out(own)))
    return scans


def _of_other_modality(name: str) -> bool:
    """BIDS names end in the modality, sub-02_bold; sub-02 and sub-02_run-1 name none."""
    return name.startswith("sub-") and "-" not in name.split("_")[-1]


def _owner(stem: Path, root: Path) -> Owner:
    *folders, name = stem.relative_to(root).parts
    if found := owner_in(name) or owner_in("_".join(folders)):
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


def refuse_shared(people: Iterable[str], root: Path) -> None:
    """Refuse names of which two may be one person's: p01_a and p01_b, or alice_1 and alice_2 beside
    bob_1.

    Args:
        people: names as `identity` gives them.
        root: folder that holds them, for the message.

    Raises:
        DataError: two names may be one person's.
    """
    numbered: dict[str, list[str]] = defaultdict(list)
    named: dict[str, list[str]] = defaultdict(list)
    rests: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for name, (first, *rest) in _distinct_words(sorted(set(people))).items():
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


def _distinct_words(names: list[str]) -> dict[str, list[str]]:
    """The words of each name without collections and without the words with which all begin; at
    least one is left.
    """
    words = [
        [w for w in name.split("_") if not COLLECTION.fullmatch(w)] or [name] for name in names
    ]
    # of lists, not of paths, which is what the rule asks about
    same = len(os.path.commonprefix([w[:-1] for w in words])) if len(words) > 1 else 0  # noqa: RUF071
    return {name: w[same:] for name, w in zip(names, words, strict=True)}


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
