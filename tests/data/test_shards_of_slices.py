"""The shards of a cache: equal to its slices, in bounded memory, read where memory is short."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from slice_files import make_tree

from oasis_utils import data
from oasis_utils.config import DataConfig
from oasis_utils.data import cache_folder, shards_of_slices
from oasis_utils.data.batches import Batches
from oasis_utils.data.dataset import build_cache, open_or_build
from oasis_utils.data.shards import open_shards, writing
from oasis_utils.data.shards_of_slices import (
    read_images,
    shards_of,
    training_batches,
    write_shards,
)
from oasis_utils.runtime import DataError, processes

CONFIG, CPU = DataConfig(image_size=32), torch.device("cpu")


@pytest.fixture
def dataset(tmp_path):
    return build_cache(make_tree(tmp_path / "tree"), tmp_path / "cache", CONFIG)


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(shards_of_slices, "free_memory", lambda device: 1000)


@pytest.mark.parametrize("split", ["train", "validate", "test"])
def test_shards_hold_the_slices_of_the_split(dataset, tmp_path, split):
    folder = write_shards(dataset, split, tmp_path / "shards", shard_bytes=2500)
    shards, slices = open_shards(folder), dataset.split(split)
    read = shards.read(np.arange(len(shards)))
    assert len(shards) == len(slices) and max(shards.sizes) == 2  # of 1024 pixels each
    for name in ("images", "subjects", "positions", "ages"):
        assert np.array_equal(read[name].numpy(), getattr(slices, name), equal_nan=True)


def test_slices_of_an_array_and_of_its_memory_map_are_read_alike(dataset):
    images = dataset.split("test").images
    with open(dataset.folder / "slices.npy", "rb") as file:
        assert np.array_equal(read_images(images, slice(1, 4), file), images[1:4])
        assert np.array_equal(read_images(images[2:], slice(1, 4), file), images[3:6])
        assert np.array_equal(read_images(np.array(images), slice(1, 4), file), images[1:4])


def test_progress_counts_shards(dataset):
    seen = []
    write_shards(dataset, progress=lambda *done: seen.append(done), shard_bytes=2500)
    assert seen == [(i, 5) for i in range(1, 6)]


# ---------------------------------------------------------------- the folder of the cache


def test_command_writes_shards_beside_the_cache(tmp_path, capsys):
    from oasis_utils.cli.parser import main

    tree, out = make_tree(tmp_path / "tree"), tmp_path / "cache"
    words = ["prepare", str(tree), "--out", str(out), "--size", "32", "--shards"]
    assert main(words) == 0
    assert f"wrote shards to {out / 'shards'}" in capsys.readouterr().out
    before = (out / "shards" / "000000.safetensors").stat().st_mtime_ns
    assert main(words) == 0  # nothing is written again
    assert (out / "shards" / "000000.safetensors").stat().st_mtime_ns == before
    assert len(shards_of(data.open_cache(out))) == 9


def test_shards_go_with_an_older_cache(dataset, tmp_path):
    write_shards(dataset)
    again = build_cache(make_tree(tmp_path / "more", positions=4), dataset.folder, CONFIG)
    assert shards_of(again) is None


def test_linked_cache_has_the_shards_of_the_prepared_one(dataset, tmp_path):
    write_shards(dataset)
    linked = open_or_build(dataset.folder, tmp_path / "run", CONFIG)
    assert len(shards_of(linked)) == 9
    file = "shards/000000.safetensors"
    assert (linked.folder / file).samefile(dataset.folder / file)
    again = open_or_build(dataset.folder, tmp_path / "run", CONFIG)  # a second time
    assert len(shards_of(again)) == 9
    assert {p.name for p in again.folder.iterdir()} == {"manifest.json", "slices.npy", "shards"}


def test_only_finished_shards_are_linked(dataset, tmp_path):
    write_shards(dataset, shard_bytes=2500)
    own = {path.name for path in (dataset.folder / "shards").glob("[!.]*")}
    for name in ("000001.safetensors.7-a0.partial", "000009.safetensors"):
        (dataset.folder / "shards" / name).write_bytes(b"of a running writer")
    linked = open_or_build(dataset.folder, tmp_path / "run", CONFIG)
    assert {path.name for path in (linked.folder / "shards").iterdir()} == own
    (dataset.folder / "shards" / "index.json").unlink()
    assert shards_of(open_or_build(dataset.folder, tmp_path / "run", CONFIG)) is None


@pytest.mark.parametrize("done", range(9))
def test_interrupted_linking_is_finished_by_whoever_opens(dataset, tmp_path, monkeypatch, done):
    """The slices, no masks, the manifest, five shards and the index are put in their places."""
    write_shards(dataset, shard_bytes=2500)
    put, calls = cache_folder._put, []

    def interrupted(path, folder):
        if len(calls) == done:
            raise KeyboardInterrupt
        calls.append(path)
        put(path, folder)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cache_folder, "_put", interrupted)
        open_or_build(dataset.folder, tmp_path / "run", CONFIG)
    linked = data.open_cache(tmp_path / "run")
    assert len(shards_of(linked).read(np.arange(9))["ages"]) == 9
    assert {p.name for p in linked.folder.iterdir()} == {"manifest.json", "slices.npy", "shards"}


def test_shards_that_a_process_writes_are_left_to_it(dataset, tmp_path):
    write_shards(dataset)
    linked = open_or_build(dataset.folder, tmp_path / "run", CONFIG)
    with writing(linked.folder / "shards", {"a": 1}) as writer:
        writer.write({"images": np.zeros((2, 4, 4), np.uint8)})
        open_or_build(dataset.folder, tmp_path / "run", CONFIG)
    assert len(open_shards(linked.folder / "shards")) == 2


def test_foreign_folder_of_this_name_is_refused(tmp_path):
    (tmp_path / "cache" / "shards").mkdir(parents=True)
    with pytest.raises(DataError, match="no part of a cache"):
        build_cache(make_tree(tmp_path / "tree"), tmp_path / "cache", CONFIG)


def test_shards_of_other_data_are_refused(dataset, tmp_path):
    other = build_cache(make_tree(tmp_path / "more", positions=4), tmp_path / "other", CONFIG)
    write_shards(other, folder=dataset.folder / "shards")
    with pytest.raises(DataError, match=r"other data.*prepare --shards"):
        shards_of(dataset)


def replace_after_first_shard(dataset, source, stop=None):
    """A progress of `write_shards` that puts another cache in the place of this one."""

    def progress(done, total):
        if done == 1:
            build_cache(source, dataset.folder, CONFIG)
        if done == stop:
            raise KeyboardInterrupt

    return progress


def test_cache_replaced_meanwhile_leaves_no_shards(dataset, tmp_path):
    progress = replace_after_first_shard(dataset, make_tree(tmp_path / "more", positions=4))
    with pytest.raises(DataError, match="replaced meanwhile.*write the shards again"):
        write_shards(dataset, progress=progress, shard_bytes=2500)
    new = data.open_cache(dataset.folder)
    assert shards_of(new) is None
    write_shards(new)
    with pytest.raises(DataError, match="replaced meanwhile"):
        write_shards(dataset)
    assert len(shards_of(new)) == len(new.split("train"))  # those of the new cache stay


def test_shards_never_hold_the_slices_of_another_cache(dataset, tmp_path):
    other = make_tree(tmp_path / "more", positions=4)
    old = np.array(dataset.split("train").images)
    progress = replace_after_first_shard(dataset, other, stop=3)
    with pytest.raises(KeyboardInterrupt):
        write_shards(dataset, folder=tmp_path / "own", progress=progress, shard_bytes=2500)
    assert not np.array_equal(data.open_cache(dataset.folder).split("train").images[2:6], old[2:6])
    for number in (1, 2):
        written = load_file(tmp_path / "own" / f"{number:06d}.safetensors")["images"]
        assert np.array_equal(written, old[2 * number : 2 * number + 2])


# ---------------------------------------------------------------- batches of a training


def test_training_reads_shards_only_where_memory_is_short(dataset, little_memory, capsys):
    write_shards(dataset)
    batches = training_batches(dataset, CPU, 3, seed=1)
    assert isinstance(batches, data.ShardedBatches) and len(batches) == 3
    assert "are read from shards" in capsys.readouterr().out
    assert isinstance(training_batches(dataset, CPU, 3, from_shards=False), Batches)


@pytest.mark.parametrize(("count", "each"), [(1, ""), (4, " for each of 4 processes")])
def test_size_that_is_told_is_that_of_the_slices(
    dataset, little_memory, monkeypatch, capsys, count, each
):
    write_shards(dataset)
    monkeypatch.setattr(shards_of_slices, "GIB", dataset.split("train").images.nbytes)
    monkeypatch.setattr(processes, "count_here", lambda: count)
    training_batches(dataset, CPU, 3)
    told = capsys.readouterr().out
    assert told.startswith(f"train: 1.00 GiB of slices{each} are read from shards, cpu has ")


def test_training_that_fits_into_memory_is_as_without_shards(dataset):
    write_shards(dataset)
    batches, train = training_batches(dataset, CPU, 4, seed=1), dataset.split("train")
    held = Batches(train.to(CPU), 4, True, train.symmetry, 1)
    for ours, theirs in zip(batches.epoch(1), held.epoch(1), strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_without_shards_a_large_set_is_streamed(dataset, little_memory):
    assert isinstance(training_batches(dataset, CPU, 3), Batches)
    with pytest.raises(DataError, match="prepare --shards"):
        training_batches(dataset, CPU, 3, from_shards=True)


def test_model_is_trained_from_shards_and_loaded_again(dataset, tmp_path):
    from oasis_utils.config import TrainingConfig, VQVAEConfig
    from oasis_utils.models.vqvae import VQVAE
    from oasis_utils.runtime import RunFolder
    from oasis_utils.training import fit

    write_shards(dataset)
    config = VQVAEConfig(32, channels=32, residual_blocks=1, n_codes=8, code_dim=4)
    held_out = Batches(dataset.split("validate").to(CPU), 3)
    histories = []
    for _ in range(2):
        torch.manual_seed(0)
        batches = training_batches(dataset, CPU, 3, from_shards=True)
        schedule, run = TrainingConfig(2, 3, 1e-3), RunFolder(tmp_path / "run")
        histories.append(fit(VQVAE(config), batches, held_out, schedule, run, "vqvae")[1])
    assert histories[0] == histories[1] and histories[0][-1]["steps"] == 6


# ---------------------------------------------------------------- memory

MIB = 2**20
LIMIT = 64  # MiB of growth, for six times as much data
# glibc returns freed memory at once; else it keeps up to 64 MiB, more or less by chance
RETURN_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
MEMORY_OF_AN_EPOCH = """
import json, sys
from pathlib import Path
import numpy as np, torch
from oasis_utils.data.shards import open_shards, writing
from oasis_utils.data.shards_batches import ShardedBatches
from oasis_utils.runtime.symmetry import LEFT_RIGHT

