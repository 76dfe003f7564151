"""The folder of a cache: failures, refusals and kills keep the last good cache and all else."""

import errno
import os
import stat
import subprocess
import sys

import numpy as np
import pytest
from slice_files import make_tree

from oasis_utils.config import DataConfig
from oasis_utils.data import dataset as data
from oasis_utils.data import prepare, reading
from oasis_utils.data.cache_folder import is_cache
from oasis_utils.data.dataset import build_cache, open_cache, open_or_build
from oasis_utils.runtime import DataError, FolderInUse, StorageError

CONFIG = DataConfig(image_size=32)
OTHER = DataConfig(image_size=48)
STEPS = [
    (reading, "_read_file"),
    (prepare, "fit_window"),
    (prepare, "write_resized"),
    (prepare, "write_json"),
]


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "keras_png_slices_data")


def everything(folder):
    """{name: content} of every file below a folder; None for folders and special files."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if stat.S_ISREG(p.lstat().st_mode) else None
        for p in folder.rglob("*")
    }


def no_disk(*_args, **_options):
    raise OSError("no space left on device")


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("step", STEPS, ids=[name for _, name in STEPS])
@pytest.mark.parametrize("rebuild", [False, True])
def test_a_failed_import_leaves_the_last_good_cache(tree, tmp_path, monkeypatch, step, rebuild):
    folder = tmp_path / "cache"
    if rebuild:
        build_cache(tree, folder, OTHER)
    before = everything(folder)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(*step, no_disk)
        build_cache(tree, folder, CONFIG)
    assert everything(folder) == before
    if rebuild:
        assert open_cache(folder).manifest["config"]["image_size"] == 48
    else:
        assert not is_cache(folder)
        with pytest.raises(DataError, match="no prepared data in"):
            open_cache(folder)
    assert build_cache(tree, folder, CONFIG).split("train").images.shape == (9, 32, 32)


def test_a_damaged_file_leaves_the_last_good_cache(tree, tmp_path):
    build_cache(tree, tmp_path / "cache", CONFIG)
    before = everything(tmp_path / "cache")
    (tree / "keras_png_slices_test" / "case_005_slice_1.nii.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match="case_005_slice_1"):
        build_cache(tree, tmp_path / "cache", CONFIG)
    assert everything(tmp_path / "cache") == before


def test_a_failed_link_to_a_prepared_folder_leaves_the_last_good_cache(tree, tmp_path, monkeypatch):
    build_cache(tree, tmp_path / "prepared", CONFIG)
    build_cache(tree, tmp_path / "run", OTHER)
    before = everything(tmp_path / "run")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(data, "write_json", no_disk)
        open_or_build(tmp_path / "prepared", tmp_path / "run", CONFIG)
    assert everything(tmp_path / "run") == before


def test_a_run_inside_a_prepared_folder_is_refused(tree, tmp_path):
    build_cache(tree, tmp_path / "prepared", CONFIG)
    before = everything(tmp_path / "prepared")
    with pytest.raises(DataError, match="lies inside the source .* choose another folder"):
        open_or_build(tmp_path / "prepared", tmp_path / "prepared" / "run" / "data", CONFIG)
    assert everything(tmp_path / "prepared") == before


def test_masks_of_an_older_cache_do_not_stay(tmp_path):
    folder = tmp_path / "cache"
    assert build_cache(make_tree(tmp_path / "a", masks=True), folder, CONFIG).manifest["masks"]
    build_cache(make_tree(tmp_path / "b"), folder, CONFIG)
    assert {p.name for p in folder.iterdir()} == {"manifest.json", "slices.npy"}


LIMITED = """
import resource, signal, sys
from oasis_utils.cli.parser import main
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
sys.exit(main(["prepare", sys.argv[1], "--out", sys.argv[2], "--size", "32"]))
"""


@pytest.mark.faults
def test_no_room_is_told_in_words_and_leaves_the_last_good_cache(tree, tmp_path):
    build_cache(tree, tmp_path / "cache", OTHER)
    before = everything(tmp_path / "cache")
    command = [sys.executable, "-c", LIMITED, str(tree), str(tmp_path / "cache")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 1 and "Traceback" not in ran.stderr
    assert f"cannot write {tmp_path / 'cache'}" in ran.stderr and "ulimit -f" in ran.stderr
    assert everything(tmp_path / "cache") == before


def test_no_permission_names_the_folder(tree, tmp_path, monkeypatch):
    def denied(*_arguments, **_options):
        raise PermissionError(errno.EACCES, "Permission denied", f"{tmp_path}/cache/tmpynv3a5ob")

    monkeypatch.setattr(prepare.tempfile, "TemporaryFile", denied)
    with pytest.raises(StorageError, match=f"cannot write {tmp_path}/cache: no permission"):
        build_cache(tree, tmp_path / "cache", CONFIG)


# ---------------------------------------------------------------- foreign files


FOREIGN = {
    "manifest": {"manifest.json": b'{"name": "my app", "format": "1"}'},
    "list": {"manifest.json": b"[]"},
    "damaged": {"manifest.json": b"{"},
    "slices": {"slices.npy": b"mine"},
    "trio": {"manifest.json": b"{}", "slices.npy": b"mine", "masks.npy": b"mine"},
    "draft": {"slices.npy.12.partial": b"mine"},
    "other": {"my_thesis.txt": b"mine"},
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_folder_with_foreign_files_is_refused_and_kept(tree, tmp_path, kind):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, content in FOREIGN[kind].items():
        (folder / name).write_bytes(content)
    before = everything(folder)
    with pytest.raises(DataError, match="mine holds .* no part of a cache: .*; nothing was"):
        build_cache(tree, folder, CONFIG)
    build_cache(tree, tmp_path / "prepared", CONFIG)
    with pytest.raises(DataError, match=next(iter(FOREIGN[kind]))):
        open_or_build(tmp_path / "prepared", folder, CONFIG)
    assert everything(folder) == before


def test_a_foreign_file_beside_a_cache_is_kept(tree, tmp_path):
    build_cache(tree, tmp_path / "cache", OTHER)
    (tmp_path / "cache" / "notes.txt").write_text("mine")
    (tmp_path / "cache" / ".DS_Store").write_text("hidden")
    build_cache(tree, tmp_path / "cache", OTHER)  # up to date: nothing to write
    before = everything(tmp_path / "cache")
    with pytest.raises(DataError, match="cache holds notes.txt, .*no part of a cache"):
        build_cache(tree, tmp_path / "cache", CONFIG)
    assert everything(tmp_path / "cache") == before
    (tmp_path / "cache" / "notes.txt").unlink()
    build_cache(tree, tmp_path / "cache", CONFIG)
    assert (tmp_path / "cache" / ".DS_Store").read_text() == "hidden"


def test_foreign_files_in_a_folder_called_shards_are_kept(tree, tmp_path):
    build_cache(tree, tmp_path / "prepared", CONFIG)
    own = tmp_path / "cache" / "shards"
    build_cache(tree, tmp_path / "cache", OTHER)
    own.mkdir()
    (own / "000000.safetensors").write_bytes(b"one of ours by its name")
    (own / "vqvae.safetensors").write_bytes(b"mine")
    before = everything(tmp_path / "cache")
    for work in (build_cache, open_or_build):
        source = tree if work is build_cache else tmp_path / "prepared"
        with pytest.raises(DataError, match=r"holds shards/vqvae\.safetensors, .*nothing was"):
            work(source, tmp_path / "cache", CONFIG)
    assert everything(tmp_path / "cache") == before
    (own / "vqvae.safetensors").rename(own / ".hidden")
    build_cache(tree, tmp_path / "cache", CONFIG)
    assert everything(own) == {".hidden": b"mine"}


def test_a_cache_behind_a_link_is_not_replaced(tree, tmp_path):
    build_cache(tree, tmp_path / "cache", OTHER)
    build_cache(tree, tmp_path / "prepared", CONFIG)
    before = everything(tmp_path / "cache")
    (tmp_path / "link").symlink_to(tmp_path / "cache")
    assert build_cache(tree, tmp_path / "link", OTHER).manifest["config"]["image_size"] == 48
    with pytest.raises(DataError, match="link is a link, and what it leads to is not replaced"):
        build_cache(tree, tmp_path / "link", CONFIG)
    with pytest.raises(DataError, match="link is a link"):
        open_or_build(tmp_path / "prepared", tmp_path / "link", CONFIG)
    assert everything(tmp_path / "cache") == before


def test_a_file_in_place_of_the_folder_is_refused(tree, tmp_path):
    (tmp_path / "cache").write_text("mine")
    with pytest.raises(DataError, match="cache is no folder: choose another"):
        build_cache(tree, tmp_path / "cache", CONFIG)
    assert (tmp_path / "cache").read_text() == "mine"


def test_links_and_pipes_in_a_cache_are_not_replaced(tree, tmp_path):
    folder, outside = tmp_path / "cache", tmp_path / "outside.npy"
    build_cache(tree, folder, OTHER)
    (folder / "slices.npy").rename(outside)
    (folder / "slices.npy").symlink_to(outside)
    before, content = everything(folder), outside.read_bytes()
    with pytest.raises(StorageError, match="slices.npy: .* is a link"):
        build_cache(tree, folder, CONFIG)
    assert everything(folder) == before and outside.read_bytes() == content
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")
    with pytest.raises(DataError, match="manifest.json and 1 more, .*no part of a cache"):
        build_cache(tree, folder, CONFIG)


# ---------------------------------------------------------------- kills

# prepares in child processes over copies of a good cache; child N dies at its Nth change of the
# folder. One line a child: its exit status, and the side of the slices that open afterwards.
KILLED = """
import os, shutil, sys
from pathlib import Path
from oasis_utils.config import DataConfig
from oasis_utils.data.dataset import open_cache
from oasis_utils.data.prepare import import_source

