"""Files of shards: written whole or not at all, read in any order, damage is named."""

import json
import pickle

import numpy as np
import pytest
from shard_files import numbered_rows, write_numbered

from oasis_utils.data.shards import INDEX, concatenated, open_shards, rows_of_shard, writing
from oasis_utils.runtime import DataError, FolderInUse, exclusive

SIZES = (5, 3, 4)


@pytest.fixture
def folder(tmp_path):
    write_numbered(tmp_path / "shards", SIZES)
    return tmp_path / "shards"


def test_rows_are_read_in_the_order_asked_for_across_shards(folder):
    shards, rows = open_shards(folder), numbered_rows(12)
    assert len(shards) == 12 and shards.sizes == list(SIZES)
    asked = np.array([11, 0, 6, 0, 4, 5])
    read = shards.read(asked)
    assert {name: values.numpy().tolist() for name, values in read.items()} == {
        name: values[asked].tolist() for name, values in rows.items()
    }
    assert list(shards.read(asked, ["positions"])) == ["positions"]


def test_reading_changes_no_file_and_gives_copies(folder):
    shards = open_shards(folder)
    shards.read(np.arange(12))["images"].zero_()
    assert shards.read(np.arange(12))["images"].min() > 0


def test_few_shards_stay_open(folder):
    shards = open_shards(folder)
    shards.most_open = 2
    for row in (0, 5, 8, 0):
        shards.read(np.array([row]))
    assert len(shards._opened) == 2


def test_opened_shards_go_to_other_processes_without_their_maps(folder):
    shards = open_shards(folder)
    shards.read(np.arange(12))
    copy = pickle.loads(pickle.dumps(shards))
    assert not copy._opened and copy.read(np.array([7]))["positions"].tolist() == [7]


def test_concatenated_sets_are_numbered_one_after_the_other(folder, tmp_path):
    other, _ = write_numbered(tmp_path / "other", (2, 6), first=100)
    both = concatenated([open_shards(folder), other])
    assert both.read(np.array([13, 2]))["positions"].tolist() == [101, 2]
    assert both.identity not in (other.identity, open_shards(folder).identity)


def test_sets_of_different_kinds_are_not_concatenated(folder, tmp_path):
    other, _ = write_numbered(tmp_path / "other", (2,), size=8)
    with pytest.raises(DataError, match="different kinds.*prepare both alike"):
        concatenated([open_shards(folder), other])


def test_shards_have_bounded_size():
    rows = {"images": np.zeros((3, 64, 64), np.uint8), "positions": np.zeros(3, np.int64)}
    assert rows_of_shard(rows, 2**20) == 2**20 // (64 * 64 + 8)
    assert rows_of_shard(rows, 10) == 1


# ---------------------------------------------------------------- interruption


def test_interrupted_writing_leaves_whole_shards_and_no_index(tmp_path):
    rows = numbered_rows(8)
    with pytest.raises(KeyboardInterrupt), writing(tmp_path, {"a": 1}) as writer:
        writer.write({name: values[:4] for name, values in rows.items()})
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["000000.safetensors"]
    with pytest.raises(DataError, match="no finished shards.*run the command"):
        open_shards(tmp_path)


def test_writing_goes_on_after_the_last_sound_shard(folder):
    times = [path.stat().st_mtime_ns for path in sorted(folder.glob("*.safetensors"))]
    (folder / INDEX).unlink()
    (folder / "000001.safetensors").write_bytes(b"half")
    (folder / "000002.safetensors.1-a.partial").write_bytes(b"of a killed process")
    shards, rows = write_numbered(folder, SIZES)
    again = [path.stat().st_mtime_ns for path in sorted(folder.glob("*.safetensors"))]
    assert [a == b for a, b in zip(times, again, strict=True)] == [True, False, True]
    assert shards.read(np.arange(12))["positions"].tolist() == rows["positions"].tolist()
    assert not list(folder.glob("*.partial"))


