"""What is found in folders and archives, who it belongs to, and damaged archives that are named
before any reading.
"""

import gzip
import io
import re
import tarfile

import numpy as np
import pytest
from volume_files import POINTER, analyze, make_head, nifti, pack, session, unpack

from oasis_utils.data.people import Person
from oasis_utils.data.scans import find_scans
from oasis_utils.runtime import DataError


def test_notes_of_a_session_replace_the_table(tmp_path):
    (scan,) = find_scans(pack(tmp_path / "oasis_cross-sectional_disc2.tar.gz", session()))
    assert scan.person == Person(33.0, "M", 0.5)
    (scan,) = find_scans(unpack(tmp_path / "plain", session()))
    assert scan.person == Person(33.0, "M", 0.5)


def test_members_that_lead_out_are_passed_over(tmp_path):
    path = tmp_path / "oasis_cross-sectional_disc1.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for prefix, kind in (
            ("/abs/", tarfile.REGTYPE),
            ("../", tarfile.REGTYPE),
            ("", tarfile.SYMTYPE),
            ("", tarfile.LNKTYPE),
            ("", tarfile.FIFOTYPE),
        ):
            for name in session():
                member = tarfile.TarInfo(prefix + name)
                member.type, member.linkname = kind, "/etc/passwd"
                tar.addfile(member, io.BytesIO())
    assert find_scans(path) == []
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


# ---------------------------------------------------------------- BIDS, NIfTI, Analyze


def test_a_bids_tree(tmp_path):
    head = nifti(make_head())
    names = [
        "sub-02/anat/sub-02_T1w.nii",
        "sub-01/ses-1/anat/sub-01_ses-1_run-1_T1w.nii",
        "sub-01/ses-1/anat/sub-01_ses-1_run-2_T1w.nii",
        "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii",
        "sub-01/ses-2/anat/sub-01_ses-2_T2w.nii",
        "sub-01/ses-2/func/sub-01_ses-2_task-rest_bold.nii",
        "derivatives/x/sub-03/anat/sub-03_T1w.nii",
        ".git/sub-04_T1w.nii",
    ]
    unpack(tmp_path, dict.fromkeys(names, head))
    unpack(
        tmp_path, {"sub-02/anat/sub-02_dseg.nii": nifti((make_head() > 0).astype(np.uint8), "LPS")}
    )
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tsex\nsub-01\t34.5\tfemale\nsub-02\t89+\tM\n"
    )
    scans = find_scans(tmp_path)
    assert [(s.subject, s.session, s.person.age, s.person.sex) for s in scans] == [
        ("sub-01", "ses-1", 34.5, "F"),
        ("sub-01", "ses-2", 34.5, "F"),
        ("sub-02", "", None, "M"),
    ]
    assert "run-1" in scans[0].where
    assert [len(s.labels) for s in scans] == [0, 0, 1]
    assert [s.subject for s in find_scans(tmp_path / "derivatives")] == ["sub-03"]


def test_plain_folders(tmp_path):
    head = nifti(make_head())
    hdr, img = analyze(make_head())
    unpack(
        tmp_path,
        {
            "IXI002-Guys-T1.nii": head,
            "b_mask.nii": head,
            "b_dseg.nii": head,
            "b_brain_seg.nii": head,
            "OAS1_0007_MR2_x.hdr": hdr,
            "OAS1_0007_MR2_x.img": img,
            "b.nii.gz": gzip.compress(head),
        },
    )
    assert [(s.subject, s.session) for s in find_scans(tmp_path)] == [
        ("IXI002-Guys-T1", ""),
        ("OAS1_0007", "MR2"),
        ("b", ""),
    ]
    unpack(tmp_path / "people", {"one/T1.nii": head, "two/T1.nii": head})
    assert [s.subject for s in find_scans(tmp_path / "people")] == ["one", "two"]
    unpack(tmp_path, {"b.nii": head, "b.hdr": hdr, "b.img": img})
    for name, image in (("b.nii.gz", 1), ("b.nii", 1), ("b.hdr", 2), ("b.img", 2)):
        (scan,) = find_scans(tmp_path / name)
        assert str(tmp_path / name) in scan.image and len(scan.image) == image and scan.labels
    assert [len(s.image) for s in find_scans(tmp_path) if s.subject == "b"] == [1]
    assert [s.subject for s in find_scans(tmp_path / "OAS1_0007_MR2_x.img")] == ["OAS1_0007"]


