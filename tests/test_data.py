"""Discovery, checks, subject-safe splits, cache and batches, on small folders of grey discs."""

import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from oasis_utils import data, synthetic
from oasis_utils.config import SPLITS, DataConfig
from oasis_utils.data import (
    Batches,
    DataError,
    build_cache,
    find_slices,
    fit_window,
    is_cache,
    is_synthetic,
    open_cache,
    open_or_build,
    read_ages,
    read_slice,
)

SUBJECTS = {"train": (1, 2, 3), "validate": (4,), "test": (5, 6)}
CONFIG = DataConfig(image_size=32)


def disc(size=64, radius=20, grey=150, centre=None):
    """A grey disc on black."""
    row, col = (size / 2, size / 2) if centre is None else centre
    y, x = np.mgrid[:size, :size] + 0.5
    return np.where((y - row) ** 2 + (x - col) ** 2 < radius**2, grey, 0).astype(np.uint8)


def write_slice(folder, subject, position, picture):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"case_{subject:03d}_slice_{position}.nii.png"
    Image.fromarray(picture).save(path)
    return path


def make_tree(root, subjects=None, positions=3, size=64, folder="keras_png_slices_{}"):
    """A keras_png_slices tree; every slice differs from every other one."""
    for split, members in (subjects or SUBJECTS).items():
        for subject in members:
            for position in range(positions):
                picture = disc(size, size * (0.2 + 0.04 * position), 100 + 5 * subject + position)
                write_slice(root / folder.format(split), subject, position, picture)
    return root


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "keras_png_slices_data")


# ---------------------------------------------------------------- discovery


def named(slices):
    return [(s.split, s.subject, s.position) for s in slices]


def expected():
    return [(split, subject, position)
            for split in SPLITS for subject in SUBJECTS[split] for position in range(3)]


def test_tree_is_found_in_order(tree):
    assert named(find_slices(tree)) == expected()


def test_tree_is_found_from_its_parents(tree):
    assert named(find_slices(tree.parent)) == expected()
    assert named(find_slices(str(tree.parent))) == expected()
    outer = tree.parent / "outer"
    outer.mkdir()
    tree.rename(outer / "keras_png_slices_data")
    assert named(find_slices(outer.parent)) == expected()


@pytest.mark.parametrize("folder", ["keras_png_slices_{}/slices", "slices/keras_png_slices_{}"])
def test_a_slices_level_is_fine(tmp_path, folder):
    assert named(find_slices(make_tree(tmp_path, folder=folder))) == expected()


def test_val_means_validate(tree):
    (tree / "keras_png_slices_validate").rename(tree / "keras_png_slices_val")
    assert named(find_slices(tree)) == expected()


def test_positions_and_subjects_sort_as_numbers(tmp_path):
    make_tree(tmp_path, {"train": (10, 9, 101), "validate": (4,), "test": (5,)}, positions=11, size=8)
    slices = [s for s in find_slices(tmp_path) if s.split == "train"]
    assert [(s.subject, s.position) for s in slices] == [(s, p) for s in (9, 10, 101) for p in range(11)]


def test_other_files_are_left_alone(tree):
    for folder in ("keras_png_slices_seg_train", "keras_png_slices_train"):
        (tree / folder).mkdir(exist_ok=True)
        (tree / folder / ".DS_Store").touch()
        (tree / folder / "seg_001_slice_0.nii.png").touch()
    assert named(find_slices(tree)) == expected()


def test_plain_png_names_are_slices_too(tree):
    for path in (tree / "keras_png_slices_test").iterdir():
        path.rename(path.with_name(path.name.replace(".nii", "")))
    assert named(find_slices(tree)) == expected()


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match=r"no folder .*nowhere: give the folder that holds keras_png_slices"):
        find_slices(tmp_path / "nowhere")


@pytest.mark.parametrize("split", SPLITS)
def test_missing_split_is_named_with_what_was_found(tree, split):
    shutil.rmtree(tree / f"keras_png_slices_{split}")
    with pytest.raises(DataError, match=rf"expected keras_png_slices_{split}/ under .*, found keras_png"):
        find_slices(tree)


def test_empty_folder_has_nothing(tmp_path):
    with pytest.raises(DataError, match="found nothing; see README, Data"):
        find_slices(tmp_path)


