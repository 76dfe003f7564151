"""From any source to a cache: pixels, crop, masks, notes, refusals, skips and memory."""

import shutil
import tracemalloc

import numpy as np
import pytest
import volume_files
from PIL import Image
from slice_files import disc, make_collection, make_tree, picture_of, write, write_slice

from oasis_utils.config import SPLITS, DataConfig
from oasis_utils.data import reading, slice_collector
from oasis_utils.data.dataset import build_cache
from oasis_utils.data.image_files import EQUAL_CHANNELS, read_slice
from oasis_utils.data.orientation import oriented
from oasis_utils.data.reading import ImportOptions
from oasis_utils.data.sources import discover
from oasis_utils.data.volumes import SliceOptions
from oasis_utils.runtime import DataError

CONFIG = DataConfig(image_size=32)
WHOLE = DataConfig(image_size=64, fit_crop=False)
PATTERN = r"(?P<subject>[A-Z]+\d+)_(?P<session>MR\d)_.*_(?P<slice>\d+)\."


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "keras_png_slices_data")


def snapshot(folder):
    return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*")}


# ---------------------------------------------------------------- every door


def raw_slices(source, split):
    return np.stack(
        [read_slice(f) for s in discover(source).series if s.split == split for f in s.files]
    )


def test_without_crop_and_resize_the_cache_is_the_pictures_themselves(tree, tmp_path):
    before = snapshot(tree)
    dataset = build_cache(tree, tmp_path / "cache", WHOLE)
    for name in SPLITS:
        assert np.array_equal(dataset.split(name).images, raw_slices(tree, name))
    assert snapshot(tree) == before and dataset.manifest["kind"] == "keras"


def test_resize_keeps_the_mean_and_the_range(tree, tmp_path):
    dataset = build_cache(tree, tmp_path / "cache", DataConfig(image_size=32, fit_crop=False))
    for name in SPLITS:
        raw, small = raw_slices(tree, name), dataset.split(name).images
        assert small.mean((1, 2)) == pytest.approx(raw.mean((1, 2)), rel=0.02)
        assert small.max() <= raw.max()


def test_crop_comes_from_the_training_split_alone(tree, tmp_path):
    before = build_cache(tree, tmp_path / "a", CONFIG).manifest["crop"]
    write_slice(tree / "keras_png_slices_test", 6, 0, disc(64, 31))
    assert build_cache(tree, tmp_path / "b", CONFIG).manifest["crop"] == before


