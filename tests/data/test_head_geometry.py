"""Where the slices of a stack lie: sizes, sides, and what is only assumed."""

import json

import nibabel
import numpy as np
import pytest
from scipy import ndimage
from volume_files import make_head, nifti

from oasis_utils.config import DataConfig, to_dict
from oasis_utils.data import Dataset
from oasis_utils.data.dataset import build_cache
from oasis_utils.data.head_geometry import (
    DISTANCE,
    EXTENTS,
    FOREHEAD,
    PIXEL_SIZE,
    SAMPLE_CROP,
    SAMPLE_DATA,
    UPWARDS,
    HeadGeometry,
)
from oasis_utils.data.keras_layout import EXPORT_RECORD
from oasis_utils.data.reading import ImportOptions
from oasis_utils.data.template import read_slab
from oasis_utils.data.volumes import PLANES, SliceOptions
from oasis_utils.models.checkpoints import input_of, read_about
from oasis_utils.runtime import DataError, project_root, read_json


def dataset(folder, kind, turned="as-is", source_size=256, side=200, axis=-1, **options):
    slices = SliceOptions(**options)
    manifest = {
        "kind": kind,
        "source": str(folder),
        "source_size": source_size,
        "orientation": {"measured": slices.orient == "auto", "turned": turned},
        "options": {"slices": to_dict(slices)},
        "crop": {"side": side, "top": 20, "left": 28},
        "config": {"image_size": 128},
        "symmetry": {"axis": axis},
        "content": "brain",
    }
    return Dataset(folder, manifest, {})


@pytest.mark.parametrize(
    ("kind", "options", "pixel", "spacing", "assumed"),
    [
        ("synthetic", {}, 200 / 128, 1, ()),
        ("nifti", {"every": 2.5}, 200 / 128, 2.5, ()),
        ("oasis", {"span": (40, 104), "count": 32}, 200 / 128, 2, ()),
        ("nifti", {}, 200 / 128, EXTENTS["brain"]["axial"] / 32, (DISTANCE,)),
        ("keras", {}, 200 / 128, 1, (PIXEL_SIZE, DISTANCE, FOREHEAD, UPWARDS)),
    ],
)
def test_sizes_are_those_of_the_data_or_named_as_assumed(
    tmp_path, kind, options, pixel, spacing, assumed
):
    geometry = HeadGeometry.of(dataset(tmp_path, kind, **options), 32)
    assert (geometry.pixel, geometry.spacing) == pytest.approx((pixel, spacing))
    assert geometry.assumed == assumed and geometry.about(32)["Assumed"] == list(assumed)


def test_a_forehead_that_was_measured_is_not_assumed(tmp_path):
    assert FOREHEAD not in HeadGeometry.of(dataset(tmp_path, "keras", "rot90"), 32).assumed


@pytest.mark.parametrize(
    ("kind", "size", "pixel"),
    [("keras", 512, 0.5), ("keras", 200, 1), ("images", 128, 202 / 128)],
)
def test_an_assumed_picture_is_as_wide_as_a_head(tmp_path, kind, size, pixel):
    data = dataset(tmp_path, kind, source_size=size, side=128)
    assert HeadGeometry.of(data, 32).pixel == pytest.approx(pixel)


def test_slices_that_were_resized_before_have_an_assumed_size(tmp_path):
    (tmp_path / EXPORT_RECORD).write_text("{}")
    data = dataset(tmp_path, "synthetic", source_size=128, side=128)
    geometry = HeadGeometry.of(data, 32)
    assert geometry.pixel == 202 / 128 and PIXEL_SIZE in geometry.assumed
    assert geometry.spacing == 1 and DISTANCE not in geometry.assumed
    assert HeadGeometry.of(dataset(tmp_path, "oasis"), 32).spacing == 140 / 32


def test_left_is_known_only_where_training_mirrors_nothing(tmp_path):
    assert not HeadGeometry.of(dataset(tmp_path, "nifti"), 32).left
    geometry = HeadGeometry.of(dataset(tmp_path, "nifti", axis=None), 32)
    assert geometry.left and geometry.about(32)["LeftAndRight"] == "as in the data"
    assert not HeadGeometry.of(dataset(tmp_path, "synthetic", axis=None), 32).left
    assert HeadGeometry.of(dataset(tmp_path, "nifti", plane="sagittal"), 32).left


def test_very_many_slices_are_no_taller_than_a_head(tmp_path):
    assert HeadGeometry.of(dataset(tmp_path, "images"), 512).spacing == 0.5
    assert HeadGeometry.of_sample_brains(128, 512, False).spacing == 0.5


def test_a_damaged_manifest_is_named(tmp_path):
    data = dataset(tmp_path, "nifti")
    data.manifest["options"]["slices"]["plane"] = "oblique"
    with pytest.raises(DataError, match="the manifest in .* is damaged .*prepare the source again"):
        HeadGeometry.of(data, 32)


def test_the_frame_of_the_shipped_models_is_the_one_on_record():
    root = project_root()
    data = read_json(root / "benchmarks" / "results" / "demo_2_cpu_cores.json")["data"]
    assert data["identity"] == SAMPLE_DATA
    assert tuple(data["crop"][key] for key in ("top", "left", "side")) == SAMPLE_CROP
    about = read_about(root / "checkpoints" / "vqvae.safetensors")
    assert input_of(about, "data") == SAMPLE_DATA


