import dataclasses

import numpy as np
import pytest

from oasis_utils.data import Dataset, PictureMarks, mask_levels, named_places
from oasis_utils.data.keras_layout import EXPORT_RECORD


def dataset(folder, kind, turned="as-is", measured=True):
    manifest = {
        "kind": kind,
        "source": str(folder),
        "orientation": {"measured": measured, "turned": turned},
        "crop": {"side": 200, "top": 0, "left": 0},
        "config": {"image_size": 128},
    }
    return Dataset(folder, manifest, {})


@pytest.mark.parametrize(
    ("kind", "turned", "front", "left", "scale"),
    [
        ("nifti", "as-is", True, True, 200 / 128),
        ("oasis", "as-is", True, True, 200 / 128),
        ("synthetic", "as-is", True, False, 200 / 128),
        ("keras", "rot90", True, False, None),
        ("keras", "as-is", False, False, None),
        ("images", "as-is", False, False, None),
    ],
)
def test_only_what_the_source_tells(tmp_path, kind, turned, front, left, scale):
    marks = PictureMarks.of(dataset(tmp_path, kind, turned))
    assert (marks.front, marks.left) == (front, left)
    assert marks.millimetres == (scale if scale is None else pytest.approx(scale))


def test_nothing_on_slices_that_are_not_axial(tmp_path):
    marks = PictureMarks.of(dataset(tmp_path, "nifti", measured=False))
    assert not marks.front and not marks.left and marks.millimetres == 200 / 128


def test_no_scale_for_slices_that_were_resized_before(tmp_path):
    (tmp_path / EXPORT_RECORD).write_text("{}")
    assert PictureMarks.of(dataset(tmp_path, "nifti")).millimetres is None


def test_the_sample_brains_have_a_front_and_a_scale(brains):
    marks = PictureMarks.of(brains)
    assert marks.front and not marks.left
    assert marks.millimetres == brains.manifest["crop"]["side"] / 64


def test_places_of_a_sample_brain_lie_in_their_tissue(brains):
    split = brains.split("train")
    row = int(np.flatnonzero(split.positions == brains.n_positions // 4)[0])
    places, mask = named_places(brains, split, row), np.asarray(split.masks[row])
    levels = mask_levels(split.masks)
    assert mask[places["ventricle"]] == mask[places["furrow"]] == levels["fluid"]
    assert mask[places["cortex"]] == levels["grey matter"]
    assert mask[places["white matter"]] == levels["white matter"]
    columns = np.nonzero(mask)[1]
    middle = (columns.min() + columns.max()) / 2
    assert abs(places["mid-line"][1] - middle) < abs(places["deep nucleus"][1] - middle)
    assert places["mid-line"][0] < places["ventricle"][0] < places["deep nucleus"][0]


def test_places_of_other_data_are_not_known(brains):
    split = brains.split("train")
    assert named_places(brains, dataclasses.replace(split, masks=None), 0) == {}
    others = Dataset(brains.folder, brains.manifest | {"kind": "nifti"}, brains.arrays)
    assert named_places(others, split, 0) == {}
