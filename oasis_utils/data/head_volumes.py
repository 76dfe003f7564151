"""Writes and reads folders of generated heads: NIfTI volumes with sidecars.

Folders follow BIDS derivatives (Gorgolewski et al. 2016, Sci Data 3:160044). Grey levels are stored
as they are, so that the slices are read back to the bit.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from jaxtyping import Integer, UInt8
from nibabel.funcs import as_closest_canonical
from nibabel.spatialimages import SpatialImage

import oasis_utils
from oasis_utils.data.archives import open_file
from oasis_utils.data.head_geometry import HeadGeometry
from oasis_utils.data.orientation import quarter_turns
from oasis_utils.data.people import PARTICIPANTS, participants_text
from oasis_utils.data.volume_names import collect
from oasis_utils.data.volumes import PLANES
from oasis_utils.data.voxels import read_voxels
from oasis_utils.runtime import DataError, read_json, write_json
from oasis_utils.runtime.plain_files import refuse_bomb

BIDS_VERSION = "1.10.0"
DESCRIPTION = "desc-synthetic"  # in every name, so that a file says by itself that it is no scan
HEADER_TEXT = b"synthetic, no scan of a person; not for diagnosis"  # at most 79 bytes
WARNING = (
    "Drawn by a model, no scan of a person. For research and teaching, not for diagnosis or"
    " treatment."
)
LEVELS = ("", "anat/", "sub-*/", "sub-*/anat/")  # where heads are looked for in a folder
ALIGNED = 2  # code of the affine: coordinates that are not those of a scanner
COMPRESSION = 6

Slices = UInt8[np.ndarray, "positions height width"]

# ---------------------------------------------------------------- writing


def write_head(
    folder: Path,
    subject: str,
    slices: Slices,
    geometry: HeadGeometry,
    about: dict[str, Any],
    tissues: Slices | None = None,
) -> Path:
    """Write a generated head with its sidecar, and the label map of its tissues if there is one.

    Args:
        folder: the BIDS folder.
        subject: label such as "001".
        slices: grey levels, in the order of their positions.
        geometry: where they lie in space.
        about: what else the sidecar says, plain JSON.
        tissues: of the same pixels: 1 grey matter, 2 white matter, 3 fluid, 0 background.

    Returns:
        The path of the head.
    """
    stem = folder / f"sub-{subject}" / "anat" / f"sub-{subject}_{DESCRIPTION}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    head = stem.with_name(f"{stem.name}_T1w.nii.gz")
    _write_volume(head, slices, geometry, 255)
    said = {
        "Description": WARNING,
        "Synthetic": True,
        "ForDiagnosis": False,
        **about,
        "Geometry": geometry.about(len(slices)),
    }
    write_json(_sidecar(head), said)
    if tissues is not None:
        labels = stem.with_name(f"{stem.name}_dseg.nii.gz")
        _write_volume(labels, tissues, geometry, 3)
        method = "Two thresholds of grey levels, set by the training slices."
        source = f"bids::{head.relative_to(folder).as_posix()}"
        about_labels = {"Description": WARNING, "Synthetic": True, "Method": method}
        write_json(_sidecar(labels), {**about_labels, "Sources": [source]})
    return head


def nifti_bytes(slices: Slices, geometry: HeadGeometry, highest: int = 255) -> bytes:
    """A head as the bytes of an unpacked NIfTI file.

    Args:
        slices: grey levels or labels, in the order of their positions.
        geometry: where they lie in space.
        highest: level that a viewer shows as the brightest.

    Returns:
        What a file with the ending .nii holds.
    """
    voxels = geometry.voxels(slices)
    affine = geometry.affine(voxels.shape)
    image = nibabel.Nifti1Image(voxels, affine, dtype=np.uint8)
    image.set_sform(affine, ALIGNED)
    image.set_qform(affine, ALIGNED)
    header = image.header
    header.set_xyzt_units("mm")
    header.set_dim_info(slice=PLANES[geometry.plane][0])
    header["descrip"], header["cal_max"] = HEADER_TEXT, highest
    return image.to_bytes()


def _write_volume(path: Path, slices: Slices, geometry: HeadGeometry, highest: int) -> None:
    content = nifti_bytes(slices, geometry, highest)
    path.write_bytes(gzip.compress(content, COMPRESSION, mtime=0))


def _sidecar(path: Path | str) -> Path:
    return Path(str(path).removesuffix(".gz").removesuffix(".nii") + ".json")


def write_tables(
    folder: Path, people: Sequence[tuple[str, float | None, int]], name: str, tissues: bool = False
) -> None:
    """Write what a BIDS folder of generated heads has beside them.

    Args:
        folder: the BIDS folder.
        people: label, age asked for in years or None, and seed of each head.
        name: title of the data set.
        tissues: whether there are label maps.
    """
    rows = [
        {"participant_id": f"sub-{label}", "age": age, "seed": seed} for label, age, seed in people
    ]
    text = participants_text(("participant_id", "age", "seed"), rows)
    (folder / PARTICIPANTS).write_text(text, encoding="utf-8", newline="\n")
    write_json(
        folder / "participants.json",
        {
            "age": {"Description": "Age that was asked for; no person has it.", "Units": "year"},
            "seed": {"Description": "Decides the noise from which the head was drawn."},
        },
    )
    write_json(
        folder / "dataset_description.json",
        {
            "Name": name,
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [
                {
                    "Name": "oasis_utils",
                    "Version": oasis_utils.__version__,
                    "Description": f"`sample --heads`. {WARNING}",
                }
            ],
        },
    )
    (folder / "README.md").write_text(f"# {name}\n\n{WARNING}\n", encoding="utf-8", newline="\n")
    if tissues:
        lines = "0\tBackground\tBG\n1\tGray Matter\tGM\n2\tWhite Matter\tWM\n3\tCSF\tCSF\n"
        (folder / f"{DESCRIPTION}_dseg.tsv").write_text(
            f"index\tname\tabbreviation\n{lines}", encoding="utf-8", newline="\n"
        )


# ---------------------------------------------------------------- reading


def head_files(folder: Path) -> list[Path]:
    """The heads in a folder that `sample --heads` wrote; none in any other.

    Args:
        folder: the BIDS folder, or one of its folders.

    Returns:
        Paths of their volumes, in the order of their names; packed or not, each head once.
    """
    name = f"*_{DESCRIPTION}_T1w.nii*"
    volumes = collect(path for level in LEVELS for path in folder.glob(level + name))
    return [Path(volumes[stem][0]) for stem in sorted(volumes)]


def read_heads(
    files: Sequence[Path], most: int
) -> tuple[UInt8[np.ndarray, "n height width"], Integer[np.ndarray, " n"]]:
    """The slices of heads, as they were before they were written.

    Args:
        files: as `head_files` returns them, one or more.
        most: slices that may be read.

    Returns:
        All slices, head by head, and the position of each, counted from 0.

    Raises:
        DataError: a file is damaged or no such head, heads differ in size, or there are more
            slices.
    """
    heads, unpacked, packed = [], 0, 0
    for file in files:
        heads.append(_read_head(file))
        if heads[-1].shape != heads[0].shape:
            raise DataError(
                f"{files[0].name} and {file.name} have different sizes, {heads[0].shape} and"
                f" {heads[-1].shape} (slices, rows, columns): evaluate them apart"
            )
        if len(files) * len(heads[0]) > most:
            raise DataError(
                f"{len(files)} heads of {len(heads[0])} slices are more than {most} slices: give a"
                " part of them"
            )
        unpacked, packed = unpacked + heads[-1].nbytes, packed + file.stat().st_size
        refuse_bomb(unpacked, packed, file)
    return np.concatenate(heads), np.tile(np.arange(len(heads[0])), len(heads))


def _read_head(path: Path) -> Slices:
    voxels, affine = read_voxels((str(path),), open_file, str(path), str(path), thick=True)
    # nibabel's protocol of arrays leaves out numpy's own
    image = as_closest_canonical(SpatialImage(voxels, affine))  # pyright: ignore[reportArgumentType]
    levels = np.asarray(image.dataobj)
    if not (levels.min() >= 0 and levels.max() <= 255 and (levels % 1 == 0).all()):
        raise DataError(
            f"{path} has other grey levels than whole numbers from 0 to 255: give heads as `sample"
            " --heads` wrote them"
        )
    slices = _read_geometry(path).slices(levels.astype(np.uint8))
    if slices.shape[1] != slices.shape[2]:
        raise DataError(
            f"{path} has slices of {slices.shape[2]}x{slices.shape[1]} pixels, no squares: give"
            " heads as `sample --heads` wrote them, with their .json files"
        )
    return slices


def _read_geometry(path: Path) -> HeadGeometry:
    """The plane and the turn in the sidecar; without one, axial slices as they are."""
    sidecar = _sidecar(path)
    said = read_json(sidecar) if sidecar.exists() else {}
    geometry = said.get("Geometry", {}) if isinstance(said, dict) else None
    if isinstance(geometry, dict):
        plane, turn = geometry.get("Plane", "axial"), geometry.get("Turn", "as-is")
        try:
            quarter_turns(turn)
            if plane in PLANES:
                return HeadGeometry(math.nan, math.nan, plane, turn)
        except (ValueError, TypeError, AttributeError):
            pass
    raise DataError(
        f"{sidecar} is no sidecar that `sample --heads` wrote: remove it (slices are then taken to"
        " be axial), or restore it"
    )
