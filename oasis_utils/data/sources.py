"""Recognises kinds of data: a folder or archive in, the series it holds out: one session of one
subject each.

Kinds: `keras` (a keras_png_slices tree), `synthetic` (the project's sample brains in that layout),
`images` (any folder of PNG, JPEG or TIFF, named by a pattern), `oasis` (volumes of OASIS) and
`nifti` (other T1 volumes). No pixel is read.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from oasis_utils.config import SPLITS, digest
from oasis_utils.data import volumes
from oasis_utils.data.image_files import SUFFIXES
from oasis_utils.data.splits import Person, deal
from oasis_utils.runtime import DataError, read_json

FOLDER_NAMES = {"train": ("train",), "validate": ("validate", "val"), "test": ("test",)}
SLICE_NAME = re.compile(r"case_(\d+)_slice_(\d+)(?:\.nii)?\.png")
MASK_NAME = re.compile(r"seg_(\d+)_slice_(\d+)(?:\.nii)?\.png")
LEVELS = ("", "*/", "*/*/")
EXPORT_RECORD = "source.json"  # beside slices that `prepare --png` wrote: what they were made from
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
    """

    subject: int  # number in the name (keras), else counted from 1 in the order of names
    name: str  # of the subject, as the source writes it
    session: str = ""
    split: str | None = None  # None: the source leaves it to `assign_splits`
    files: tuple[Path, ...] = ()
    positions: tuple[int, ...] = ()
    masks: tuple[Path, ...] = ()  # one a file, or none
    age: float | None = None  # years
    sex: str | None = None
    cdr: float | None = None  # clinical dementia rating
    scan: volumes.Scan | None = None


@dataclass(frozen=True)
class Source:
    """What `discover` found; `notes` counts what was left out or changed."""

    path: Path
    kind: str
    series: tuple[Series, ...]
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """Changes when a file is added, removed or rewritten, or when what is known of a subject
        changes.
        """
        return digest(
            [
                self.kind,
                [
                    [
                        s.name,
                        s.session,
                        s.split,
                        s.age,
                        s.sex,
                        s.cdr,
                        s.positions,
                        [_stamp(p, self.path) for p in _files_of(s)],
                    ]
                    for s in self.series
                ],
            ]
        )


def _files_of(series: Series) -> Iterator[Path]:
    yield from (*series.files, *series.masks)
    if series.scan is not None:
        parts = (*series.scan.image, *series.scan.labels)
        yield from [series.scan.archive] if series.scan.archive else map(Path, parts)


def _stamp(path: Path, root: Path) -> list[Any]:
    stat = path.stat()
    return [
        str(path).removeprefix(str(root)),
        stat.st_size,
        stat.st_mtime_ns,
    ]  # relative_to takes longer than stat


