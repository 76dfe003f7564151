"""Volumes to slices, on small made-up heads: orientation, geometry, options and grey levels."""

import gzip

import nibabel
import numpy as np
import pytest
from volume_files import (
    AXIAL,
    CSV,
    SHAPE,
    analyze,
    make_head,
    mgh,
    nifti,
    only,
    pack,
    session,
    slices_of,
    unpack,
)

from oasis_utils.data.orientation import oriented
from oasis_utils.data.scans import find_scans
from oasis_utils.data.tissues import TISSUES
from oasis_utils.data.volume_names import Scan
from oasis_utils.data.volumes import SliceOptions, read_scans
from oasis_utils.runtime import DataError


def window(images, shape=(SHAPE[1], SHAPE[0])):
    """The part of the square that the volume covers."""
    rows, columns = ((256 - n) // 2 for n in shape)
    return images[:, rows : rows + shape[0], columns : columns + shape[1]]


# ---------------------------------------------------------------- OASIS-1 discs


@pytest.mark.parametrize("where", ["folder", "file"])
@pytest.mark.parametrize("packed", [True, False])
def test_a_disc_packed_and_unpacked(tmp_path, packed, where):
    """Two sessions of one subject, both byte orders, people from the CSV; the packed disc's order
    is reversed.
    """
    heads = {
        "OAS1_0001_MR1": make_head(1),
        "OAS1_0001_MR2": make_head(2),
        "OAS1_0002_MR1": make_head(3),
    }
    files = {
        k: v
        for (name, voxels), endian in zip(heads.items(), "><<", strict=True)
        for k, v in session(name, voxels, endian).items()
    }
    source = tmp_path / "oasis"
    if packed:
        archive = pack(source / "oasis_cross-sectional_disc1.tar.gz", dict(reversed(files.items())))
        source = archive if where == "file" else source
    else:
        unpack(source, files)
        source = source if where == "folder" else source / "disc1"
    (tmp_path / "oasis_cross-sectional.csv").write_text(CSV)
    scans = find_scans(source)
    assert [(s.subject, s.session, s.person.age, s.person.sex, s.person.cdr) for s in scans] == [
        ("OAS1_0001", "MR1", 74, "F", 0),
        ("OAS1_0001", "MR2", 75, "F", 0.5),
        ("OAS1_0002", "MR1", None, "M", None),
    ]
    read = list(read_scans(scans, AXIAL))
    assert len(read) == 3
    for scan, images, labels in read:
        voxels = heads[f"{scan.subject}_{scan.session}"]
        assert (
            images.shape == labels.shape == (20, 256, 256)
            and images.dtype == labels.dtype == np.uint8
        )
        upright = voxels.transpose(2, 1, 0)[:, ::-1]
        assert np.array_equal(window(labels), (upright > 0).astype(int) + (upright > 600))
        assert np.array_equal(window(images) > 0, upright > 0)
        assert scan.where.endswith("gfc.hdr") and ("!" in scan.where) == packed


def test_without_the_skull_comes_first_and_a_session_counts_once(tmp_path):
    skull, brain = make_head(1), make_head(2)
    files = {**session(voxels=skull, masked=False, labels=False), **session(voxels=brain)}
    images, labels = only(unpack(tmp_path / "both", files))
    assert np.array_equal(images, only(unpack(tmp_path / "brain", session(voxels=brain)))[0])
    images, labels = only(
        unpack(tmp_path / "skull", session(voxels=skull, masked=False, labels=False))
    )
    assert labels is None and images.any()
    pack(tmp_path / "both" / "oasis_cross-sectional_disc1.tar.gz", session())
    (scan,) = find_scans(tmp_path / "both")
    assert scan.archive is None


def test_sessions_mixed_up_in_an_archive(tmp_path):
    """Members of two sessions in turn, labels first: correct, though both are held for a while."""
    both = [session("OAS1_0001_MR1", make_head(1)), session("OAS1_0002_MR1", make_head(2))]
    files = dict(
        item for pair in zip(*(reversed(s.items()) for s in both), strict=True) for item in pair
    )
    scans = find_scans(pack(tmp_path / "oasis_cross-sectional_disc1.tar.gz", files))
    read = {scan.subject: images for scan, images, _ in read_scans(scans, AXIAL)}
    for files, (_, images) in zip(both, sorted(read.items()), strict=True):
        assert np.array_equal(
            images, only(unpack(tmp_path / f"{len(list(tmp_path.iterdir()))}", files))[0]
        )


# ---------------------------------------------------------------- geometry


@pytest.mark.parametrize("axes", ["RAS", "LAS", "LPS", "RSA", "PIR", "ASL", "SRP"])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_storage_of_a_volume_does_not_matter(tmp_path, axes, plane):
    options = SliceOptions(plane=plane, count=9)
    expected = slices_of(tmp_path, nifti(make_head()), options)
    assert np.array_equal(slices_of(tmp_path, nifti(make_head(), axes), options), expected)


def test_formats_agree(tmp_path):
    head = make_head()
    expected = slices_of(tmp_path, nifti(head))
    for endian in "<>":
        unpack(tmp_path / endian, dict(zip(("a.hdr", "a.img"), analyze(head, endian), strict=True)))
        assert np.array_equal(only(tmp_path / endian)[0], expected)
        by_nibabel = nibabel.as_closest_canonical(nibabel.load(tmp_path / endian / "a.hdr"))
        assert np.array_equal(by_nibabel.get_fdata(), head)
    assert np.array_equal(
        slices_of(tmp_path, gzip.compress(nifti(head)), name="a.nii.gz"), expected
    )
    assert np.array_equal(slices_of(tmp_path, nifti(head, kind=nibabel.Nifti2Image)), expected)
    nibabel.save(nibabel.Nifti1Pair(head, np.eye(4)), tmp_path / "pair.img")
    assert np.array_equal(only(tmp_path / "pair.hdr")[0], expected)
    assert np.array_equal(
        slices_of(tmp_path, nifti(head[..., None])), expected
    )  # 4-D with one frame
    for dtype, slope in (
        (np.float32, None),
        (np.float64, None),
        (np.uint16, 0.5),
        (np.int32, 1e-3),
    ):
        assert np.array_equal(slices_of(tmp_path, nifti(head.astype(dtype), slope=slope)), expected)
    eight_bits = nifti((head // 4).astype(np.uint8), slope=4.0)
    assert np.abs(slices_of(tmp_path, eight_bits).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_freesurfer_volumes_are_those_of_nifti(tmp_path, dtype):
    head = (make_head() // 4).astype(dtype)
    expected = slices_of(tmp_path, nifti(head), name="a.nii")
    assert np.array_equal(slices_of(tmp_path, mgh(head), name="b.mgh"), expected)
    assert np.array_equal(
        slices_of(tmp_path, gzip.compress(mgh(head, "RSA")), name="c.mgz"), expected
    )
    assert np.array_equal(
        slices_of(tmp_path, gzip.compress(mgh(head) + bytes(99)), name="c.mgz"), expected
    )  # tags


@pytest.mark.parametrize(
    ("plane", "number", "rows", "columns"),
    [
        (
            "axial",
            (16, 24),
            (2, 10),
            (3, 11),
        ),  # z upwards; front up: y from the top; x to the right
        ("coronal", (22, 30), (8, 16), (3, 11)),  # y forwards; z from the top; x to the right
        ("sagittal", (3, 11), (8, 16), (22, 30)),  # x to the right; z from the top; y to the right
    ],
)
def test_left_and_right_up_and_down(tmp_path, plane, number, rows, columns):
    """A bright box in the patient's left, front and upper half of a head of 32 mm; the square adds
    112 mm.
    """
    voxels = np.full((32, 32, 32), 100, np.int16)
    voxels[3:11, 22:30, 16:24] = 300
    voxels[:2], voxels[:, :2], voxels[:, :, :2] = 0, 0, 0
    bright = (
        slices_of(
            tmp_path, nifti(voxels, "PIL"), SliceOptions(plane=plane, span=(0, 32), every=1.0)
        )
        > 200
    )
    expected = np.zeros_like(bright)
    expected[slice(*number), 112:144, 112:144][:, slice(*rows), slice(*columns)] = True
    assert np.array_equal(bright, expected)


@pytest.mark.parametrize("zooms", [(1, 1, 3), (2, 0.5, 1), (1.5, 1.25, 0.8)])
def test_any_voxel_size_becomes_one_millimetre(tmp_path, zooms):
    """A smooth ball has the same size along all axes, and its label map follows."""
    shape = [round(48 / z) for z in zooms]
    x, y, z = ((np.arange(n) + 0.5) * s - n * s / 2 for n, s in zip(shape, zooms, strict=True))
    far = np.sqrt(x[:, None, None] ** 2 + y[:, None] ** 2 + z**2)
    ball = np.clip(1000 * (18 - far), 0, 2000).astype(np.float32)
    inner = (far < 17).astype(np.uint8)
    unpack(tmp_path, {"a.nii": nifti(ball, "LSP", zooms), "a_dseg.nii": nifti(inner, "RAS", zooms)})
    images, labels = only(tmp_path, SliceOptions(span=(0, round(shape[2] * zooms[2])), every=1.0))
    for stack in (images > 125, labels > 0):
        for axis in range(3):
            extent = np.ptp(np.flatnonzero(stack.any(tuple({0, 1, 2} - {axis})))) + 1
            assert abs(extent - 34) <= 3
        assert np.abs(np.argwhere(stack).mean(0) - [23.5, 127.5, 127.5]).max() < 0.3
    assert np.mean((images > 125) == (labels > 0)) > 0.99


def test_one_percent_is_one_millimetre(tmp_path):
    expected = slices_of(tmp_path, nifti(make_head()))
    assert np.array_equal(
        slices_of(tmp_path, nifti(make_head(), zooms=(1.009, 0.991, 1.0))), expected
    )
    assert not np.array_equal(
        slices_of(tmp_path, nifti(make_head(), zooms=(1.0, 1.015, 1.0))), expected
    )


def test_large_volumes_show_the_head(tmp_path):
    """300 mm of field: the window follows the head; a head of 300 mm does not fit."""
    voxels = np.zeros((300, 40, 30), np.int16)
    voxels[220:290, 5:35, 5:25] = 500
    images = slices_of(tmp_path, nifti(voxels), SliceOptions(count=4))
    columns = np.flatnonzero(images.any((0, 1)))
    assert (columns[0], columns[-1]) == (220 - 44, 289 - 44)
    voxels[10:] = 500
    with pytest.raises(DataError, match="head of 290 mm, more than the 256 mm"):
        slices_of(tmp_path, nifti(voxels), SliceOptions(count=4))


# ---------------------------------------------------------------- options


def numbered():
    """A box of head at 10..29 mm along z whose grey level tells the millimetre; one bright speck
    above it.
    """
    voxels = np.zeros((30, 30, 40), np.int16)
    voxels[5:25, 5:25, 10:30] = 500 + 10 * np.arange(20)
    voxels[3, 3, 36] = 690
    return voxels


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (dict(count=20), range(10, 30)),
        (dict(count=4), [12, 17, 22, 27]),
        (dict(every=6.0), [10, 16, 22, 28]),
        (dict(every=2.5, span=(12, 20)), [12, 14, 17, 19]),
        (dict(count=2, span=(12, 20)), [14, 18]),
        (dict(every=6.0, count=1), [10, 16, 22, 28]),
    ],
)
def test_positions(tmp_path, options, expected):
    images = slices_of(tmp_path, nifti(numbered()), SliceOptions(**options))
    levels = images[:, 128, 128].astype(float)
    assert list(np.round(((levels / 250) * 690 - 500) / 10) + 10) == list(expected)


def test_positions_that_a_volume_does_not_have(tmp_path):
    with pytest.raises(
        DataError, match="a.nii has 20 mm to cut along the axial axis, too few for 21 slices: lower"
    ):
        slices_of(tmp_path, nifti(numbered()), SliceOptions(count=21))
    with pytest.raises(
        DataError, match="a.nii has 40 mm along the axial axis, the span asks for 30:41: choose"
    ):
        slices_of(tmp_path, nifti(numbered()), SliceOptions(span=(30, 41)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(plane="oblique"), "axial, coronal, sagittal, not 'oblique'"),
        (dict(span=(5, 5)), "FIRST < END"),
        (dict(span=(-1, 5)), "FIRST < END"),
        (dict(every=0.5), "1 mm or more"),
        (dict(every=float("nan")), "1 mm or more"),
        (dict(count=0), "1 or more"),
        (dict(orient="rot45"), "as-is, rot90"),
        (dict(orient="rot90,flip,flip"), "as-is"),
        (dict(orient="flip"), "as-is"),
        (dict(orient="rot90,"), "as-is"),
    ],
)
def test_options_say_what_is_allowed(options, message):
    with pytest.raises(ValueError, match=message):
        SliceOptions(**options)


def test_orient_turns_anticlockwise_then_mirrors(tmp_path):
    image = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    assert oriented(image, "as-is").tolist() == image.tolist()
    assert oriented(image, "rot90").tolist() == [[3, 6], [2, 5], [1, 4]]
    assert oriented(image, "rot90,flip").tolist() == [[6, 3], [5, 2], [4, 1]]
    assert oriented(image, "rot180").tolist() == [[6, 5, 4], [3, 2, 1]]
    assert oriented(oriented(image, "rot270"), "rot90").tolist() == image.tolist()
    assert np.array_equal(oriented(np.stack([image] * 3), "as-is,flip")[1], image[:, ::-1])
    turned = slices_of(tmp_path, nifti(make_head()), SliceOptions(count=5, orient="rot270,flip"))
    plain = slices_of(tmp_path, nifti(make_head()), SliceOptions(count=5))
    assert np.array_equal(turned, oriented(plain, "rot270,flip"))


def test_grey_levels(tmp_path):
    """The background is 0, the 99.5th percentile of the head 250, a hot voxel does not matter, nor
    do units.
    """
    voxels = make_head().astype(np.float32)
    voxels[12, 14, 10] = 1e6
    images = slices_of(tmp_path, nifti(voxels))
    head = images[images > 0]
    assert (
        (images == 0).mean() > 0.5
        and abs(np.percentile(head, 99.5) - 250) <= 1
        and head.max() == 255
    )
    assert np.array_equal(slices_of(tmp_path, nifti(voxels * 1e-3)), images)
    assert np.abs(slices_of(tmp_path, nifti(voxels - 500)).astype(int) - images).max() <= 1


# ---------------------------------------------------------------- label maps


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (np.indices(SHAPE).sum(0) % 36, 36),
        (np.indices(SHAPE).sum(0) % 2, 2),
        (np.indices(SHAPE)[0] % 3 + 250, 3),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_label_map_is_no_head_whatever_its_name(tmp_path, labels, values, dtype):
    with pytest.raises(
        DataError, match=f"a.nii holds {values} different whole numbers, .* label map .*--pattern"
    ):
        slices_of(tmp_path, nifti(labels.astype(dtype)))


def test_a_head_of_few_bits_is_a_head(tmp_path):
    levels = (make_head() // 12).astype(np.uint8)
    assert 50 < len(np.unique(levels)) < 64 and slices_of(tmp_path, nifti(levels)).any()
    assert slices_of(
        tmp_path, nifti((levels // 4).astype(np.float32) / 16)
    ).any()  # few, but no whole numbers


@pytest.mark.parametrize(
    ("coding", "fluid", "grey", "white"),
    [
        ("fsl", 1, 2, 3),
        ("bids", 3, 1, 2),
        ("neurite4", 4, 2, 3),
        ("neurite35", 22, 21, 20),
        ("freesurfer", 43, 42, 41),
    ],
)
def test_masks_mean_the_same_whatever_the_coding(tmp_path, coding, fluid, grey, white):
    tissue = np.indices(SHAPE)[2] % 4
    labels = np.array([0, fluid, grey, white], np.uint8)[tissue]
    unpack(tmp_path, {"a.nii": nifti(make_head()), "b.nii": nifti(labels)})
    scan = Scan(
        "a",
        "",
        "a",
        image=(str(tmp_path / "a.nii"),),
        labels=(str(tmp_path / "b.nii"),),
        coding=coding,
    )
    ((_, _, masks),) = read_scans([scan], AXIAL)
    assert np.array_equal(window(masks), tissue.transpose(2, 1, 0))
    assert set(np.unique(TISSUES[coding])) == {0, 1, 2, 3} and TISSUES[coding][0] == 0