source, good, new = map(Path, sys.argv[1:4])
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "open"}

def prepare(folder, deadline):
    left = deadline
    def count(event, arguments):
        nonlocal left
        if event not in CHANGES or not str(arguments[0]).startswith(str(folder)):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
    sys.addaudithook(count)
    import_source(source, folder, DataConfig(image_size=32))
    os._exit(0)

# in this process already, so that no import counts
import_source(source, new, DataConfig(image_size=32))
for deadline in range(1, 100):
    folder = good.with_name(f"killed{deadline}")
    shutil.copytree(good, folder)
    child = os.fork()
    if child == 0:
        prepare(folder, deadline)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    cache = open_cache(folder)
    masks = cache.split("test").masks
    print(status, cache.split("test").images.shape[1], None if masks is None else masks.shape[1])
    if status == 0:
        break
"""


@pytest.mark.faults
@pytest.mark.parametrize("masks", [(True, False), (False, True), (True, True)])
def test_prepare_killed_at_any_change_leaves_the_good_cache_or_the_new_one(tmp_path, masks):
    before, after = masks
    make_tree(tmp_path / "a", masks=before)
    source = make_tree(tmp_path / "b", masks=after)
    good, new = tmp_path / "good", tmp_path / "new"
    build_cache(tmp_path / "a", good, OTHER)
    command = [sys.executable, "-c", KILLED, *map(str, (source, good, new))]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    lives = [line.split() for line in ran.stdout.splitlines()]
    statuses, ends = [life[0] for life in lives], [life[1:] for life in lives]
    old, young = ["48", "48" if before else "None"], ["32", "32" if after else "None"]
    assert statuses == ["-9"] * (len(lives) - 1) + ["0"] and len(lives) >= 6
    first = ends.index(young)
    assert 3 <= first < len(ends) - 3  # kills before the new cache counts, and after it does
    assert ends == [old] * first + [young] * (len(ends) - first)
    for number in range(1, len(lives) + 1):
        folder = tmp_path / f"killed{number}"
        build_cache(source, folder, CONFIG)
        assert everything(folder) == everything(new)


@pytest.mark.faults
def test_a_killed_first_import_is_no_cache_and_the_next_one_removes_its_draft(tree, tmp_path):
    script = KILLED.split("# in this process")[0] + "prepare(good, 12)\n"
    command = [sys.executable, "-c", script, *map(str, (tree, tmp_path / "cache", tmp_path))]
    assert subprocess.run(command).returncode == -9
    assert list((tmp_path / "cache").iterdir()) and not is_cache(tmp_path / "cache")
    build_cache(tree, tmp_path / "cache", CONFIG)
    assert {p.name for p in (tmp_path / "cache").iterdir()} == {"manifest.json", "slices.npy"}


def test_a_second_import_into_one_folder_is_refused_by_name(tree, tmp_path, monkeypatch):
    folder, write, refused = tmp_path / "cache", prepare.write_resized, []

    def meanwhile(*arguments, **options):
        monkeypatch.setattr(prepare, "write_resized", write)
        before = everything(folder)
        with pytest.raises(FolderInUse, match=f"cache is in use by process {os.getpid()} on "):
            build_cache(tree, folder, OTHER)
        refused.append(everything(folder) == before)
        write(*arguments, **options)

    monkeypatch.setattr(prepare, "write_resized", meanwhile)
    dataset = build_cache(tree, folder, CONFIG)
    assert refused == [True] and np.shape(dataset.split("test").images)[1:] == (32, 32)
    assert {p.name for p in folder.iterdir()} == {"manifest.json", "slices.npy"}
    assert build_cache(tree, folder, OTHER).split("test").images.shape[1:] == (48, 48)
