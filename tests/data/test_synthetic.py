"""Synthetic sample brains: what the slices look like, and the files that a set consists of."""

import json
import os
import shutil
from importlib import resources
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from oasis_utils.config import SPLITS
from oasis_utils.data import synthetic

COUNTS = {"train": 2, "validate": 1, "test": 1}
HOMES = ("test", "validate", "train", "train")  # of subjects 1 to 4 of these counts with seed 7


@pytest.fixture(scope="module")
def template():
    return synthetic.load_template()


@pytest.fixture(scope="module")
def subjects(template):
    return [synthetic.make_subject(template, number, seed=5) for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A set made in this process, with the calls of its progress function. Tests must leave it as
    it is.
    """
    calls = []
    root = tmp_path_factory.mktemp("written")
    folder = synthetic.write_sample_brains(
        root, **COUNTS, seed=7, workers=1, progress=lambda done, total: calls.append((done, total))
    )
    return folder, calls


@pytest.fixture
def fake_subjects(monkeypatch):
    """Subjects that cost nothing, and the numbers that were made."""
    made = []

    def make(template, number, seed=0, age=None, whole_head=False):
        made.append(number)
        picture = np.full((32, 256, 256), number, np.uint8)
        return synthetic.SampleSubject(number, 50.0, picture, np.zeros_like(picture))

    monkeypatch.setattr(synthetic, "make_subject", make)
    return made


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def difference(first, second):
    """Mean absolute grey-level difference where either slice shows brain."""
    brain = (first > 0) | (second > 0)
    return np.abs(first.astype(float) - second)[brain].mean()


def dark_fraction(subject, rows, columns):
    """Share of fluid-like pixels in a window, over slices 5 to 25."""
    window = subject.slices[5:26, rows, columns]
    return (window[window > 0] < 85).mean()


# --------------------------------------------------------------------------------------------------
# --
# Slices
# --------------------------------------------------------------------------------------------------
# --


def test_template_is_on_the_tissue_scale(template):
    assert (
        template.tissue.shape
        == template.depth.shape
        == template.sulcus_share.shape
        == (68, 217, 181)
    )
    assert template.tissue.dtype == np.float32
    level = tuple(int(i) for i in template.origin)
    corona_radiata = template.tissue[level[0] + 28, level[1] + 10, level[2] - 26]
    frontal_horn = template.tissue[level[0] + 14, level[1] - 16, level[2] - 8]
    assert corona_radiata > 1.7
    assert frontal_horn < 0.3
    assert template.depth[level] > 30 and template.depth[0, 0, 0] < -30


def test_template_is_loaded_once(template):
    assert synthetic.load_template() is template


def test_same_seed_and_number_give_the_same_subject(template, subjects):
    again = synthetic.make_subject(template, 2, seed=5)
    assert again.age == subjects[1].age
    assert np.array_equal(again.slices, subjects[1].slices) and np.array_equal(
        again.masks, subjects[1].masks
    )


def test_another_seed_gives_another_subject(template, subjects):
    other = synthetic.make_subject(template, 2, seed=6)
    assert difference(other.slices[16], subjects[1].slices[16]) > 25


def test_subjects_differ_more_than_neighbouring_slices(subjects):
    neighbours = [
        difference(s.slices[p], s.slices[p + 1]) for s in subjects for p in range(0, 31, 5)
    ]
    between = [
        difference(first.slices[p], second.slices[p])
        for first, second in combinations(subjects, 2)
        for p in range(0, 31, 5)
    ]
    assert min(between) > max(neighbours)
    assert np.mean(between) > 2 * np.mean(neighbours)


def test_folding_slides_the_cortex_along_the_surface(template):
    rng = np.random.default_rng(0)
    points = synthetic._place_head(rng, template.origin)
    moved = synthetic._fold_cortex(rng, template, points)
    shift = np.sqrt(((moved - points) ** 2).sum(axis=0))
    depth, depth_after = (
        synthetic._sample(template.depth, points),
        synthetic._sample(template.depth, moved),
    )
    cortex = (depth > 2) & (depth < 12)
    assert np.median(shift[cortex]) > 4  # mm
    assert np.median(np.abs(depth_after - depth)[cortex]) < 1
    assert shift[depth > 30].max() == 0


def test_slices_are_grey_pictures_of_a_brain(subjects):
    for subject in subjects:
        assert subject.slices.shape == (32, 256, 256) and subject.slices.dtype == np.uint8
        assert subject.slices.max() > 200  # white matter is bright
        brain_share = (subject.slices > 0).mean(axis=(1, 2))
        assert brain_share.min() > 0.15 and brain_share.max() < 0.42
        assert 120 < subject.slices[subject.slices > 0].mean() < 190
        assert 18 <= subject.age <= 96


def test_background_is_exactly_black(subjects):
    for subject in subjects:
        frame = subject.slices.copy()
        frame[:, 24:232, 40:216] = 0
        assert not frame.any()
        assert (
            subject.slices[:, 24:34, 40:50] == 0
        ).all()  # noise must not reach the air beside the head


def test_every_slice_is_one_piece_without_holes(subjects):
    from scipy import ndimage

    for picture in subjects[0].slices:
        brain = picture > 0
        sizes = np.sort(np.bincount(ndimage.label(brain)[0].ravel())[1:])
        assert sizes[-1] > 0.99 * sizes.sum()
        assert (ndimage.binary_fill_holes(brain) == brain).all()


def test_mid_line_is_vertical_and_central(subjects):
    """The outline matches its mirror image, and the fissure before and behind lies near the middle
    column.
    """
    for subject in subjects:
        for picture in subject.slices[[4, 20, 28]]:
            outline = picture > 0
            assert (outline & outline[:, ::-1]).sum() > 0.93 * outline.sum()
            for rows in (slice(40, 75), slice(180, 205)):
                fissure = 108 + np.argmin(picture[rows, 108:148].astype(float).mean(axis=0))
                assert abs(fissure - 127.5) < 9


def test_front_is_up(subjects):
    """The frontal horns lie before the thalami: fluid near the mid-line, then grey matter."""
    for subject in subjects:
        columns = subject.slices[4:9, :, 116:140]
        assert columns[:, 88:112].mean() < columns[:, 118:134].mean()


def test_position_0_is_lowest(subjects):
    for subject in subjects:
        area = (subject.slices > 0).sum(axis=(1, 2))
        assert area[:4].mean() > 1.04 * area[-4:].mean()  # the head narrows toward the vertex


def test_age_widens_ventricles_and_sulci(template):
    ages = (20, 60, 94)
    subjects = [synthetic.make_subject(template, 4, seed=5, age=age) for age in ages]
    assert [s.age for s in subjects] == list(ages)
    ventricles = [dark_fraction(s, slice(85, 165), slice(98, 158)) for s in subjects]
    outer = [dark_fraction(s, slice(24, 232), np.r_[40:90, 166:216]) for s in subjects]
    assert ventricles[0] < ventricles[1] < ventricles[2] and ventricles[2] > 1.5 * ventricles[0]
    assert outer[0] < outer[1] < outer[2] and outer[2] > 1.5 * outer[0]


def test_masks_show_the_tissue_of_every_pixel(subjects):
    for subject in subjects:
        assert subject.masks.shape == subject.slices.shape and subject.masks.dtype == np.uint8
        assert np.array_equal(np.unique(subject.masks), synthetic.MASK_LEVELS)
        assert ((subject.masks > 0) == (subject.slices > 0)).all()
        fluid, grey, white = (
            subject.slices[subject.masks == level] for level in synthetic.MASK_LEVELS[1:]
        )
        assert np.percentile(fluid, 90) < np.median(grey) and np.percentile(grey, 90) < np.median(
            white
        )
        middle = subject.masks[
            10:22
        ]  # through the ventricles: as much grey as white matter, some fluid
        shares = [(middle[middle > 0] == level).mean() for level in synthetic.MASK_LEVELS[1:]]
        assert 0.05 < shares[0] < 0.35 and min(shares[1:]) > 0.25


def test_a_whole_head_holds_the_same_brain(template, subjects):
    head, brain = synthetic.make_subject(template, 2, seed=5, whole_head=True), subjects[1]
    inside = brain.masks > 0
    assert np.array_equal(head.masks, brain.masks) and np.array_equal(
        head.slices[inside], brain.slices[inside]
    )
    for picture, mask in zip(head.slices, inside, strict=True):
        shell = (picture > 0) & ~mask
        assert 0.3 < shell.sum() / mask.sum() < 0.8
        assert not picture[:, [0, -1]].any() and not picture[[0, -1]].any()  # no head is cut off
        middle = picture[128][~mask[128] & (picture[128] > 0)]
        assert np.percentile(middle, 90) > 2 * np.percentile(middle, 25)  # bright scalp, dark skull


@pytest.mark.parametrize("age", [17.9, 97, float("nan")])
def test_age_out_of_range_is_refused(template, age):
    with pytest.raises(ValueError, match="between 18 and 96"):
        synthetic.make_subject(template, 1, age=age)


# --------------------------------------------------------------------------------------------------
# --
# Files
# --------------------------------------------------------------------------------------------------
# --


def test_names_and_layout(written):
    folder, _ = written
    expected = {"participants.tsv", "sample_brains.json"}
    for number, split in enumerate(HOMES, start=1):
        expected |= {
            f"keras_png_slices_{split}/case_00{number}_slice_{p}.nii.png" for p in range(32)
        }
        expected |= {
            f"keras_png_slices_seg_{split}/seg_00{number}_slice_{p}.nii.png" for p in range(32)
        }
    assert folder.name == "keras_png_slices_data"
    assert set(contents(folder)) == expected


def test_files_are_8_bit_grey_png(written):
    folder, _ = written
    for path in folder.glob("*/*.png"):
        with Image.open(path) as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (256, 256))


def test_files_hold_the_subjects(template, written):
    folder, _ = written
    subject = synthetic.make_subject(template, 2, seed=7)
    for position in (0, 31):
        with Image.open(
            folder / f"keras_png_slices_validate/case_002_slice_{position}.nii.png"
        ) as picture:
            assert np.array_equal(np.asarray(picture), subject.slices[position])
        with Image.open(
            folder / f"keras_png_slices_seg_validate/seg_002_slice_{position}.nii.png"
        ) as picture:
            assert np.array_equal(np.asarray(picture), subject.masks[position])


def test_participants_table_agrees(template, written):
    folder, _ = written
    header, *rows = (folder / "participants.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "participant_id\tage\tsplit"
    names, ages, splits = zip(*(row.split("\t") for row in rows), strict=True)
    assert names == ("case_001", "case_002", "case_003", "case_004")
    assert splits == HOMES
    assert float(ages[1]) == synthetic.make_subject(template, 2, seed=7).age


@pytest.mark.parametrize("seed", [0, 1, 5])
@pytest.mark.parametrize(
    "counts", [(64, 8, 8), (64, 32, 64), (302, 35, 17), (12, 6, 6), (24, 4, 4)]
)
def test_splits_have_the_same_ages(counts, seed):
    """Numbers 1..n once went to train, validate and test in order, whatever the ages drawn for
    them.
    """
    home = synthetic._assign_splits(dict(zip(SPLITS, counts, strict=True)), seed)
    ages = {s: [synthetic._begin_subject(n, seed)[1] for n in home if home[n] == s] for s in SPLITS}
    assert (
        sorted(home) == list(range(1, sum(counts) + 1)) and tuple(map(len, ages.values())) == counts
    )
    everyone = np.concatenate(list(ages.values()))
    for split in ages.values():
        assert abs(np.mean(split) - everyone.mean()) < 3
        assert min(split) <= 30 and max(split) >= 70


def test_the_split_of_a_number_does_not_change_the_subject(fake_subjects, tmp_path):
    """The same seed and number are the same person, in whichever split."""
    ages = []
    for i, counts in enumerate(((2, 1, 1), (1, 1, 2))):
        folder = synthetic.write_sample_brains(tmp_path / str(i), *counts, seed=3, workers=1)
        rows = (folder / "participants.tsv").read_text(encoding="utf-8").splitlines()[1:]
        ages.append([row.split("\t")[:2] for row in rows])
    assert ages[0] == ages[1] and fake_subjects[:4] == fake_subjects[4:]


def test_record_says_what_the_set_is(written):
    folder, _ = written
    assert json.loads((folder / "sample_brains.json").read_text(encoding="utf-8")) == {
        "generator": "oasis_utils.synthetic",
        "format": 2,
        "seed": 7,
        **COUNTS,
        "notice": "Synthetic sample brains derived from the Colin27 template; not OASIS data.",
    }


def test_progress_counts_subjects(written):
    assert written[1] == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(written, tmp_path):
    environment = dict(os.environ)
    folder = synthetic.write_sample_brains(tmp_path, **COUNTS, seed=7, workers=2)
    assert contents(folder) == contents(written[0])
    assert dict(os.environ) == environment


def test_complete_set_is_left_alone(fake_subjects, tmp_path):
    folder = synthetic.write_sample_brains(tmp_path, **COUNTS, workers=1)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    fake_subjects.clear()
    assert synthetic.write_sample_brains(tmp_path, **COUNTS, workers=1) == folder
    assert fake_subjects == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_lost_pictures_are_made_again(fake_subjects, tmp_path):
    folder = synthetic.write_sample_brains(tmp_path, **COUNTS, workers=1)
    before = contents(folder)
    kept = folder / "keras_png_slices_train/case_003_slice_0.nii.png"
    kept_time = kept.stat().st_mtime_ns
    (folder / "keras_png_slices_train/case_002_slice_31.nii.png").unlink()
    fake_subjects.clear()
    calls = []
    synthetic.write_sample_brains(
        tmp_path, **COUNTS, workers=1, progress=lambda *call: calls.append(call)
    )
    assert fake_subjects == [2] and calls == [(4, 4)]
    assert contents(folder) == before
    assert kept.stat().st_mtime_ns == kept_time


def test_a_set_without_masks_gets_them_and_keeps_its_slices(fake_subjects, tmp_path):
    folder = synthetic.write_sample_brains(tmp_path, **COUNTS, workers=1)
    before = contents(folder)
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*/case_*.png")}
    for path in folder.glob("keras_png_slices_seg_*"):
        shutil.rmtree(path)
    synthetic.write_sample_brains(tmp_path, **COUNTS, workers=1)
    assert contents(folder) == before
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/case_*.png")} == times


def test_interrupted_set_is_continued(fake_subjects, tmp_path):
    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthetic.write_sample_brains(tmp_path, **COUNTS, workers=1, progress=interrupt)
    folder = tmp_path / "keras_png_slices_data"
    assert not (
        folder / "sample_brains.json"
    ).exists()  # it is written last, and marks a complete set
    fake_subjects.clear()
    synthetic.write_sample_brains(tmp_path, **COUNTS, workers=1)
    assert fake_subjects == [3, 4]
    assert (folder / "sample_brains.json").exists()
    assert not (folder / "sample_brains.partial.json").exists()


def test_interrupted_set_refuses_other_settings(fake_subjects, tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthetic.write_sample_brains(tmp_path, **COUNTS, seed=1, workers=1, progress=interrupt)
    with pytest.raises(FileExistsError, match="other settings"):
        synthetic.write_sample_brains(tmp_path, **COUNTS, seed=2, workers=1)


def test_foreign_slices_are_refused_and_kept(fake_subjects, tmp_path):
    foreign = tmp_path / "keras_png_slices_data/keras_png_slices_train/case_001_slice_0.nii.png"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"someone's scan")
    with pytest.raises(
        FileExistsError, match="not sample brains; choose another folder, or delete this one"
    ):
        synthetic.write_sample_brains(tmp_path, **COUNTS, workers=1)
    assert foreign.read_bytes() == b"someone's scan" and fake_subjects == []


@pytest.mark.parametrize("change", [{"seed": 1}, {"train": 3}, {"test": 0}, {"whole_head": True}])
def test_set_with_other_settings_is_refused(fake_subjects, tmp_path, change):
    folder = synthetic.write_sample_brains(tmp_path, **COUNTS, workers=1)
    before = contents(folder)
    with pytest.raises(
        FileExistsError, match="other settings; choose another folder, or delete this one"
    ):
        synthetic.write_sample_brains(tmp_path, **{**COUNTS, **change}, workers=1)
    assert contents(folder) == before


def test_damaged_record_is_refused(fake_subjects, tmp_path):
    folder = synthetic.write_sample_brains(tmp_path, **COUNTS, workers=1)
    (folder / "sample_brains.json").write_text("{", encoding="utf-8")
    with pytest.raises(FileExistsError):
        synthetic.write_sample_brains(tmp_path, **COUNTS, workers=1)


def test_splits_other_than_train_may_be_empty(fake_subjects, tmp_path):
    folder = synthetic.write_sample_brains(tmp_path, train=1, validate=0, test=0, workers=1)
    assert fake_subjects == [1]
    assert (folder / "keras_png_slices_test").is_dir()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": 0}, "train is 0; write a whole number, 1 or more"),
        ({"validate": -1}, "validate is -1; write a whole number, 0 or more"),
        ({"test": -2}, "test is -2; write a whole number, 0 or more"),
        ({"seed": -1}, "seed is -1; write a whole number, 0 or more"),
        ({"workers": 0}, "workers is 0; write a whole number, 1 or more"),
        ({"train": 998}, "1000 subjects are too many"),
    ],
)
def test_bad_counts_are_refused(fake_subjects, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        synthetic.write_sample_brains(tmp_path, **{**COUNTS, **change})
    assert list(tmp_path.iterdir()) == []


def test_notice_travels_with_the_template():
    notice = (resources.files("oasis_utils.data") / "assets/NOTICE.md").read_text(encoding="utf-8")
    for words in (
        "Holmes",
        "Copyright (C) 1993-2009 Louis Collins",
        "Permission to use, copy",
        "as is",
    ):
        assert words in notice
