"""Small made-up heads as files of every kind that is read, and their slices: for tests of scans and
volumes.
"""

import io
import tarfile

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, ornt_transform

from oasis_utils.data.scans import find_scans
from oasis_utils.data.volumes import SliceOptions, read_scans

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
CSV = (
    "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay\nOAS1_0001_MR1,F,R,74,2,3,29,0,1344,0.743,1.306,N/A\n"
    "OAS1_0001_MR2,F,R,75,2,3,29,0.5,1344,0.743,1.306,40\nOAS1_0002_MR1,M,R,N/A,,,,,1147,0.81,1.531,N/A\n"
)
SHAPE = (24, 28, 20)  # x to the right, y forwards, z upwards
AXIAL = SliceOptions(span=(0, SHAPE[2]), every=1.0)


def make_head(seed=0, shape=SHAPE):
    """A grey ellipsoid with noise of the given seed, int16, RAS; half the field is empty."""
    x, y, z = np.indices(shape)
    inside = (
        sum(((a - (n - 1) / 2) / (0.4 * n)) ** 2 for a, n in zip((x, y, z), shape, strict=True)) < 1
    )
    return np.where(inside, np.random.default_rng(seed).integers(300, 1000, shape), 0).astype(
        np.int16
    )


def nifti(voxels, axes="RAS", zooms=(1, 1, 1), dtype=None, slope=None, kind=nibabel.Nifti1Image):
    """Bytes of a .nii that stores RAS voxels along other axes."""
    image = kind(voxels, np.diag([*zooms, 1.0]), dtype=dtype or voxels.dtype)
    if slope:
        image.header.set_slope_inter(slope, 7)
    turned = image.as_reoriented(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes)))
    return turned.to_bytes()


def analyze(voxels, endian=">", dims=None):
    """Header and voxels of an Analyze pair; x is stored from right to left."""
    header = nibabel.AnalyzeHeader(endianness=endian)
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(dims or voxels.shape)
    header.set_zooms([1.0] * len(dims or voxels.shape))
    return header.binaryblock, voxels[::-1].astype(voxels.dtype.newbyteorder(endian)).tobytes(
        order="F"
    )


def mgh(voxels, axes="LIA"):
    """Bytes of a .mgh that stores RAS voxels along other axes."""
    image = nibabel.Nifti1Image(voxels, np.eye(4)).as_reoriented(
        ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
    )
    return nibabel.MGHImage(np.asanyarray(image.dataobj), image.affine).to_bytes()


def session(
    subject="OAS1_0001_MR1", voxels=None, endian=">", masked=True, disc="disc1", labels=True
):
    """Files of one OASIS-1 session as {name: bytes}."""
    voxels = make_head() if voxels is None else voxels
    stem = f"{subject}_mpr_n4_anon_111_t88_{'masked_' if masked else ''}gfc"
    folder = f"{disc}/{subject}"
    files = {
        f"{folder}/RAW/{subject}_mpr-1_anon.img": b"x" * 999,
        f"{folder}/RAW/{subject}_mpr-1_anon.hdr": b"x" * 348,
        f"{folder}/{subject}.txt": (
            b"SESSION ID: x\nAGE:          33\nM/F:          Male\nCDR:          0.5\n"
        ),
    }
    image = f"{folder}/PROCESSED/MPRAGE/T88_111/{stem}"
    files[f"{image}.hdr"], files[f"{image}.img"] = analyze(voxels, endian, (*SHAPE, 1))
    if labels:
        tissue = (voxels > 0).astype(np.uint8) + (voxels > 600)
        files[f"{folder}/FSL_SEG/{stem}_fseg.hdr"], files[f"{folder}/FSL_SEG/{stem}_fseg.img"] = (
            analyze(tissue, endian)
        )
    return files


def pack(path, files):
    """A .tar.gz with these members in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def unpack(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def only(source, options=AXIAL):
    """Images and labels of the one scan of a source."""
    ((_, images, labels),) = read_scans(find_scans(source), options)
    return images, labels


def slices_of(tmp_path, content, options=AXIAL, name="a.nii"):
    return only(unpack(tmp_path, {name: content}) / name, options)[0]
