"""Arrays of a run folder: read, or named with what to do."""

import os
import zipfile

import numpy as np
import pytest

from oasis_utils.config import SPLITS
from oasis_utils.metrics import codebook
from oasis_utils.models.codes import load_codes
from oasis_utils.models.samples import Samples
from oasis_utils.runtime import DataError, read_arrays, require_arrays
from oasis_utils.training.history import Snapshots


def cut_off(path):
    np.savez_compressed(path, images=np.arange(1000))
    path.write_bytes(path.read_bytes()[:-100])


def one_array(path):
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))


def objects(path):
    np.savez(path, images=np.array([{}], dtype=object))


def larger_than_memory(path):
    claim = repr({"descr": "<f8", "fortran_order": False, "shape": (2**60,)}).encode()
    with zipfile.ZipFile(path, "w") as file:
        header = b"\x93NUMPY\x01\x00" + len(claim).to_bytes(2, "little") + claim
        file.writestr("images.npy", header)


def text(path):
    path.write_text("hello")


def empty(path):
    path.write_bytes(b"")


DAMAGED = [cut_off, one_array, objects, larger_than_memory, text, empty]
READERS = {
    "samples": Samples.load,
    "codes": load_codes,
    "snapshots": lambda path: Snapshots(path, len).arrays(),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_file_is_named_with_advice(tmp_path, damage, reader):
    path = tmp_path / "arrays.npz"
    damage(path)
    with pytest.raises(DataError, match=r"arrays\.npz is damaged \(.+\): .*(again|anew)"):
        READERS[reader](path)


@pytest.mark.parametrize("reader", READERS)
def test_nobody_waits_for_a_fifo(tmp_path, reader):
    os.mkfifo(tmp_path / "arrays.npz")
    with pytest.raises(DataError, match="it is a FIFO, no plain file"):
        READERS[reader](tmp_path / "arrays.npz")


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_coordinates_are_computed_again(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(codebook, "umap_coordinates", lambda vectors, seed: vectors[:, :2] + seed)
    damage(tmp_path / "umap.npz")
    for _ in range(2):
        found = codebook.cached_umap(tmp_path / "umap.npz", "weights", np.eye(20), 3)
        assert np.array_equal(found, np.eye(20)[:, :2] + 3)
    assert np.array_equal(
        read_arrays(tmp_path / "umap.npz", "")["coordinates"], np.eye(20)[:, :2] + 3
    )


@pytest.mark.parametrize("reader", READERS)
def test_file_of_another_kind_is_named(tmp_path, reader):
    np.savez(tmp_path / "arrays.npz", other=np.zeros(3))
    with pytest.raises(DataError, match="is a file of another kind"):
        READERS[reader](tmp_path / "arrays.npz")


def test_sound_arrays_are_read_exactly(tmp_path):
    written = {name: np.random.default_rng(i).random((3, i)) for i, name in enumerate(SPLITS)}
    np.savez_compressed(tmp_path / "arrays.npz", **written)
    found = read_arrays(tmp_path / "arrays.npz", "write it again")
    require_arrays(found, SPLITS, tmp_path / "arrays.npz")
    assert found.keys() == written.keys()
    assert all(np.array_equal(found[name], written[name]) for name in SPLITS)
