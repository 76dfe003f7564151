"""Two drawings of a panel beside each other: A is kept, B follows the settings."""

from __future__ import annotations

import ipywidgets as widgets

from oasis_utils.widgets.controls import OutputArea, RenderedImages, column, side_by_side
from oasis_utils.widgets.settings import Settings


def settings_line(values: dict[str, str], other: dict[str, str] | None = None) -> str:
    """Settings in words.

    Args:
        values: {label: value}.
        other: Settings of another drawing; only those that differ are named.

    Returns:
        Such as "prior PixelCNN, seed 3".
    """
    named = {k: v for k, v in values.items() if other is None or other.get(k) != v}
    if other is not None and not named:
        return "the same settings"
    return ", ".join(f"{label} {value}" for label, value in named.items())


class Comparison:
    """The picture of an output area, and one that was kept beside it.

    Args:
        output: Its finished drawings can be kept.
    """

    def __init__(self, output: OutputArea):
        self.output = output
        self.kept: RenderedImages | None = None
        self.keep = widgets.Button(
            description="Keep as A", icon="thumb-tack", tooltip="keep this picture beside the next"
        )
        self.remove = widgets.Button(
            description="Remove A", icon="times", disabled=True, tooltip="show one picture again"
        )
        self.picture = widgets.Image(format="png", layout=output.picture.layout)
        self.text, self.text_now = widgets.Label(), widgets.Label()
        self.side = column(self.text, self.picture)
        self.keep.on_click(lambda _: self.keep_now())
        self.remove.on_click(lambda _: self.forget())
        output.listeners.append(self.describe)
        self.widget = side_by_side(self.side, column(self.text_now, output.picture))
        self.forget()

    def keep_now(self) -> None:
        """Keep the finished drawing as A."""
        drawing = self.output.drawing
        if drawing is None:
            return
        self.kept, self.picture.value = drawing, self.output.picture.value
        self.text.value = f"A: {settings_line(drawing.settings)}"
        self._show(True)
        self.describe()

    def forget(self) -> None:
        """Show the new drawing alone."""
        self.kept, self.text.value = None, ""
        self._show(False)

    def describe(self) -> None:
        """Write above B in which settings it differs from A."""
        if self.kept is not None and self.output.drawing is not None:
            line = settings_line(self.output.drawing.settings, self.kept.settings)
            self.text_now.value = f"B: {line}"

    def _show(self, both: bool) -> None:
        self.remove.disabled = not both
        for part in (self.side, self.text_now):
            part.layout.display = None if both else "none"


def bar(output: OutputArea, settings: Settings, comparison: Comparison) -> widgets.HBox:
    """The buttons of a panel and its line of progress."""
    buttons = (output.cancel, output.save, settings.reset, comparison.keep, comparison.remove)
    for button in buttons:
        button.layout.width = "auto"  # else the line of progress finds no place beside them
    return side_by_side(*buttons, output.status)
