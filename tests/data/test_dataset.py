"""The opened cache: splits, identities and links to prepared folders."""

import os
import shutil

import numpy as np
import pytest
import torch
from slice_files import SUBJECTS, make_tree, picture_of, write_slice

from oasis_utils.config import PROFILES, SPLITS, DataConfig
from oasis_utils.data import dataset as data
from oasis_utils.data import manifest
from oasis_utils.data.cache_folder import is_cache
from oasis_utils.data.dataset import (
    build_cache,
    one_slice_per_subject,
    open_cache,
    open_or_build,
    subsample,
)
from oasis_utils.data.sample_brains import make_sample_brains
from oasis_utils.runtime import DataError

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


def test_identity_depends_on_pixels_and_not_on_the_folder(tree, tmp_path):
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
    monkeypatch.setattr(manifest, "CACHE_FORMAT", manifest.CACHE_FORMAT + 1)
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


def test_sample_brains_are_described_as_synthetic(tmp_path):
    dataset = build_cache(make_sample_brains(PROFILES["smoke"].data), tmp_path / "cache", CONFIG)
    assert dataset.synthetic and "synthetic" in dataset.description
    assert dataset.n_positions == 32 and np.isfinite(dataset.split("test").ages).all()


def test_a_thinned_split_keeps_all_subjects_evenly_and_all_that_is_known_of_a_slice(brains):
    whole = brains.split("train")
    some = subsample(whole, 16)
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
    assert split.subjects[one_slice_per_subject(split, 2, 16)].tolist() == [1, 2, 3]
    assert split.positions[one_slice_per_subject(split, 7, 16)].tolist() == [2, 2, 2]
    assert split.subjects[one_slice_per_subject(split, 0, 2)].tolist() == [1, 3]


def test_a_small_split_is_not_thinned(brains):
    whole = brains.split("train")
    assert subsample(whole, 64) is whole
    assert np.array_equal(subsample(whole, 20).images, subsample(whole, 20).images)


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


def test_folder_of_slices_is_built(tree, tmp_path):
    assert is_cache(open_or_build(tree, tmp_path / "run", CONFIG).folder)


def test_an_open_data_set_keeps_its_slices_when_the_cache_is_replaced(tree, tmp_path):
    opened = build_cache(tree, tmp_path / "cache", CONFIG)
    before = {name: np.array(opened.split(name).images) for name in SPLITS}
    write_slice(tree / "keras_png_slices_train", 9, 0, picture_of(9, 0))
    replaced = build_cache(tree, tmp_path / "cache", CONFIG)
    assert len(replaced.split("train")) == len(before["train"]) + 1
    for name in SPLITS:
        assert np.array_equal(opened.split(name).images, before[name])


def test_a_cache_replaced_while_it_is_opened_is_opened_again(tree, tmp_path, monkeypatch):
    build_cache(tree, tmp_path / "cache", CONFIG)
    write_slice(tree / "keras_png_slices_train", 9, 0, picture_of(9, 0))
    check, pending = data.checked_arrays, [tree]

    def replaced_before_the_check(folder, manifest):
        if pending:
            build_cache(pending.pop(), folder, CONFIG)
        return check(folder, manifest)

    monkeypatch.setattr(data, "checked_arrays", replaced_before_the_check)
    opened = open_cache(tmp_path / "cache")
    assert 9 in opened.split("train").subjects
    assert len(opened.split("train").images) == len(opened.split("train").positions)