def test_empty_split(tree):
    for path in (tree / "keras_png_slices_validate").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"no slices in .*validate: expected names such as case_001_slice"):
        find_slices(tree)


def test_foreign_file_names_are_no_slices(tree):
    for path in (tree / "keras_png_slices_test").iterdir():
        path.rename(path.with_name("patient-" + path.name))
    with pytest.raises(DataError, match="no slices in .*keras_png_slices_test"):
        find_slices(tree)


def test_subject_in_two_splits_is_refused(tree):
    write_slice(tree / "keras_png_slices_test", 2, 9, disc())
    with pytest.raises(DataError, match="subject 2 is in both train and test"):
        find_slices(tree)


def test_zeros_before_a_number_do_not_make_another_subject(tree):
    path = write_slice(tree / "keras_png_slices_test", 77, 9, disc())
    path.rename(path.with_name("case_0002_slice_9.nii.png"))
    with pytest.raises(DataError, match="subject 2 is in both train and test"):
        find_slices(tree)


def test_one_slice_under_two_names_is_refused(tree):
    folder = tree / "keras_png_slices_train"
    shutil.copy(folder / "case_001_slice_0.nii.png", folder / "case_1_slice_0.png")
    with pytest.raises(DataError, match="are the same slice: keep one"):
        find_slices(tree)


@pytest.mark.parametrize("seed", range(8))
def test_no_subject_is_ever_in_two_splits(tmp_path, seed):
    """Random assignments of slices: either refused because of a shared subject, or the splits share none."""
    rng = np.random.default_rng(seed)
    homes = {split: set() for split in SPLITS}
    for subject in range(1, 7):
        shared = rng.random() < 0.1
        for split in rng.choice(SPLITS, 2 if shared else 1, replace=False):
            homes[split].add(subject)
    for number, split in enumerate(SPLITS):
        homes[split] = homes[split] or {90 + number}
    make_tree(tmp_path, homes, positions=2, size=8)
    overlap = sum(map(len, homes.values())) > len(set().union(*homes.values()))
    if overlap:
        with pytest.raises(DataError, match="a subject may be in one split only"):
            find_slices(tmp_path)
    else:
        found = {split: {s.subject for s in find_slices(tmp_path) if s.split == split} for split in SPLITS}
        assert found == homes


# ---------------------------------------------------------------- reading


def test_grey_slice_is_read_exactly(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)
    read = read_slice(write_slice(tmp_path, 1, 0, picture))
    assert read.dtype == np.uint8
    assert np.array_equal(read, picture)


def test_equal_colour_channels_count_as_grey(tmp_path):
    picture = disc()
    path = write_slice(tmp_path, 1, 0, np.stack([picture] * 3, axis=-1))
    assert np.array_equal(read_slice(path), picture)


def test_colour_is_refused(tmp_path):
    picture = np.stack([disc()] * 3, axis=-1)
    picture[0, 0, 2] = 1
    with pytest.raises(DataError, match=r"case_001_slice_0.nii.png has .*channels.*convert it to 8-bit grey"):
        read_slice(write_slice(tmp_path, 1, 0, picture))


def test_transparency_is_refused(tmp_path):
    picture = np.stack([disc()] * 4, axis=-1)
    with pytest.raises(DataError, match="channels"):
        read_slice(write_slice(tmp_path, 1, 0, picture))


def test_sixteen_bits_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"case_001_slice_0.nii.png has .*bits a pixel.*to 8-bit grey"):
        read_slice(write_slice(tmp_path, 1, 0, disc().astype(np.uint16) * 200))


@pytest.mark.parametrize("keep", [0, 5, 20, 0.5, 0.9])
def test_truncated_file_is_named(tmp_path, keep):
    path = write_slice(tmp_path, 1, 0, np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    whole = path.read_bytes()
    path.write_bytes(whole[:int(keep * len(whole)) if keep < 1 else keep])
    with pytest.raises(DataError, match=r"cannot read .*case_001_slice_0.nii.png: .*replace the file"):
        read_slice(path)


def test_text_under_a_png_name_is_named(tmp_path):
    path = tmp_path / "case_001_slice_0.nii.png"
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match="cannot read .*case_001_slice_0.nii.png"):
        read_slice(path)


