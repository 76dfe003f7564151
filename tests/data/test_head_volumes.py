"""Folders of generated heads: what is written, and that it is read back to the bit."""

import gzip
import json

import nibabel
import numpy as np
import pytest

from oasis_utils.data.head_geometry import HeadGeometry
from oasis_utils.data.head_volumes import head_files, read_heads, write_head, write_tables
from oasis_utils.data.people import read_table
from oasis_utils.data.scans import find_scans
from oasis_utils.runtime import DataError

NAME = "sub-{0}/anat/sub-{0}_desc-synthetic_T1w.nii.gz"


def stacks(n, positions=5, side=8):
    return np.random.default_rng(n).integers(0, 256, (n, positions, side, side), np.uint8)


def written(folder, heads, geometry=HeadGeometry(1.5, 2.0), **more):  # noqa: B008 (frozen)
    for i, head in enumerate(heads):
        write_head(folder, f"{i + 1:03d}", head, geometry, {"Seed": i}, **more)
    return head_files(folder)


@pytest.mark.parametrize(
    "geometry",
    [
        HeadGeometry(202 / 128, 1.0, centre=(0.0, -15.0, 16.5)),
        HeadGeometry(1.0, 4.4, "coronal"),
        HeadGeometry(1.0, 4.4, "sagittal"),
        HeadGeometry(0.8, 1.0, turn="rot90,flip"),
        HeadGeometry(1.0, 140 / 8),  # further apart than a volume's voxels may be
    ],
)
@pytest.mark.parametrize("positions", [1, 5, 8])
def test_slices_and_positions_are_read_back_to_the_bit(tmp_path, geometry, positions):
    heads = stacks(3, positions)
    files = written(tmp_path, heads, geometry)
    assert [str(f.relative_to(tmp_path)) for f in files] == [
        NAME.format(label) for label in ("001", "002", "003")
    ]
    images, at = read_heads(files, 1000)
    assert images.dtype == np.uint8 and np.array_equal(images, heads.reshape(-1, 8, 8))
    assert at.tolist() == list(range(positions)) * 3


def test_a_viewer_finds_all_sides(tmp_path):
    stack = np.zeros((6, 16, 16), np.uint8)
    stack[5, 8, 8], stack[2, 1, 8], stack[2, 8, 14] = 10, 20, 30  # above, in front, to the right
    (file,) = written(tmp_path, [stack], HeadGeometry(2.0, 3.0))
    image = nibabel.load(file)
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    voxels = np.asarray(image.dataobj)
    assert voxels.dtype == np.uint8 and image.shape == (16, 16, 6)

    def place(grey):
        return nibabel.affines.apply_affine(image.affine, np.argwhere(voxels == grey)[0])

    above, front, right = map(place, (10, 20, 30))
    assert above[2] - front[2] == 9 and front[1] - above[1] == 14 and right[0] - above[0] == 12


def test_the_header_says_what_it_is(tmp_path):
    (file,) = written(tmp_path, stacks(1))
    header = nibabel.load(file).header
    assert b"synthetic" in header["descrip"].item() and b"diagnosis" in header["descrip"].item()
    assert header.get_zooms() == (1.5, 1.5, 2.0) and header.get_xyzt_units() == ("mm", "unknown")
    assert header["sform_code"] == header["qform_code"] == 2
    assert np.allclose(header.get_sform(), header.get_qform(), atol=1e-5)
    assert header.get_dim_info() == (None, None, 2) and header["cal_max"] == 255
    assert header.get_slope_inter()[0] in (None, 1)


