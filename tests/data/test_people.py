"""Tables and notes of people: one reader for all of them, which takes nothing on trust."""

import re

import pytest

from oasis_utils.data.people import (
    MISSING_AGE,
    UNKNOWN_PERSON,
    Person,
    age_notes,
    look_up,
    participants_text,
    people_near,
    person_of_notes,
    read_people,
    read_table,
)
from oasis_utils.runtime import DataError


def table(tmp_path, text, name="participants.tsv", encoding="utf-8"):
    (tmp_path / name).write_text(text, encoding=encoding)
    return tmp_path / name


def test_a_table_of_bids(tmp_path):
    path = table(
        tmp_path,
        "participant_id\tsex\tage\tcdr\nsub-1\tFemale\t34.5\t0.5\nsub-2\tm\tn/a\t\n\nsub-3\nsub-4\tx\n",
        encoding="utf-8-sig",
    )
    assert read_table(path) == {
        "sub-1": Person(34.5, "F", 0.5),
        "sub-2": Person(sex="M"),
        "sub-3": UNKNOWN_PERSON,
        "sub-4": UNKNOWN_PERSON,
    }


def test_a_table_of_oasis(tmp_path):
    text = 'ID,M/F,Hand,Age,CDR,"of, what"\nOAS1_0001_MR1,F,R,74,0,x\nOAS1_0002_MR1,M,R,N/A,,\n'
    path = table(tmp_path, text, "oasis_cross-sectional-5708aa0a98d82080.csv")
    assert read_table(path) == {
        "OAS1_0001_MR1": Person(74.0, "F", 0.0),
        "OAS1_0002_MR1": Person(sex="M"),
    }


@pytest.mark.parametrize(
    ("cell", "age"),
    [("0", 0.0), ("149.9", 149.9), *((c, None) for c in ("150", "-1", "nan", "inf", "89+", ""))],
)
def test_ages_are_from_0_to_150(tmp_path, cell, age):
    path = table(tmp_path, f"participant_id\tage\na\t{cell}\n")
    assert read_table(path) == {"a": Person(age)}


@pytest.mark.parametrize(
    "cell", ["-999", "-1", "999", "9999", "-999.0", "n/a", "N/A", "NaN", " ", ""]
)
def test_codes_for_a_missing_age_are_noted(tmp_path, cell):
    people = read_table(table(tmp_path, f"participant_id\tage\tsex\na\t{cell}\tF\nb\t150\tM\n"))
    assert people["a"].age is None
    assert age_notes([("a", people["a"])]) == {MISSING_AGE: 1}


@pytest.mark.parametrize("cell", ["150", "-2", "1e308", "inf", "89+", "old", "998"])
def test_an_implausible_age_is_noted_by_name(tmp_path, cell):
    text = f"participant_id\tage\na\t{cell}\nb\t{cell}\nc\t50\n"
    people = read_table(table(tmp_path, text))
    assert people["a"].age is None and people["c"].age == 50
    (note,) = age_notes(people.items())
    assert f"{cell!r} of a" in note and age_notes(people.items())[note] == 2


def test_ages_that_nobody_claims_are_not_noted(tmp_path):
    people = read_table(table(tmp_path, "participant_id\tsex\tage\na\tF\t50\nb\n"))
    assert age_notes([*people.items(), ("c", UNKNOWN_PERSON)]) == {}
    assert age_notes([("a", person_of_notes("AGE: -999\n"))]) == {MISSING_AGE: 1}


def test_sessions_of_one_subject_are_noted_once(tmp_path):
    person = read_table(table(tmp_path, "participant_id\tage\na\t-999\n"))["a"]
    assert age_notes([("a", person), ("a", person)]) == {MISSING_AGE: 1}


def test_the_first_row_of_a_name_counts_and_rows_without_one_do_not(tmp_path):
    path = table(tmp_path, "participant_id\tage\na\t30\na\t32\n\t50\n")
    assert read_table(path) == {"a": Person(30.0)}


def test_an_export_names_the_subject_of_a_case(tmp_path):
    path = table(tmp_path, "participant_id\tname\tsession\ncase_001\tA1\tMR2\ncase_002\tn/a\tn/a\n")
    assert read_table(path) == {
        "case_001": Person(name="A1", session="MR2"),
        "case_002": UNKNOWN_PERSON,
    }