def test_ages_come_from_the_participants_table(tree):
    assert read_ages(tree) == {}
    (tree / "participants.tsv").write_text("participant_id\tsex\tage\ncase_001\tF\t34.5\nsub-005\tM\t81\n\n")
    assert read_ages(tree) == {1: 34.5, 5: 81.0}
    assert read_ages(tree.parent) == {1: 34.5, 5: 81.0}


# ---------------------------------------------------------------- field of view


def test_window_holds_all_brains_with_a_margin():
    train = np.stack([disc(200, 30, centre=(80, 90)), disc(200, 20, centre=(110, 120))])
    top, left, side = fit_window(train, DataConfig(image_size=32, crop_margin=0.1))
    cut = train[:, top:top + side, left:left + side]
    assert cut.sum() == train.sum()
    assert side == 80 * 1.2  # they reach over rows 50 to 130 and columns 60 to 140
    assert not cut[:, [0, -1]].any() and not cut[:, :, [0, -1]].any()


@pytest.mark.parametrize("seed", range(6))
def test_window_lies_inside_the_picture_and_holds_random_brains(seed):
    rng = np.random.default_rng(seed)
    train = np.stack([disc(128, rng.integers(5, 40), 99, rng.uniform(10, 118, 2)) for _ in range(4)])
    top, left, side = fit_window(train, DataConfig(image_size=32))
    assert 32 <= side <= 128 and 0 <= top <= 128 - side and 0 <= left <= 128 - side
    assert train[:, top:top + side, left:left + side].sum() == train.sum()


def test_window_is_never_smaller_than_the_pictures_that_are_made():
    assert fit_window(disc(64, 4)[None], DataConfig(image_size=48))[2] == 48
    assert fit_window(disc(64, 4)[None], DataConfig(image_size=64)) == (0, 0, 64)


def test_no_crop_when_asked():
    assert fit_window(disc(64, 8)[None], DataConfig(image_size=32, fit_crop=False)) == (0, 0, 64)


def test_window_ignores_dim_noise_and_the_odd_bright_pixel():
    train = np.repeat(disc(96, 15)[None], 600, axis=0)
    clean = fit_window(train, CONFIG)
    train[:, 2, 2] = data.FOREGROUND
    train[0, 90, 90] = 255
    assert fit_window(train, CONFIG) == clean


def test_black_slices_are_refused():
    with pytest.raises(DataError, match="all 5 training slices are black"):
        fit_window(np.zeros((5, 64, 64), np.uint8), CONFIG)


# ---------------------------------------------------------------- cache


def test_cache_holds_every_slice_of_every_split(tree, tmp_path):
    dataset = build_cache(tree, tmp_path / "cache", CONFIG)
    for name in SPLITS:
        split = dataset.split(name)
        rows = [(s, p) for _, s, p in (row for row in expected() if row[0] == name)]
        assert list(zip(split.subjects.tolist(), split.positions.tolist(), strict=True)) == rows
        assert split.images.shape == (len(rows), 32, 32) and split.images.dtype == np.uint8
        assert split.name == name and len(split) == len(rows)
    assert dataset.n_positions == 3
    assert not dataset.synthetic


def test_cache_without_crop_and_resize_is_the_pictures_themselves(tmp_path):
    make_tree(tmp_path / "tree", size=32)
    dataset = build_cache(tmp_path / "tree", tmp_path / "cache", DataConfig(image_size=32, fit_crop=False))
    files = [f for f in find_slices(tmp_path / "tree") if f.split == "validate"]
    assert np.array_equal(dataset.split("validate").images, np.stack([read_slice(f.path) for f in files]))


def test_resize_keeps_the_mean_and_the_range(tree, tmp_path):
    dataset = build_cache(tree, tmp_path / "cache", DataConfig(image_size=32, fit_crop=False))
    for name in SPLITS:
        raw = np.stack([read_slice(f.path) for f in find_slices(tree) if f.split == name])
        small = dataset.split(name).images
        assert small.mean((1, 2)) == pytest.approx(raw.mean((1, 2)), rel=0.02)
        assert small.max() <= raw.max()


