"""Every kind of source is recognised, its series are in order, and no subject is ever in two
splits.
"""

import shutil

import numpy as np
import pytest
import volume_files
from slice_files import SUBJECTS, disc, make_collection, make_tree, write, write_slice

from oasis_utils.config import SPLITS
from oasis_utils.data.people import MISSING_AGE, Person, read_people
from oasis_utils.data.sources import discover, image_files, natural, with_splits
from oasis_utils.runtime import DataError, write_json

PATTERN = r"(?P<subject>OAS1_\d+)_(?P<session>MR\d)_mpr-\d_(?P<slice>\d+)\.(png|jpg|tif)"


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "keras_png_slices_data")


def named(source):
    return [(s.split, s.subject, p) for s in source.series for p in s.positions]


def expected():
    return [
        (split, subject, position)
        for split in SPLITS
        for subject in SUBJECTS[split]
        for position in range(3)
    ]


# ---------------------------------------------------------------- keras_png_slices


def test_tree_is_found_in_order(tree):
    source = discover(tree)
    assert source.kind == "keras" and named(source) == expected()
    assert all(
        s.session == "" and s.masks == () and s.name == str(s.subject) for s in source.series
    )


def test_tree_is_found_from_its_parents(tree):
    assert named(discover(tree.parent)) == named(discover(str(tree.parent))) == expected()
    outer = tree.parent / "outer"
    outer.mkdir()
    tree.rename(outer / "keras_png_slices_data")
    assert named(discover(outer.parent)) == expected()


@pytest.mark.parametrize("folder", ["keras_png_slices_{}/slices", "slices/keras_png_slices_{}"])
def test_a_slices_level_is_fine(tmp_path, folder):
    assert named(discover(make_tree(tmp_path, folder=folder))) == expected()


def test_val_means_validate_for_slices_and_masks(tmp_path):
    tree = make_tree(tmp_path, masks=True)
    for name in ("", "seg_"):
        (tree / f"keras_png_slices_{name}validate").rename(tree / f"keras_png_slices_{name}val")
    source = discover(tree)
    assert named(source) == expected() and all(len(s.masks) == len(s.files) for s in source.series)


def test_positions_and_subjects_sort_as_numbers(tmp_path):
    make_tree(
        tmp_path, {"train": (10, 9, 101), "validate": (4,), "test": (5,)}, positions=11, size=8
    )
    slices = [(subject, p) for split, subject, p in named(discover(tmp_path)) if split == "train"]
    assert slices == [(s, p) for s in (9, 10, 101) for p in range(11)]


def test_other_files_are_left_alone(tree):
    for name in (".DS_Store", "._case_001_slice_9.nii.png", "seg_001_slice_0.nii.png", "notes.txt"):
        (tree / "keras_png_slices_train" / name).touch()
    assert named(discover(tree)) == expected()


def test_plain_png_names_are_slices_too(tree):
    for path in (tree / "keras_png_slices_test").iterdir():
        path.rename(path.with_name(path.name.replace(".nii", "")))
    assert named(discover(tree)) == expected()


def test_masks_belong_to_their_slices(tmp_path):
    for s in discover(make_tree(tmp_path, masks=True)).series:
        assert [m.name.replace("seg", "case") for m in s.masks] == [f.name for f in s.files]
        assert all(m.parent.name == f"keras_png_slices_seg_{s.split}" for m in s.masks)


def test_masks_of_some_slices_are_not_used(tmp_path):
    tree = make_tree(tmp_path, masks=True)
    (tree / "keras_png_slices_seg_test" / "seg_005_slice_1.nii.png").unlink()
    source = discover(tree)
    assert not any(s.masks for s in source.series)
    assert source.notes == {"slices without a mask, so no masks are used": 1}


def test_missing_folder(tmp_path):
    with pytest.raises(
        DataError, match=r"no folder .*nowhere: give the folder that holds keras_png_slices"
    ):
        discover(tmp_path / "nowhere")


