"""Figures of single codes and single cells: where a code is used, which codes a cell may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from oasis_utils.plotting.slice_figures import slices
from oasis_utils.plotting.style import COLOURS, ORANGE, grey_limit, label_rows

TINT = 0.85  # share of the colour in a highlighted cell


def highlighted(
    images: np.ndarray, cells: Bool[np.ndarray, "n rows cols"]
) -> UInt8[np.ndarray, "n height width 3"]:
    """Slices in colour, with some cells tinted orange.

    Args:
        images: (n, height, width), uint8 or float in [0, 1]; sides are multiples of those of
            `cells`.
        cells: True where a cell is tinted.

    Returns:
        Red, green and blue in [0, 255].
    """
    grey = (images / grey_limit(images) * 255).clip(0, 255)
    side = images.shape[1] // cells.shape[1]
    tint = TINT * cells.repeat(side, 1).repeat(side, 2)[..., None]
    colour = 255 * np.array(to_rgb(ORANGE))
    return ((1 - tint) * grey[..., None] + tint * colour).round().astype(np.uint8)


def code_patches(
    patches: Float[np.ndarray, "n side side"],
    codes: Sequence[int] | Integer[np.ndarray, " n"],
    title: str = "",
) -> Figure:
    """Mean pictures around some codes, two cells wide, with a frame around the cell of the code.

    Args:
        patches: Of each code, as from `metrics.codebook.mean_patches`, in [0, 1].
        codes: Their numbers.
        title: Above the figure.

    Returns:
        A new figure.
    """
    columns = min(8, len(patches))
    figure = slices(patches, [f"code {k}" for k in codes], columns, size=0.95, title=title)
    cell = patches.shape[1] // 2
    corner = cell // 2 - 0.5
    for ax in figure.axes[: len(patches)]:
        frame = Rectangle((corner, corner), cell, cell, fill=False, color="orange", linewidth=0.7)
        ax.add_patch(frame)
    return figure


def code_cells(
    images: np.ndarray,
    indices: Integer[np.ndarray, "n rows cols"],
    codes: Sequence[int] | Integer[np.ndarray, " n"],
    pictures: Mapping[str, np.ndarray],
    counts: Integer[np.ndarray, " n_codes"],
    titles: Sequence[str],
    title: str = "",
) -> Figure:
    """Pictures of some codes and all cells of some slices that use them, one row for each code.

    Args:
        images: (n, height, width), uint8 or float in [0, 1].
        indices: Index maps of the slices.
        codes: Numbers of the codes.
        pictures: {name: (n_codes, side, side) grey pictures, uint8 or float in [0, 1]}, one column
            each, before the slices.
        counts: Uses of each code, such as in a whole split.
        titles: One text for each slice.
        title: Above the figure.

    Returns:
        A new figure.
    """
    rows, first = len(codes), len(pictures)
    columns = first + len(images)
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.35 * columns + 0.9, 1.4 * rows + 0.7), squeeze=False
    )
    for row, code in zip(axes, codes, strict=True):
        for ax, picture in zip(row, pictures.values(), strict=False):
            ax.imshow(picture[code], cmap="gray", vmin=0, vmax=grey_limit(picture))
        for ax, image in zip(row[first:], highlighted(images, indices == code), strict=True):
            ax.imshow(image)
    for ax, text in zip(axes[0], (*pictures, *titles), strict=True):
        ax.set_title(text, fontsize=8)
    label_rows(axes, [f"code {k}\n{counts[k] / counts.sum():.2%} of cells" for k in codes])
    figure.suptitle(title)
    return figure


def code_probabilities(
    settings: Mapping[str, Float[np.ndarray, " n_codes"]],
    pictures: UInt8[np.ndarray, "n_codes side side"],
    count: int = 16,
    title: str = "",
    there: int | None = None,
) -> Figure:
    """Bars of the likeliest codes of one cell, under several settings, above their pictures.

    Args:
        settings: {name: probabilities of the codes}; the first orders the codes.
        pictures: What each code decodes to.
        count: Number of codes that are shown.
        title: Above the figure.
        there: The code that is in the cell, which is marked where it is shown; None: no mark.

    Returns:
        A new figure.
    """
    first = next(iter(settings.values()))
    shown = np.argsort(-first, kind="stable")[:count]
    figure, (bars, below) = plt.subplots(
        2, 1, figsize=(8.6, 3.3), sharex=True, height_ratios=(5, 1)
    )
    width = 0.8 / len(settings)
    for i, (colour, (name, shares)) in enumerate(zip(COLOURS, settings.items(), strict=False)):
        place = np.arange(len(shown)) + (i - (len(settings) - 1) / 2) * width
        bars.bar(place, shares[shown], width, color=colour, label=name)
    bars.set(ylabel="probability", ylim=(0, None))
    for place in np.flatnonzero(shown == there):
        top = max(shares[there] for shares in settings.values())
        bars.plot(place, top, "kv", markersize=6, label="the code that is there")
        bars.annotate(
            f"-ln {first[there]:.3f} = {-np.log(first[there]):.2f} nats",
            (place, top),
            xytext=(8, 4),
            textcoords="offset points",
            fontsize=8,
        )
    bars.legend(fontsize=8)
    side, frame = pictures.shape[1], max(1, pictures.shape[1] // 16)
    strip = np.pad(
        pictures[shown], ((0, 0), (0, 0), (frame, frame)), constant_values=255
    ).transpose(1, 0, 2)
    strip = strip.reshape(side, -1)
    extent = (-0.5, len(shown) - 0.5, 0, 1)
    limits = dict(vmin=pictures[shown].min(), vmax=pictures[shown].max())  # stretched
    below.imshow(strip, cmap="gray", **limits, extent=extent, aspect="auto")
    below.set(yticks=[], xlabel="code, and what it decodes to")
    below.set_xticks(range(len(shown)), [str(code) for code in shown])
    below.tick_params(length=0)
    for spine in below.spines.values():
        spine.set_visible(False)
    figure.suptitle(title)
    return figure