def test_shipped_models_have_a_geometry_without_data():
    geometry = HeadGeometry.of_sample_brains(128, 32, True)
    assert geometry.pixel == 202 / 128 and geometry.spacing == 1 and not geometry.assumed
    assert len(HeadGeometry.of_sample_brains(128, 32, False).assumed) == 4


def marked(plane, side=16, n=6):
    """A stack and the same as a volume: bright to the right, brighter in front, brightest above."""
    shape = [side, side, side]
    shape[PLANES[plane][0]] = n
    x, y, z = np.indices(shape)
    volume = 40 * (x >= shape[0] / 2) + 60 * (y >= shape[1] / 2) + 100 * (z >= shape[2] / 2) + x
    volume = volume.astype(np.uint8)
    return volume.transpose(PLANES[plane])[:, ::-1], volume


@pytest.mark.parametrize("plane", PLANES)
def test_axes_run_to_the_right_forwards_and_upwards(plane):
    stack, volume = marked(plane)
    geometry = HeadGeometry(1.5, 4.0, plane, centre=(1.0, -2.0, 3.0))
    assert np.array_equal(geometry.voxels(stack), volume)
    assert np.array_equal(geometry.slices(volume), stack)
    affine = geometry.affine(volume.shape)
    assert nibabel.aff2axcodes(affine) == ("R", "A", "S")
    middle = affine @ [*((np.array(volume.shape) - 1) / 2), 1]
    assert middle[:3] == pytest.approx((1, -2, 3))
    sizes = np.full(3, 1.5)
    sizes[PLANES[plane][0]] = 4
    assert nibabel.affines.voxel_sizes(affine) == pytest.approx(sizes)


def test_an_axial_slice_has_its_left_at_the_left_and_its_front_up():
    stack = np.zeros((3, 8, 8), np.uint8)
    stack[0, 1, 2] = 7  # lowest slice, near the front, left of the middle
    assert np.argwhere(HeadGeometry(1.0, 1.0).voxels(stack)).tolist() == [[2, 6, 0]]


@pytest.mark.parametrize("turn", ["rot90", "rot180", "rot270", "rot90,flip", "as-is,flip"])
def test_a_turn_that_was_asked_for_is_undone_and_done_again(turn):
    stack = marked("axial")[0]
    geometry = HeadGeometry(1.0, 1.0, turn=turn)
    volume = HeadGeometry(1.0, 1.0).voxels(stack)
    turned = geometry.slices(volume)
    assert np.array_equal(geometry.voxels(turned), volume) and not np.array_equal(turned, stack)


@pytest.mark.parametrize(
    ("plane", "orient"),
    [
        ("axial", "as-is"),
        ("axial", "rot90"),
        ("coronal", "as-is"),
        ("coronal", "rot270,flip"),
        ("sagittal", "auto"),
    ],
)
def test_a_prepared_volume_lies_in_space_as_before(tmp_path, plane, orient):
    shape = (40, 60, 48)
    for i in range(3):
        head = make_head(i, shape)
        head[:20, :30, :24] //= 2  # the left, back and bottom differ from the rest
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"sub-0{i}_T1w.nii").write_bytes(nifti(head))
    axis = PLANES[plane][0]
    slices = SliceOptions(plane, span=(0, shape[axis]), count=shape[axis], orient=orient)
    data = build_cache(
        tmp_path / "data",
        tmp_path / "cache",
        DataConfig(image_size=256, fit_crop=False),
        options=ImportOptions(split=(0.4, 0.3, 0.3), slices=slices),
    )
    geometry = HeadGeometry.of(data, shape[axis])
    assert geometry.spacing == geometry.pixel == 1 and not geometry.assumed
    entry = data.manifest["subjects"][0]
    head = make_head(int(entry["name"][-1]), shape)
    head[:20, :30, :24] //= 2
    found = geometry.voxels(np.array(data.split("train").images[: shape[axis]]))
    start = [(n - m) // 2 for n, m in zip(found.shape, shape, strict=True)]
    start = [s if a != axis else 0 for a, s in enumerate(start)]
    part = found[tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))]
    assert np.corrcoef(part.ravel(), head.ravel())[0, 1] > 0.99


def test_sample_brains_lie_where_their_template_does(brains):
    split = brains.split("train")
    stack = np.stack([split.images[split.positions == p].mean(0) for p in range(32)])
    geometry = HeadGeometry.of(brains, 32)
    assert not geometry.assumed and "MNI" in geometry.about(32)["Coordinates"]
    volume = geometry.voxels(np.rint(stack).astype(np.uint8)).astype(float)
    head, brain, (z, row, x) = read_slab()
    slab = (head * brain).transpose(2, 1, 0)[:, ::-1].astype(float)
    shift = np.eye(4)
    shift[:3, 3] = x, slab.shape[1] - 1 - row, z  # mm to voxel of the slab

    def likeness(affine):
        to_slab = shift @ affine
        there = ndimage.affine_transform(
            slab, to_slab[:3, :3], to_slab[:3, 3], volume.shape, order=1
        )
        return np.corrcoef(there.ravel(), volume.ravel())[0, 1]

    affine = geometry.affine(volume.shape)
    best = likeness(affine)
    assert best > 0.8
    for axis, mm in ((0, 8), (0, -8), (1, 8), (1, -8), (2, 12), (2, -12)):
        moved = affine.copy()
        moved[axis, 3] += mm
        assert likeness(moved) < best


def test_the_sidecar_is_plain_json():
    about = HeadGeometry.of_sample_brains(128, 32, True).about(32)
    assert json.loads(json.dumps(about)) == about and about["MillimetresCovered"] == 32