torch.set_num_threads(1)
folder = Path(sys.argv[1])

def peak():
    status = dict(line.split(":") for line in open("/proc/self/status"))
    return int(status["VmHWM"].split()[0]) / 1024

def growth(work):
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, result = peak(), work()
    return peak() - before, result

def write():
    with writing(folder, {"some": "noise"}) as writer:
        for number in range(100):  # of 4 MiB
            random = np.random.default_rng(number)
            images = random.integers(0, 256, (64, 256, 256), dtype=np.uint8)
            writer.write({"images": images, "positions": np.arange(64)})

def read():
    batches = ShardedBatches(open_shards(folder), 16, mirror=LEFT_RIGHT)
    return sum(len(batch["images"]) for batch in batches.epoch(0))

writing_mib, _ = growth(write)
reading_mib, rows = growth(read)
size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
print(json.dumps({"writing": writing_mib, "reading": reading_mib, "rows": rows, "bytes": size}))
"""


@pytest.mark.slow
def test_memory_of_writing_and_reading_is_bounded(tmp_path):
    """Peak of all resident memory (VmHWM: anonymous pages and those of mapped files)."""
    script = tmp_path / "epoch.py"
    script.write_text(MEMORY_OF_AN_EPOCH)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "shards"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | RETURN_MEMORY,
    )
    found = json.loads(done.stdout)
    assert found["rows"] == 6400 and found["bytes"] > 6 * LIMIT * MIB
    assert found["writing"] < LIMIT and found["reading"] < LIMIT
