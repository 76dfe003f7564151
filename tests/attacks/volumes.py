"""Volumes whose headers claim what the file does not hold, or that unpack to too much."""

import gzip
import struct

import numpy as np
from attacks.files import heads, odd_head, zeros
from attacks.harness import attack
from volume_files import make_head, mgh, nifti

HEAD = nifti(make_head(9))


def header(**places):
    """The header of a sound volume with other bytes: offset -> (format, values)."""
    content = bytearray(HEAD[:352])
    for place, (form, *values) in places.items():
        struct.pack_into(f"<{form}", content, int(place[1:]), *values)
    return bytes(content)


def claimed(x, y, z, kind=2, bits=8, zoom=0.5):
    """The header of a volume of x * y * z voxels of `zoom` mm."""
    content = bytearray(
        header(
            _40=("8h", 3, x, y, z, 1, 1, 1, 1),
            _70=("2h", kind, bits),
            _76=("8f", 1, zoom, zoom, zoom, 1, 1, 1, 1),
        )
    )
    struct.pack_into("<2h", content, 252, 0, 1)
    struct.pack_into("<12f", content, 280, zoom, 0, 0, 0, 0, zoom, 0, 0, 0, 0, zoom, 0)
    return bytes(content)


@attack("volumes", "sub-9_T1w.nii holds only .* bytes, the header requires")
def cut_off_volume(data):
    """A volume that ends in the middle."""
    odd_head(data, HEAD[:5000])


@attack("volumes", "sub-9_T1w.nii holds more than")
def volume_with_a_tail(data):
    """A volume with further bytes behind it."""
    odd_head(data, HEAD + b"x")


@attack("volumes", "is no NIfTI header")
def text_volume(data):
    """A volume that is a text."""
    odd_head(data, b"hello" * 999)


@attack("volumes", "is no NIfTI header")
def empty_volume(data):
    """A volume of no bytes."""
    odd_head(data, b"")


@attack("volumes", "more than 512³: the header is damaged")
def volume_of_a_large_claim(data):
    """A header that claims 32767³ voxels."""
    odd_head(data, claimed(32767, 32767, 32767))


@attack("volumes", "holds only .* bytes, the header requires")
def volume_that_reserves(data):
    """A header that claims 512³ voxels of 8 bytes, above nothing."""
    odd_head(data, claimed(512, 512, 512, 64, 64))


@attack("volumes", "unpacks to .* or more: no scan does")
def packed_volume_of_zeros(data):
    """A packed volume of 512³ zeros of 8 bytes, 1 MB on the disk."""
    head = gzip.compress(claimed(512, 512, 512, 64, 64))
    odd_head(data, head + zeros(2**30), "sub-9_T1w.nii.gz")


@attack("volumes", "is constant|holds .* different whole numbers")
def largest_packed_volume(data):
    """A packed volume of 512³ zeros of one byte, the most that is unpacked."""
    head = gzip.compress(claimed(512, 512, 512))
    odd_head(
        data,
        head + zeros(2**27 - 2**24) + gzip.compress(bytes(2**24 - 352 + 352)),
        name="sub-9_T1w.nii.gz",
    )


@attack("volumes", "holds more than|unpacks to")
def packed_volume_with_an_endless_tail(data):
    """A small packed volume and 4 GiB of zeros behind it."""
    odd_head(data, gzip.compress(HEAD) + zeros(2**32), "sub-9_T1w.nii.gz")


@attack("volumes", "nan, infinite or above 1e30")
def volume_of_nan(data):
    """A volume with one voxel that is nan."""
    voxels = make_head(9).astype(np.float32)
    voxels[3, 3, 3] = np.nan
    odd_head(data, nifti(voxels))


@attack("volumes", "nan, infinite or above 1e30|constant|slope|damaged")
def scaling_that_overflows(data):
    """A slope of 1e38."""
    content = bytearray(HEAD)
    struct.pack_into("<2f", content, 112, 1e38, 0)
    odd_head(data, bytes(content))


@attack("volumes", "no usable orientation or voxel size")
def voxels_of_a_kilometre(data):
    """A voxel size of 1e6 mm, for which the slices would have as many pixels."""
    odd_head(data, nifti(make_head(9), zooms=(1e6, 1e6, 1e6)))


@attack("volumes", "no usable orientation or voxel size")
def orientation_of_nan(data):
    """An orientation that is nan."""
    content = bytearray(HEAD)
    struct.pack_into("<12f", content, 280, *[float("nan")] * 12)
    odd_head(data, bytes(content))


@attack("volumes", "unknown data type|has data type")
def unknown_type(data):
    """A data type that does not exist."""
    content = bytearray(HEAD)
    struct.pack_into("<h", content, 70, 12345)
    odd_head(data, bytes(content))


@attack("volumes", "is not 3-D")
def flat_volume(data):
    """A volume of one dimension."""
    content = bytearray(HEAD)
    struct.pack_into("<8h", content, 40, 1, 9, 1, 1, 1, 1, 1, 1)
    odd_head(data, bytes(content))


@attack("volumes", "holds .* volumes|is not 3-D|no NIfTI header")
def series_of_volumes(data):
    """A header of 30,000 volumes."""
    content = bytearray(HEAD)
    struct.pack_into("<8h", content, 40, 4, 24, 28, 20, 30_000, 1, 1, 1)
    odd_head(data, bytes(content))


@attack("volumes", "places its voxels at byte")
def voxels_far_away(data):
    """A header that places its voxels a terabyte behind."""
    content = bytearray(HEAD)
    struct.pack_into("<f", content, 108, 1e12)
    odd_head(data, bytes(content))


@attack("volumes", "is constant")
def black_volume(data):
    """A volume of zeros."""
    odd_head(data, nifti(np.zeros((24, 28, 20), np.int16)))


@attack("volumes", "no MGH header")
def text_as_mgh(data):
    """A FreeSurfer volume that is a text."""
    odd_head(data, b"hello" * 99, "sub-9_T1w.mgh")


@attack("volumes", "unpacks to|holds more than|cannot read")
def endless_mgz(data):
    """A FreeSurfer volume and 4 GiB of zeros behind it."""
    odd_head(data, gzip.compress(mgh(make_head(9))) + zeros(2**32), "sub-9_T1w.mgz")


@attack("skip volumes")
def bad_volume_left_out(data):
    """A damaged volume among sound ones, with --skip-bad."""
    odd_head(data, b"hello" * 99)


@attack("volumes", "on another grid|no label map")
def labels_of_another_head(data):
    """A label map of another size than its head."""
    heads(data)
    labels = nifti(np.ones((5, 5, 5), np.uint8))
    (data / "sub-1_dseg.nii").write_bytes(labels)


@attack("volumes", "two volumes|data sets|is in .* and in")
def one_person_in_two_data_sets(data):
    """The same subject in two data sets below one folder."""
    for name in ("a", "b"):
        heads(data / name / "sub-1" / "anat", 1)
        heads(data / name / "sub-2" / "anat", 1, 2)
        heads(data / name / "sub-3" / "anat", 1, 3)
