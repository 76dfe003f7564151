"""Recognises the kind of a data source and lists its series, one for each session.

Kinds: `keras` (a keras_png_slices tree), `synthetic` (the project's sample brains in that layout),
`images` (any folder of PNG, JPEG or TIFF, named by a pattern), `oasis` (volumes of OASIS) and
`nifti` (other T1 volumes). No pixel is read.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from oasis_utils.config import SPLITS, digest
from oasis_utils.data.image_files import SUFFIXES
from oasis_utils.data.keras_layout import (
    EXPORT_RECORD,
    files_named,
    find_masks,
    find_slices,
    is_keras_tree,
    kind_of_tree,
)
from oasis_utils.data.people import UNKNOWN_PERSON, Person, age_notes, look_up, read_people
from oasis_utils.data.scans import find_scans, visible_files
from oasis_utils.data.splits import assign_splits
from oasis_utils.data.volume_names import Scan
from oasis_utils.runtime import DataError, printable

MAX_DIGITS, MAX_NAME = 18, 80  # of a number in a table, of a name in a message
EXAMPLE = r"(?P<subject>OAS1_\d+)_(?P<session>MR\d+)_.*_(?P<slice>\d+)\.jpg"
OASIS_ACKNOWLEDGEMENT = (  # as the data use agreement words it
    "Data were provided by OASIS: Cross-Sectional: Principal Investigators: D. Marcus, R, Buckner,"
    " J, Csernansky J. Morris; P50 AG05681, P01 AG03991, P01 AG026276, R01 AG021910, P20 MH071616,"
    " U24 RR021382"
)


@dataclass(frozen=True)
class Series:
    """One session of one subject: image files in order of position, or a volume that is cut when it
    is read.

    Attributes:
        subject: number in the name (keras), else counted from 1 in the order of names.
        name: of the subject, as the source writes it.
        session: as the source writes it; empty if it has none.
        split: None where the source leaves it to `with_splits`.
        files: one image a position; empty for a volume.
        positions: number of each slice, ascending.
        masks: one a file, or none.
        person: age, sex and CDR at this session.
        scan: the volume; None for images.
    """

    subject: int
    name: str
    session: str = ""
    split: str | None = None
    files: tuple[Path, ...] = ()
    positions: tuple[int, ...] = ()
    masks: tuple[Path, ...] = ()
    person: Person = UNKNOWN_PERSON
    scan: Scan | None = None


@dataclass(frozen=True)
class Source:
    """What `discover` found.

    Attributes:
        path: file or folder that was searched.
        kind: keras, synthetic, images, oasis or nifti.
        series: ordered by split, subject and session.
        notes: how often something was left out or changed.
        unreadable: one error for each folder that could not be listed.
    """

    path: Path
    kind: str
    series: tuple[Series, ...]
    notes: dict[str, int] = field(default_factory=dict)
    unreadable: tuple[DataError, ...] = ()

    @property
    def state(self) -> str:
        """Changes when a file is added, removed or rewritten, or when what is known of a subject
        changes.
        """
        return digest([self.kind, [_series_state(s, self.path) for s in self.series]])


def _series_state(s: Series, root: Path) -> list[Any]:
    person = [s.person.age, s.person.sex, s.person.cdr]
    files = [_file_state(path, root) for path in _files_of(s)]
    return [s.name, s.session, s.split, *person, s.positions, files]


def _files_of(series: Series) -> Iterator[Path]:
    yield from (*series.files, *series.masks)
    if series.scan is not None:
        parts = (*series.scan.image, *series.scan.labels)
        yield from [series.scan.archive] if series.scan.archive else map(Path, parts)


def _file_state(path: Path, root: Path) -> list[Any]:
    inside = str(path).removeprefix(str(root))  # relative_to takes longer than stat
    try:
        stat = path.stat()
    except OSError:  # a link to nothing, which reading will name
        return [inside, None, None]
    return [inside, stat.st_size, stat.st_mtime_ns]


def discover(path: str | Path, pattern: str | None = None, skip_unreadable: bool = False) -> Source:
    """Recognise a source and list its series.

    Args:
        path: folder, archive or volume.
        pattern: for folders of images or volumes, a regular expression with the named group
            `subject` and, if wanted, `session` and (images only) `slice`, searched in each file's
            path relative to `path`, written with `/`. None: names are recognised.
        skip_unreadable: list folders that cannot be read in the source. Default: DataError.

    Returns:
        The source; no file of slices or voxels is opened.

    Raises:
        DataError: there are no data, or their names leave open whose they are.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(
            f"no folder {path}: give the folder that holds keras_png_slices_train/, a folder of"
            " images, or volumes; see README, Data"
        )
    unreadable: list[DataError] | None = [] if skip_unreadable else None
    source = _recognised(path, pattern, unreadable)
    return replace(
        source,
        notes=source.notes | age_notes((s.name, s.person) for s in source.series),
        unreadable=tuple({str(error): error for error in unreadable or ()}.values()),
    )