def test_shards_of_another_source_are_replaced_and_surplus_ones_removed(folder):
    shards, _ = write_numbered(folder, (6,), first=50)
    assert shards.read(np.array([0]))["positions"].tolist() == [50]
    assert len(list(folder.glob("*.safetensors"))) == 1


def test_index_of_the_same_source_stays_while_its_shards_are_checked(folder):
    about = json.loads((folder / INDEX).read_text())["about"]
    with pytest.raises(KeyboardInterrupt), writing(folder, about):
        raise KeyboardInterrupt
    assert len(open_shards(folder)) == 12
    with pytest.raises(KeyboardInterrupt), writing(folder, {"other": 1}):
        raise KeyboardInterrupt
    assert not (folder / INDEX).exists()


def test_second_writer_is_refused(folder):
    with (
        exclusive(folder / ".lock", folder),
        pytest.raises(FolderInUse),
        writing(folder, {}),
    ):
        pass


# ---------------------------------------------------------------- foreign files


def contents(folder):
    return {p.name: p.read_bytes() if p.is_file() else None for p in folder.iterdir()}


@pytest.mark.parametrize(
    "foreign",
    [
        "vqvae.safetensors",
        "vqvae.safetensors.12-0a1b.partial",
        "00000.safetensors",
        "000000.safetensors.bak",
        "notes.txt",
        INDEX,
    ],
)
def test_folder_with_foreign_files_is_refused_and_kept(tmp_path, foreign):
    (tmp_path / foreign).write_bytes(b'{"shards": 2}')
    before = contents(tmp_path)
    with pytest.raises(DataError, match=f"holds {foreign}, .*choose a new folder.*nothing was"):
        write_numbered(tmp_path, SIZES)
    assert contents(tmp_path) == before


def test_foreign_files_among_shards_are_refused_and_kept(folder):
    (folder / "000007.safetensors").mkdir()
    (folder / "vqvae.json").write_text("mine")
    before = contents(folder)
    with pytest.raises(DataError, match=r"000007\.safetensors and 1 more"):
        write_numbered(folder, (6,), first=50)
    assert contents(folder) == before


def test_files_that_appear_while_shards_are_written_are_kept(folder):
    (folder / ".DS_Store").write_text("hidden")
    with writing(folder, {"a": 1}) as writer:
        writer.write(numbered_rows(4))
        (folder / "vqvae.safetensors").write_text("mine")
    names = {".DS_Store", ".lock", "000000.safetensors", INDEX, "vqvae.safetensors"}
    assert contents(folder).keys() == names


def test_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "shards").write_text("mine")
    with pytest.raises(DataError, match="no folder: choose another"):
        write_numbered(tmp_path / "shards", SIZES)


# ---------------------------------------------------------------- damage


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes instead of"),
        (lambda path: path.write_bytes(b"\xff" * path.stat().st_size), "damaged"),
        (flip_a_bit, "checksum differs"),
    ],
)
def test_damaged_shard_is_named_with_what_to_do(folder, damage, reason):
    damage(folder / "000001.safetensors")
    with pytest.raises(DataError, match=rf"000001\.safetensors.*{reason}.*run the command"):
        open_shards(folder).read(np.array([6]))
    shards, _ = write_numbered(folder, SIZES)  # the command that wrote it
    assert shards.read(np.array([6]))["positions"].tolist() == [6]


@pytest.mark.parametrize(
    "index",
    [
        "[]",
        '{"format": 99}',
        '{"format": 1, "about": {}, "shards": []}',
        '{"format": 1, "about": {}, "shards": [{"file": "000000.safetensors"}]}',
        '{"format": 1, "about": {}, "shards": 3}',
    ],
)
def test_damaged_index_is_named_with_what_to_do(folder, index):
    (folder / INDEX).write_text(index)
    with pytest.raises(DataError, match=r"index\.json.*run the command"):
        open_shards(folder)
