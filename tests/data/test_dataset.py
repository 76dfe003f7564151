"""The cache opened: splits, identities, links to prepared folders, and batches held or streamed."""

import os
import shutil

import numpy as np
import pytest
import torch
from slice_files import SUBJECTS, make_tree, picture_of, write_slice

from oasis_utils.config import PROFILES, SPLITS, DataConfig
from oasis_utils.data import dataset as data
from oasis_utils.data.dataset import (
    Batches,
    DataError,
    Streamed,
    build_cache,
    is_cache,
    one_each,
    open_cache,
    open_or_build,
    thinned,
)
from oasis_utils.runtime.symmetry import LEFT_RIGHT, Symmetry

CONFIG, CPU = DataConfig(image_size=32), torch.device("cpu")


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "keras_png_slices_data")


# ---------------------------------------------------------------- cache


def test_cache_holds_every_slice_of_every_split(tree, tmp_path):
    dataset = build_cache(tree, tmp_path / "cache", CONFIG)
    for name in SPLITS:
        split = dataset.split(name)
        rows = [(subject, position) for subject in SUBJECTS[name] for position in range(3)]
        assert list(zip(split.subjects.tolist(), split.positions.tolist(), strict=True)) == rows
        assert split.images.shape == (len(rows), 32, 32) and split.images.dtype == np.uint8
        assert split.name == name and len(split) == len(rows) and split.masks is None
    assert dataset.n_positions == 3
    assert (
        not dataset.synthetic and dataset.description == f"PNG slices of {tree.name}"
    )  # no path in titles


def test_identity_depends_on_pixels_and_not_on_the_place(tree, tmp_path):
    first = build_cache(tree, tmp_path / "a", CONFIG)
    moved = shutil.move(tree, tmp_path / "elsewhere")
    os.utime(moved / "keras_png_slices_test" / "case_005_slice_1.nii.png", ns=(0, 0))
    assert build_cache(moved, tmp_path / "b", CONFIG).identity == first.identity
    picture = picture_of(5, 1)
    picture[32, 32] += 1  # one grey level of one pixel
    write_slice(moved / "keras_png_slices_test", 5, 1, picture)
    assert build_cache(moved, tmp_path / "c", CONFIG).identity != first.identity


def test_identity_depends_on_the_splits(tmp_path):
    identities = set()
    for number, homes in enumerate(
        (
            {"train": (1, 2), "validate": (3,), "test": (4,)},
            {"train": (1, 2), "validate": (4,), "test": (3,)},
        )
    ):
        tree = make_tree(tmp_path / f"tree{number}", homes)
        identities.add(build_cache(tree, tmp_path / f"cache{number}", CONFIG).identity)
    assert len(identities) == 2


def test_ages_reach_their_slices(tree, tmp_path):
    (tree / "participants.tsv").write_text("participant_id\tage\ncase_005\t71.5\n")
    ages = build_cache(tree, tmp_path / "cache", CONFIG).split("test").ages
    assert ages[:3].tolist() == [71.5] * 3
    assert np.isnan(ages[3:]).all()


def test_unknown_split(tree, tmp_path):
    with pytest.raises(
        ValueError, match="unknown split 'val': choose one of train, validate, test"
    ):
        build_cache(tree, tmp_path / "cache", CONFIG).split("val")


def test_no_cache_says_how_to_make_one(tmp_path):
    with pytest.raises(DataError, match="no prepared data in .*: run notebook 01 or .*prepare"):
        open_cache(tmp_path)


def test_cache_of_another_version_is_refused(tree, tmp_path, monkeypatch):
    build_cache(tree, tmp_path / "cache", CONFIG)
    monkeypatch.setattr(data, "FORMAT", data.FORMAT + 1)
    with pytest.raises(
        DataError, match="prepared by another version of oasis_utils: delete it and"
    ):
        open_cache(tmp_path / "cache")


def test_split_as_tensors_and_floats(tree, tmp_path):
    split = build_cache(tree, tmp_path / "cache", CONFIG).split("test")
    tensors = split.to(CPU)
    assert tensors["images"].shape == (6, 1, 32, 32) and tensors["images"].dtype == torch.uint8
    assert tensors["positions"].tolist() == [0, 1, 2, 0, 1, 2]
    assert tensors["subjects"].tolist() == [5, 5, 5, 6, 6, 6]
    assert torch.equal((split.floats() * 255).round().to(torch.uint8), tensors["images"])