def discover(path: str | Path, pattern: str | None = None) -> Source:
    """The series of a folder, archive or volume, ordered by split, subject and session.

    `pattern` is for folders of images or volumes: a regular expression with the named group
    `subject` and, if wanted, `session` and (images only) `slice`, searched in each file's path
    relative to `path`, written with `/`. Raises DataError.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(
            f"no folder {path}: give the folder that holds keras_png_slices_train/, a folder of"
            " images, or volumes; see README, Data"
        )
    if pattern is not None:
        return _by_pattern(path, pattern)
    if any(
        _find(path, f"keras_png_slices_{name}") for names in FOLDER_NAMES.values() for name in names
    ):
        return _keras(path)
    scans = volumes.find_scans(path)
    if scans:
        return _volumes(path, scans)
    images = image_files(path)
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


def _find(root: Path, name: str) -> Path | None:
    """The folder of that name within two levels; its slices/ folder where there is one."""
    for level in LEVELS:
        for folder in sorted(root.glob(level + name)):
            if folder.is_dir():
                return folder / "slices" if (folder / "slices").is_dir() else folder
    return None


def _keras(root: Path) -> Source:
    """keras_png_slices_{train,validate,test} with their own splits; masks from
    keras_png_slices_seg_*.
    """
    files: dict[tuple[str, int], dict[int, Path]] = {}
    masks: dict[tuple[str, int], dict[int, Path]] = {}
    for split in SPLITS:
        folder = _split_folder(root, split)
        found = _numbered(folder, SLICE_NAME)
        if not found:
            raise DataError(
                f"no slices in {folder}: expected names such as case_001_slice_0.nii.png; "
                "see README, Data"
            )
        files |= {(split, subject): slices for subject, slices in found.items()}
        for name in FOLDER_NAMES[split]:
            if segmented := _find(root, f"keras_png_slices_seg_{name}"):
                masks |= {
                    (split, subject): slices
                    for subject, slices in _numbered(segmented, MASK_NAME).items()
                }
    _refuse_shared_subjects(files)
    people, first, series = read_people(root), {}, []
    exported = any(True for level in LEVELS for _ in root.glob(level + EXPORT_RECORD))
    by_number = {
        int(digits): person
        for name, person in people.items()
        if (digits := re.sub(r"\D", "", name))
    }
    for (split, case), slices in files.items():
        ours, person = masks.get((split, case), {}), by_number.get(case, {})
        subject = first.setdefault(person["name"], case) if exported and "name" in person else case
        series.append(
            Series(
                subject,
                str(subject),
                person.get("session", ""),
                split,
                tuple(slices.values()),
                tuple(slices),
                tuple(ours[p] for p in slices if p in ours),
                **{key: person[key] for key in ("age", "sex", "cdr") if key in person},
            )
        )
    series.sort(key=lambda s: (SPLITS.index(s.split), s.subject, natural(s.session)))
    _refuse_split_people(series)
    series, notes = _whole_masks(series)
    return Source(root, _kind_of_tree(root), tuple(series), notes)


def _split_folder(root: Path, split: str) -> Path:
    names = [f"keras_png_slices_{name}" for name in FOLDER_NAMES[split]]
    for name in names:
        if folder := _find(root, name):
            return folder
    found = ", ".join(sorted(p.name for p in root.iterdir())[:5]) or "nothing"
    raise DataError(f"expected {names[0]}/ under {root}, found {found}; see README, Data")


def _numbered(folder: Path, name: re.Pattern) -> dict[int, dict[int, Path]]:
    """Files by subject and position, both in order."""
    found: dict[int, dict[int, Path]] = defaultdict(dict)
    for entry in sorted(os.listdir(folder)):
        if match := name.fullmatch(entry):
            slices, position = found[int(match[1])], int(match[2])
            if position in slices:
                raise DataError(
                    f"{slices[position].name} and {entry} in {folder} are the same slice: keep one"
                )
            slices[position] = folder / entry
    return {subject: dict(sorted(found[subject].items())) for subject in sorted(found)}


def _refuse_shared_subjects(files: dict[tuple[str, int], dict[int, Path]]) -> None:
    home: dict[int, str] = {}
    for (split, subject), slices in files.items():
        if home.setdefault(subject, split) != split:
            raise DataError(
                f"subject {subject} is in both {home[subject]} and {split}"
                f" ({next(iter(slices.values()))}): a subject may be in one split only, else every"
                " figure is too good"
            )


def _refuse_split_people(series: list[Series]) -> None:
    """DataError for sessions of one subject in two splits."""
    home: dict[int, str] = {}
    for s in series:
        if home.setdefault(s.subject, s.split) != s.split:
            raise DataError(
                f"participants.tsv says that {s.files[0]} ({s.split}) is a session of subject"
                f" {s.subject}, which is in {home[s.subject]}: a subject may be in one split only"
            )


def _whole_masks(series: list[Series]) -> tuple[list[Series], dict[str, int]]:
    """Masks are used when every slice has one."""
    slices, masks = sum(len(s.files) for s in series), sum(len(s.masks) for s in series)
    if masks in (0, slices):
        return series, {}
    return [replace(s, masks=()) for s in series], {
        "slices without a mask, so no masks are used": slices - masks
    }


def _kind_of_tree(root: Path) -> str:
    if any(True for level in LEVELS for _ in root.glob(level + "sample_brains.json")):
        return "synthetic"
    records = [path for level in LEVELS for path in sorted(root.glob(level + EXPORT_RECORD))]
    return read_json(records[0]).get("kind", "keras") if records else "keras"


def read_people(root: Path) -> dict[str, dict[str, Any]]:
    """Age (years), sex and CDR by participant_id from participants.tsv within two levels; empty
    without one.

    Exports of this project add name and session: several cases with one name are sessions of one
    subject.
    """
    tables = [path for level in LEVELS for path in sorted(root.glob(level + "participants.tsv"))]
    if not tables:
        return {}
    header, *rows = [
        line.split("\t") for line in tables[0].read_text(encoding="utf-8-sig").splitlines() if line
    ]
    if "participant_id" not in header:
        raise DataError(f"{tables[0]} has no column participant_id: found {', '.join(header)}")
    people = {}
    for row in rows:
        cells = dict(zip(header, row, strict=False))
        people[cells["participant_id"]] = {
            "age": _number(cells.get("age")),
            "cdr": _number(cells.get("cdr")),
            "sex": cells.get("sex") if cells.get("sex") in ("F", "M") else None,
        }
        people[cells["participant_id"]] |= {
            key: cells[key]
            for key in ("name", "session")
            if cells.get(key, "n/a") not in ("", "n/a")
        }
    return people


def _number(text: str | None) -> float | None:
    """A finite number, or None for `n/a` and the like."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


