"""The straight-through estimator in two dimensions: a latent, its code, and the gradient."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from oasis_utils.plotting.diagrams.canvas import INK, tint
from oasis_utils.plotting.style import BLUE, GREEN, GREY, ORANGE, axes_or_new, figure_of, hide_axes


def gradient_route(
    latent: np.ndarray,
    codes: np.ndarray,
    step: np.ndarray,
    turned: np.ndarray | None = None,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """A latent z, the cell of its nearest code e, and the step that e should make, copied to z.

    Alt text: Dots are codes, each in the cell of the points that are nearest to it. A latent z lies
    in the shaded cell of the code e. An arrow at e, the step against the gradient, has a dashed
    copy at z.

    Args:
        latent: z, (2,).
        codes: (n, 2).
        step: (2,), against the gradient of the loss at e.
        turned: (2,), the step that z gets by the rotation trick, and the origin that it is turned
            about; None leaves both out.
        title: Above the axes.
        ax: Axes to draw on; None: a new figure.

    Returns:
        The figure of the axes.
    """
    ax = axes_or_new(ax, 4.6, 4.6)
    code = codes[np.square(codes - latent).sum(1).argmin()]
    _cells(ax, codes, latent)
    ax.plot(*codes.T, "o", color=GREY, markersize=4, zorder=3)
    ax.annotate(
        "",
        _point(code),
        _point(latent),
        arrowprops=dict(arrowstyle="-|>", color=INK, shrinkA=4, shrinkB=4),
    )
    ax.plot([], [], color=INK, label="z is replaced by its nearest code e")
    _step(ax, code, step, ORANGE, "-", "gradient step at e")
    _step(ax, latent, step, ORANGE, (0, (3, 2)), "copied to z: straight-through")
    if turned is not None:
        for point in (code, latent):  # what the step is turned about
            ax.plot(*zip((0.0, 0.0), _point(point), strict=True), color=GREY, linewidth=0.6)
        ax.plot(0, 0, "+", color=INK, markersize=7)
        ax.annotate("0", (0, 0), (-6, -6), textcoords="offset points", ha="center", va="center")
        _step(ax, latent, turned, GREEN, (0, (3, 2)), "turned to z: rotation trick")
    for point, name, colour in ((latent, "z", BLUE), (code, "e", INK)):
        ax.plot(*point, "o", color=colour, markersize=7, zorder=5)
        ax.annotate(
            name,
            _point(point),
            (4, -12),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=10,
        )
    hide_axes(ax)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), fontsize=8)
    ax.set_title(title)
    return figure_of(ax)


def _cells(ax: Axes, codes: np.ndarray, latent: np.ndarray) -> None:
    """The points that are nearest to each code; those of the latent's code are shaded."""
    reach = 1.15 * float(np.abs(np.concatenate([codes, latent[None]])).max())
    line = np.linspace(-reach, reach, 400)
    points = np.stack(np.meshgrid(line, line), axis=-1)
    nearest = np.square(points[:, :, None] - codes).sum(-1).argmin(-1)
    own = nearest == np.square(codes - latent).sum(1).argmin()
    ends = (-reach, reach, -reach, reach)
    ax.imshow(
        own,
        cmap=ListedColormap(["white", tint(BLUE, 0.15)]),
        extent=ends,
        origin="lower",
        aspect="equal",
    )
    for number in range(len(codes)):
        ax.contour(line, line, nearest == number, levels=[0.5], colors="#BBBBBB", linewidths=0.7)


def _point(vector: np.ndarray) -> tuple[float, float]:
    return float(vector[0]), float(vector[1])


def _step(ax: Axes, start: np.ndarray, step: np.ndarray, colour: str, style, label: str) -> None:
    end = start + step
    head = dict(
        arrowstyle="-|>", color=colour, linewidth=1.8, shrinkA=0, shrinkB=0, linestyle=style
    )
    ax.annotate("", _point(end), _point(start), arrowprops=head, zorder=4)
    ax.plot([], [], color=colour, linestyle=style, linewidth=1.8, label=label)
