"""What an attacker does with the weights of a model, beside what the copy test does with samples.

Difficulty calibration: Watson et al. 2022, arXiv 2111.08440.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from oasis_utils.plotting.diagrams.canvas import Canvas
from oasis_utils.plotting.style import BLUE, GREEN, GREY, ORANGE

UP, DOWN = 3.15, 1.1  # y of the two rows, inches
LEFT, MODEL, MIDDLE, RIGHT = 0.85, 3.2, 5.75, 8.25  # x of the columns
SIDE = 0.9  # of the pictures, inches
APART = 0.42  # of fit and difficulty from the middle of their row


def membership_attack(pictures: Mapping[str, np.ndarray] | None = None, title: str = "") -> Figure:
    """The copy test on samples above, the membership attack on weights below.

    Alt text: Above, slices of training people train a model, whose samples are compared with the
    training slices. Below, an attacker gives a slice of a person to the model and to a second model
    of other people, takes the difference of fit and difficulty, averages it over the slices of the
    person, and calls those with low values members.

    Args:
        pictures: "training" slice, "sample" and slice of a "person" (height, width), uint8 or float
            in [0, 1]; an empty grid stands for each that is missing.
        title: Above the figure.

    Returns:
        A new figure.
    """
    canvas, shown = Canvas(9.6, 4.2, title), dict(pictures or {})
    _copy_test(canvas, shown)
    _attack(canvas, shown.get("person"))
    canvas.arrow([(MODEL, UP - 0.27), (MODEL, DOWN + APART + 0.27)], BLUE)
    canvas.text((MODEL + 0.08, (UP + DOWN + APART) / 2), "weights", BLUE, ha="left")
    return canvas.figure


def _copy_test(canvas: Canvas, shown: Mapping[str, np.ndarray]) -> None:
    """What notebook 08 asks of the samples."""
    canvas.text((0.2, 4.05), "samples: are they copies?", bold=True, size=9.0, ha="left")
    for x, name, words in ((LEFT, "training", "training people"), (MIDDLE, "sample", "samples")):
        canvas.picture((x, UP), (SIDE, SIDE), shown.get(name))
        canvas.text((x, UP - SIDE / 2 - 0.05), words, va="top")
    canvas.box((MODEL, UP), (1.5, 0.5), "trained model", BLUE)
    canvas.box((RIGHT, UP), (2.2, 0.5), "copy test (notebook 08):\nnear a training slice?", GREY)
    canvas.arrow([(LEFT + SIDE / 2 + 0.03, UP), (MODEL - 0.78, UP)])
    canvas.arrow([(MODEL + 0.78, UP), (MIDDLE - SIDE / 2 - 0.03, UP)])
    canvas.arrow([(MIDDLE + SIDE / 2 + 0.03, UP), (RIGHT - 1.13, UP)])


def _attack(canvas: Canvas, slice_: np.ndarray | None) -> None:
    """What an attacker does who holds the weights and slices of a person."""
    canvas.text((0.2, 2.02), "weights: who was a member?", bold=True, size=9.0, ha="left")
    canvas.picture((LEFT, DOWN), (SIDE, SIDE), slice_)
    canvas.text((LEFT, DOWN - SIDE / 2 - 0.05), "a slice of a person", va="top")
    minus = (4.85, DOWN)
    for y, words, colour in (
        (DOWN + APART, "fit of the model\nnats per code", BLUE),
        (DOWN - APART, "fit of a Markov chain\nnats per code: difficulty", GREEN),
    ):
        canvas.box((MODEL, y), (1.9, 0.5), words, colour)
        canvas.arrow([(LEFT + SIDE / 2 + 0.03, DOWN), (1.8, DOWN), (1.8, y), (MODEL - 0.98, y)])
        end = DOWN + (0.14 if y > DOWN else -0.14)
        canvas.arrow([(MODEL + 0.98, y), (minus[0], y), (minus[0], end)])
    canvas.text((MODEL, DOWN - APART - 0.3), "counted on people of neither side", va="top")
    canvas.node(minus, "−")
    canvas.box((6.25, DOWN), (1.6, 0.5), "mean over the slices\nof the person", ORANGE)
    canvas.box((RIGHT + 0.15, DOWN), (1.7, 0.5), "low: called a member", ORANGE)
    canvas.arrow([(minus[0] + 0.14, DOWN), (5.42, DOWN)])
    canvas.arrow([(7.08, DOWN), (RIGHT - 0.73, DOWN)])
