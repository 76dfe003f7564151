"""Errors by place, on slices whose errors were put there."""

import numpy as np
import pytest

from oasis_utils.metrics import error_maps

IMAGE = np.zeros((2, 12, 12), np.uint8)
IMAGE[:, 2:10, 2:6], IMAGE[:, 2:10, 6:10] = 100, 200  # one steep edge within the region
REGION = IMAGE > 0


def test_absolute_errors_do_not_wrap_around():
    error = error_maps.absolute_error(
        np.array([[[0, 255]]], np.uint8), np.array([[[255, 0]]], np.uint8)
    )
    assert error.tolist() == [[[1.0, 1.0]]]


def test_an_error_at_the_edge_is_found_there():
    output = IMAGE.copy()
    output[:, 2:10, 5:7] += 50
    found = error_maps.error_by_gradient(IMAGE, output, REGION)
    assert found["steepest quarter"] > 5 * found["flattest quarter"] and found["outside"] == 0
    assert 0 < found["steepest quarter"] <= 50 / 255 + 1e-6


def test_an_error_of_the_background_is_outside():
    output = IMAGE.copy()
    output[:, 0] = 51
    found = error_maps.error_by_gradient(IMAGE, output, REGION)
    assert found["outside"] == pytest.approx(0.2 * 24 / (~REGION).sum())
    assert found["steepest quarter"] == found["flattest quarter"] == 0


def test_middle_and_around_are_parts_of_the_region():
    output = IMAGE.copy()
    output[:, 4:8, 4:8] += 51
    found = error_maps.error_by_region(IMAGE, output, REGION)
    assert found == {"middle": pytest.approx(0.2), "around": 0.0}


def test_an_empty_region_has_no_error():
    nothing = np.zeros(IMAGE.shape, bool)
    assert np.isnan(list(error_maps.error_by_region(IMAGE, IMAGE, nothing).values())).all()
    assert np.isnan(error_maps.error_by_gradient(IMAGE, IMAGE, nothing)["steepest quarter"])
    assert error_maps.error_by_gradient(IMAGE, IMAGE, nothing)["outside"] == 0


def test_the_largest_change_is_a_patch_and_not_a_shifted_edge():
    images = np.zeros((2, 16, 16), np.uint8)
    images[:, :, 8:] = 200
    outputs = np.roll(images, 1, axis=2)
    outputs[:, :, 0] = 0  # the edge only is shifted
    outputs[0, 9:13, 2:6] = 102
    outputs[1, 9:13, 11:15] = 98
    change, centre = error_maps.largest_changes(images, outputs, 4)
    assert change == pytest.approx([0.4, -0.4])
    assert centre.tolist() == [[11, 4], [11, 13]]


def test_crops_stay_inside_the_slice():
    images = np.arange(72, dtype=np.uint8).reshape(2, 6, 6)
    found = error_maps.crops(images, np.array([[3, 3], [5, 0]]), 4)
    assert np.array_equal(found[0], images[0, 1:5, 1:5])
    assert np.array_equal(found[1], images[1, 2:6, 0:4])
