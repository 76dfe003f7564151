"""The slider over slices: the pictures are those of the selected set, and errors are exact."""

import numpy as np
import pytest

from oasis_utils.plotting.slice_figures import LARGEST_ERROR
from oasis_utils.widgets.slice_slider import SliceSlider

RNG = np.random.default_rng(0)
ORIGINALS = RNG.integers(0, 256, (3, 16, 16), dtype=np.uint8)
SNAPSHOTS = {e: RNG.integers(0, 256, (3, 16, 16), dtype=np.uint8) for e in (1, 16, 4)}


@pytest.fixture
def slider():
    return SliceSlider(SNAPSHOTS, ORIGINALS, notes={4: "SSIM 0.5"})


def test_epochs_are_in_order_and_the_first_is_shown_first(slider):
    assert [epoch for _, epoch in slider.choice.options] == [1, 4, 16]
    assert slider.choice.value == 1
    assert slider.play.value == 0


def test_another_epoch_changes_the_pictures_and_the_way_back_restores_them(slider):
    before = slider.now.value, slider.error.value, slider.note.value
    slider.choice.value = 4
    assert all(a != b for a, b in zip(before, _state(slider), strict=True))
    assert slider.note.value == "SSIM 0.5"
    slider.choice.value = 1
    assert _state(slider) == before


def _state(slider):
    return slider.now.value, slider.error.value, slider.note.value


def test_the_error_is_the_absolute_difference_up_to_the_brightest(slider):
    difference = np.abs(SNAPSHOTS[1] / 255 - ORIGINALS / 255)
    expected = 255 * np.minimum(difference / LARGEST_ERROR, 1)
    assert np.abs(slider.errors() - expected).max() <= 0.5 + 1e-9


def test_playing_moves_the_slider(slider):
    slider.play.value = 2
    assert slider.choice.value == 16


def test_generated_slices_need_no_originals():
    slider = SliceSlider(SNAPSHOTS, unit="steps")
    first = slider.now.value
    slider.choice.value = 16
    assert slider.now.value != first and slider.choice.description == "steps"
    with pytest.raises(ValueError, match="no original"):
        slider.errors()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="no slices"):
        SliceSlider({})
    with pytest.raises(ValueError, match="differ in shape"):
        SliceSlider(SNAPSHOTS, ORIGINALS[:2])
