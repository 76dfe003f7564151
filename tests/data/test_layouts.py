"""Whose head is which file, by names alone: one subject for each person, or a refusal that names
--pattern.
"""

import re

import pytest
from named_volumes import found, people

from oasis_utils.data.layouts import by_pattern, recognise
from oasis_utils.runtime import DataError

NEURITE = [
    f"{space}{kind}.nii.gz"
    for space in ("", "aligned_")
    for kind in ("orig", "norm", "seg4", "seg35")
]
NEURITE += ["slice_orig.nii.gz", "slice_norm.nii.gz", "slice_seg24.nii.gz"]


# ---------------------------------------------------------------- published layouts


def test_neurite_oasis_is_one_subject_a_folder(tmp_path):
    """Five people were once twenty subjects."""
    names = [f"OASIS_OAS1_{i:04d}_MR1/{name}" for i in range(1, 6) for name in NEURITE]
    assert found(tmp_path, names) == [
        (
            f"OAS1_{i:04d}",
            "MR1",
            f"OASIS_OAS1_{i:04d}_MR1/aligned_norm.nii.gz",
            f"OASIS_OAS1_{i:04d}_MR1/aligned_seg4.nii.gz",
            "neurite4",
        )
        for i in range(1, 6)
    ]
    (note,) = recognise(tmp_path, [tmp_path / name for name in names])[0].notes
    assert "aligned_norm (without the skull, in template space)" in note and "--pattern" in note


@pytest.mark.parametrize(
    ("kept", "head", "labels", "coding"),
    [
        (("orig", "norm", "seg4"), "norm", "seg4", "neurite4"),
        (("aligned_orig", "orig"), "aligned_orig", "", ""),
        (("aligned_norm", "aligned_seg35", "seg4"), "aligned_norm", "aligned_seg35", "neurite35"),
        (("orig",), "orig", "", ""),
    ],
)
def test_parts_of_neurite_oasis(tmp_path, kept, head, labels, coding):
    folder = "OASIS_OAS1_0003_MR1"
    assert found(tmp_path, [f"{folder}/{name}.nii.gz" for name in kept]) == [
        (
            "OAS1_0003",
            "MR1",
            f"{folder}/{head}.nii.gz",
            labels and f"{folder}/{labels}.nii.gz",
            coding,
        )
    ]


@pytest.mark.parametrize(
    "name", ["OASIS_OAS1_0001_MR1/slice_norm.nii.gz", "OASIS_OAS1_0001_MR1_slice_norm.nii.gz"]
)
def test_single_slices_of_neurite_oasis_are_refused(tmp_path, name):
    with pytest.raises(
        DataError, match="is one coronal slice of .* 2-D form: .* give the 3-D form"
    ):
        found(tmp_path, [name, name.replace("norm", "seg24")])


def test_learn2reg_is_one_subject_an_image(tmp_path):
    """Five people were once fifteen subjects, ten of them label maps."""
    names = [
        f"{kind}Tr/OASIS_{i:04d}_0000.nii.gz"
        for i in range(1, 5)
        for kind in ("images", "labels", "masks")
    ]
    names += ["imagesTs/OASIS_0415_0000.nii.gz", "masksTs/OASIS_0415_0000.nii.gz"]
    image, labels = "imagesTr/OASIS_0001_0000.nii.gz", "labelsTr/OASIS_0001_0000.nii.gz"
    assert found(tmp_path, names)[0] == ("OASIS_0001", "", image, labels, "neurite35")
    assert people(tmp_path, names) == [(f"OASIS_{i:04d}", "") for i in (1, 2, 3, 4, 415)]
    assert people(
        tmp_path,
        [
            f"{part}/OASIS_{i:04d}_0000.nii.gz"
            for part, i in (("Train", 1), ("Train", 2), ("Test", 3), ("label", 1), ("label", 2))
        ],
    ) == [("OASIS_0003", ""), ("OASIS_0001", ""), ("OASIS_0002", "")]


