"""Broken volumes are named or left out, and random damage gives slices or a DataError."""

import gzip
import tracemalloc
import warnings

import nibabel
import numpy as np
import pytest
from volume_files import (
    AXIAL,
    POINTER,
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

from oasis_utils.data.scans import find_scans
from oasis_utils.data.volume_names import Scan
from oasis_utils.data.volumes import SliceOptions, read_scans
from oasis_utils.runtime import DataError


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
        "a.nii holds only 27231 bytes, the header requires 27232: the file is cut off",
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
    "offset": ("a.nii", header_with(vox_offset=np.nan), "places its voxels at byte nan"),
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (mgh(make_head())[:-40], "holds only .* the header requires"),
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


# ---------------------------------------------------------------- random damage


def damaged(content, rng, start=0, end=None):
    """The content with some bytes changed between start and end, or cut off, or with a piece cut
    out or put in.
    """
    content, end = bytearray(content), end or len(content)
    kind = rng.integers(6)
    at = int(rng.integers(start, end))
    if kind <= 2:
        for i in rng.integers(start, end, rng.integers(1, 5)):
            content[i] = rng.integers(256) if kind else content[i] ^ (1 << rng.integers(8))
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
