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