def _recognised(path: Path, pattern: str | None, unreadable: list[DataError] | None) -> Source:
    """The source by its kind; notes on ages are still to come."""
    if pattern is not None:
        return _by_pattern(path, pattern, unreadable)
    if is_keras_tree(path):
        return _keras(path, unreadable)
    scans = find_scans(path, unreadable=unreadable)
    if scans:
        return _volumes(path, scans)
    images = image_files(path, unreadable)
    if images:
        raise DataError(
            f"{path} holds {len(images)} images such as {_examples(path, images)}: say with"
            " --pattern which part of a path names the subject, and which the slice, such as"
            f" --pattern '{EXAMPLE}'"
        )
    found = (
        ", ".join(sorted(p.name for p in path.iterdir())[:5])
        if path.is_dir()
        else "a file of another kind"
    )
    raise DataError(
        f"no data in {path}, found {found or 'nothing'}: expected keras_png_slices_train/ and so"
        " on, a folder of images, OASIS discs or NIfTI files; see README, Data"
    )


# ---------------------------------------------------------------- keras_png_slices


def _keras(root: Path, unreadable: list[DataError] | None = None) -> Source:
    """A keras_png_slices tree with its own splits; further cases of a person are sessions."""
    files, masks = find_slices(root), find_masks(root, unreadable)
    people = _people_of_cases(read_people(root))
    exported = bool(files_named(root, EXPORT_RECORD))
    first: dict[str, int] = {}
    series = []
    for (split, case), slices in files.items():
        own, person = masks.get((split, case), {}), people.get(case, UNKNOWN_PERSON)
        subject = first.setdefault(person.name, case) if exported and person.name else case
        series.append(
            Series(
                subject,
                str(subject),
                person.session,
                split,
                files=tuple(slices.values()),
                positions=tuple(slices),
                masks=tuple(own[p] for p in slices if p in own),
                person=person,
            )
        )
    series.sort(key=lambda s: (_rank(s), s.subject, natural(s.session)))
    _refuse_split_people(series)
    series, notes = _whole_masks(series)
    return Source(root, kind_of_tree(root), tuple(series), notes)


def _people_of_cases(people: Mapping[str, Person]) -> dict[int, Person]:
    """People by the number in their name; DataError for two that say different things of one."""
    names: dict[int, str] = {}
    for name in people:
        digits = re.sub(r"\D", "", name)
        if not 0 < len(digits) <= MAX_DIGITS:
            continue
        first = names.setdefault(int(digits), name)
        if people[first] != people[name]:
            raise DataError(
                f"rows {first[:MAX_NAME]!r} and {name[:MAX_NAME]!r} of participants.tsv are of one"
                f" subject, {int(digits)}, and differ: keep one of them"
            )
    return {number: people[name] for number, name in names.items()}


def _rank(series: Series) -> int:
    """The number of the series' split."""
    return len(SPLITS) if series.split is None else SPLITS.index(series.split)


def _refuse_split_people(series: list[Series]) -> None:
    """DataError for sessions of one subject in two splits."""
    split_of: dict[int, str | None] = {}
    for s in series:
        if split_of.setdefault(s.subject, s.split) != s.split:
            raise DataError(
                f"participants.tsv says that {s.files[0]} ({s.split}) is a session of subject"
                f" {s.subject}, which is in {split_of[s.subject]}: a subject may be in one"
                " split only"
            )


def _whole_masks(series: list[Series]) -> tuple[list[Series], dict[str, int]]:
    """Masks are used when every slice has one."""
    slices, masks = sum(len(s.files) for s in series), sum(len(s.masks) for s in series)
    if masks in (0, slices):
        return series, {}
    return [replace(s, masks=()) for s in series], {
        "slices without a mask, so no masks are used": slices - masks
    }


# ---------------------------------------------------------------- folders of images


def image_files(root: Path, unreadable: list[DataError] | None = None) -> list[Path]:
    """All PNG, JPEG and TIFF files below a folder but hidden ones, in natural order.

    Args:
        root: the folder.
        unreadable: receives an error for each folder that cannot be listed. Default: it is raised.
    """
    files = [
        path for path in visible_files(root, unreadable) if path.name.lower().endswith(SUFFIXES)
    ]
    return sorted(files, key=lambda path: natural(path.relative_to(root).as_posix()))


def natural(text: str) -> tuple[list[Any], str]:
    """A sorting key by which slice_9 comes before slice_10."""
    parts = re.split(r"([0-9]+)", text)  # texts and numbers alternate, so keys compare part by part
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], text