@pytest.mark.parametrize("split", SPLITS)
def test_missing_split_is_named_with_what_was_found(tree, split):
    shutil.rmtree(tree / f"keras_png_slices_{split}")
    with pytest.raises(
        DataError, match=rf"expected keras_png_slices_{split}/ under .*, found keras_png"
    ):
        discover(tree)


def test_a_folder_without_data_says_what_is_expected(tmp_path):
    with pytest.raises(
        DataError, match="found nothing: expected keras_png_slices_train/.* see README, Data"
    ):
        discover(tmp_path)
    (tmp_path / "letter.txt").touch()
    with pytest.raises(DataError, match="found letter.txt"):
        discover(tmp_path)
    with pytest.raises(DataError, match="found a file of another kind"):
        discover(tmp_path / "letter.txt")


@pytest.mark.parametrize("rename", [None, "patient-"])
def test_empty_split(tree, rename):
    for path in (tree / "keras_png_slices_validate").iterdir():
        path.rename(path.with_name(rename + path.name)) if rename else path.unlink()
    with pytest.raises(
        DataError, match=r"no slices in .*validate: expected names such as case_001_slice"
    ):
        discover(tree)


def test_subject_in_two_splits_is_refused(tree):
    path = write_slice(tree / "keras_png_slices_test", 2, 9, disc())
    path.rename(path.with_name("case_0002_slice_9.nii.png"))  # zeros do not make another subject
    with pytest.raises(DataError, match="subject 2 is in both train and test"):
        discover(tree)


def test_one_slice_under_two_names_is_refused(tree):
    folder = tree / "keras_png_slices_train"
    shutil.copy(folder / "case_001_slice_0.nii.png", folder / "case_1_slice_0.png")
    with pytest.raises(DataError, match="are the same slice: keep one"):
        discover(tree)


def test_people_come_from_the_participants_table(tree):
    assert read_people(tree) == {}
    (tree / "participants.tsv").write_text(
        "participant_id\tsex\tage\tcdr\ncase_001\tF\t34.5\t0.5\nsub-005\tn/a\tn/a\n\n"
    )
    people = {s.subject: s.person for s in discover(tree).series}
    assert people[1] == Person(34.5, "F", 0.5) and people[5] == people[6] == Person()
    assert read_people(tree.parent) == read_people(tree)
    (tree / "participants.tsv").write_text("name\tage\n")
    with pytest.raises(DataError, match="has no column participant_id: found name, age"):
        discover(tree)


def test_sample_brains_are_known_as_synthetic(tree):
    (tree / "sample_brains.json").touch()
    assert discover(tree).kind == discover(tree.parent).kind == "synthetic"


def test_an_export_says_what_it_was_made_from(tree):
    write_json(tree / "source.json", {"kind": "oasis"})
    assert discover(tree).kind == "oasis"


# ---------------------------------------------------------------- folders of images


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_class_folders_by_pattern(tmp_path, suffix):
    names = [f"OAS1_{i:04d}" for i in (3, 12, 7)]
    source = discover(make_collection(tmp_path, names, ("MR1", "MR2"), suffix=suffix), PATTERN)
    assert source.kind == "images" and source.notes == {}
    assert [(s.subject, s.name, s.session, s.positions) for s in source.series] == [
        (i, name, session, (0, 1))
        for i, name in enumerate(sorted(names), 1)
        for session in ("MR1", "MR2")
    ]
    assert all(s.name in f.name and s.session in f.name for s in source.series for f in s.files)


def test_positions_without_a_slice_group_follow_the_names(tmp_path):
    make_collection(tmp_path, ["A1", "A2"], positions=12)
    (one, _) = discover(tmp_path, r"(?P<subject>A\d+)").series
    assert one.positions == tuple(range(12)) and [f.stem[-3:] for f in one.files] == [
        str(n) for n in range(100, 112)
    ]