def test_nothing_is_found_where_nothing_is(tmp_path):
    assert find_scans(tmp_path) == []
    assert find_scans(unpack(tmp_path, {"a.txt": b"", "b.png": b""}) / "a.txt") == []
    with pytest.raises(DataError, match="no file or folder .*nowhere: give"):
        find_scans(tmp_path / "nowhere")


# ---------------------------------------------------------------- broken archives and tables


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda content: content[: len(content) // 2],
            "disc1.tar.gz is damaged or incomplete .Compressed file ended",
        ),
        (lambda content: content[:-8] + bytes(8), "CRC check failed"),
        (lambda content: b"hello" * 999, "Not a gzipped file .*: fetch it again"),
        (lambda content: b"", "damaged or incomplete"),
        (lambda content: POINTER, "disc1.tar.gz is a Git LFS pointer"),
        (
            lambda content: gzip.compress(gzip.decompress(content)[: 40 * 512]),
            "damaged or incomplete",
        ),
        (
            lambda content: gzip.compress(
                gzip.decompress(content).replace(b"FSL_SEG", b"FSL_SEX", 1)
            ),
            "damaged or incompl",
        ),
    ],
)
def test_a_broken_archive_is_named_before_anything_is_read(tmp_path, damage, message):
    path = pack(tmp_path / "oasis_cross-sectional_disc1.tar.gz", session())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        find_scans(path)


def test_a_member_of_absurd_size_is_not_read(tmp_path):
    member = tarfile.TarInfo("OAS1_0001_MR1.txt")
    member.size = 2**40
    path = tmp_path / "oasis_cross-sectional_disc1.tar.gz"
    path.write_bytes(gzip.compress(member.tobuf() + bytes(9999)))
    with pytest.raises(
        DataError,
        match=r"disc1.tar.gz!OAS1_0001_MR1.txt claims 1099511627776 bytes: .*fetch it again",
    ):
        find_scans(path)


def test_a_broken_table(tmp_path):
    unpack(tmp_path, {"a.nii": nifti(make_head()), "participants.tsv": b"name\tage\na\t3\n"})
    with pytest.raises(
        DataError, match="participants.tsv has no column participant_id: .*; repair"
    ):
        find_scans(tmp_path)


def test_a_table_that_names_nobody_gives_a_note_and_a_pattern_mends_it(tmp_path):
    """As IXI's files are called, beside a table of its numbers."""
    for number in (2, 12):
        name = f"IXI{number:03d}-Guys-08{number:02d}-T1.nii"
        (tmp_path / name).write_bytes(nifti(make_head(number)))
    table = tmp_path / "participants.tsv"
    table.write_text("participant_id\tage\nIXI002\t35.8\nIXI012\tn/a\n")
    for scan in find_scans(tmp_path):
        assert scan.person.age is None
        assert "such as IXI002-Guys-0802-T1, its rows such as IXI002;" in scan.notes[-1]
    found = find_scans(tmp_path, re.compile(r"(?P<subject>IXI\d+)"))
    assert [(scan.subject, scan.person.age, scan.notes) for scan in found] == [
        ("IXI002", 35.8, ()),
        ("IXI012", None, ()),
    ]
    table.write_text("participant_id\tage\nIXI002-Guys-0802-T1\tn/a\n")
    assert [scan.notes for scan in find_scans(tmp_path)] == [(), ()]