def _examples(root: Path, files: list[Path]) -> str:
    return ", ".join(path.relative_to(root).as_posix() for path in files[:3])


def _by_pattern(root: Path, pattern: str, unreadable: list[DataError] | None) -> Source:
    """Images or volumes, whichever the pattern finds."""
    if not root.is_dir():
        raise DataError(f"{root} is a file: --pattern is for folders of images or volumes")
    files, expression = image_files(root, unreadable), _compiled(pattern)
    matches = [
        (path, match.groupdict())
        for path in files
        if (match := expression.search(path.relative_to(root).as_posix())) and match["subject"]
    ]
    scans = find_scans(root, expression, unreadable)
    if matches and scans:
        raise DataError(
            f"--pattern '{pattern}' matches {len(matches)} images, such as {matches[0][0]}, and "
            f"{len(scans)} volumes, such as {scans[0].where}: let it end in \\.png or in \\.nii"
        )
    if scans:
        return _volumes(root, scans)
    if not matches:
        raise DataError(
            f"--pattern '{pattern}' matches none of the {len(files)} images under {root}"
            + (f", such as {_examples(root, files)}" if files else "")
            + f", and no volumes; a pattern looks like '{EXAMPLE}'"
        )
    return _images(root, matches, len(files) - len(matches))


def _images(root: Path, matches: list[tuple[Path, dict[str, str]]], left: int) -> Source:
    """Series of images by their groups; positions are ranks of the slice numbers over the whole
    set.
    """
    names = sorted({groups["subject"] for _, groups in matches}, key=natural)
    numbers = {name: i for i, name in enumerate(names, 1)}
    slices = sorted({groups["slice"] for _, groups in matches if groups.get("slice")}, key=natural)
    ranks = {key: i for i, key in enumerate(dict.fromkeys(map(_slice_key, slices)))}
    series: dict[tuple[str, str], dict[int, Path]] = defaultdict(dict)
    for path, groups in matches:
        own = series[groups["subject"], groups.get("session") or ""]
        text = groups.get("slice")
        position = ranks[_slice_key(text)] if text else len(own)
        if position in own:
            raise DataError(
                f"{own[position]} and {path} are the same slice of subject {groups['subject']}:"
                " keep one, or name what differs with a group `session` in --pattern"
            )
        own[position] = path
    people = read_people(root)
    found = [
        Series(
            numbers[name],
            name,
            session,
            files=tuple(own[p] for p in sorted(own)),
            positions=tuple(sorted(own)),
            person=look_up(people, name),
        )
        for (name, session), own in sorted(
            series.items(), key=lambda item: [natural(t) for t in item[0]]
        )
    ]
    notes = {"images that --pattern does not match, left out": left} if left else {}
    return Source(root, "images", tuple(found), notes)


def _slice_key(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _compiled(pattern: str) -> re.Pattern:
    try:
        expression = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise DataError(
            f"--pattern '{printable(pattern[:100])}' is no regular expression that Python takes"
            f" ({error}): write it like '{EXAMPLE}'"
        ) from None
    if "subject" not in expression.groupindex:
        raise DataError(
            f"--pattern '{pattern}' has no group (?P<subject>…): write it like '{EXAMPLE}'"
        )
    return expression


# ---------------------------------------------------------------- volumes


def _volumes(path: Path, scans: list[Scan]) -> Source:
    names = sorted({scan.subject for scan in scans}, key=natural)
    numbers = {name: i for i, name in enumerate(names, 1)}
    series = [
        Series(numbers[s.subject], s.subject, s.session, person=s.person, scan=s) for s in scans
    ]
    series.sort(key=lambda s: (s.subject, natural(s.session)))
    kind = "oasis" if any(re.match(r"OAS\d|OASIS_\d", name) for name in names) else "nifti"
    return Source(
        path, kind, tuple(series), dict(Counter(note for scan in scans for note in scan.notes))
    )


# ---------------------------------------------------------------- splits


def with_splits(source: Source, shares: tuple[float, float, float], seed: int) -> Source:
    """Give every series a split.

    Args:
        source: as `discover` returns it.
        shares: of train, validate and test, for `assign_splits`.
        seed: of `assign_splits`.

    Returns:
        The source with its own splits or, where it has none, with splits by subject that are alike;
        series come in the order of splits.

    Raises:
        DataError: `assign_splits` refuses the shares or the number of subjects.
    """
    series = source.series
    if any(s.split is None for s in series):
        people = {s.name: s.person for s in reversed(series)}  # as in a subject's first session
        split_of = assign_splits(people, shares, seed)
        series = tuple(replace(s, split=split_of[s.name]) for s in series)
    return replace(source, series=tuple(sorted(series, key=_rank)))
