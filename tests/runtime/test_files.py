"""Atomic writing, locks, JSON."""

import errno
import json
import os

import pytest

from oasis_utils import runtime
from oasis_utils.runtime import (
    atomic,
    read_json,
    write_json,
)


def test_atomic_writes_the_whole_file_and_its_folder(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    with atomic(path) as partial:
        partial.write_text("new")
        assert not path.exists()
        assert partial.parent == path.parent  # a rename stays on one file system
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["file.txt"]


def test_atomic_keeps_the_old_file_when_the_block_raises(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), atomic(path) as partial:
        partial.write_text("half")
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_atomic_refuses_a_block_that_wrote_nothing(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic(path):
        pass
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "the disk is full: free some space"),
        (errno.EROFS, "read-only: choose another folder"),
        (errno.EACCES, "no permission"),
        (errno.EDQUOT, "quota"),
    ],
)
def test_storage_errors_say_what_to_do_and_keep_the_old_file(tmp_path, number, advice):
    path = tmp_path / "report.json"
    runtime.write_json(path, 1)
    with (
        pytest.raises(
            runtime.StorageError, match=f"cannot write .*report.json: .*{advice}.* is kept"
        ),
        runtime.atomic(path) as partial,
    ):
        partial.write_text("half")
        raise OSError(number, "some text of the system")
    assert runtime.read_json(path) == 1 and list(tmp_path.iterdir()) == [path]


def test_other_errors_of_the_system_pass_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), runtime.atomic(tmp_path / "x"):
        (tmp_path / "elsewhere").read_text()


def test_a_held_lock_names_its_holder_and_is_released(tmp_path):
    lock = tmp_path / "new folder" / ".lock"
    with (
        runtime.exclusive(lock, "runs/demo"),
        pytest.raises(
            runtime.FolderInUse,
            match=f"runs/demo is in use by process {os.getpid()} on .* since 20",
        ),
        runtime.exclusive(lock, "runs/demo"),
    ):
        raise AssertionError("two are in")
    with runtime.exclusive(lock, "runs/demo"):
        lock.with_name(".lock.json").unlink()
        with (
            pytest.raises(runtime.FolderInUse, match="in use by another process"),
            runtime.exclusive(lock, "runs/demo"),
        ):
            raise AssertionError("two are in")


def test_json_round_trip(tmp_path):
    value = {"a": [1, 2.5, None, True], "b": {"ü": "ø"}}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_json_refuses_numbers_it_lacks_and_keeps_the_old_file(tmp_path, number):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": [number]})
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["x.json"]
