"""A page whose unit is the inch, and what diagrams are drawn with: boxes, arrows, pictures."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from matplotlib.path import Path

from oasis_utils.plotting.style import GREY, ORANGE, grey_limit

INK = "#262626"
PALE = "#F7F7F7"
SMALL = 8.0  # points; smaller text cannot be read in a notebook
Point = tuple[float, float]
Colour = str | tuple[float, float, float]


def tint(colour: str, strength: float = 0.25) -> tuple[float, float, float]:
    """The colour mixed with white; strength 1 leaves it as it is."""
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return red, green, blue


class Canvas:
    """An empty page.

    Args:
        width: Inches.
        height: Inches, without the title.
        title: Above the page; it makes the figure 0.3 inches higher.
    """

    def __init__(self, width: float, height: float, title: str = ""):
        self.width, self.height, full = width, height, height + (0.3 if title else 0.0)
        self.figure: Figure = plt.figure(figsize=(width, full))
        # not layout="none": a tight picture would then get the engine of the style
        self.figure.set_layout_engine("none")
        self.ax: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.ax.set(xlim=(0, width), ylim=(0, full), autoscale_on=False)
        self.ax.set_axis_off()
        if title:
            self.text((width / 2, full - 0.15), title, size=9.0)

    def text(
        self,
        at: Point,
        words: str,
        colour: str = INK,
        size: float = SMALL,
        ha: str = "center",
        va: str = "center",
        bold: bool = False,
    ) -> None:
        """Words at a point; `ha` and `va` as in matplotlib."""
        weight = "bold" if bold else "normal"
        style = dict(ha=ha, va=va, fontsize=size, color=colour, weight=weight, linespacing=1.15)
        self.ax.text(*at, words, zorder=6, **style)  # pyright: ignore[reportArgumentType]

    def box(self, at: Point, size: Point, words: str, colour: str = GREY) -> None:
        """A rounded box about a point, with words in it."""
        self._rounded(at, size, tint(colour, 0.18), tint(colour, 0.72), 3)
        self.text(at, words)

    def backdrop(self, at: Point, size: Point) -> None:
        """A pale rounded area about a point, behind everything."""
        self._rounded(at, size, PALE, "#D9D9D9", 1)

    def _rounded(self, at: Point, size: Point, face: Colour, edge: Colour, level: int) -> None:
        corner, style = (at[0] - size[0] / 2, at[1] - size[1] / 2), "round,pad=0,rounding_size=0.07"
        patch = FancyBboxPatch(
            corner, *size, boxstyle=style, facecolor=face, edgecolor=edge, linewidth=1, zorder=level
        )
        self.ax.add_patch(patch)

    def node(self, at: Point, sign: str, colour: str = INK) -> None:
        """A small circle with a sign in it."""
        self.ax.add_patch(
            Circle(at, 0.12, facecolor="white", edgecolor=colour, linewidth=1, zorder=4)
        )
        self.text(at, sign, colour, size=9.0)

    def arrow(
        self,
        points: Sequence[Point],
        colour: str = INK,
        width: float = 1.0,
        dashed: bool = False,
        head: bool = True,
    ) -> None:
        """A line along points with rounded corners, with an arrow head at its last one."""
        vertices, codes = [points[0]], [Path.MOVETO]
        for before, corner, after in zip(points, points[1:], points[2:], strict=False):
            vertices += [_towards(corner, before), corner, _towards(corner, after)]
            codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
        line = Path([*vertices, points[-1]], [*codes, Path.LINETO])
        self.ax.add_patch(
            FancyArrowPatch(
                path=line,
                arrowstyle="-|>,head_length=3.5,head_width=2" if head else "-",
                color=colour,
                linewidth=width,
                linestyle=(0, (4, 2)) if dashed else "-",
                joinstyle="miter",
                zorder=2,
            )
        )

    def gradient(self, points: Sequence[Point]) -> None:
        """The way of a gradient: a dashed arrow in one colour."""
        self.arrow(points, ORANGE, 1.6, dashed=True)

    def block(self, at: Point, width: float, height: float, colour: str) -> float:
        """A solid about a point: the front, the top and a side; returns the width in all."""
        depth = 0.07 + 0.12 * height
        x, y = at[0] - (width + depth) / 2, at[1] - (height + depth) / 2
        right, top = x + width, y + height
        front = [(x, y), (right, y), (right, top), (x, top)]
        lid = [(x, top), (right, top), (right + depth, top + depth), (x + depth, top + depth)]
        side = [(right, y), (right + depth, y + depth), (right + depth, top + depth), (right, top)]
        for face, strength in ((front, 0.35), (lid, 0.18), (side, 0.55)):
            self.ax.add_patch(
                Polygon(
                    face,
                    facecolor=tint(colour, strength),
                    edgecolor=colour,
                    linewidth=0.8,
                    joinstyle="round",
                    zorder=3,
                )
            )
        return width + depth

    def picture(
        self, at: Point, size: Point, values: np.ndarray | None, cmap: str = "gray"
    ) -> None:
        """A picture about a point; None draws an empty grid of cells in its place.

        Slices keep the fixed grey range; other arrays have their own.
        """
        left, low = at[0] - size[0] / 2, at[1] - size[1] / 2
        if values is None:
            self.ax.add_patch(Rectangle((left, low), *size, facecolor="#E4E4E4", zorder=3))
            self.grid((left, low), size)
        else:
            ends = (0, grey_limit(values)) if cmap == "gray" else (values.min(), values.max())
            self.ax.imshow(
                values,
                cmap=cmap,
                vmin=ends[0],
                vmax=ends[1],
                extent=(left, left + size[0], low, low + size[1]),
                aspect="auto",
                interpolation="nearest",
                zorder=3,
            )
        self.ax.add_patch(Rectangle((left, low), *size, fill=False, edgecolor=GREY, zorder=4))

    def grid(self, corner: Point, size: Point, cells: int = 8, colour: str = "white") -> None:
        """Lines between the cells of a rectangle, from its lower left corner."""
        (left, low), (width, height) = corner, size
        for part in np.arange(1, cells) / cells:
            for xs, ys in (
                ([left, left + width], [low + part * height] * 2),
                ([left + part * width] * 2, [low, low + height]),
            ):
                self.ax.plot(xs, ys, color=colour, linewidth=0.7, zorder=3)

    def classes(self, at: Point, side: float, values: np.ndarray, colours: Sequence[str]) -> None:
        """A square of cells of classes 0, 1, 2 ..., each in its colour."""
        half = side / 2
        self.ax.imshow(
            values,
            cmap=ListedColormap(list(colours)),
            vmin=-0.5,
            vmax=len(colours) - 0.5,
            extent=(at[0] - half, at[0] + half, at[1] - half, at[1] + half),
            aspect="auto",
            interpolation="nearest",
            zorder=3,
        )

    def outline(self, at: Point, side: float, colour: str) -> None:
        """The outline of a square about a point."""
        corner = (at[0] - side / 2, at[1] - side / 2)
        self.ax.add_patch(
            Rectangle(corner, side, side, fill=False, edgecolor=colour, linewidth=2, zorder=5)
        )

    def funnel(self, at: Point, size: Point, lean: float, colour: str) -> None:
        """A trapezium about a point; its left side is longer than the right one by twice `lean`."""
        x, y, half, high = at[0], at[1], size[0] / 2, size[1] / 2
        left, right = high + lean / 2, high - lean / 2
        corners = [
            (x - half, y - left),
            (x + half, y - right),
            (x + half, y + right),
            (x - half, y + left),
        ]
        self.ax.add_patch(
            Polygon(corners, facecolor=tint(colour, 0.18), edgecolor=tint(colour, 0.72), zorder=3)
        )


def _towards(corner: Point, other: Point, radius: float = 0.1) -> Point:
    """The point near a corner where its rounding begins."""
    step = np.subtract(other, corner)
    length = float(np.hypot(*step))
    near = np.add(corner, step * min(radius / max(length, 1e-9), 0.5))
    return float(near[0]), float(near[1])
