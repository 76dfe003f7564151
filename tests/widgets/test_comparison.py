"""Comparison: A keeps its picture, B follows the settings and says what differs."""

import pytest

from oasis_utils.widgets.comparison import settings_line
from oasis_utils.widgets.panels import SamplingPanel, StackPanel


@pytest.fixture
def panel(samplers, tmp_path):
    panel = SamplingPanel(samplers, tmp_path)
    panel.redraw()
    panel.output.wait()
    return panel


def test_a_stays_and_b_follows(panel):
    first, comparison = panel.output.picture.value, panel.comparison
    comparison.keep.click()
    panel.seed.value = 5
    panel.output.wait()
    assert comparison.picture.value == first != panel.output.picture.value
    assert comparison.text.value.startswith("A: prior PixelCNN, position 3, seed 0")
    assert comparison.text_now.value == "B: seed 5"
    panel.settings.reset.click()
    panel.output.wait()
    assert comparison.text_now.value == "B: the same settings"
    assert panel.output.picture.value == first


def test_a_is_hidden_until_it_is_kept_and_after_it_is_removed(panel):
    comparison = panel.comparison
    assert comparison.side.layout.display == "none" and comparison.remove.disabled
    comparison.keep.click()
    assert comparison.side.layout.display is None and not comparison.remove.disabled
    comparison.remove.click()
    assert comparison.side.layout.display == "none" and comparison.kept is None


def test_nothing_is_kept_before_the_first_drawing(samplers, tmp_path):
    panel = SamplingPanel(samplers, tmp_path)
    panel.comparison.keep.click()
    assert panel.comparison.kept is None


def test_both_stacks_show_the_same_position(samplers, tmp_path):
    panel = StackPanel(samplers, tmp_path)
    panel.redraw()
    panel.output.wait()
    panel.comparison.keep.click()
    panel.index.value = 0
    assert panel.comparison.picture.value == panel.output.picture.value  # the same stack
    panel.seed.value = 1
    panel.output.wait()
    assert panel.comparison.picture.value != panel.output.picture.value


def test_only_what_differs_is_named():
    assert settings_line({"a": "1", "b": "2"}) == "a 1, b 2"
    assert settings_line({"a": "1", "b": "2"}, {"a": "1", "b": "3"}) == "b 2"