def test_freesurfer_subjects(tmp_path):
    names = [
        f"{who}/mri/{name}.mgz"
        for who in ("bert", "ernie", "sub-07_ses-2", "fsaverage", "bert.long.base")
        for name in ("T1", "aparc+aseg", "aseg", "brain", "brainmask", "norm", "orig", "wmparc")
    ]
    assert found(tmp_path, names) == [
        (subject, session, f"{who}/mri/norm.mgz", f"{who}/mri/aseg.mgz", "freesurfer")
        for who, subject, session in (
            ("bert", "bert", ""),
            ("ernie", "ernie", ""),
            ("sub-07_ses-2", "sub-07", "ses-2"),
        )
    ]
    assert [
        head
        for _, _, head, *_ in found(tmp_path, ["a/mri/T1.mgz", "b/mri/T1.mgz", "b/mri/brain.mgz"])
    ] == ["a/mri/T1.mgz", "b/mri/brain.mgz"]
    assert "mri/T1 (with the skull)" in recognise(tmp_path, [tmp_path / "a/mri/T1.mgz"])[0].notes[0]


def test_two_trees_with_the_same_freesurfer_subject_are_refused(tmp_path):
    with pytest.raises(
        DataError, match="p1_week1 and p1_week2 .* may be two volumes of one person: .*--pattern"
    ):
        people(
            tmp_path, ["p1_week1/mri/norm.mgz", "p1_week2/mri/norm.mgz", "p2_week1/mri/norm.mgz"]
        )


def test_fmriprep_takes_the_native_space_with_its_segmentation(tmp_path):
    stems = [
        f"{who}/anat/{who}{space}_"
        for who in ("sub-01", "sub-02")
        for space in ("", "_space-MNI152_res-2")
    ]
    names = [
        stem + rest
        for stem in stems
        for rest in (
            "desc-preproc_T1w.nii.gz",
            "desc-brain_mask.nii.gz",
            "dseg.nii.gz",
            "desc-aseg_dseg.nii.gz",
            "label-GM_probseg.nii.gz",
        )
    ]
    for prefix in ("", "derivatives/fmriprep/"):
        assert found(tmp_path, [prefix + name for name in names]) == [
            (who, "", f"{stem}_desc-preproc_T1w.nii.gz", f"{stem}_dseg.nii.gz", "bids")
            for who in ("sub-01", "sub-02")
            for stem in [f"{prefix}{who}/anat/{who}"]
        ]
    only = [name for name in names if "_space-" in name]
    assert found(tmp_path, only)[0][3] == "sub-01/anat/sub-01_space-MNI152_res-2_dseg.nii.gz"


def test_one_name_in_two_bids_data_sets_is_refused(tmp_path):
    """The second site's sub-01 was once left out without a word."""
    names = [
        f"{site}/sub-0{i}/anat/sub-0{i}_T1w.nii.gz" for site in ("siteA", "siteB") for i in (1, 2)
    ]
    with pytest.raises(DataError, match="sub-01 is in .*siteA and in .*siteB: .* --pattern"):
        people(tmp_path, names)
    assert people(tmp_path, names, r"(?P<subject>site./sub-\d+)/") == [
        (f"{site}/sub-0{i}", "") for site in ("siteA", "siteB") for i in (1, 2)
    ]


# ---------------------------------------------------------------- --pattern


def test_pattern_chooses_another_head(tmp_path):
    names = [f"OASIS_OAS1_{i:04d}_MR{j}/{name}" for i in (1, 2) for j in (1, 2) for name in NEURITE]
    assert found(tmp_path, names, r"(?P<subject>OAS1_\d+)_(?P<session>MR\d)/norm\.nii") == [
        (
            f"OAS1_{i:04d}",
            f"MR{j}",
            f"OASIS_OAS1_{i:04d}_MR{j}/norm.nii.gz",
            f"OASIS_OAS1_{i:04d}_MR{j}/seg4.nii.gz",
            "neurite4",
        )
        for i in (1, 2)
        for j in (1, 2)
    ]


def test_pattern_that_finds_two_volumes_of_a_session_is_refused(tmp_path):
    with pytest.raises(
        DataError,
        match="orig.nii and .*norm.nii are two volumes of subject p1: narrow --pattern .*"
        "group `session`",
    ):
        people(tmp_path, ["p1/orig.nii", "p1/norm.nii"], "(?P<subject>p1)")


def test_label_maps_that_a_pattern_finds_are_counted_and_left_out(tmp_path):
    names = ["p1/T1.nii", "p1/T1_seg.nii", "p2/T1.nii"]
    assert people(tmp_path, names, r"(?P<subject>p\d)/") == [("p1", ""), ("p2", "")]
    scans = by_pattern(
        tmp_path, [tmp_path / name for name in names], re.compile(r"(?P<subject>p\d)/")
    )
    assert [s.notes for s in scans] == [
        ("1 label maps that --pattern finds, not taken for heads",),
        (),
    ]