def test_crop_comes_from_the_training_split_alone(tree, tmp_path):
    before = build_cache(tree, tmp_path / "a", CONFIG).manifest["crop"]
    write_slice(tree / "keras_png_slices_test", 6, 0, disc(64, 31))
    assert build_cache(tree, tmp_path / "b", CONFIG).manifest["crop"] == before


def test_second_build_only_opens(tree, tmp_path, monkeypatch):
    first = build_cache(tree, tmp_path / "cache", CONFIG)
    files = sorted((tmp_path / "cache").iterdir())
    stamps = [file.stat().st_mtime_ns for file in files]
    monkeypatch.setattr(data, "read_slice", lambda path: pytest.fail("read again"))
    again = build_cache(tree, tmp_path / "cache", CONFIG)
    assert len(stamps) == 2 and [file.stat().st_mtime_ns for file in files] == stamps
    assert again.identity == first.identity


def test_changed_file_rebuilds(tree, tmp_path):
    before = build_cache(tree, tmp_path / "cache", CONFIG)
    old = np.array(before.split("test").images)
    write_slice(tree / "keras_png_slices_test", 5, 1, disc(64, 10, 250))
    after = build_cache(tree, tmp_path / "cache", CONFIG)
    changed = (np.array(after.split("test").images) != old).any((1, 2))
    assert changed.tolist() == [False, True, False, False, False, False]
    assert after.identity != before.identity


def test_changed_file_of_the_same_size_rebuilds(tree, tmp_path):
    path = tree / "keras_png_slices_test" / "case_005_slice_1.nii.png"
    Image.fromarray(disc(grey=120)).save(path, compress_level=0)
    before, size = build_cache(tree, tmp_path / "cache", CONFIG), path.stat().st_size
    Image.fromarray(disc(grey=121)).save(path, compress_level=0)
    assert path.stat().st_size == size
    assert build_cache(tree, tmp_path / "cache", CONFIG).identity != before.identity


def test_other_settings_rebuild(tree, tmp_path):
    build_cache(tree, tmp_path / "cache", CONFIG)
    rebuilt = build_cache(tree, tmp_path / "cache", DataConfig(image_size=48))
    assert rebuilt.split("test").images.shape == (6, 48, 48)


def test_identity_depends_on_pixels_and_not_on_the_place(tree, tmp_path):
    first = build_cache(tree, tmp_path / "a", CONFIG)
    moved = shutil.move(tree, tmp_path / "elsewhere")
    os.utime(moved / "keras_png_slices_test" / "case_005_slice_1.nii.png", ns=(0, 0))
    assert build_cache(moved, tmp_path / "b", CONFIG).identity == first.identity
    picture = disc(64, 64 * 0.24, 126)
    picture[32, 32] += 1  # one grey level of one pixel
    write_slice(moved / "keras_png_slices_test", 5, 1, picture)
    assert build_cache(moved, tmp_path / "c", CONFIG).identity != first.identity


def test_identity_depends_on_the_splits(tmp_path):
    identities = set()
    for number, homes in enumerate(({"train": (1, 2), "validate": (3,), "test": (4,)},
                                    {"train": (1, 2), "validate": (4,), "test": (3,)})):
        tree = make_tree(tmp_path / f"tree{number}", homes)
        identities.add(build_cache(tree, tmp_path / f"cache{number}", CONFIG).identity)
    assert len(identities) == 2


def test_progress_counts_every_file(tree, tmp_path):
    calls = []
    build_cache(tree, tmp_path / "cache", CONFIG, lambda done, total: calls.append((done, total)))
    assert calls == [(i + 1, 18) for i in range(18)]


def no_disk(*_args):
    raise OSError("no space left on device")


@pytest.mark.parametrize("stage", ["_write_resized", "write_json"])
@pytest.mark.parametrize("rebuild", [False, True])
def test_interrupted_build_leaves_no_cache_that_opens(tree, tmp_path, monkeypatch, stage, rebuild):
    folder = tmp_path / "cache"
    if rebuild:
        build_cache(tree, folder, DataConfig(image_size=48))
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(data, stage, no_disk)
        build_cache(tree, folder, CONFIG)
    assert not is_cache(folder)
    assert not list(folder.glob("*.partial"))
    with pytest.raises(DataError, match="no prepared data in"):
        open_cache(folder)
    assert build_cache(tree, folder, CONFIG).split("train").images.shape == (9, 32, 32)


