"""Whole trees in the published layouts, with their irregularities, written from the project's own
sample brains.

Every builder returns the number of people that its tree holds.
"""

import functools
import gzip
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, ornt_transform
from PIL import Image

from oasis_utils.data.synthetic import make_subject
from oasis_utils.data.template import load_template

SEED = 11
SLAB = 32  # mm of brain
FIRST = 60  # mm of empty field below it
DISC_FIELD = (176, 208, 176)  # of OASIS-1's T88_111 volumes
NEURITE_FIELD = (160, 224, 192)  # RAS; stored as LIA, 160 x 192 x 224
SEG4 = np.array(
    [0, 4, 1, 3], np.uint8
)  # fluid, grey and white matter as neurite-OASIS numbers them
SEG35 = np.array([0, 3, 2, 1], np.uint8)
ASEG = np.array([0, 4, 3, 2], np.uint8)
BIDS_DSEG = np.array([0, 3, 1, 2], np.uint8)


@dataclass(frozen=True)
class Someone:
    """A sample brain as a RAS slab of 1 mm voxels (176, 208, 32): grey levels 0-255 and tissues
    0-3.
    """

    number: int
    age: float
    sex: str
    cdr: float
    head: np.ndarray
    tissue: np.ndarray

    def session(self, number):
        """Grey levels and tissues of a session; the head of a later one lies a little elsewhere and
        is less bright.
        """
        shift, gain = number - 1, 1 - 0.04 * (number - 1)
        return np.roll(np.rint(self.head * gain).astype(np.uint8), shift, 0), np.roll(
            self.tissue, shift, 0
        )


