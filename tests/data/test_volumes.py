"""Volumes to slices, on small made-up heads: orientation, geometry, grey levels, and every kind of
broken file.
"""

import gzip
import tracemalloc
import warnings

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform
from volume_files import CSV, POINTER, SHAPE, analyze, make_head, nifti, pack, session, unpack

from oasis_utils.data.orientation import oriented
from oasis_utils.data.volumes import TISSUES, Scan, SliceOptions, find_scans, read_scans
from oasis_utils.runtime import DataError

AXIAL = SliceOptions(span=(0, SHAPE[2]), every=1.0)


def only(source, options=AXIAL):
    """Images and labels of the one scan of a source."""
    ((_, images, labels),) = read_scans(find_scans(source), options)
    return images, labels


def slices_of(tmp_path, content, options=AXIAL, name="a.nii"):
    return only(unpack(tmp_path, {name: content}) / name, options)[0]


def window(images, shape=(SHAPE[1], SHAPE[0])):
    """The part of the canvas that the volume covers."""
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
    assert [(s.subject, s.session, s.age, s.sex, s.cdr) for s in scans] == [
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


def mgh(voxels, axes="LIA"):
    """Bytes of a .mgh that stores RAS voxels along other axes."""
    image = nibabel.Nifti1Image(voxels, np.eye(4)).as_reoriented(
        ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
    )
    return nibabel.MGHImage(np.asanyarray(image.dataobj), image.affine).to_bytes()


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
    ("content", "message"),
    [
        (mgh(make_head())[:-40], "holds only .* the header promises"),
        (b"x" * 999, "no MGH header"),
        (b"", "no MGH header"),
        (mgh(make_head())[:20], "no MGH header"),
        (POINTER, "a Git LFS pointer"),
        (mgh(make_head())[:4] + b"\x7f" * 12 + mgh(make_head())[16:], "more than 512"),
        (mgh(make_head())[:20] + b"\0\0\0\7" + mgh(make_head())[24:], "unknown data type 7"),
        (
            mgh(make_head())[:30] + bytes(12) + mgh(make_head())[42:],
            "no usable orientation or voxel size",
        ),
        (mgh(make_head()) + bytes(2**21), "more than"),
        (mgh(np.stack([make_head()] * 2, -1)), "holds 2 volumes"),
    ],
)
def test_a_broken_freesurfer_volume_is_named(tmp_path, content, message):
    with pytest.raises(DataError, match=f"a.mgh .*{message}|{message}"):
        slices_of(tmp_path, content, name="a.mgh")
    with pytest.raises(
        DataError, match="Not a gzipped file|Compressed file ended|Git LFS|no MGH header"
    ):
        slices_of(tmp_path, content, name="a.mgz")


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
    """A bright box in the patient's left, front and upper half of a head of 32 mm; the canvas adds
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


# ---------------------------------------------------------------- broken files


def header_with(voxels=None, **fields):
    content = bytearray(nifti(make_head() if voxels is None else voxels))
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    return bytes(content)


HEAD = nifti(make_head())
BROKEN = {
    "cut off": (
        "a.nii",
        HEAD[:-1],
        "a.nii holds only 27231 bytes, the header promises 27232: the file is cut off",
    ),
    "too long": ("a.nii", HEAD + b"x", "holds more than 27232 bytes"),
    "no header": ("a.nii", b"x" * 999, "no NIfTI header: replace"),
    "empty file": ("a.nii", b"", "no NIfTI header"),
    "gzip cut off": ("a.nii.gz", gzip.compress(HEAD)[:-200], "a.nii.gz: Compressed file ended"),
    "gzip checksum": ("a.nii.gz", gzip.compress(HEAD)[:-8] + bytes(8), "CRC check failed"),
    "not gzip": ("a.nii.gz", HEAD, "Not a gzipped file"),
    "pointer": ("a.nii.gz", POINTER, "a.nii.gz is a Git LFS pointer, .*`git lfs pull`"),
    "pointer nii": ("a.nii", POINTER, "a Git LFS pointer"),
    "lonely header": ("a.hdr", analyze(make_head())[0], "a.hdr has no a.img beside it: fetch"),
    "lonely image": ("a.img", b"x" * 99, "a.img has no a.hdr beside it"),
    "flat": ("a.nii", nifti(make_head()[..., :1]), "not 3-D"),
    "frames": (
        "a.nii",
        nifti(np.stack([make_head()] * 3, -1)),
        "holds 3 volumes: give one T1 volume",
    ),
    "negative": ("a.nii", header_with(dim=[3, 24, -28, 20, 1, 1, 1, 1]), "not 3-D"),
    "huge": (
        "a.nii",
        header_with(dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]),
        r"claims \[30000, .* more than 512",
    ),
    "complex": ("a.nii", nifti(make_head().astype(np.complex64)), "data type complex64: convert"),
    "colour": ("a.nii", header_with(datatype=128, bitpix=24), "data type RGB: convert"),
    "unknown": ("a.nii", header_with(datatype=999), "unknown data type 999"),
    "constant": ("a.nii", nifti(np.full(SHAPE, 7, np.int16)), "constant .all voxels 7."),
    "empty": ("a.nii", nifti(np.zeros(SHAPE, np.float32)), "constant"),
    "nan": (
        "a.nii",
        nifti(np.where(make_head() > 990, np.nan, 1).astype(np.float32)),
        "nan, infinite",
    ),
    "infinite": (
        "a.nii",
        nifti(np.where(make_head() > 990, np.inf, 1).astype(np.float32)),
        "nan, infinite",
    ),
    "overflow": ("a.nii", header_with(scl_slope=3e38), "nan, infinite"),
    "intercept": ("a.nii", header_with(scl_slope=1, scl_inter=np.nan), "damaged"),
    "voxel size": (
        "a.nii",
        header_with(srow_x=[1e9, 0, 0, 0]),
        "no usable orientation or voxel size",
    ),
    "flat axes": (
        "a.nii",
        header_with(srow_x=[1, 0, 0, 0], srow_y=[1, 0, 0, 0]),
        "no usable orientation",
    ),
    "place": ("a.nii", header_with(vox_offset=np.nan), "places its voxels at byte nan"),
    "field": (
        "a.nii",
        nifti(np.ones((80, 80, 80), np.uint8), zooms=(9, 9, 9)),
        "covers 720 x 720 x 720 mm",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_volume_is_named(tmp_path, name):
    file, content, message = BROKEN[name]
    with pytest.raises(DataError, match=message):
        slices_of(tmp_path, content, name=file)


def test_a_volume_that_went_away(tmp_path):
    scans = find_scans(unpack(tmp_path, {"a.nii": HEAD}))
    (tmp_path / "a.nii").unlink()
    with pytest.raises(DataError, match="cannot read .*a.nii: No such file"):
        list(read_scans(scans, AXIAL))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (nifti(np.full(SHAPE, 0.5, np.float32)), "no label map of whole numbers"),
        (nifti(np.full(SHAPE, 2035, np.int16)), "no label map"),
        (nifti(np.ones((24, 28, 21), np.uint8)), "another grid"),
        (
            nibabel.Nifti1Image(
                np.ones(SHAPE, np.uint8), [[1, 0, 0, 2], *np.eye(4)[1:]]
            ).to_bytes(),
            "another grid",
        ),
        (nifti(np.ones(SHAPE, np.uint8), zooms=(1, 1, 1.005))[:-9], "cut off"),
    ],
)
def test_broken_labels(tmp_path, labels, message):
    unpack(tmp_path, {"a.nii": HEAD, "a_dseg.nii": labels})
    with pytest.raises(DataError, match=rf"a_dseg.nii .*{message}"):
        only(tmp_path)


def test_an_archive_that_changes_under_way(tmp_path):
    path = pack(tmp_path / "oasis_cross-sectional_disc1.tar.gz", session())
    scans = find_scans(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="damaged or incomplete"):
        list(read_scans(scans, AXIAL))
    pack(path, session("OAS1_0009_MR1"))
    with pytest.raises(DataError, match="has changed since it was listed"):
        list(read_scans(scans, AXIAL))


@pytest.mark.parametrize("half", [".hdr", ".img"])
def test_half_a_pair_in_an_archive(tmp_path, half):
    files = {
        k: v for k, v in session(labels=False).items() if "T88_111" not in k or not k.endswith(half)
    }
    with pytest.raises(
        DataError,
        match=rf"disc1.tar.gz!disc1/.* has no OAS1_0001_MR1_.*_masked_gfc{half} beside it",
    ):
        only(pack(tmp_path / "oasis_cross-sectional_disc1.tar.gz", files))


@pytest.mark.parametrize("packed", [True, False])
def test_a_broken_scan_is_reported_and_left_out(tmp_path, packed):
    """Reading is lazy: the first scan arrives before the second, broken one is looked at."""
    good = [session(f"OAS1_000{n}_MR1", make_head(n), labels=False) for n in (1, 2, 3)]
    good[1] = {k: v[:-5] if k.endswith("gfc.img") else v for k, v in good[1].items()}
    files = {k: v for part in good for k, v in part.items()}
    source = (
        pack(tmp_path / "oasis_cross-sectional_disc1.tar.gz", files)
        if packed
        else unpack(tmp_path / "d", files)
    )
    scans = find_scans(source)
    stream = read_scans(scans, AXIAL)
    assert next(stream)[0].subject == "OAS1_0001"
    with pytest.raises(DataError, match="OAS1_0002.*only"):
        next(stream)
    reports = []
    read = list(
        read_scans(
            scans, AXIAL, on_error=lambda scan, error: reports.append((scan.subject, str(error)))
        )
    )
    assert [scan.subject for scan, _, _ in read] == ["OAS1_0001", "OAS1_0003"]
    ((subject, message),) = reports
    assert subject == "OAS1_0002" and "cut off" in message


@pytest.mark.parametrize("packed", [True, False])
def test_one_volume_at_a_time(tmp_path, packed):
    """Six volumes need no more memory than two."""
    head = make_head(shape=(96, 96, 96)).astype(np.float32)

    def peak(n):
        files = {}
        for i in range(1, n + 1):
            stem = f"OAS1_000{i}_MR1_mpr_n4_anon_111_t88_masked_gfc"
            files[f"{stem}.hdr"], files[f"{stem}.img"] = analyze(head)
        name = f"oasis_cross-sectional_disc{n}.tar.gz"
        source = pack(tmp_path / name, files) if packed else unpack(tmp_path / f"{n}", files)
        scans = find_scans(source)
        tracemalloc.start()
        assert sum(1 for _ in read_scans(scans, SliceOptions(count=2))) == n
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    assert peak(6) < 1.05 * peak(2)


# ---------------------------------------------------------------- random damage


def damaged(content, rng, start=0, end=None):
    """The content with some bytes changed between start and end, or cut off, or with a piece cut
    out or put in.
    """
    content, end = bytearray(content), end or len(content)
    kind = rng.integers(6)
    at = int(rng.integers(start, end))
    if kind <= 2:
        for place in rng.integers(start, end, rng.integers(1, 5)):
            content[place] = rng.integers(256) if kind else content[place] ^ (1 << rng.integers(8))
    elif kind == 3:
        del content[at:]
    elif kind == 4:
        del content[at : at + int(rng.integers(1, 40))]
    else:
        content[at : at + 8] = rng.choice(
            [b"\xff" * 8, b"\0" * 8, b"\x7f" * 8, b"\x80" + b"\0" * 7, b"\0\0\xc0\x7f" * 2]
        )
    return bytes(content)


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", ["nii", "nii.gz", "hdr", "img", "tar.gz", "mgh"])
def test_random_damage_gives_slices_or_a_data_error(tmp_path, kind):
    rng = np.random.default_rng(["nii", "nii.gz", "hdr", "img", "tar.gz", "mgh"].index(kind))
    voxels = make_head(shape=(14, 14, 14))
    whole, pair = nifti(voxels), analyze(voxels, "<")
    options = SliceOptions(count=3)
    outcomes = {"slices": 0, "error": 0}
    name = (
        "a.nii"
        if kind == "nii"
        else "oasis_cross-sectional_disc1.tar.gz"
        if kind == "tar.gz"
        else f"a.{kind}"
    )
    contents = {
        "nii": whole,
        "nii.gz": gzip.compress(whole, 1),
        "hdr": pair[0],
        "img": pair[1],
        "mgh": mgh(voxels),
    }
    if kind == "tar.gz":
        stem = "disc1/OAS1_0001_MR1_mpr_n4_anon_111_t88_masked_gfc"
        plain = gzip.decompress(
            pack(tmp_path / name, {f"{stem}.hdr": pair[0], f"{stem}.img": pair[1]}).read_bytes()
        )
        contents["tar.gz"] = gzip.compress(plain, 1)
    if kind in ("hdr", "img"):
        unpack(tmp_path, {"a.hdr": pair[0], "a.img": pair[1]})
    for _ in range(500):
        if kind == "nii":
            broken = damaged(whole, rng, end=rng.choice([352, len(whole)]))
        elif (
            kind == "tar.gz" and rng.random() < 0.5
        ):  # damage from before it was packed: no checksum tells
            broken = gzip.compress(damaged(plain, rng, end=2048), 1)
        elif kind == "nii.gz" and rng.random() < 0.5:
            broken = gzip.compress(damaged(whole, rng, end=352), 1)
        elif kind == "mgh":
            broken = damaged(contents[kind], rng, end=rng.choice([90, len(contents[kind])]))
        else:
            broken = damaged(contents[kind], rng)
        (tmp_path / name).write_bytes(broken)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                read = list(read_scans(find_scans(tmp_path), options))
            except DataError as error:
                assert len(str(error)) > 20
                outcomes["error"] += 1
                continue
        for scan, images, labels in read:
            assert (
                isinstance(scan, Scan)
                and images.shape == (3, 256, 256)
                and images.dtype == np.uint8
            )
            assert images.any() and labels is None
        outcomes["slices"] += 1
    assert outcomes["error"] > 50
    if kind in ("nii", "mgh"):
        assert outcomes["slices"] > 50
