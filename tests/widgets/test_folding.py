"""A folded panel draws when it is opened, once."""

from oasis_utils.widgets.folding import folded
from oasis_utils.widgets.panels import StackPanel


def test_a_folded_panel_draws_when_it_is_opened_and_not_again(samplers, tmp_path):
    panel = StackPanel(samplers, tmp_path)
    box = folded("all positions", panel)
    panel.output.wait()
    assert box.selected_index is None and panel.output.drawing is None
    assert box.titles == ("all positions",) and box.children == (panel.widget,)
    box.selected_index = 0
    panel.output.wait()
    drawing = panel.output.drawing
    assert drawing is not None and panel.output.picture.value
    box.selected_index = None
    box.selected_index = 0
    panel.output.wait()
    assert panel.output.drawing is drawing