def test_bytes_that_are_no_text_and_foreign_line_ends(tmp_path):
    path = tmp_path / "participants.tsv"
    path.write_bytes(b"participant_id\tage\ra\xff\t30\rb\t31\r")
    assert sorted(read_table(path).values(), key=lambda p: p.age) == [Person(30.0), Person(31.0)]
    path.write_bytes(b"")
    assert read_table(path) == {}


def test_a_table_that_cannot_be_read(tmp_path):
    with pytest.raises(
        DataError, match="has no column participant_id: found name, age; repair or remove"
    ):
        read_table(table(tmp_path, "name\tage\n"))
    with pytest.raises(DataError, match="cannot read .*participants.tsv: .*; repair or remove"):
        read_table(table(tmp_path, f"participant_id\n{'x' * 200_000}\n"))
    with pytest.raises(DataError, match="cannot read .*gone/participants.tsv: No such file"):
        read_table(tmp_path / "gone" / "participants.tsv")


def test_the_table_nearest_to_the_data_counts(tmp_path):
    data = tmp_path / "above" / "data"
    (data / "deep" / "deeper" / "deepest").mkdir(parents=True)
    for folder, age in ((data, 1), (data.parent, 2), (data / "deep" / "deeper" / "deepest", 3)):
        table(folder, f"participant_id\tage\na\t{age}\nb{age}\t{age}\n")
    table(data.parent, "ID,Age\nOAS1_0001_MR1,60\n", "oasis_cross-sectional.csv")
    found = people_near(data, sorted(p for p in data.rglob("*") if p.is_file()))
    assert {name: person.age for name, person in found.items()} == {
        "a": 1.0,
        "b1": 1.0,
        "b2": 2.0,
        "OAS1_0001_MR1": 60.0,
    }
    assert read_people(data) == read_people(data.parent / "data")
    assert set(read_people(data)) == {"a", "b1"} and read_people(data / "deep" / "deeper") != {}
    assert read_people(data / "deep" / "deeper" / "deepest" / "none") == {}


def test_notes_of_a_session():
    assert person_of_notes("AGE:          74\nM/F:  Female\nCDR:   0.5\n") == Person(74.0, "F", 0.5)
    assert person_of_notes("AGE:\nM/F:\n") == UNKNOWN_PERSON


def test_a_person_is_found_by_the_first_name_that_is_known():
    people = {"a_1": Person(1.0), "b": Person(2.0), "sub-c": Person(3.0)}
    found = [look_up(people, f"{name}_1", name).age for name in "abcd"]
    assert found == [1.0, 2.0, 3.0, None]


def test_a_written_table_is_read_again(tmp_path):
    columns = ("participant_id", "age", "cdr", "name")
    rows = [
        {"participant_id": "case_001", "age": 71.5, "cdr": 0.0, "name": "", "split": "train"},
        {"participant_id": "case_002", "age": None, "cdr": None, "name": "A1", "split": "test"},
    ]
    text = participants_text(columns, rows)
    assert text.splitlines()[1:] == ["case_001\t71.5\t0.0\tn/a", "case_002\tn/a\tn/a\tA1"]
    assert read_table(table(tmp_path, text)) == {
        "case_001": Person(71.5, cdr=0.0),
        "case_002": Person(name="A1"),
    }


@pytest.mark.parametrize("name", ["a\tb", 'a"b', "=1+1", "-cmd", "@x", "+1", "'=x", "'", "a, b"])
def test_any_name_is_written_in_one_row_and_read_again(tmp_path, name):
    """A spreadsheet computes none of them."""
    columns = ("participant_id", "age", "name")
    text = participants_text(columns, [{"participant_id": "case_001", "age": 30.5, "name": name}])
    assert len(text.splitlines()) == 2 and not re.search(r"(^|\t)[=+@-]", text, re.MULTILINE)
    (person,) = read_table(table(tmp_path, text)).values()
    assert (person.name, person.age) == (name, 30.5)


def test_a_name_with_a_line_end_stays_one_row(tmp_path):
    text = participants_text(("participant_id", "name"), [{"participant_id": "1", "name": "a\nb"}])
    assert read_table(table(tmp_path, text)) == {"1": Person(name="a\nb")}
