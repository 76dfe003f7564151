"""Age, sex and clinical dementia rating (CDR) of people, read from the tables beside their scans.

Tables are participants.tsv of BIDS (Gorgolewski et al. 2016, Sci Data 3:160044) and
oasis_cross-sectional.csv of OASIS-1 (Marcus et al. 2007, J Cogn Neurosci 19:1498), whose discs hold
the same as notes of each session.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oasis_utils.data.keras_layout import files_named
from oasis_utils.runtime import DataError, read_plain

PARTICIPANTS = "participants.tsv"
OASIS_TABLE = re.compile(r"oasis_cross-sectional.*\.csv")
NO_VALUE = ("", "n/a")
MISSING_CELLS = (*NO_VALUE, "na", "nan", "none", "null")  # in lower case
MISSING_NUMBERS = (-1, -999, 999, 9999)
MISSING_AGE = "subjects whose age is given as missing (empty, n/a, -1, -999, 999 or 9999), unknown"
MAX_VALUE = 150  # years; a larger age or CDR is an error in the table
MAX_CELL = 20  # characters of a cell in a note
MAX_TABLE_BYTES = 2**24
MAX_ROWS, MAX_COLUMNS = 100_000, 1000
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # how such a file begins
MAX_FOUND = 300  # characters of the columns that a message names
QUOTED = ("=", "+", "-", "@", "'")  # how a cell begins that a spreadsheet would compute or hide
TABLE_DEPTH = 3  # parts of a table's path below the data: at most two folders


@dataclass(frozen=True)
class Person:
    """What a source knows of a person.

    Attributes:
        age: years, 0 to 150; None if unknown.
        sex: "F" or "M"; None if unknown.
        cdr: clinical dementia rating: 0, 0.5, 1, 2 or 3; None if unknown.
        name: the subject to whom a numbered case of an export belongs; None elsewhere.
        session: the session that this case is; empty if there is one only.
        age_cell: what the table says instead of an age; None if it has one or says nothing.
    """

    age: float | None = None
    sex: str | None = None
    cdr: float | None = None
    name: str | None = None
    session: str = ""
    age_cell: str | None = field(default=None, compare=False)


UNKNOWN_PERSON = Person()


@dataclass(frozen=True)
class TableForm:
    """Delimiter and names of the columns of a kind of table.

    Attributes:
        delimiter: between cells.
        key: column that names the person or the session.
        age: column of the age in years.
        sex: column of the sex, of which the first letter counts.
        cdr: column of the clinical dementia rating.
    """

    delimiter: str
    key: str
    age: str
    sex: str
    cdr: str


BIDS_FORM = TableForm("\t", "participant_id", "age", "sex", "cdr")
OASIS_FORM = TableForm(",", "ID", "Age", "M/F", "CDR")

# ---------------------------------------------------------------- tables


def read_table(path: Path) -> dict[str, Person]:
    """Read a participants.tsv or a table of OASIS-1.

    Args:
        path: the table; its name decides on its columns.

    Returns:
        People by participant_id or ID; the first row of each counts.

    Raises:
        DataError: the table cannot be read, or has no column of names.
    """
    form = BIDS_FORM if path.name == PARTICIPANTS else OASIS_FORM
    text = io.StringIO(small_text(path), newline=None)
    people: dict[str, Person] = {}
    try:
        for row in _rows(csv.reader(text, delimiter=form.delimiter), form, path):
            if row.get(form.key):
                people.setdefault(row[form.key], _person_of_row(row, form))
    except csv.Error as error:
        raise DataError(f"cannot read {path}: {error}; repair or remove the table") from None
    return people


def _rows(lines: Iterator[list[str]], form: TableForm, path: Path) -> Iterator[dict[str, str]]:
    """{column: cell} of each row that is not empty; the last cells of a short row are missing."""
    columns = next((line for line in lines if line), [])
    if len(columns) > MAX_COLUMNS:
        raise DataError(f"{path} has {len(columns)} columns: no table of people has; remove it")
    if columns and form.key not in columns:
        found = ", ".join(columns)
        raise DataError(
            f"{path} has no column {form.key}: found {found[:MAX_FOUND]}; repair or remove the"
            " table"
        )
    for number, line in enumerate(lines):
        if number >= MAX_ROWS:
            raise DataError(f"{path} has more than {MAX_ROWS} rows: no table of people; remove it")
        yield dict(zip(columns, line, strict=False))


def _person_of_row(row: Mapping[str, str | None], form: TableForm) -> Person:
    name, session = (_shown_name(row.get(column) or "") for column in ("name", "session"))
    age = _number(row.get(form.age))
    return Person(
        age,
        _sex(row.get(form.sex)),
        _number(row.get(form.cdr)),
        None if name in NO_VALUE else name,
        "" if session in NO_VALUE else session,
        row.get(form.age) if age is None else None,
    )


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < MAX_VALUE else None  # false for nan


def _sex(text: str | None) -> str | None:
    letter = (text or "").strip()[:1].upper()
    return letter if letter in ("F", "M") else None


def small_text(path: Path) -> str:
    """The text of a table or note; single bytes that are no UTF-8 are replaced.

    Raises:
        DataError: the file cannot be read, is larger than a table of people, or is UTF-16.
    """
    content = read_plain(path, MAX_TABLE_BYTES)
    if content.startswith(UTF_16):
        raise DataError(f"{path} is written in UTF-16: save it as UTF-8")
    return content.decode("utf-8-sig", "replace")


def participants_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """The text of a participants.tsv.

    Args:
        columns: names of the columns in their order; participant_id is one of them.
        rows: one person or case each, with a value for every column; others are left out.

    Returns:
        Lines of cells between tabs; None and empty values are n/a. Cells with tabs or line ends are
        quoted; before text that a spreadsheet would compute stands an apostrophe, which
        `read_table` removes.
    """
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(columns)
    for row in rows:
        table.writerow([_cell(row[column]) for column in columns])
    return text.getvalue()


def _cell(value: Any) -> Any:
    if value in (None, ""):
        return "n/a"
    return f"'{value}" if isinstance(value, str) and value.startswith(QUOTED) else value


def _shown_name(cell: str) -> str:
    """A cell without the apostrophe of `_cell`."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(QUOTED) else cell


