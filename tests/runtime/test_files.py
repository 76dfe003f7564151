"""Atomic writing, locks, JSON."""

import errno
import json
import os
import stat

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


def special_files(tmp_path):
    """{kind: path} of all that is no plain file and can be made here."""
    paths = {kind: tmp_path / kind for kind in ("folder", "link", "dangling", "fifo", "device")}
    target = tmp_path / "target"
    target.write_text("target")
    paths["folder"].mkdir()
    paths["link"].symlink_to(target)
    paths["dangling"].symlink_to(tmp_path / "gone")
    os.mkfifo(paths["fifo"])
    try:
        os.mknod(paths["device"], stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        del paths["device"]
    return paths


def test_only_plain_files_are_replaced(tmp_path):
    for kind, path in special_files(tmp_path).items():
        before = path.lstat()
        with pytest.raises(runtime.StorageError, match=f"cannot write .*{kind}: .* is a .*choose"):
            write_json(path, 1)
        after = path.lstat()
        assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)
    assert (tmp_path / "target").read_text() == "target"
    assert not (tmp_path / "gone").exists() and not list(tmp_path.glob("*.partial"))


def test_what_took_the_place_of_a_file_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "file.txt"
    with pytest.raises(runtime.StorageError, match="is a FIFO"), atomic(path) as partial:
        partial.write_text("new")
        os.mkfifo(path)
    assert stat.S_ISFIFO(path.lstat().st_mode) and os.listdir(tmp_path) == ["file.txt"]


def test_two_drafts_of_one_file_have_names_of_their_own(tmp_path):
    path = tmp_path / "file.txt"
    with atomic(path) as first, atomic(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["file.txt"]


def test_an_error_of_another_file_is_not_blamed_on_the_one_that_is_written(tmp_path):
    with pytest.raises(PermissionError, match="elsewhere"), atomic(tmp_path / "x"):
        raise PermissionError(errno.EACCES, "no", str(tmp_path / "elsewhere"))


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "folder"
    users = path.with_name("folder.partial")
    users.mkdir(parents=True)
    (users / "thesis.txt").write_text("mine")
    with pytest.raises(RuntimeError, match="half way"), runtime.atomic_folder(path) as draft:
        (draft / "a").write_text("half")
        raise RuntimeError("half way")
    assert os.listdir(path.parent) == ["folder.partial"]
    with runtime.atomic_folder(path) as draft:
        (draft / "a").write_text("whole")
        assert not path.exists()
    assert (path / "a").read_text() == "whole" and (users / "thesis.txt").read_text() == "mine"
    assert len(os.listdir(path.parent)) == 2
    with pytest.raises(OSError, match="not empty"), runtime.atomic_folder(path) as draft:
        (draft / "b").write_text("other")
    assert os.listdir(path) == ["a"] and len(os.listdir(path.parent)) == 2


def test_a_lock_in_words(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / ".lock")
    with (
        pytest.raises(runtime.StorageError, match="is a FIFO"),
        runtime.exclusive(tmp_path / ".lock", "runs/demo"),
    ):
        raise AssertionError("locked")

    def denied(*_arguments, **_options):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "no" / ".lock"))

    monkeypatch.setattr("os.open", denied)
    with (
        pytest.raises(runtime.StorageError, match="cannot write .*no.*: no permission"),
        runtime.exclusive(tmp_path / "no" / ".lock", "runs/demo"),
    ):
        raise AssertionError("locked")


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
