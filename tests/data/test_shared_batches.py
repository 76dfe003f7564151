"""Batches of which several processes take a part each."""

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from slice_files import make_tree
from two_processes import in_two

from oasis_utils.config import DataConfig
from oasis_utils.data.batches import (
    Batches,
    Streamed,
    TrainingBatches,
    batches_in_epoch,
    first_of,
    rows_of_process,
    smallest_batch,
)
from oasis_utils.data.dataset import MAX_MEMORY_SHARE, build_cache
from oasis_utils.data.shards_of_slices import training_batches, write_shards
from oasis_utils.runtime import DataError, processes
from oasis_utils.runtime.symmetry import LEFT_RIGHT


def numbered(n):
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 1, 4, 4)
    return {"images": images.clone(), "positions": torch.arange(n) * 7 % 5}


@pytest.mark.parametrize(("n", "parts"), [(7, 3), (8, 2), (3, 3), (30, 7), (5, 1)])
def test_parts_are_those_of_tensor_split(n, parts):
    starts = [first_of(part, parts, n) for part in range(parts + 1)]
    expected = [len(part) for part in torch.arange(n).tensor_split(parts)]
    assert np.diff(starts).tolist() == expected


@pytest.mark.parametrize("together", [1, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [20, 21, 22, 23, 37, 64])
def test_processes_take_every_row_once_and_groups_whole(n, count, together):
    """The groups that a process makes of its own rows are those of the joined batch."""
    rows = torch.arange(n)
    parts = [rows[rows_of_process(n, rank, count, together)] for rank in range(count)]
    assert torch.equal(torch.cat(parts), rows)
    assert max(map(len, parts)) - min(map(len, parts)) <= together + 3
    joined = rows.tensor_split(max(n // together, 1))
    own = [group for part in parts for group in part.tensor_split(max(len(part) // together, 1))]
    assert [group.tolist() for group in own] == [group.tolist() for group in joined]


@pytest.mark.parametrize("mirror", [None, LEFT_RIGHT])
@pytest.mark.parametrize("shuffle", [True, False])
def test_parts_of_a_batch_make_the_batch_of_one_process(shuffle, mirror):
    batches = Batches(numbered(23), 8, shuffle, mirror, seed=3)
    parts = [batches.shared(rank, 3) for rank in range(3)]
    assert {len(part) for part in parts} == {len(batches)}
    assert {part.batch_size for part in parts} == {8}
    for epoch in range(2):
        for whole, *own in zip(*(b.epoch(epoch) for b in (batches, *parts)), strict=True):
            for key, value in whole.items():
                assert torch.equal(torch.cat([batch[key] for batch in own]), value)


def test_neighbours_are_sorted_and_stay_together():
    batches = Batches(numbered(26), 13, shuffle=True, seed=1)
    parts = [batches.shared(rank, 2, ("positions", 4)) for rank in range(2)]
    for whole, *own in zip(batches, *parts, strict=True):
        order = whole["positions"].argsort(stable=True)
        assert [len(batch["positions"]) for batch in own] == [9, 4]
        for key, value in whole.items():
            assert torch.equal(torch.cat([batch[key] for batch in own]), value[order])


def test_streamed_images_are_read_by_one_process_only(monkeypatch):
    images, read = np.arange(12, dtype=np.uint8).reshape(12, 1, 1).repeat(4, 1), []
    streamed = Streamed(images, torch.device("cpu"))
    held = {"images": torch.from_numpy(images)[:, None], "positions": torch.arange(12)}
    monkeypatch.setattr(
        Streamed, "read", lambda self, rows: read.extend(rows.tolist()) or held["images"][rows]
    )
    batches = Batches({"images": streamed, "positions": held["positions"]}, 6, shuffle=True)
    for rank in range(2):
        list(batches.shared(rank, 2))
    assert sorted(read) == list(range(12))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("n", [3, 8, 17, 24])
def test_number_and_least_size_are_those_of_the_batches_of_an_epoch(n, shuffle):
    sizes = [len(batch["positions"]) for batch in Batches(numbered(n), 8, shuffle)]
    assert batches_in_epoch(n, 8, shuffle) == len(sizes)
    assert smallest_batch(n, 8, shuffle) == min(sizes)


@pytest.mark.parametrize(
    ("batches", "count", "neighbours"),
    [
        (Batches(numbered(3), 8, shuffle=True), 4, None),
        (Batches(numbered(17), 8), 2, None),  # the last batch has one row
        (Batches(numbered(32), 8, shuffle=True), 3, ("positions", 4)),
    ],
)
def test_a_batch_too_small_for_all_is_refused(batches, count, neighbours):
    with pytest.raises(DataError, match=r"is too small for . processes: train with at most"):
        batches.shared(0, count, neighbours)


# ---------------------------------------------------------------- shards or memory


def read_with_free_memory(folder, sizes):
    """What each process reads in an epoch, whose free memory, in slices, differs."""
    from oasis_utils.data import open_cache, shards_of_slices

    dataset = open_cache(Path(folder) / "cache")
    free = sizes[processes.rank()] * 1024 / MAX_MEMORY_SHARE
    with mock.patch.object(shards_of_slices, "free_memory", return_value=free):
        batches = training_batches(dataset, torch.device("cpu"), 4, seed=1)
    own = batches.shared(processes.rank(), processes.count())
    return {
        "kind": type(batches).__name__,
        "streamed": isinstance(getattr(batches, "tensors", {}).get("images"), Streamed),
        "rows": [batch["positions"] + 10 * batch["subjects"] for batch in own],
    }


@pytest.fixture
def small_cache(tmp_path):
    return build_cache(make_tree(tmp_path / "tree"), tmp_path / "cache", DataConfig(image_size=32))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "kind"),
    [((10, 10), "Batches"), ((10, 8), "ShardedBatches"), ((8, 10), "ShardedBatches")],
)
def test_one_process_short_of_memory_makes_all_read_shards(
    small_cache, tmp_path, sizes, kind, capfd
):
    """The training split has 9 slices. Parts of two orders would hold some of them twice."""
    write_shards(small_cache)
    found = in_two(read_with_free_memory, tmp_path, sizes)
    assert [part["kind"] for part in found] == [kind, kind]
    rows = torch.cat([row for part in found for row in part["rows"]]).tolist()
    assert len(rows) == 8 and len(set(rows)) == 8
    assert capfd.readouterr().out.count("are read from shards") == (kind == "ShardedBatches")


@pytest.mark.parametrize(("processes_here", "streamed"), [(1, False), (2, True)])
def test_on_a_cpu_the_slices_of_all_processes_count(
    small_cache, tmp_path, monkeypatch, processes_here, streamed
):
    monkeypatch.setenv("RANK", "0")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, str(processes_here))
    assert read_with_free_memory(tmp_path, [10])["streamed"] is streamed


def test_batches_are_what_the_training_loop_asks_for():
    assert isinstance(Batches(numbered(8), 4), TrainingBatches)