# ---------------------------------------------------------------- people of a source


def read_people(root: Path) -> dict[str, Person]:
    """People of the participants.tsv in a folder or up to two levels below; empty without one.

    Args:
        root: folder of a keras_png_slices tree or of images.

    Returns:
        People by participant_id. In exports of this project, cases of one `name` are sessions of
        one subject.
    """
    tables = files_named(root, PARTICIPANTS)
    return read_table(tables[0]) if tables else {}


def people_near(root: Path, files: Iterable[Path]) -> dict[str, Person]:
    """People of all tables up to two levels above or below a folder; those below come first.

    Args:
        root: folder that holds the volumes.
        files: all files below it.

    Returns:
        People by participant_id or, of OASIS-1, session such as OAS1_0001_MR1.
    """
    below = [path for path in files if len(path.relative_to(root).parts) <= TABLE_DEPTH]
    above = [path for folder in list(root.parents)[:2] for path in sorted(folder.glob("*.[ct]sv"))]
    people: dict[str, Person] = {}
    for path in below + above:
        if path.name == PARTICIPANTS or OASIS_TABLE.fullmatch(path.name):
            people = read_table(path) | people
    return people


def person_of_notes(text: str) -> Person:
    """The person of an OASIS-1 session's notes: lines such as `AGE:          74`."""
    found = dict(re.findall(r"^(AGE|M/F|CDR):[ \t]*(\S+)", text, re.MULTILINE))
    age, cdr = _number(found.get("AGE")), _number(found.get("CDR"))
    return Person(
        age, _sex(found.get("M/F")), cdr, age_cell=found.get("AGE") if age is None else None
    )


def age_notes(people: Iterable[tuple[str, Person]]) -> dict[str, int]:
    """Notes on ages that a table gives but that are none.

    Args:
        people: names of subjects, and what is known of each of their sessions.

    Returns:
        {note: number of subjects}: codes for a missing age, and values that are no age, of which
        the note names the first. Empty where every age that is given is one.
    """
    cells = {name: person.age_cell for name, person in people if person.age_cell is not None}
    implausible = {name: cell for name, cell in cells.items() if not _says_missing(cell)}
    notes = {}
    if len(cells) > len(implausible):
        notes[MISSING_AGE] = len(cells) - len(implausible)
    if implausible:
        name, cell = next(iter(implausible.items()))
        notes[
            f"subjects whose age is no number from 0 to {MAX_VALUE} (such as"
            f" {cell[:MAX_CELL]!r} of {name}), unknown"
        ] = len(implausible)
    return notes


def _says_missing(cell: str) -> bool:
    try:
        number = float(cell)
    except ValueError:
        number = None
    return cell.strip().lower() in MISSING_CELLS or number in MISSING_NUMBERS


def look_up(people: Mapping[str, Person], *names: str) -> Person:
    """The person of the first name that is known, as it stands or as BIDS writes it (sub-NAME)."""
    keys = (*names, f"sub-{names[-1]}")
    return next((people[key] for key in keys if key in people), UNKNOWN_PERSON)
