"""The series of notebooks in one picture: from a slice to a new slice."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from oasis_utils.plotting.diagrams.canvas import Canvas, Point
from oasis_utils.plotting.style import BLUE, COLOURS, GREEN, GREY, ORANGE

Y, SIDE = 2.0, 1.25  # of the pictures, inches
PICTURES = {
    "slice": (0.8, "gray"),
    "index map": (3.05, "viridis"),
    "generated map": (6.5, "viridis"),
    "generated slice": (8.75, "gray"),
}
NOTEBOOKS = {
    "data": "01",
    "vqvae": "02",
    "codebook": "03",
    "dcgan": "04",
    "pixelcnn": "05",
    "generation": "02, 07",
    "evaluation": "08",
}


def pipeline(
    notebooks: Mapping[str, str] = NOTEBOOKS,
    pictures: Mapping[str, np.ndarray] | None = None,
    title: str = "",
) -> Figure:
    """Slice, encoder, index map, prior, generated map, decoder and generated slice.

    Alt text: A slice passes an encoder and becomes an index map. A PixelCNN or a DCGAN learns such
    maps and generates a new one, which a decoder turns into a new slice. The new slices are
    compared with real ones. Each stage has the number of its notebook.

    Args:
        notebooks: {stage: number of its notebook}, such as "02" or "02, 07"; stages are data,
            vqvae, codebook, dcgan, pixelcnn, generation and evaluation. A stage may be missing.
            Default: those of this series.
        pictures: "slice" and "generated slice" (height, width), uint8 or float in [0, 1]; "index
            map" and "generated map" (rows, cols) of numbers to colour. An empty grid stands for
            each that is missing.
        title: Above the figure.

    Returns:
        A new figure.

    Raises:
        ValueError: `notebooks` has an unknown stage.
    """
    canvas, shown = Canvas(9.6, 3.4, title), dict(pictures or {})
    for name, (x, cmap) in PICTURES.items():
        canvas.picture((x, Y), (SIDE, SIDE), shown.get(name), cmap)
        canvas.text((x, Y + 0.7), name, va="bottom")
    _machines(canvas)
    _headings(canvas)
    _numbers(canvas, notebooks)
    return canvas.figure


def _machines(canvas: Canvas) -> None:
    """The networks between the pictures."""
    half = SIDE / 2 + 0.03
    xs = [x for x, _ in PICTURES.values()]
    for (left, right), name, colour in (
        ((xs[0], xs[1]), "encoder", BLUE),
        ((xs[2], xs[3]), "decoder", GREEN),
    ):
        middle, lean = (left + right) / 2, 0.2 if name == "encoder" else -0.2
        canvas.funnel((middle, Y), (0.62, 0.75), lean, colour)
        canvas.text((middle, Y), name)
        canvas.arrow([(left + half, Y), (middle - 0.34, Y)])
        canvas.arrow([(middle + 0.34, Y), (right - half, Y)])
    middle = (xs[1] + xs[2]) / 2
    for y, name, colour in ((Y + 0.4, "PixelCNN", ORANGE), (Y - 0.4, "DCGAN", COLOURS[3])):
        canvas.box((middle, y), (1.2, 0.5), name, colour)
        canvas.arrow([(xs[1] + half, y), (middle - 0.63, y)])
        canvas.arrow([(middle + 0.63, y), (xs[2] - half, y)])
    canvas.text((middle, Y), "or")
    low = 0.5
    canvas.arrow([(xs[3], Y - half), (xs[3], low), (5.25, low)], GREY)
    canvas.arrow([(xs[0], Y - half - 0.31), (xs[0], low), (4.3, low)], GREY)
    canvas.text(((4.3 + 5.25) / 2, low), "compared in\nthe evaluation")


def _headings(canvas: Canvas) -> None:
    for x, words in (
        (1.92, "compress: slices to maps of codes"),
        (4.78, "learn how maps look"),
        (7.62, "generate: maps to slices"),
    ):
        canvas.text((x, 3.2), words, bold=True, size=9.0)


def _numbers(canvas: Canvas, notebooks: Mapping[str, str]) -> None:
    """A mark with the number of the notebook at each stage; ValueError for an unknown stage."""
    places: dict[str, Point] = {
        "data": (0.8, Y - 0.8),
        "vqvae": (1.925, Y - 0.8),
        "codebook": (3.05, Y - 0.8),
        "pixelcnn": (4.775, Y + 0.83),
        "dcgan": (4.775, Y - 0.83),
        "generation": (7.625, Y - 0.8),
        "evaluation": (4.775, 0.16),
    }
    unknown = set(notebooks) - set(places)
    if unknown:
        raise ValueError(f"unknown stages {sorted(unknown)}: choose from {', '.join(places)}")
    for stage, number in notebooks.items():
        several = "," in number
        words = f"notebook{'s' if several else ''} {number}"
        canvas.box(places[stage], (1.12 if several else 0.84, 0.22), words)