def test_interrupted_repair_of_a_half_deleted_cache_leaves_none_that_opens(tree, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    build_cache(tree, folder, DataConfig(image_size=48))
    (folder / "slices.npy").unlink()
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(data, "write_json", no_disk)
        build_cache(tree, folder, CONFIG)
    assert not is_cache(folder)  # else 32-pixel slices are taken for 48-pixel ones


def test_ages_reach_their_slices(tree, tmp_path):
    (tree / "participants.tsv").write_text("participant_id\tage\ncase_005\t71.5\n")
    ages = build_cache(tree, tmp_path / "cache", CONFIG).split("test").ages
    assert ages[:3].tolist() == [71.5] * 3
    assert np.isnan(ages[3:]).all()


def test_wrong_size_is_named(tree, tmp_path):
    write_slice(tree / "keras_png_slices_validate", 4, 1, disc(48))
    with pytest.raises(DataError, match=r"case_004_slice_1.nii.png is 48x48 pixels, but .*64x64: all slices"):
        build_cache(tree, tmp_path / "cache", CONFIG)
    assert not is_cache(tmp_path / "cache")


def test_oblong_slices_are_refused(tmp_path):
    for number, split in enumerate(SPLITS):
        write_slice(tmp_path / "tree" / f"keras_png_slices_{split}", number, 0, disc()[:48])
    with pytest.raises(DataError, match=r"is 64x48 pixels: slices must be square"):
        build_cache(tmp_path / "tree", tmp_path / "cache", CONFIG)


def test_black_data_are_refused(tmp_path):
    for number, split in enumerate(SPLITS):
        write_slice(tmp_path / "tree" / f"keras_png_slices_{split}", number, 0, np.zeros((64, 64), np.uint8))
    with pytest.raises(DataError, match="training slices are black"):
        build_cache(tmp_path / "tree", tmp_path / "cache", CONFIG)


def test_unknown_split(tree, tmp_path):
    with pytest.raises(ValueError, match="unknown split 'val': choose one of train, validate, test"):
        build_cache(tree, tmp_path / "cache", CONFIG).split("val")


def test_no_cache_says_how_to_make_one(tmp_path):
    with pytest.raises(DataError, match="no prepared data in .*: run notebook 01 or .*prepare"):
        open_cache(tmp_path)


def test_cache_of_another_version_is_refused(tree, tmp_path, monkeypatch):
    build_cache(tree, tmp_path / "cache", CONFIG)
    monkeypatch.setattr(data, "FORMAT", data.FORMAT + 1)
    with pytest.raises(DataError, match="prepared by another version of oasis_utils: delete it and"):
        open_cache(tmp_path / "cache")


def test_split_as_tensors_and_floats(tree, tmp_path):
    split = build_cache(tree, tmp_path / "cache", CONFIG).split("test")
    tensors = split.to(torch.device("cpu"))
    assert tensors["images"].shape == (6, 1, 32, 32) and tensors["images"].dtype == torch.uint8
    assert tensors["positions"].tolist() == [0, 1, 2, 0, 1, 2]
    assert tensors["subjects"].tolist() == [5, 5, 5, 6, 6, 6]
    assert torch.equal((split.floats() * 255).round().to(torch.uint8), tensors["images"])


# ---------------------------------------------------------------- prepared folders


def test_prepared_folder_is_linked(tree, tmp_path):
    prepared = build_cache(tree, tmp_path / "prepared", CONFIG)
    dataset = open_or_build(tmp_path / "prepared", tmp_path / "run" / "data", CONFIG)
    assert dataset.identity == prepared.identity
    assert (tmp_path / "run" / "data" / "slices.npy").samefile(tmp_path / "prepared" / "slices.npy")
    shutil.rmtree(tmp_path / "prepared")
    assert dataset.split("test").images.shape == (6, 32, 32)


def test_prepared_folder_on_another_file_system_is_copied(tree, tmp_path, monkeypatch):
    build_cache(tree, tmp_path / "prepared", CONFIG)
    monkeypatch.setattr(os, "link", no_disk)
    dataset = open_or_build(tmp_path / "prepared", tmp_path / "run", CONFIG)
    source = np.load(tmp_path / "prepared" / "slices.npy")
    assert np.array_equal(np.load(dataset.folder / "slices.npy"), source)


def test_opening_a_prepared_folder_twice_or_in_place_is_fine(tree, tmp_path):
    prepared = build_cache(tree, tmp_path / "prepared", CONFIG)
    for folder in ("run", "run", "prepared"):
        assert open_or_build(tmp_path / "prepared", tmp_path / folder, CONFIG).identity == prepared.identity
        assert len(list((tmp_path / folder).iterdir())) == 2


def test_prepared_folder_of_another_size_is_refused(tree, tmp_path):
    build_cache(tree, tmp_path / "prepared", CONFIG)
    with pytest.raises(DataError, match="at 32 pixels, this profile takes 48: prepare again with --size 48"):
        open_or_build(tmp_path / "prepared", tmp_path / "run", DataConfig(image_size=48))
    assert not is_cache(tmp_path / "run")


def test_interrupted_link_leaves_no_cache_that_opens(tree, tmp_path, monkeypatch):
    build_cache(tree, tmp_path / "prepared", CONFIG)
    build_cache(tree, tmp_path / "run", DataConfig(image_size=48))
    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(data, "write_json", no_disk)
        open_or_build(tmp_path / "prepared", tmp_path / "run", CONFIG)
    assert not is_cache(tmp_path / "run")  # else the slices of one set pass under the manifest of the other


def test_folder_of_slices_is_built(tree, tmp_path):
    assert is_cache(open_or_build(tree, tmp_path / "run", CONFIG).folder)


def test_sample_brains_are_known_as_synthetic(tmp_path):
    folder = synthetic.write_sample_brains(tmp_path, 1, 1, 1, workers=1)
    assert is_synthetic(folder) and is_synthetic(tmp_path)
    dataset = build_cache(tmp_path, tmp_path / "cache", CONFIG)
    assert dataset.synthetic and "synthetic" in dataset.description
    assert dataset.n_positions == 32 and np.isfinite(dataset.split("test").ages).all()


def test_other_data_are_not_synthetic(tree, tmp_path):
    dataset = build_cache(tree, tmp_path / "cache", CONFIG)
    assert not is_synthetic(tree) and not dataset.synthetic
    assert str(tree) in dataset.description


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
    rows_of(Batches(numbered(24), 8, shuffle=True, mirror=True), 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_images_become_floats_that_belong_to_their_rows():
    for batch in Batches(numbered(24), 8, shuffle=True, mirror=True):
        images = batch["images"]
        assert images.dtype == torch.float32 and 0 <= images.min() and images.max() <= 1
        assert torch.allclose(images.amax((1, 2, 3)) * 255, batch["positions"] + 1.0)


def test_white_is_one():
    tensors = {"images": torch.full((2, 1, 4, 4), 255, dtype=torch.uint8)}
    assert next(iter(Batches(tensors, 2)))["images"].eq(1).all()


def test_mirror_flips_about_half_of_the_rows_afresh_each_epoch():
    batches = Batches(numbered(200), 200, mirror=True, seed=1)
    flipped = [next(batches.epoch(epoch))["images"][:, 0, 0, 0] == 0 for epoch in (0, 0, 1)]
    assert 70 < flipped[0].sum() < 130
    assert torch.equal(flipped[0], flipped[1]) and not torch.equal(flipped[0], flipped[2])
    image = next(batches.epoch(0))["images"][flipped[0]][0, 0]
    assert torch.equal(image[:, :2].sum(), torch.tensor(0.0)) and image[:, 2:].min() > 0


def test_nothing_is_mirrored_unless_asked():
    assert (next(iter(Batches(numbered(50), 50)))["images"][:, 0, 0, 0] > 0).all()


@pytest.mark.parametrize("lengths", [(3, 4), (0, 0)])
def test_lengths_must_agree(lengths):
    with pytest.raises(DataError, match="tensors of one length above 0"):
        Batches({"images": torch.zeros(lengths[0], 1, 4, 4), "positions": torch.zeros(lengths[1])}, 2)