def test_sample_brains_are_said_to_be_synthetic(tmp_path):
    dataset = build_cache(data.sample_brains(PROFILES["smoke"].data), tmp_path / "cache", CONFIG)
    assert dataset.synthetic and "synthetic" in dataset.description
    assert dataset.n_positions == 32 and np.isfinite(dataset.split("test").ages).all()


def test_a_thinned_split_keeps_all_subjects_evenly_and_all_that_is_known_of_a_slice(brains):
    whole = brains.split("train")
    some = thinned(whole, 16)
    assert len(some) == 16 and np.unique(some.subjects, return_counts=True)[1].tolist() == [8, 8]
    assert len(np.unique(some.positions % 4)) > 1  # no comb over the positions
    assert (some.name, some.symmetry, some.content) == (whole.name, whole.symmetry, whole.content)
    for i in range(16):
        (row,) = np.flatnonzero(
            (whole.subjects == some.subjects[i]) & (whole.positions == some.positions[i])
        )
        assert np.array_equal(some.images[i], whole.images[row]) and some.ages[i] == whole.ages[row]
        assert some.series[i] == whole.series[row] and np.array_equal(
            some.masks[i], whole.masks[row]
        )


def test_one_slice_of_each_subject_whatever_its_sessions():
    """Subject 3 has two sessions; position 7 is nobody's, 2 is the nearest."""
    subjects, positions = np.array([1, 1, 2, 2, 3, 3, 3, 3]), np.array([0, 2] * 4)
    split = data.Split(
        "test", np.zeros((8, 4, 4), np.uint8), subjects, positions, np.full(8, np.nan, np.float32)
    )
    assert split.subjects[one_each(split, 2, 16)].tolist() == [1, 2, 3]
    assert split.positions[one_each(split, 7, 16)].tolist() == [2, 2, 2]
    assert split.subjects[one_each(split, 0, 2)].tolist() == [1, 3]


def test_a_small_split_is_not_thinned(brains):
    whole = brains.split("train")
    assert thinned(whole, 64) is whole
    assert np.array_equal(thinned(whole, 20).images, thinned(whole, 20).images)


# ---------------------------------------------------------------- prepared folders


def test_prepared_folder_is_linked(tree, tmp_path):
    prepared = build_cache(tree, tmp_path / "prepared", CONFIG)
    dataset = open_or_build(tmp_path / "prepared", tmp_path / "run" / "data", CONFIG)
    assert dataset.identity == prepared.identity
    assert (tmp_path / "run" / "data" / "slices.npy").samefile(tmp_path / "prepared" / "slices.npy")
    shutil.rmtree(tmp_path / "prepared")
    assert dataset.split("test").images.shape == (6, 32, 32)


def no_disk(*_args):
    raise OSError("no space left on device")


def test_masks_are_linked_too_and_old_ones_are_not_left(tree, tmp_path):
    masked = make_tree(tmp_path / "masked", masks=True)
    build_cache(masked, tmp_path / "with", CONFIG)
    build_cache(tree, tmp_path / "without", CONFIG)
    assert open_or_build(tmp_path / "with", tmp_path / "run", CONFIG).split("test").masks.any()
    assert open_or_build(tmp_path / "without", tmp_path / "run", CONFIG).split("test").masks is None
    assert not (tmp_path / "run" / "masks.npy").exists()


def test_prepared_folder_on_another_file_system_is_copied(tree, tmp_path, monkeypatch):
    build_cache(tree, tmp_path / "prepared", CONFIG)
    monkeypatch.setattr(os, "link", no_disk)
    dataset = open_or_build(tmp_path / "prepared", tmp_path / "run", CONFIG)
    source = np.load(tmp_path / "prepared" / "slices.npy")
    assert np.array_equal(np.load(dataset.folder / "slices.npy"), source)


def test_opening_a_prepared_folder_twice_or_in_place_is_fine(tree, tmp_path):
    prepared = build_cache(tree, tmp_path / "prepared", CONFIG)
    for folder in ("run", "run", "prepared"):
        assert (
            open_or_build(tmp_path / "prepared", tmp_path / folder, CONFIG).identity
            == prepared.identity
        )
        assert len(list((tmp_path / folder).iterdir())) == 2