def test_positions_are_ranks_over_the_whole_set(tmp_path):
    make_collection(tmp_path, ["A1", "A2"], positions=4)
    (tmp_path / "ill" / "A1_MR1_mpr-1_101.png").unlink()
    series = discover(tmp_path, r"(?P<subject>A\d+)_.*_(?P<slice>\d+)\.").series
    assert [s.positions for s in series] == [(0, 2, 3), (0, 1, 2, 3)]


def test_images_without_a_pattern_ask_for_one(tmp_path):
    make_collection(tmp_path, ["OAS1_0001"], positions=4)
    with pytest.raises(
        DataError,
        match=r"holds 4 images such as ill/OAS1_0001_MR1_mpr-1_100.png, .*101.png, .*102.png"
        r": say with --pattern .*\(\?P<subject>",
    ):
        discover(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (
            r"(?P<subject>sub-\d+)",
            r"matches none of the 2 images .* such as ill/A1_MR1_mpr-1_100.png.*looks like",
        ),
        (r"A(\d+)", r"has no group \(\?P<subject>"),
        (r"(?P<subject>", "is no regular expression"),
    ],
)
def test_bad_patterns_are_explained(tmp_path, pattern, message):
    with pytest.raises(DataError, match=message):
        discover(make_collection(tmp_path, ["A1"]), pattern)


def test_images_that_the_pattern_leaves_out_are_counted(tmp_path):
    source = discover(make_collection(tmp_path, ["A1", "B1"]), r"(?P<subject>A\d)")
    assert [s.name for s in source.series] == ["A1"]
    assert source.notes == {"images that --pattern does not match, left out": 2}


def test_sessions_that_the_pattern_does_not_tell_apart_are_named(tmp_path):
    make_collection(tmp_path, ["A1"], ("MR1", "MR2"))
    with pytest.raises(
        DataError, match="are the same slice of subject A1: keep one, or name .* group `session`"
    ):
        discover(tmp_path, r"(?P<subject>A\d)_.*_(?P<slice>\d+)\.png")


