"""A panel in a box that is closed at first, for a notebook that shows it beside its section."""

from __future__ import annotations

import ipywidgets as widgets

from oasis_utils.widgets.panels import Panel


def folded(title: str, panel: Panel) -> widgets.Accordion:
    """A panel that costs nothing until it is opened: it draws then, the first time.

    Args:
        title: Of the box.
        panel: Of `panels` or `painter`, not yet drawn.

    Returns:
        The box, which a notebook shows.
    """
    box = widgets.Accordion([panel.widget], titles=[title])

    def draw(_change) -> None:
        box.unobserve(draw, names="selected_index")
        panel.redraw()

    box.observe(draw, names="selected_index")
    return box
