"""Names of the PNG layout: what is written is found again."""

import numpy as np
import pytest
from PIL import Image

from oasis_utils.config import SPLITS
from oasis_utils.data.keras_layout import (
    EXPORT_RECORD,
    SAMPLE_RECORD,
    files_named,
    find_masks,
    find_slices,
    is_keras_tree,
    kind_of_tree,
    mask_path,
    save_png,
    slice_path,
)
from oasis_utils.runtime import write_json


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "a" / "b"
    for case, split in enumerate(SPLITS, 1):
        for position in (10, 9):
            for path in (slice_path, mask_path):
                file = path(root, split, case, position)
                file.parent.mkdir(parents=True, exist_ok=True)
                save_png(file, np.full((8, 8), case, np.uint8))
    return root


@pytest.mark.parametrize("up", [0, 1, 2])
def test_what_is_written_is_found(tree, up):
    root = [tree, *tree.parents][up]
    assert is_keras_tree(root)
    for found, path in ((find_slices(root), slice_path), (find_masks(root), mask_path)):
        assert found == {
            (split, case): {position: path(tree, split, case, position) for position in (9, 10)}
            for case, split in enumerate(SPLITS, 1)
        }
        assert [list(slices) for slices in found.values()] == [[9, 10]] * 3


def test_names_are_those_of_the_layout(tmp_path):
    folder = tmp_path.name
    assert slice_path(tmp_path, "test", 7, 3).relative_to(tmp_path.parent).as_posix() == (
        f"{folder}/keras_png_slices_test/case_007_slice_3.nii.png"
    )
    assert mask_path(tmp_path, "train", 1234, 31).relative_to(tmp_path.parent).as_posix() == (
        f"{folder}/keras_png_slices_seg_train/seg_1234_slice_31.nii.png"
    )


def test_pixels_are_kept(tree):
    with Image.open(slice_path(tree, "test", 3, 9)) as image:
        assert image.mode == "L" and np.array_equal(np.asarray(image), np.full((8, 8), 3))


def test_the_nearest_record_says_what_a_tree_is(tree, tmp_path):
    assert kind_of_tree(tmp_path) == "keras" and not is_keras_tree(tree / "keras_png_slices_test")
    write_json(tree / EXPORT_RECORD, {"kind": "nifti"})
    assert kind_of_tree(tmp_path) == "nifti"
    write_json(tmp_path / EXPORT_RECORD, {"kind": "oasis"})
    assert kind_of_tree(tmp_path) == "oasis" and kind_of_tree(tree) == "nifti"
    assert files_named(tmp_path, EXPORT_RECORD) == [
        tmp_path / EXPORT_RECORD,
        tree / EXPORT_RECORD,
    ]
    (tree / SAMPLE_RECORD).touch()
    assert kind_of_tree(tmp_path) == "synthetic"