def test_the_same_head_is_the_same_file(tmp_path):
    first, second = (written(tmp_path / name, stacks(1))[0] for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_the_sidecar_says_synthetic_and_keeps_what_is_given(tmp_path):
    (file,) = written(tmp_path, stacks(1))
    said = json.loads(file.with_name("sub-001_desc-synthetic_T1w.json").read_text())
    assert said["Synthetic"] is True and said["ForDiagnosis"] is False and said["Seed"] == 0
    assert "not for diagnosis" in said["Description"]
    assert said["Geometry"]["MillimetresBetweenSlices"] == 2


def test_label_maps_lie_on_the_grid_of_their_head_and_are_no_heads(tmp_path):
    heads, labels = stacks(1), stacks(1)[0] % 4
    (file,) = written(tmp_path, heads, tissues=labels)
    other = file.with_name("sub-001_desc-synthetic_dseg.nii.gz")
    head, maps = nibabel.load(file), nibabel.load(other)
    assert np.array_equal(head.affine, maps.affine) and maps.header["cal_max"] == 3
    voxels = np.asarray(maps.dataobj)
    assert np.array_equal(voxels, HeadGeometry(1.0, 1.0).voxels(labels))
    said = json.loads(other.with_name("sub-001_desc-synthetic_dseg.json").read_text())
    assert said["Synthetic"] and said["Sources"] == [f"bids::{NAME.format('001')}"]


def test_tables_of_a_folder(tmp_path):
    write_tables(tmp_path, [("001", 70.0, 5), ("002", None, 6)], "Heads", tissues=True)
    people = read_table(tmp_path / "participants.tsv")
    assert people["sub-001"].age == 70 and people["sub-002"].age is None
    about = json.loads((tmp_path / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative" and about["GeneratedBy"][0]["Name"] == "oasis_utils"
    assert {"Name", "BIDSVersion"} <= about.keys()
    assert {"age", "seed"} == json.loads((tmp_path / "participants.json").read_text()).keys()
    assert "not for diagnosis" in (tmp_path / "README.md").read_text()
    table = (tmp_path / "desc-synthetic_dseg.tsv").read_text().splitlines()
    assert table[0] == "index\tname\tabbreviation" and table[3].startswith("2\tWhite Matter")


def test_the_folder_is_read_as_bids(tmp_path):
    written(tmp_path, stacks(2))
    write_tables(tmp_path, [("001", 70.0, 5), ("002", None, 6)], "Heads")
    scans = find_scans(tmp_path)
    assert [(s.subject, s.person.age) for s in scans] == [("sub-001", 70), ("sub-002", None)]


def test_a_head_in_other_axes_or_unpacked_is_the_same(tmp_path):
    heads = stacks(2)
    first, second = written(tmp_path, heads)
    image = nibabel.load(first)
    turned = image.as_reoriented(np.array([[2, -1], [0, -1], [1, 1]]))
    nibabel.save(turned, first)
    second.with_suffix("").write_bytes(gzip.decompress(second.read_bytes()))
    second.unlink()
    images, _ = read_heads(head_files(tmp_path), 100)
    assert np.array_equal(images, heads.reshape(-1, 8, 8))


def test_heads_without_sidecars_are_axial(tmp_path):
    heads = stacks(1)
    (file,) = written(tmp_path, heads)
    file.with_name("sub-001_desc-synthetic_T1w.json").unlink()
    assert np.array_equal(read_heads([file], 100)[0], heads[0])
    (file,) = written(tmp_path / "b", heads, HeadGeometry(1.0, 1.0, "coronal"))
    file.with_name("sub-001_desc-synthetic_T1w.json").unlink()
    with pytest.raises(DataError, match=r"has slices of 8x5 pixels, no squares: .* \.json files"):
        read_heads([file], 100)


@pytest.mark.parametrize(
    "text",
    ["[]", '{"Geometry": 3}', '{"Geometry": {"Turn": 4}}', '{"Geometry": {"Plane": []}}', "x"],
)
def test_a_damaged_sidecar_is_named(tmp_path, text):
    (file,) = written(tmp_path, stacks(1))
    file.with_name("sub-001_desc-synthetic_T1w.json").write_text(text)
    with pytest.raises(DataError, match="sub-001_desc-synthetic_T1w.json .*remove it"):
        read_heads([file], 100)


def test_damaged_and_other_volumes_are_named(tmp_path):
    first, second = written(tmp_path, stacks(2))
    content = first.read_bytes()
    first.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="sub-001_desc-synthetic_T1w.nii.gz"):
        read_heads([first, second], 100)
    nibabel.save(nibabel.Nifti1Image(np.full((8, 8, 5), 0.5, np.float32), np.eye(4)), first)
    with pytest.raises(DataError, match="other grey levels than whole numbers from 0 to 255"):
        read_heads([first, second], 100)


def test_heads_of_two_sizes_and_too_many_slices(tmp_path):
    files = written(tmp_path, [stacks(1)[0], stacks(1, 6)[0]])
    with pytest.raises(DataError, match="have different sizes, .*: evaluate them apart"):
        read_heads(files, 100)
    with pytest.raises(DataError, match="2 heads of 5 slices are more than 9 slices"):
        read_heads(files, 9)


def test_other_folders_hold_no_heads(tmp_path):
    (tmp_path / "sub-01_T1w.nii.gz").write_bytes(b"x")
    assert head_files(tmp_path) == head_files(tmp_path / "none") == []