def test_prepared_folder_of_another_size_is_refused(tree, tmp_path):
    build_cache(tree, tmp_path / "prepared", CONFIG)
    with pytest.raises(
        DataError, match="at 32 pixels, this profile takes 48: prepare again with --size 48"
    ):
        open_or_build(tmp_path / "prepared", tmp_path / "run", DataConfig(image_size=48))
    assert not is_cache(tmp_path / "run")


def test_interrupted_link_leaves_no_cache_that_opens(tree, tmp_path, monkeypatch):
    build_cache(tree, tmp_path / "prepared", CONFIG)
    build_cache(tree, tmp_path / "run", DataConfig(image_size=48))
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(data, "write_json", no_disk)
        open_or_build(tmp_path / "prepared", tmp_path / "run", CONFIG)
    assert not is_cache(
        tmp_path / "run"
    )  # else the slices of one set pass under the manifest of the other


def test_folder_of_slices_is_built(tree, tmp_path):
    assert is_cache(open_or_build(tree, tmp_path / "run", CONFIG).folder)


# ---------------------------------------------------------------- batches


def numbered(n):
    """n different pictures of an odd one out: a bright left half, grey level = number."""
    images = torch.zeros(n, 1, 4, 4, dtype=torch.uint8)
    images[..., :2] = torch.arange(1, n + 1, dtype=torch.uint8)[:, None, None, None]
    return {"images": images, "positions": torch.arange(n)}


def rows_of(batches, epoch):
    return torch.cat([batch["positions"] for batch in batches.epoch(epoch)])


def test_shuffled_epoch_has_every_row_once():
    batches = Batches(numbered(24), 8, shuffle=True, seed=3)
    for epoch in range(3):
        rows = rows_of(batches, epoch)
        assert sorted(rows.tolist()) == list(range(24))
        assert rows.tolist() != list(range(24))


def test_shuffled_epoch_drops_the_rest_and_an_ordered_one_keeps_it():
    shuffled, ordered = Batches(numbered(10), 4, shuffle=True), Batches(numbered(10), 4)
    assert len(shuffled) == 2 and len(set(rows_of(shuffled, 0).tolist())) == 8
    assert len(ordered) == 3 and rows_of(ordered, 0).tolist() == list(range(10))


def test_only_batch_is_kept_even_if_small():
    batches = Batches(numbered(3), 8, shuffle=True)
    assert len(batches) == 1 and sorted(rows_of(batches, 0).tolist()) == [0, 1, 2]


def test_order_depends_on_seed_and_epoch_alone():
    batches = Batches(numbered(24), 8, shuffle=True, seed=3)
    torch.manual_seed(0)
    third = rows_of(batches, 3)
    torch.manual_seed(1)
    assert torch.equal(rows_of(Batches(numbered(24), 8, shuffle=True, seed=3), 3), third)
    assert not torch.equal(rows_of(batches, 4), third)
    assert not torch.equal(rows_of(Batches(numbered(24), 8, shuffle=True, seed=4), 3), third)


