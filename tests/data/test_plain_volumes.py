"""Plain volumes are as many subjects as people, or are refused with the option that decides."""

import sys

import pytest
from named_volumes import found, people

from oasis_utils.data.plain_volumes import identity
from oasis_utils.data.scans import find_scans
from oasis_utils.runtime import DataError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IXI002-Guys-0828-T1", ("IXI002_Guys_0828", "")),
        ("T1", ("", "")),
        ("john_ses-1_T1w", ("john_1", "ses")),
        ("john_ses1", ("john", "ses1")),
        ("visit2", ("", "visit2")),
        ("brain_norm", ("", "")),
    ],
)
def test_words_that_say_who(name, expected):
    assert identity(name) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.nii", "b.nii.gz", "c.hdr", "c.img"], [("a", ""), ("b", ""), ("c", "")]),
        (
            ["IXI002-Guys-0828-T1.nii", "IXI012-HH-1211-T1.nii"],
            [("IXI002-Guys-0828-T1", ""), ("IXI012-HH-1211-T1", "")],
        ),
        (["one/T1.nii", "two/T1.nii"], [("one", ""), ("two", "")]),
        (["one/anat/T1.nii", "two/anat/T1.nii", "two/anat/T2.nii"], [("one", ""), ("two", "")]),
        (
            ["one/visit1/T1.nii", "one/visit2/T1.nii", "two/visit1/T1.nii"],
            [("one", "visit1"), ("one", "visit2"), ("two", "visit1")],
        ),
        (
            ["john_ses1.nii", "john_ses2.nii", "mary_ses1.nii"],
            [("john", "ses1"), ("john", "ses2"), ("mary", "ses1")],
        ),
        (["p1_T1.nii", "p1_FLAIR.nii", "p2_T1.nii"], [("p1", ""), ("p2_T1", "")]),
        (["ill/p1.nii", "well/p2.nii", "well/p3.nii"], [("p1", ""), ("p2", ""), ("p3", "")]),
        (["disc1/x.nii", "disc1/y.nii", "disc2/z.nii"], [("x", ""), ("y", ""), ("z", "")]),
        (["study7_alice.nii", "study7_bob.nii"], [("study7_alice", ""), ("study7_bob", "")]),
        (
            ["scan_1.nii", "scan_2.nii", "scan_10.nii"],
            [("scan_1", ""), ("scan_10", ""), ("scan_2", "")],
        ),
        (["sub-01.nii", "sub-02_run-1.nii", "sub-02_bold.nii"], [("sub-01", ""), ("sub-02", "")]),
        (
            ["ADNI_002_S_0295_MR_x_S1.nii", "ADNI_002_S_0413_MR_x_S2.nii"],
            [("002_S_0295", ""), ("002_S_0413", "")],
        ),
        (
            ["OAS1_0001_MR1/a.nii", "OAS1_0001_MR2/a.nii", "OAS30001_MR_d0129_T1w.nii"],
            [("OAS1_0001", "MR1"), ("OAS1_0001", "MR2"), ("OAS30001", "d0129")],
        ),
    ],
)
def test_plain_files_are_as_many_subjects_as_people(tmp_path, names, expected):
    assert sorted(people(tmp_path, names)) == expected


@pytest.mark.parametrize(
    "names",
    [
        ["p1/orig.nii", "p1/norm.nii", "p2/orig.nii", "p2/norm.nii"],  # which is the head?
        ["p1_orig.nii", "p1_norm.nii", "p2_orig.nii"],
        ["p01_a.nii", "p01_b.nii", "p02_a.nii"],  # one number, two names
        ["P01/a.nii", "P01/b.nii", "P02/c.nii", "P02/d.nii"],  # folders numbered like people
        ["ill/1.nii", "well/1.nii"],  # one name in two folders
        ["one/T1.nii", "one/T1_brain.nii", "two/T1.nii"],
        ["x_0000.nii", "x_0001.nii", "y_0000.nii"],  # channels
        ["alice_1.nii", "alice_2.nii", "bob_1.nii"],
    ],
)
def test_what_names_do_not_decide_is_refused_with_the_option_that_does(tmp_path, names):
    with pytest.raises(DataError, match="say with --pattern which"):
        people(tmp_path, names)


def test_label_maps_are_no_heads(tmp_path):
    names = [
        "a.nii",
        *(
            f"a_{kind}.nii"
            for kind in (
                "seg",
                "dseg",
                "aseg",
                "mask",
                "brain_mask",
                "label",
                "aparc+aseg",
                "pveseg",
                "labelmap",
                "segmentation",
                "Seg",
            )
        ),
        "labels/a.nii",
        "masksTr/a.nii",
        "segmentations/b.nii",
    ]
    assert found(tmp_path, names) == [("a", "", "a.nii", "a_dseg.nii", "bids")]


def test_the_work_grows_as_the_number_of_volumes(tmp_path):
    """Counted in function calls, so that no clock decides."""
    calls = []
    for n in (300, 600):
        folder = tmp_path / str(n)
        folder.mkdir()
        for i in range(n):
            (folder / f"IXI{i:04d}-Guys-T1.nii").touch()
        calls.append(0)

        def count(_frame, event, _argument):
            calls[-1] += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            scans = find_scans(folder)
        finally:
            sys.setprofile(None)
        assert len(scans) == n
    assert calls[1] < 2.3 * calls[0]