@functools.cache
def someone(number):
    subject = make_subject(load_template(), number, SEED)
    head, tissue = (
        stack[:, 24:232, 40:216].transpose(2, 1, 0)[:, ::-1]
        for stack in (subject.slices, subject.masks)
    )
    cdr = 0.5 if subject.age > 60 and number % 2 else 0.0
    return Someone(
        number,
        subject.age,
        "FM"[number % 2],
        cdr,
        np.ascontiguousarray(head),
        np.ascontiguousarray(tissue // 85),
    )


def people(n):
    return [someone(number) for number in range(1, n + 1)]


def in_field(slab, field, first=FIRST):
    """The slab in the middle of a larger field, cut where it is too wide."""
    volume = np.zeros(field, slab.dtype)
    cuts, targets = [], []
    for have, want in zip(slab.shape[:2], field[:2], strict=True):
        cuts.append(slice(max(0, (have - want) // 2), max(0, (have - want) // 2) + min(have, want)))
        targets.append(
            slice(max(0, (want - have) // 2), max(0, (want - have) // 2) + min(have, want))
        )
    volume[(*targets, slice(first, first + slab.shape[2]))] = slab[tuple(cuts)]
    return volume


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def image_of(volume, axes="RAS", kind=nibabel.Nifti1Image):
    """A nibabel image that stores RAS voxels along other axes."""
    affine = np.eye(4)
    affine[:3, 3] = -np.array(volume.shape) / 2
    image = nibabel.Nifti1Image(volume, affine)
    turned = image.as_reoriented(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes)))
    return kind(np.asanyarray(turned.dataobj), turned.affine)


def write_nii(path, volume, axes="RAS"):
    content = image_of(volume, axes).to_bytes()
    write(path, gzip.compress(content, 1) if path.name.endswith(".gz") else content)


def write_mgz(path, volume):
    path.parent.mkdir(parents=True, exist_ok=True)
    image_of(volume, "LIA", nibabel.MGHImage).to_filename(path)


def write_picture(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


# ---------------------------------------------------------------- OASIS-1 discs


def oasis_session(person, number):
    """{name: content} of one session as the discs hold it; Analyze, x from right to left,
    big-endian.
    """
    name, (head, tissue) = f"OAS1_{person.number:04d}_MR{number}", person.session(number)
    stem, files = f"{name}_mpr_n4_anon_111_t88_masked_gfc", {}
    for path, volume, kind in (
        (
            f"PROCESSED/MPRAGE/T88_111/{stem}",
            in_field(head.astype(np.int16) * 4, DISC_FIELD),
            ">i2",
        ),
        (f"FSL_SEG/{stem}_fseg", in_field(tissue, DISC_FIELD), "u1"),
    ):
        header = nibabel.AnalyzeHeader(endianness=">")
        header.set_data_dtype(np.dtype(kind))
        header.set_data_shape((*DISC_FIELD, 1))
        header.set_zooms([1.0] * 4)
        files[f"{name}/{path}.hdr"] = header.binaryblock
        files[f"{name}/{path}.img"] = volume[::-1].astype(kind).tobytes(order="F")
        files[f"{name}/{path}.gif"] = b"GIF89a"
    files[f"{name}/RAW/{name}_mpr-1_anon.hdr"] = files[f"{name}/RAW/{name}_mpr-1_anon.img"] = (
        b"not read"
    )
    files[f"{name}/{name}.txt"] = f"SESSION ID: {name}\nAGE:          {person.age:.0f}\n".encode()
    return files


def oasis_discs(root, n=18):
    """First sessions on one packed and one unpacked disc, second ones of every other person on a
    third, and the CSV.
    """
    rows = ["ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"]
    packed = root / "oasis_cross-sectional_disc1.tar.gz"
    root.mkdir(parents=True)
    with tarfile.open(packed, "w:gz", compresslevel=1) as tar:
        for person in people(n):
            for number in (1, 2) if person.number % 2 else (1,):
                disc = 3 if number == 2 else 1 + person.number * 2 // (n + 1)
                for name, content in oasis_session(person, number).items():
                    if disc == 1:
                        member = tarfile.TarInfo(f"disc1/{name}")
                        member.size = len(content)
                        tar.addfile(member, io.BytesIO(content))
                    else:
                        write(root / f"disc{disc}" / name, content)
                delay = "N/A" if number == 1 else "30"
                cdr = person.cdr if person.age > 60 else ""
                rows.append(
                    f"OAS1_{person.number:04d}_MR{number},{person.sex},R,{person.age:.0f},,,,{cdr},,,,{delay}"
                )
    (root / "oasis_cross-sectional.csv").write_text("\n".join(rows) + "\n")
    return n


# ---------------------------------------------------------------- pictures


def upright(slab):
    """Axial slices from bottom to top in pictures of 256 x 256: front up, the left of the head on
    the left.
    """
    pictures = np.zeros((slab.shape[2], 256, 256), np.uint8)
    pictures[:, 24:232, 40:216] = slab.transpose(2, 1, 0)[:, ::-1]
    return pictures


def keras_png(root, n=6, middle="validate", level="slices", masks=False):
    """A keras_png_slices tree; the first subject lacks slices, and the system left files of its
    own.
    """
    for person in people(n):
        split = ("train", middle, "test")[person.number % 3]
        pictures, tissues = upright(person.head), upright(person.tissue * np.uint8(85))
        for position in range(4 if person.number == 1 else 0, SLAB):
            name = f"{person.number:03d}_slice_{position}.nii.png"
            write_picture(
                root / f"keras_png_slices_{split}" / level / f"case_{name}", pictures[position]
            )
            if masks:
                write_picture(
                    root / f"keras_png_slices_seg_{split}" / level / f"seg_{name}",
                    tissues[position],
                )
        write(root / f"keras_png_slices_{split}" / level / ".DS_Store", b"x")
        write(
            root
            / f"keras_png_slices_{split}"
            / level
            / f"._case_{person.number:03d}_slice_0.nii.png",
            b"x",
        )
    return n


def image_folder(root, n=6):
    """One folder a diagnosis, all sessions and slices of a person beside one another, slice numbers
    from 100 on.
    """
    for person in people(n):
        for number in (1, 2) if person.number % 2 else (1,):
            for position, picture in enumerate(upright(person.session(number)[0])):
                name = f"OAS1_{person.number:04d}_MR{number}_mpr-1_{100 + position}.jpg"
                write_picture(
                    root / ("Non Demented", "Mild Dementia")[person.cdr > 0] / name, picture
                )
    return n


# ---------------------------------------------------------------- volumes


def bids(root, n=6):
    """Two sessions of every other person, runs, another contrast, segmentations; one scan covers
    less of the head.
    """
    rows = ["participant_id\tage\tsex"]
    for person in people(n):
        rows.append(f"sub-{person.number:02d}\t{person.age:.0f}\t{person.sex}")
        for number in (1, 2) if person.number % 2 else (1,):
            head, tissue = person.session(number)
            height = 21 if person.number == 2 else SLAB
            stem = f"sub-{person.number:02d}_ses-{number}"
            folder = root / f"sub-{person.number:02d}" / f"ses-{number}" / "anat"
            volume = in_field(head[..., :height].astype(np.int16) * 3, (176, 208, 80), 20)
            write_nii(folder / f"{stem}_run-1_T1w.nii.gz", volume, "LPS")
            write_nii(folder / f"{stem}_run-2_T1w.nii.gz", volume // 2, "LPS")
            write_nii(folder / f"{stem}_T2w.nii.gz", volume[:8, :8, :8])
            write_nii(
                folder / f"{stem}_run-1_dseg.nii.gz",
                in_field(BIDS_DSEG[tissue[..., :height]], (176, 208, 80), 20),
                "LPS",
            )
    write_nii(
        root / "derivatives" / "other" / "sub-01" / "anat" / "sub-01_desc-preproc_T1w.nii.gz",
        volume[:8, :8, :8],
    )
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    return n


def plain_nifti(root, n=6):
    """One file a person, with a brain mask and another contrast beside it."""
    for person in people(n):
        stem = f"IXI{person.number:03d}-Guys-{700 + person.number}"
        volume = in_field(person.head.astype(np.float32), (176, 208, 60), 14)
        write_nii(root / f"{stem}-T1.nii.gz", volume, "PSR")
        write_nii(root / f"{stem}-T2.nii.gz", volume[:8, :8, :8])
        write_nii(root / f"{stem}-T1_mask.nii.gz", (volume > 0).astype(np.uint8), "PSR")
    return n


def neurite_oasis(root, n=5):
    """The 3-D form: four images and six label maps a person, floats from 0 to 1; only the template
    space is large.
    """
    for person in people(n):
        folder = root / f"OASIS_OAS1_{person.number:04d}_MR1"
        head = in_field(person.head.astype(np.float32) / 255, NEURITE_FIELD)
        for name, table in (("seg4", SEG4), ("seg35", SEG35)):
            write_nii(
                folder / f"aligned_{name}.nii.gz",
                in_field(table[person.tissue], NEURITE_FIELD),
                "LIA",
            )
            write_nii(folder / f"{name}.nii.gz", table[person.tissue[:9, :9, :9]])
        write_nii(folder / "aligned_norm.nii.gz", head, "LIA")
        for name in ("orig", "norm", "aligned_orig"):
            write_nii(folder / f"{name}.nii.gz", head[60:80, 90:110, 60:80])
        for name in ("slice_orig", "slice_norm", "slice_seg24"):
            write_nii(folder / f"{name}.nii.gz", head[:, 100:101])
    (root / "subjects.txt").write_text(
        "".join(f"OASIS_OAS1_{i:04d}_MR1\n" for i in range(1, n + 1))
    )
    (root / "seg4_labels.txt").write_text("0 Unknown 0 0 0 0\n1 Cortex 205 62 78 0\n")
    return n


def neurite_slices(root, n=5):
    """The 2-D form: one coronal slice a person."""
    for person in people(n):
        for name in ("slice_orig", "slice_norm"):
            write_nii(
                root / f"OASIS_OAS1_{person.number:04d}_MR1" / f"{name}.nii.gz",
                person.head[:, 100:101].astype(np.float32),
            )
        write_nii(
            root / f"OASIS_OAS1_{person.number:04d}_MR1" / "slice_seg24.nii.gz",
            person.tissue[:, 100:101],
        )
    return n


def learn2reg(root, n=5):
    """imagesTr with labels and masks; the last person is of imagesTs, which has masks only."""
    for person in people(n):
        name, part = f"OASIS_{person.number:04d}_0000.nii.gz", "Ts" if person.number == n else "Tr"
        write_nii(
            root / f"images{part}" / name,
            in_field(person.head.astype(np.float32) / 255, NEURITE_FIELD),
        )
        write_nii(
            root / f"masks{part}" / name,
            (in_field(person.tissue, NEURITE_FIELD) > 0).astype(np.uint8),
        )
        if part == "Tr":
            write_nii(root / "labelsTr" / name, in_field(SEG35[person.tissue], NEURITE_FIELD))
    (root / "OASIS_dataset.json").write_text("{}")
    return n


def freesurfer(root, n=4):
    """SUBJECT/mri with conformed volumes (256 mm, LIA), a template, and the longitudinal copy of
    one person.
    """
    for person in people(n):
        folder = root / f"OAS1_{person.number:04d}_MR1" / "mri"
        head = in_field(person.head, (256, 256, 256))
        write_mgz(folder / "norm.mgz", head)
        write_mgz(folder / "aseg.mgz", in_field(ASEG[person.tissue], (256, 256, 256)))
        for name in ("T1", "brain", "brainmask", "orig", "nu", "aparc+aseg", "ribbon", "wm"):
            write_mgz(folder / f"{name}.mgz", head[100:120, 100:120, 60:80])
    for name in ("fsaverage", "OAS1_0001_MR1.long.OAS1_0001"):
        write_mgz(root / name / "mri" / "norm.mgz", head[100:120, 100:120, 60:80])
    return n


def fmriprep(root, n=4):
    """derivatives/fmriprep: the native and a template space, masks and segmentations of each."""
    for person in people(n):
        folder, stem = root / f"sub-{person.number:02d}" / "anat", f"sub-{person.number:02d}"
        head, tissue = person.head.astype(np.float32), BIDS_DSEG[person.tissue]
        for space, shift in (("", 0), ("_space-MNI152NLin2009cAsym", 2)):
            for name, slab in (
                ("desc-preproc_T1w", head),
                ("dseg", tissue),
                ("desc-brain_mask", (tissue > 0).astype(np.uint8)),
                ("label-GM_probseg", (tissue == 1).astype(np.float32)),
            ):
                volume = in_field(np.roll(slab, shift, 1), (176, 208, 40), 4)
                write_nii(folder / f"{stem}{space}_{name}.nii.gz", volume)
        write(root / stem / "figures" / f"{stem}_desc-reconall_T1w.svg", b"<svg/>")
    return n


def contents(root: Path):
    return {
        str(p.relative_to(root)): (p.stat().st_mtime_ns, p.stat().st_size)
        for p in sorted(root.rglob("*"))
    }
