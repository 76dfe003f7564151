"""Files and folders that cannot be read are told, and left out only on demand."""

import errno
import os

import pytest
from slice_files import make_collection, make_tree, write_slice

from oasis_utils.config import DataConfig
from oasis_utils.data import reading
from oasis_utils.data.dataset import build_cache
from oasis_utils.data.image_files import read_picture
from oasis_utils.data.reading import ImportOptions
from oasis_utils.models.checkpoints import CheckpointError, read_about
from oasis_utils.runtime import DataError

CONFIG = DataConfig(image_size=32)
PATTERN = r"(?P<subject>p\d+)_.*_(?P<slice>\d+)\.png"
SKIP = ImportOptions(skip_bad=True)


@pytest.fixture
def locked(tmp_path, monkeypatch):
    """A collection of which one folder cannot be listed: permissions do not hold for root."""
    source, scandir = make_collection(tmp_path / "source", [f"p{i}" for i in range(8)]), os.scandir

    def refuse(path="."):
        if str(path).endswith("ill"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return source


def test_a_folder_that_cannot_be_listed_stops_the_import(locked, tmp_path):
    with pytest.raises(
        DataError,
        match=r"cannot read the folder .*ill: Permission denied; make it readable .*--skip-bad",
    ):
        build_cache(locked, tmp_path / "cache", CONFIG, options=ImportOptions(pattern=PATTERN))


def test_a_folder_that_is_left_out_is_listed(locked, tmp_path):
    options = ImportOptions(pattern=PATTERN, skip_bad=True)
    manifest = build_cache(locked, tmp_path / "cache", CONFIG, options=options).manifest
    assert {entry["name"] for entry in manifest["subjects"]} == {"p1", "p3", "p5", "p7"}
    (skipped,) = manifest["skipped"]
    assert "cannot read the folder" in skipped["reason"] and "ill" in skipped["reason"]


def test_masks_that_cannot_be_listed_are_left_out_on_demand(tmp_path, monkeypatch):
    source, listdir = make_tree(tmp_path / "source", masks=True), os.listdir

    def refuse(path="."):
        if str(path).endswith("seg_train"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(DataError, match="cannot read the folder .*seg_train"):
        build_cache(source, tmp_path / "cache", CONFIG)
    dataset = build_cache(source, tmp_path / "cache", CONFIG, options=SKIP)
    (skipped,) = dataset.manifest["skipped"]
    assert "seg_train" in skipped["reason"] and dataset.split("test").masks is None


def test_a_file_without_permission_is_not_said_to_be_damaged(tmp_path, monkeypatch):
    path = tmp_path / "vqvae.safetensors"
    path.write_bytes(b"x")

    def refuse(*_args, **_options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CheckpointError) as caught:
        read_about(path)
    monkeypatch.undo()
    assert "no permission; make it readable" in str(caught.value)
    assert "delete" not in str(caught.value) and "replace" not in str(caught.value)


def test_files_that_are_not_fetched_are_listed(tmp_path):
    source = make_tree(tmp_path / "source")
    path = source / "keras_png_slices_train" / "case_001_slice_0.nii.png"
    path.unlink()
    path.symlink_to("../.git/annex/objects/a/b")
    with pytest.raises(DataError, match="slice_0.nii.png is not fetched yet: run `datalad get`"):
        build_cache(source, tmp_path / "cache", CONFIG)
    manifest = build_cache(source, tmp_path / "cache", CONFIG, options=SKIP).manifest
    (skipped,) = manifest["skipped"]
    assert "case_001_slice_0" in skipped["file"] and "datalad get" in skipped["reason"]
    path.unlink()
    write_slice(path.parent, 1, 0, read_picture(path.with_name("case_002_slice_0.nii.png")).pixels)
    assert not build_cache(source, tmp_path / "cache", CONFIG, options=SKIP).manifest["skipped"]


def test_a_reader_that_hangs_does_not_hold_up_an_error(tmp_path, monkeypatch):
    """As on a network drive that does not answer."""
    import threading

    source, released, read = make_tree(tmp_path / "source"), threading.Event(), reading._read_file

    def slow(file, orient):
        if file.position == 2:
            released.wait(30)
        return read(file, orient)

    def fail(done, total):
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "_read_file", slow)
    monkeypatch.setattr(reading, "FILES_PER_TASK", 1)
    try:
        with pytest.raises(KeyboardInterrupt):
            build_cache(source, tmp_path / "cache", CONFIG, fail)
    finally:
        released.set()