def test_batches_leave_the_global_random_state_alone():
    before = torch.get_rng_state()
    rows_of(Batches(numbered(24), 8, shuffle=True, mirror=LEFT_RIGHT), 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_images_become_floats_that_belong_to_their_rows():
    for batch in Batches(numbered(24), 8, shuffle=True, mirror=LEFT_RIGHT):
        images = batch["images"]
        assert images.dtype == torch.float32 and images.min() >= 0 and images.max() <= 1
        assert torch.allclose(images.amax((1, 2, 3)) * 255, batch["positions"] + 1.0)


def test_white_is_one():
    tensors = {"images": torch.full((2, 1, 4, 4), 255, dtype=torch.uint8)}
    assert next(iter(Batches(tensors, 2)))["images"].eq(1).all()


def test_mirror_flips_about_half_of_the_rows_afresh_each_epoch():
    batches = Batches(numbered(200), 200, mirror=LEFT_RIGHT, seed=1)
    flipped = [next(batches.epoch(epoch))["images"][:, 0, 0, 0] == 0 for epoch in (0, 0, 1)]
    assert 70 < flipped[0].sum() < 130
    assert torch.equal(flipped[0], flipped[1]) and not torch.equal(flipped[0], flipped[2])
    image = next(batches.epoch(0))["images"][flipped[0]][0, 0]
    assert torch.equal(image[:, :2].sum(), torch.tensor(0.0)) and image[:, 2:].min() > 0


def test_a_horizontal_mid_line_is_mirrored_top_to_bottom():
    lying = {
        name: tensor.mT if name == "images" else tensor for name, tensor in numbered(200).items()
    }
    images = next(iter(Batches(lying, 200, mirror=Symmetry(-2), seed=1)))["images"]
    plain = next(iter(Batches(lying, 200)))["images"]
    turned = (images != plain).any((1, 2, 3))
    assert 70 < turned.sum() < 130 and torch.equal(images[turned], plain[turned].flip(-2))


@pytest.mark.parametrize("mirror", [None, Symmetry(None)])
def test_nothing_is_mirrored_unless_asked(mirror):
    assert (next(iter(Batches(numbered(50), 50, mirror=mirror)))["images"][:, 0, 0, 0] > 0).all()


@pytest.mark.parametrize("lengths", [(3, 4), (0, 0)])
def test_lengths_must_agree(lengths):
    with pytest.raises(DataError, match="tensors of one length above 0"):
        Batches(
            {"images": torch.zeros(lengths[0], 1, 4, 4), "positions": torch.zeros(lengths[1])}, 2
        )


# ---------------------------------------------------------------- streaming


def memory_map(path, n=24):
    np.save(path, np.random.default_rng(0).integers(0, 256, (n, 8, 8), dtype=np.uint8))
    images = np.load(path, mmap_mode="r")
    return data.Split(
        "train", images, np.arange(n) // 4, np.arange(n) % 4, np.full(n, np.nan, np.float32)
    )


@pytest.mark.parametrize(("shuffle", "mirror"), [(False, None), (True, None), (True, LEFT_RIGHT)])
def test_streamed_batches_equal_those_held(tmp_path, shuffle, mirror):
    split = memory_map(tmp_path / "a.npy")
    held, streamed = (
        Batches(split.to(CPU, stream), 5, shuffle, mirror, seed=3) for stream in (False, True)
    )
    for epoch in range(2):
        for a, b in zip(held.epoch(epoch), streamed.epoch(epoch), strict=True):
            assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_the_choice_follows_the_free_memory_and_is_said(tmp_path, monkeypatch, capsys):
    split = memory_map(tmp_path / "a.npy")
    monkeypatch.setattr(
        data, "free_memory", lambda device: split.images.nbytes / data.SHARE_OF_MEMORY + 1
    )
    assert isinstance(split.to(CPU)["images"], torch.Tensor) and capsys.readouterr().out == ""
    monkeypatch.setattr(
        data, "free_memory", lambda device: split.images.nbytes / data.SHARE_OF_MEMORY - 1
    )
    assert isinstance(split.to(CPU)["images"], Streamed)
    assert "slices stream from the memory map" in capsys.readouterr().out


def test_streaming_reads_only_the_rows_of_a_batch(tmp_path):
    """A sparse file of 64 GiB, more than there is memory."""
    n = 2**20
    images = np.memmap(tmp_path / "large", np.uint8, "w+", shape=(n, 256, 256))
    images[n - 1] = 7
    split = data.Split(
        "train", images, np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.float32)
    )
    tensors = split.to(CPU)
    assert isinstance(tensors["images"], Streamed)
    assert (
        tensors["images"].read(torch.tensor([0, n - 1])).amax((1, 2, 3)) == torch.tensor([0, 7])
    ).all()
    assert len(next(iter(Batches(tensors, 4, shuffle=True)))["images"]) == 4


def test_free_memory_is_some():
    assert data.free_memory(CPU) > 2**20


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_streamed_batches_equal_those_held_on_a_gpu(tmp_path, capsys):
    split, device = memory_map(tmp_path / "a.npy"), torch.device("cuda")
    held, streamed = (Batches(split.to(device, stream), 5, True, True) for stream in (False, True))
    for a, b in zip(held, streamed, strict=True):
        assert b["images"].device.type == "cuda" and all(torch.equal(a[key], b[key]) for key in a)
    assert "held at once" in (out := capsys.readouterr().out) and "stream from" in out
