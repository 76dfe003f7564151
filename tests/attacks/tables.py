"""Tables of people and records that are damaged, foreign or endless."""

from attacks.files import first_slice, table, tree
from attacks.harness import attack

HEAD = "participant_id\tage\tsex\n"


def renamed(folder, name):
    """A sound tree in which one slice has another name."""
    tree(folder)
    first_slice(folder).rename(first_slice(folder).with_name(name))


@attack("prepare")
def short_row(data):
    """A row with fewer cells than columns: what is missing is unknown."""
    table(data, HEAD + "case_001\n\t\ncase_002\t30\tF\n")


@attack("prepare")
def long_row(data):
    """A row with more cells than columns."""
    table(data, HEAD + "case_001\t30\tF" + "\tx" * 1000 + "\n")


@attack("prepare")
def empty_table(data):
    """A table of no bytes."""
    table(data, b"")


@attack("prepare")
def only_a_header(data):
    """A table without people."""
    table(data, HEAD)


@attack("prepare", "participants.tsv is written in UTF-16: save it as UTF-8")
def utf_16_table(data):
    """A table as some spreadsheets write it."""
    table(data, HEAD.encode("utf-16"))


@attack("prepare")
def latin_1_table(data):
    """A table with an accented letter in Latin-1."""
    table(data, (HEAD + "M\xfcller\t30\tF\ncase_001\t40\tM\n").encode("latin-1"))


@attack("prepare", "participants.tsv: .*repair or remove the table")
def long_cell(data):
    """A cell of 200,000 characters."""
    table(data, HEAD + "x" * 200_000 + "\n")


@attack("prepare", "has no column participant_id: found")
def wrong_columns(data):
    """A table of other columns."""
    table(data, "name\tage\nx\t3\n")


@attack("prepare", "has no column participant_id: found")
def long_list_of_wrong_columns(data):
    """900 wrong columns of 100 characters, which a message does not repeat."""
    table(data, "\t".join(["x" * 100] * 900) + "\n")


@attack("prepare", "columns: no table of people has")
def too_many_columns(data):
    """A table of two million columns."""
    table(data, HEAD[:-1] + "\tx" * 2_000_000 + "\n")


@attack("prepare", "more than 100000 rows")
def too_many_rows(data):
    """A table of three million rows."""
    table(data, HEAD + "x\t\n" * 3_000_000)


@attack("prepare")
def number_of_5000_digits(data):
    """A participant_id of 5000 digits is nobody's."""
    table(data, HEAD + "1" * 5000 + "\t30\tF\ncase_001\t40\tM\n")


@attack("prepare", "of one subject, 1, and differ: keep one of them")
def one_subject_under_two_names(data):
    """sub-01 and sub-1 with different ages."""
    table(data, HEAD + "sub-01\t30\tF\nsub-1\t40\tF\n")


@attack("prepare")
def one_subject_twice_alike(data):
    """sub-01 and sub-1 that say the same."""
    table(data, HEAD + "sub-01\t30\tF\nsub-1\t30\tF\n")


@attack("prepare")
def codes_for_missing_ages(data):
    """-999, 1e308, nan and inf are no ages."""
    cells = ("-999", "1e308", "nan", "inf", "-0.0")
    table(data, HEAD + "".join(f"case_{i:03d}\t{cell}\t\n" for i, cell in enumerate(cells, 1)))


@attack("prepare")
def null_characters(data):
    """A table with null characters in its cells."""
    table(data, HEAD + "case_001\0\t3\0\t\0\n")


@attack("prepare", "source.json is no record of an export")
def record_that_is_a_list(data):
    """The record of an export that is a list."""
    tree(data)
    (data / "source.json").write_text("[1, 2]")


@attack("prepare", "source.json is no record of an export")
def record_of_an_unknown_kind(data):
    """The record of an export of a kind that does not exist."""
    tree(data)
    (data / "source.json").write_text('{"kind": ["oasis"]}')


@attack("prepare", "source.json holds no JSON .*: repair or remove it")
def record_that_is_cut_off(data):
    """The record of an export that ends after one brace."""
    tree(data)
    (data / "source.json").write_text("{")


@attack("prepare", "source.json holds no JSON")
def record_nested_without_end(data):
    """The record of an export of 100,000 brackets."""
    tree(data)
    (data / "source.json").write_text("[" * 100_000)


@attack("prepare", "source.json holds no JSON")
def record_in_utf_16(data):
    """The record of an export in UTF-16."""
    tree(data)
    (data / "source.json").write_text('{"kind": "oasis"}', encoding="utf-16")


@attack("prepare", "source.json holds no JSON")
def number_in_a_record(data):
    """The record of an export with a number of 5000 digits."""
    tree(data)
    (data / "source.json").write_text('{"kind": ' + "1" * 5000 + "}")


@attack("prepare", "has a number above 999999999 for a subject")
def subject_of_20_digits(data):
    """A subject whose number no array holds."""
    renamed(data, f"case_{10**20}_slice_0.nii.png")


@attack("prepare", "has a number above 999999999 for a subject")
def subject_at_the_edge_of_integers(data):
    """A subject with the number 2^63."""
    renamed(data, f"case_{2**63}_slice_0.nii.png")


@attack("prepare", "or above 9999 for a slice: rename it")
def position_of_11_digits(data):
    """A slice number for which a model would need a table of 10^11 rows."""
    renamed(data, "case_001_slice_99999999999.nii.png")


@attack("prepare", "is in both train and test")
def subject_in_two_splits(data):
    """A subject in two splits."""
    tree(data, subjects={"train": (1, 2), "validate": (4,), "test": (1,)})