def test_hidden_files_are_no_images_and_order_is_natural(tmp_path):
    for name in ("b10.PNG", "b9.tiff", "a/.x.png", "a/c.jpeg", ".git/d.png", "e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.name for p in image_files(tmp_path)] == ["c.jpeg", "b9.tiff", "b10.PNG"]
    assert sorted(["7", "07", "x", "10"], key=natural) == ["07", "7", "10", "x"]


# ---------------------------------------------------------------- volumes


def test_volumes_become_series_with_their_people(tmp_path):
    for name in ("OAS1_0002_MR1", "OAS1_0001_MR2", "OAS1_0001_MR1"):
        volume_files.unpack(tmp_path, volume_files.session(name))
    (tmp_path / "oasis_cross-sectional.csv").write_text(volume_files.CSV)
    source = discover(tmp_path)
    assert source.kind == "oasis" and len({source.state, discover(tmp_path).state}) == 1
    assert [(s.subject, s.name, s.session, s.person.age, s.person.cdr) for s in source.series] == [
        (1, "OAS1_0001", "MR1", 74, 0),
        (1, "OAS1_0001", "MR2", 75, 0.5),
        (2, "OAS1_0002", "MR1", None, None),
    ]


def test_volumes_by_pattern(tmp_path):
    head = volume_files.nifti(volume_files.make_head())
    volume_files.unpack(
        tmp_path,
        {
            f"p{i}/week{j}/{name}.nii": head
            for i in (1, 2)
            for j in (1, 2)
            for name in ("raw", "bias_corrected", "raw_seg")
        },
    )
    (tmp_path / "participants.tsv").write_text("participant_id\tage\nsub-p1\t61\n")
    with pytest.raises(DataError, match="say with --pattern"):
        discover(tmp_path)
    source = discover(tmp_path, r"(?P<subject>p\d)/(?P<session>week\d)/raw")
    assert source.kind == "nifti" and source.notes == {
        "4 label maps that --pattern finds, not taken for heads": 1
    }
    assert [(s.subject, s.name, s.session, s.person.age) for s in source.series] == [
        (1, "p1", "week1", 61),
        (1, "p1", "week2", 61),
        (2, "p2", "week1", None),
        (2, "p2", "week2", None),
    ]


def test_a_pattern_that_finds_images_and_volumes_is_refused(tmp_path):
    make_collection(tmp_path, ["A1"])
    volume_files.unpack(tmp_path, {"A1.nii": volume_files.nifti(volume_files.make_head())})
    with pytest.raises(
        DataError, match=r"matches 2 images, .* and 1 volumes, .*A1.nii: let it end in"
    ):
        discover(tmp_path, r"(?P<subject>A\d)")
    assert discover(tmp_path, r"(?P<subject>A\d)\.nii").kind == "nifti"
    assert discover(tmp_path, r"(?P<subject>A\d).*\.png").kind == "images"


# ---------------------------------------------------------------- state and splits


def test_state_follows_files_and_people(tree):
    states = [discover(tree).state, discover(tree).state]
    write_slice(tree / "keras_png_slices_test", 5, 1, disc(64, 9))
    states.append(discover(tree).state)
    (tree / "participants.tsv").write_text("participant_id\tage\ncase_005\t71.5\n")
    states.append(discover(tree).state)
    assert states[0] == states[1] and len(set(states)) == 3


@pytest.mark.parametrize("seed", range(6))
def test_sessions_of_a_subject_stay_together(tmp_path, seed):
    rng = np.random.default_rng(seed)
    for i in range(6):
        sessions = [f"MR{j + 1}" for j in range(rng.integers(1, 4))]
        make_collection(
            tmp_path / str(rng.integers(3)), [f"OAS1_{rng.integers(10)}{i}"], sessions, 1, size=8
        )
    source = with_splits(discover(tmp_path, PATTERN), (0.5, 0.2, 0.3), seed)
    splits_of = {
        s.name: {t.split for t in source.series if t.name == s.name} for s in source.series
    }
    assert all(len(splits) == 1 for splits in splits_of.values())
    assert [s.split for s in source.series] == sorted(
        (s.split for s in source.series), key=SPLITS.index
    )


def test_official_splits_are_kept(tree):
    assert named(with_splits(discover(tree), (1.0, 1.0, 1.0), 5)) == expected()


# ---------------------------------------------------------------- ages


def table_of_ages(folder, names, cells):
    rows = [f"{name}\t{cell}" for name, cell in zip(names, cells, strict=True)]
    (folder / "participants.tsv").write_text("\n".join(["participant_id\tage", *rows]) + "\n")


def test_codes_for_missing_ages_are_no_ages_in_any_kind_of_source(tmp_path):
    cells = ["-999", "-1", "999", "9999", "n/a", "", "1e308", "70"]
    slices = make_tree(tmp_path / "slices", {"train": range(1, 7), "validate": (7,), "test": (8,)})
    table_of_ages(slices, [f"case_{i:03d}" for i in range(1, 9)], cells)
    names = [f"AB{i}" for i in range(1, 9)]
    images = make_collection(tmp_path / "images", names, sessions=("MR1", "MR2"))
    table_of_ages(images, names, cells)
    volumes = tmp_path / "volumes"
    for name in names:
        write(volumes / f"sub-{name}" / "anat" / f"sub-{name}_T1w.nii.gz", disc(), format="PNG")
    table_of_ages(volumes, [f"sub-{name}" for name in names], cells)
    for path, pattern in (
        (slices, None),
        (images, r"(?P<subject>AB\d+)_(?P<session>MR\d)"),
        (volumes, None),
    ):
        source = discover(path, pattern)
        ages = {s.person.age for s in source.series}
        assert ages == {None, 70.0}
        assert source.notes[MISSING_AGE] == 6
        assert [n for note, n in source.notes.items() if "1e308" in note] == [1]