# ---------------------------------------------------------------- folders of images


def image_files(root: Path) -> list[Path]:
    """All PNG, JPEG and TIFF files below a folder but hidden ones, in natural order."""
    files = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [
            Path(folder, n) for n in names if n.lower().endswith(SUFFIXES) and not n.startswith(".")
        ]
    return sorted(files, key=lambda path: natural(path.relative_to(root).as_posix()))


def natural(text: str) -> tuple[list[Any], str]:
    """A sorting key by which slice_9 comes before slice_10."""
    parts = re.split(r"([0-9]+)", text)  # texts and numbers alternate, so keys compare part by part
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], text


def _examples(root: Path, files: list[Path]) -> str:
    return ", ".join(path.relative_to(root).as_posix() for path in files[:3])


def _by_pattern(root: Path, pattern: str) -> Source:
    """Images or volumes, whichever the pattern finds."""
    if not root.is_dir():
        raise DataError(f"{root} is a file: --pattern is for folders of images or volumes")
    files, expression = image_files(root), _compiled(pattern)
    matches = [
        (path, match.groupdict())
        for path in files
        if (match := expression.search(path.relative_to(root).as_posix())) and match["subject"]
    ]
    scans = volumes.find_scans(root, expression)
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
            None,
            tuple(own[p] for p in sorted(own)),
            tuple(sorted(own)),
            **_known(people, name),
        )
        for (name, session), own in sorted(
            series.items(), key=lambda item: [natural(t) for t in item[0]]
        )
    ]
    notes = {"images that --pattern does not match, left out": left} if left else {}
    return Source(root, "images", tuple(found), notes)


def _known(people: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    found = people.get(name, people.get(f"sub-{name}", {}))
    return {key: found[key] for key in ("age", "sex", "cdr") if key in found}


def _slice_key(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _compiled(pattern: str) -> re.Pattern:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DataError(
            f"--pattern '{pattern}' is no regular expression ({error}): write it like '{EXAMPLE}'"
        ) from None
    if "subject" not in expression.groupindex:
        raise DataError(
            f"--pattern '{pattern}' has no group (?P<subject>…): write it like '{EXAMPLE}'"
        )
    return expression


# ---------------------------------------------------------------- volumes


def _volumes(path: Path, scans: list[volumes.Scan]) -> Source:
    names = sorted({scan.subject for scan in scans}, key=natural)
    numbers = {name: i for i, name in enumerate(names, 1)}
    series = [
        Series(numbers[s.subject], s.subject, s.session, age=s.age, sex=s.sex, cdr=s.cdr, scan=s)
        for s in scans
    ]
    series.sort(key=lambda s: (s.subject, natural(s.session)))
    kind = "oasis" if any(re.match(r"OAS\d|OASIS_\d", name) for name in names) else "nifti"
    return Source(
        path, kind, tuple(series), dict(Counter(note for scan in scans for note in scan.notes))
    )


# ---------------------------------------------------------------- splits


def with_splits(source: Source, shares: tuple[float, float, float], seed: int) -> Source:
    """The source's own splits, or splits by subject that are alike; series come in the order of
    splits.
    """
    series = source.series
    if any(s.split is None for s in series):
        people = {
            s.name: (s.age, s.sex, s.cdr) for s in reversed(series)
        }  # as in a subject's first session
        home = assign_splits(people, shares, seed)
        series = [replace(s, split=home[s.name]) for s in series]
    return replace(source, series=tuple(sorted(series, key=lambda s: SPLITS.index(s.split))))


def assign_splits(
    people: Mapping[str, Person],
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
) -> dict[str, str]:
    """A split for each subject, stratified by age, sex and CDR where they are known
    (`splits.deal`).

    people: (age in years, sex, CDR) by name, None where unknown. Counts are the shares rounded to
    whole subjects (largest remainder), at least one a split. Seed, names and people decide, in
    whatever order they come. DataError: shares that are not three positive numbers, or fewer than 3
    subjects.
    """
    if len(shares) != 3 or not all(math.isfinite(share) and share > 0 for share in shares):
        raise DataError(f"a split is three positive shares such as 0.8,0.1,0.1, not {shares}")
    n = len(people)
    if n < 3:
        raise DataError(
            f"{n} subjects cannot be split into {', '.join(SPLITS)}: at least 3 are needed"
        )
    wanted = [share / sum(shares) * n for share in shares]
    counts = [max(math.floor(w), 1) for w in wanted]
    while sum(counts) != n:
        step = 1 if sum(counts) < n else -1
        able = [i for i in range(3) if counts[i] + step >= 1]
        counts[max(able, key=lambda i: step * (wanted[i] - counts[i]))] += step
    return deal(people, dict(zip(SPLITS, counts, strict=True)), seed)
