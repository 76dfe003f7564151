"""Plain files only, and no more of them than their kind can hold."""

import os
import stat
import tracemalloc

import pytest

from oasis_utils.runtime import DataError, open_plain, printable, read_json, read_plain
from oasis_utils.runtime.plain_files import most_unpacked, refuse_bomb


def test_a_plain_file_and_a_link_to_one_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"hello")
    (tmp_path / "b").symlink_to("a")
    assert read_plain(tmp_path / "a", 5) == read_plain(tmp_path / "b", 5) == b"hello"
    with open_plain(tmp_path / "b") as file:
        assert file.read() == b"hello"
    with pytest.raises(DataError, match="a has more than 4 bytes: it is no file of this kind"):
        read_plain(tmp_path / "a", 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "a: No such file or directory; replace the file"),
        (os.mkfifo, "a: it is a FIFO, no plain file; remove or replace it"),
        (os.mkdir, "a: it is a folder"),
        (lambda p: os.symlink("/dev/zero", p), "a: it is a device"),
        (lambda p: os.symlink("b", p), "a: it is a link to b, which is missing; repair the link"),
        (
            lambda p: os.symlink("../.git/annex/objects/X/y", p),
            "a is not fetched yet: run `datalad get` or `git annex get` on it",
        ),
    ],
)
def test_anything_else_is_named(tmp_path, make, message):
    make(tmp_path / "a")
    with pytest.raises(DataError, match=message):
        read_plain(tmp_path / "a", 9)


def test_a_name_with_a_null_character_is_refused(tmp_path):
    with pytest.raises(DataError, match="correct the name"):
        read_plain(f"{tmp_path}/a\0b", 9)


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000, '{"a": ' + "1" * 5000 + "}", "\xff"])
def test_what_is_no_json_is_named(tmp_path, text):
    (path := tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match="a.json holds no JSON .*: repair or remove it"):
        read_json(path)


def test_a_bomb_is_what_unpacks_far_beyond_its_size():
    for packed in (0, 10**6, 10**9):
        refuse_bomb(most_unpacked(packed), packed, "a")
        with pytest.raises(DataError, match=f"a has {packed} bytes and unpacks to "):
            refuse_bomb(most_unpacked(packed) + 1, packed, "a")


def test_terminals_obey_no_text():
    assert printable("a\x1b[31mb\n\tc  d\udc80é") == "a\\x1b[31mb c d\\udc80é"


def test_a_small_file_takes_little_memory_whatever_it_may_have(tmp_path):
    path = tmp_path / "small"
    path.write_bytes(b"x" * 1000)
    tracemalloc.start()
    try:
        assert read_plain(path, 64 << 20) == b"x" * 1000
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_file_that_grows_while_it_is_read_is_read_whole_or_refused(tmp_path, monkeypatch):
    path, real = tmp_path / "growing", os.fstat
    path.write_bytes(b"x" * 1000)

    def as_it_was(descriptor):
        found = list(real(descriptor))
        found[stat.ST_SIZE] = 10
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", as_it_was)
    assert read_plain(path, 1000) == b"x" * 1000
    with pytest.raises(DataError, match="more than 999 bytes"):
        read_plain(path, 999)
