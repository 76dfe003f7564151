"""Settings of a panel: a box for a seed with a button for a random one, and a Reset button."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets as widgets
import traitlets

from oasis_utils.widgets.controls import number_box

LARGEST_SEED = 9999


class SeedBox(widgets.HBox):
    """A labelled number box for a seed, and a button that chooses one at random.

    Args:
        label: In front of the box.
        value: First seed, in [0, 9999].
    """

    value = traitlets.Int()
    min, max = 0, LARGEST_SEED

    def __init__(self, label: str, value: int):
        self.box = number_box(label, value, LARGEST_SEED)
        self.dice = widgets.Button(
            description="Random",
            icon="random",
            tooltip=f"choose another {label} at random",
            layout=widgets.Layout(width="100px"),
        )
        self.dice.on_click(lambda _: self.throw())
        super().__init__([self.box, self.dice], value=value)
        traitlets.link((self.box, "value"), (self, "value"))

    @property
    def description(self) -> str:
        """The label."""
        return self.box.description

    def throw(self) -> None:
        """Choose another seed; it does not depend on the seeds of the models."""
        self.value = random.SystemRandom().choice(
            [seed for seed in range(self.min, self.max + 1) if seed != self.value]
        )


class Settings:
    """Controls whose changes draw anew, and a button that gives them their first values again.

    Args:
        redraw: Called after a change, and once after a reset.
        controls: Any widgets with a value.
        also: Controls that are reset, but whose changes draw nothing.
    """

    def __init__(
        self,
        redraw: Callable[[], None],
        controls: Iterable[Any],
        also: Iterable[Any] = (),
    ):
        self.redraw, self.controls, self.resetting = redraw, list(controls), False
        self.first = [(control, control.value) for control in (*self.controls, *also)]
        self.reset = widgets.Button(
            description="Reset", icon="refresh", tooltip="all settings of this panel as at first"
        )
        self.reset.on_click(lambda _: self.restore())
        for control in self.controls:
            control.observe(self._changed, names="value")

    def _changed(self, _change=None) -> None:
        if not self.resetting:
            self.redraw()

    def restore(self) -> None:
        """Give all controls their first values, and draw once."""
        self.resetting = True
        try:
            for control, value in self.first:
                control.value = value
        finally:
            self.resetting = False
        self.redraw()

    def values(self) -> dict[str, str]:
        """{label: value as text} of the controls that are in use."""
        used = [control for control in self.controls if not getattr(control, "disabled", False)]
        return {control.description.split(" (")[0]: _text(control.value) for control in used}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