@pytest.mark.parametrize("config", [CONFIG, WHOLE])
def test_masks_lie_beside_their_slices(tmp_path, config):
    dataset = build_cache(make_tree(tmp_path / "tree", masks=True), tmp_path / "cache", config)
    for name in SPLITS:
        split = dataset.split(name)
        assert split.masks.shape == split.images.shape and set(np.unique(split.masks)) == {0, 170}
        assert (
            (split.masks > 0) == (split.images > split.images.max((1, 2), keepdims=True) // 2)
        ).mean() > 0.98


def test_no_masks_is_none_also_after_an_import_that_had_some(tmp_path):
    tree = make_tree(tmp_path / "tree", masks=True)
    build_cache(tree, tmp_path / "cache", CONFIG)
    for split in SPLITS:
        shutil.rmtree(tree / f"keras_png_slices_seg_{split}")
    assert build_cache(tree, tmp_path / "cache", CONFIG).split("test").masks is None
    assert not (tmp_path / "cache" / "masks.npy").exists()


def test_mask_of_another_size_is_named(tmp_path):
    tree = make_tree(tmp_path / "tree", masks=True)
    write(tree / "keras_png_slices_seg_test" / "seg_005_slice_1.nii.png", disc(48))
    with pytest.raises(
        DataError, match="seg_005_slice_1.nii.png is 48x48 pixels, but its slice .* is 64x64"
    ):
        build_cache(tree, tmp_path / "cache", CONFIG)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_collection_by_pattern(tmp_path, suffix):
    names = [f"OAS{i}" for i in range(10)]
    make_collection(tmp_path / "in", names, ("MR1", "MR2"), suffix=suffix)
    dataset = build_cache(
        tmp_path / "in", tmp_path / "cache", WHOLE, options=ImportOptions(pattern=PATTERN, seed=3)
    )
    splits = {name: dataset.split(name) for name in SPLITS}
    assert [len(set(s.subjects.tolist())) for s in splits.values()] == [8, 1, 1]
    assert sum(map(len, splits.values())) == 40 and dataset.n_positions == 2
    by_number = {e["subject"]: e["name"] for e in dataset.manifest["subjects"]}
    for split in splits.values():
        for image, subject in zip(split.images, split.subjects, strict=True):
            number = names.index(by_number[int(subject)])
            likely = [picture_of(5 * number + j, p) for j in (0, 1) for p in (0, 1)]
            assert min(np.abs(image.astype(int) - one).mean() for one in likely) < (
                2 if suffix == "jpg" else 1e-9
            )


def test_oblong_images_are_centred_on_black(tmp_path):
    for i in range(3):
        write(tmp_path / "in" / f"A{i}_MR1_x_1.png", picture_of(i, 1)[10:50])
    dataset = build_cache(
        tmp_path / "in", tmp_path / "cache", WHOLE, options=ImportOptions(pattern=PATTERN)
    )
    image = dataset.split("train").images[0]
    assert not image[:12].any() and not image[52:].any() and image[12:52].any()
    assert dataset.manifest["notes"] == {slice_collector.PADDED: 3}


def test_masks_that_mark_nothing_are_not_used(tmp_path):
    tree = make_tree(tmp_path / "tree", masks=True)
    for path in tree.glob("keras_png_slices_seg_*/*"):
        write(path, np.zeros((64, 64), np.uint8))
    dataset = build_cache(tree, tmp_path / "cache", CONFIG)
    assert dataset.split("train").masks is None
    (note,) = dataset.manifest["notes"]
    assert note == slice_collector.EMPTY_MASKS


@pytest.mark.parametrize("split", SPLITS)
def test_subject_of_black_slices_alone_is_refused_or_left_out(tmp_path, split):
    tree = make_tree(tmp_path / "tree", positions=2)
    for position in range(2):
        black = np.zeros((64, 64), np.uint8)
        write_slice(tree / f"keras_png_slices_{split}", 9, position, black)
    with pytest.raises(DataError, match="slices of subject 9 are black: check the .*--skip-bad"):
        build_cache(tree, tmp_path / "cache", CONFIG)
    dataset = build_cache(tree, tmp_path / "cache", CONFIG, options=ImportOptions(skip_bad=True))
    assert all(9 not in dataset.split(name).subjects for name in SPLITS)
    assert [one["file"] for one in dataset.manifest["skipped"]] == ["subject 9"]
    assert dataset.manifest["notes"] == {}
    shutil.rmtree(tree)
    sound = build_cache(make_tree(tree, positions=2), tmp_path / "sound", CONFIG)
    for name in SPLITS:
        assert np.array_equal(dataset.split(name).images, sound.split(name).images)


def test_orientation_turns_images_and_masks(tmp_path):
    tree = make_tree(tmp_path / "tree", masks=True)
    write_slice(tree / "keras_png_slices_test", 5, 0, disc(centre=(20, 40)))
    options = ImportOptions(slices=SliceOptions(orient="rot90,flip"))
    plain, turned = (
        build_cache(tree, tmp_path / name, WHOLE, options=o).split("test")
        for name, o in (("a", None), ("b", options))
    )
    assert np.array_equal(turned.images, oriented(np.array(plain.images), "rot90,flip"))
    assert np.array_equal(turned.masks, oriented(np.array(plain.masks), "rot90,flip"))


def oasis_disc(folder, bad=()):
    for i in range(1, 5):
        files = volume_files.session(f"OAS1_000{i}_MR1", volume_files.make_head(i))
        if i in bad:
            files = {k: v[:99] if k.endswith("gfc.img") else v for k, v in files.items()}
        volume_files.unpack(folder, files)
    return folder


def test_volumes_with_masks_and_without_a_bad_one(tmp_path):
    source = oasis_disc(tmp_path / "discs", bad=(3,))
    config, few = DataConfig(image_size=128), SliceOptions(count=4)
    with pytest.raises(DataError, match="OAS1_0003"):
        build_cache(source, tmp_path / "cache", config, options=ImportOptions(slices=few))
    calls = []
    dataset = build_cache(
        source,
        tmp_path / "cache",
        config,
        lambda *call: calls.append(call),
        ImportOptions(slices=few, skip_bad=True),
    )
    assert (
        dataset.manifest["kind"] == "oasis"
        and dataset.manifest["source_size"] == 256
        and calls[-1] == (4, 4)
    )
    assert ["OAS1_0003" in item["file"] for item in dataset.manifest["skipped"]] == [True]
    splits = [dataset.split(name) for name in SPLITS]
    assert sorted(n for s in splits for n in set(s.subjects.tolist())) == [1, 2, 4]
    for split in splits:
        assert (
            split.positions.tolist()[:4] == [0, 1, 2, 3]
            and split.images.any()
            and split.masks.any()
        )


# ---------------------------------------------------------------- notes and refusals


def test_what_was_changed_is_counted(tree, tmp_path):
    black = np.zeros((64, 64), np.uint8)
    for split, subject in (("train", 1), ("test", 5)):
        write_slice(tree / f"keras_png_slices_{split}", subject, 7, black)
    write_slice(tree / "keras_png_slices_train", 1, 8, np.stack([disc(grey=222)] * 3, -1))
    write_slice(tree / "keras_png_slices_train", 2, 8, disc(grey=222))
    assert build_cache(tree, tmp_path / "cache", CONFIG).manifest["notes"] == {
        slice_collector.BLACK: 2,
        EQUAL_CHANNELS: 1,
        slice_collector.REPEATED: 1,
    }


BAD = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:99]), "cannot read"),
    "16-bit": (lambda path: write(path, disc().astype(np.uint16) * 9), "more than 8 bits"),
    "colour": (
        lambda path: write(path, np.stack([disc(), disc(), disc(grey=9)], -1)),
        "colour picture",
    ),
    "constant": (lambda path: write(path, np.full((64, 64), 9, np.uint8)), "every pixel of"),
    "pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "git lfs pull",
    ),
    "other size": (
        lambda path: write(path, disc(48)),
        r"is 48x48 pixels, but case_\S+ is 64x64: all slices need one",
    ),
    "twin in another split": (
        lambda path: write(path, picture_of(1, 1)),
        "in train and .* in test are the same",
    ),
}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ImportOptions(split=(0.5, 0.3, 0.2)),
            "has splits of its own, which are kept: leave out --split",
        ),
        (
            ImportOptions(slices=SliceOptions(count=5)),
            "holds images: --plane, --slices, --every and",
        ),
    ],
)
def test_options_that_would_do_nothing_are_refused(tree, tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        build_cache(tree, tmp_path / "cache", CONFIG, options=options)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_refused_by_name_or_skipped_and_listed(tree, tmp_path, kind):
    damage, message = BAD[kind]
    damage(tree / "keras_png_slices_test" / "case_005_slice_1.nii.png")
    with pytest.raises(DataError, match=message) as caught:
        build_cache(tree, tmp_path / "cache", CONFIG)
    assert "case_005_slice_1.nii.png" in str(caught.value) and "--skip-bad" in str(caught.value)
    assert not list((tmp_path / "cache").iterdir())
    dataset = build_cache(tree, tmp_path / "cache", CONFIG, options=ImportOptions(skip_bad=True))
    (skipped,) = dataset.manifest["skipped"]
    assert skipped["file"] == "keras_png_slices_test/case_005_slice_1.nii.png"
    assert skipped["reason"] in str(caught.value)
    assert dataset.split("test").positions.tolist() == [0, 2, 0, 1, 2]
    assert len(dataset.split("train")) == 9


def test_the_odd_first_file_is_the_one_that_is_skipped(tree, tmp_path):
    write_slice(tree / "keras_png_slices_train", 1, 0, disc(48))
    dataset = build_cache(tree, tmp_path / "cache", CONFIG, options=ImportOptions(skip_bad=True))
    assert [s["file"] for s in dataset.manifest["skipped"]] == [
        "keras_png_slices_train/case_001_slice_0.nii.png"
    ]


def test_a_split_left_empty_is_refused(tree, tmp_path):
    for path in (tree / "keras_png_slices_validate").iterdir():
        path.write_bytes(b"")
    with pytest.raises(
        DataError, match="the validate split of .* would be empty; first of 3 skipped: cannot read"
    ):
        build_cache(tree, tmp_path / "cache", CONFIG, options=ImportOptions(skip_bad=True))
    assert not list((tmp_path / "cache").iterdir())


def test_oblong_slices_of_a_tree_are_refused(tmp_path):
    for number, split in enumerate(SPLITS):
        write_slice(tmp_path / "tree" / f"keras_png_slices_{split}", number, 0, disc()[:48])
    with pytest.raises(DataError, match=r"is 64x48 pixels: slices must be square"):
        build_cache(tmp_path / "tree", tmp_path / "cache", CONFIG)


def test_the_source_is_never_written_to(tree):
    before = snapshot(tree)
    for folder in (tree, tree / "cache"):
        with pytest.raises(DataError, match="lies inside the source .* choose another folder"):
            build_cache(tree, folder, CONFIG)
    assert snapshot(tree) == before


# ---------------------------------------------------------------- again


def test_second_import_does_nothing(tree, tmp_path, monkeypatch):
    first = build_cache(tree, tmp_path / "cache", CONFIG)
    before = snapshot(tmp_path / "cache")
    monkeypatch.setattr(reading, "read_picture", lambda *_: pytest.fail("read again"))
    assert build_cache(tree, tmp_path / "cache", CONFIG).identity == first.identity
    assert len(before) == 2 and snapshot(tmp_path / "cache") == before


def test_changed_file_of_the_same_size_is_imported_again(tree, tmp_path):
    path = tree / "keras_png_slices_test" / "case_005_slice_1.nii.png"
    Image.fromarray(disc(grey=120)).save(path, compress_level=0)
    before, size = build_cache(tree, tmp_path / "cache", CONFIG), path.stat().st_size
    old = np.array(before.split("test").images)
    Image.fromarray(disc(grey=121)).save(path, compress_level=0)
    assert path.stat().st_size == size
    after = build_cache(tree, tmp_path / "cache", CONFIG)
    assert after.identity != before.identity
    assert (after.split("test").images != old).any((1, 2)).tolist() == [
        False,
        True,
        False,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (DataConfig(image_size=48), ImportOptions()),
        (CONFIG, ImportOptions(slices=SliceOptions(orient="rot90"))),
    ],
)
def test_other_settings_are_imported_again(tree, tmp_path, config, options):
    build_cache(tree, tmp_path / "cache", CONFIG)
    dataset = build_cache(tree, tmp_path / "cache", config, options=options)
    assert dataset.split("test").images.shape == (6, config.image_size, config.image_size)
    assert dataset.manifest["options"]["slices"]["orient"] == options.slices.orient


def test_progress_counts_every_file(tree, tmp_path):
    calls = []
    build_cache(tree, tmp_path / "cache", CONFIG, lambda *call: calls.append(call))
    assert calls == [(i + 1, 18) for i in range(18)]


def test_memory_does_not_grow_with_the_number_of_slices(tmp_path):
    peaks = []
    for subjects in (4, 32):
        homes = {"train": range(2, subjects), "validate": (0,), "test": (1,)}
        tree = make_tree(tmp_path / str(subjects), homes, positions=32, size=128)
        tracemalloc.start()
        build_cache(tree, tmp_path / f"cache{subjects}", CONFIG)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 6e6  # 896 more slices are 14.7 MB
