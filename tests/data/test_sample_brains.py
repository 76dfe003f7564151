"""Sample brains on disk: the files of a set, and sets that are interrupted or not ours."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from oasis_utils.config import SPLITS
from oasis_utils.data.sample_brains import _assign_splits, write_sample_brains
from oasis_utils.data.synthetic import SampleSubject, begin_subject, make_subject
from oasis_utils.data.template import load_template

COUNTS = {"train": 2, "validate": 1, "test": 1}
HOMES = ("test", "validate", "train", "train")  # of subjects 1 to 4 of these counts with seed 7


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A set made in this process, with the calls of its progress function. Tests must leave it as
    it is.
    """
    calls = []
    root = tmp_path_factory.mktemp("written")
    folder = write_sample_brains(
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
        return SampleSubject(number, 50.0, picture, np.zeros_like(picture))

    # the package exports a function of the same name as the module
    module = sys.modules["oasis_utils.data.sample_brains"]
    monkeypatch.setattr(module, "make_subject", make)
    return made


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


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


def test_files_hold_the_subjects(written):
    folder, _ = written
    subject = make_subject(load_template(), 2, seed=7)
    for position in (0, 31):
        with Image.open(
            folder / f"keras_png_slices_validate/case_002_slice_{position}.nii.png"
        ) as picture:
            assert np.array_equal(np.asarray(picture), subject.slices[position])
        with Image.open(
            folder / f"keras_png_slices_seg_validate/seg_002_slice_{position}.nii.png"
        ) as picture:
            assert np.array_equal(np.asarray(picture), subject.masks[position])


def test_participants_table_agrees(written):
    folder, _ = written
    header, *rows = (folder / "participants.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "participant_id\tage\tsplit"
    names, ages, splits = zip(*(row.split("\t") for row in rows), strict=True)
    assert names == ("case_001", "case_002", "case_003", "case_004")
    assert splits == HOMES
    assert float(ages[1]) == make_subject(load_template(), 2, seed=7).age


@pytest.mark.parametrize("seed", [0, 1, 5])
@pytest.mark.parametrize(
    "counts", [(64, 8, 8), (64, 32, 64), (302, 35, 17), (12, 6, 6), (24, 4, 4)]
)
def test_splits_have_the_same_ages(counts, seed):
    """Numbers 1..n once went to train, validate and test in order, whatever the ages drawn for
    them.
    """
    home = _assign_splits(dict(zip(SPLITS, counts, strict=True)), seed)
    ages = {s: [begin_subject(n, seed)[1] for n in home if home[n] == s] for s in SPLITS}
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
        folder = write_sample_brains(tmp_path / str(i), *counts, seed=3, workers=1)
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
    folder = write_sample_brains(tmp_path, **COUNTS, seed=7, workers=2)
    assert contents(folder) == contents(written[0])
    assert dict(os.environ) == environment


def test_complete_set_is_left_alone(fake_subjects, tmp_path):
    folder = write_sample_brains(tmp_path, **COUNTS, workers=1)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    fake_subjects.clear()
    assert write_sample_brains(tmp_path, **COUNTS, workers=1) == folder
    assert fake_subjects == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_lost_pictures_are_made_again(fake_subjects, tmp_path):
    folder = write_sample_brains(tmp_path, **COUNTS, workers=1)
    before = contents(folder)
    kept = folder / "keras_png_slices_train/case_003_slice_0.nii.png"
    kept_time = kept.stat().st_mtime_ns
    (folder / "keras_png_slices_train/case_002_slice_31.nii.png").unlink()
    fake_subjects.clear()
    calls = []
    write_sample_brains(tmp_path, **COUNTS, workers=1, progress=lambda *call: calls.append(call))
    assert fake_subjects == [2] and calls == [(4, 4)]
    assert contents(folder) == before
    assert kept.stat().st_mtime_ns == kept_time


def test_a_set_without_masks_gets_them_and_keeps_its_slices(fake_subjects, tmp_path):
    folder = write_sample_brains(tmp_path, **COUNTS, workers=1)
    before = contents(folder)
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*/case_*.png")}
    for path in folder.glob("keras_png_slices_seg_*"):
        shutil.rmtree(path)
    write_sample_brains(tmp_path, **COUNTS, workers=1)
    assert contents(folder) == before
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/case_*.png")} == times


def test_interrupted_set_is_continued(fake_subjects, tmp_path):
    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample_brains(tmp_path, **COUNTS, workers=1, progress=interrupt)
    folder = tmp_path / "keras_png_slices_data"
    assert not (
        folder / "sample_brains.json"
    ).exists()  # it is written last, and marks a complete set
    fake_subjects.clear()
    write_sample_brains(tmp_path, **COUNTS, workers=1)
    assert fake_subjects == [3, 4]
    assert (folder / "sample_brains.json").exists()
    assert not (folder / "sample_brains.partial.json").exists()


def test_interrupted_set_refuses_other_settings(fake_subjects, tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample_brains(tmp_path, **COUNTS, seed=1, workers=1, progress=interrupt)
    with pytest.raises(FileExistsError, match="other settings"):
        write_sample_brains(tmp_path, **COUNTS, seed=2, workers=1)


def test_foreign_slices_are_refused_and_kept(fake_subjects, tmp_path):
    foreign = tmp_path / "keras_png_slices_data/keras_png_slices_train/case_001_slice_0.nii.png"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"someone's scan")
    with pytest.raises(
        FileExistsError, match="not sample brains; choose another folder, or delete this one"
    ):
        write_sample_brains(tmp_path, **COUNTS, workers=1)
    assert foreign.read_bytes() == b"someone's scan" and fake_subjects == []


@pytest.mark.parametrize("change", [{"seed": 1}, {"train": 3}, {"test": 0}, {"whole_head": True}])
def test_set_with_other_settings_is_refused(fake_subjects, tmp_path, change):
    folder = write_sample_brains(tmp_path, **COUNTS, workers=1)
    before = contents(folder)
    with pytest.raises(
        FileExistsError, match="other settings; choose another folder, or delete this one"
    ):
        write_sample_brains(tmp_path, **{**COUNTS, **change}, workers=1)
    assert contents(folder) == before


def test_damaged_record_is_refused(fake_subjects, tmp_path):
    folder = write_sample_brains(tmp_path, **COUNTS, workers=1)
    (folder / "sample_brains.json").write_text("{", encoding="utf-8")
    with pytest.raises(FileExistsError):
        write_sample_brains(tmp_path, **COUNTS, workers=1)


def test_splits_other_than_train_may_be_empty(fake_subjects, tmp_path):
    folder = write_sample_brains(tmp_path, train=1, validate=0, test=0, workers=1)
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
        write_sample_brains(tmp_path, **{**COUNTS, **change})
    assert list(tmp_path.iterdir()) == []
