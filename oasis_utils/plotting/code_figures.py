"""Figures of a codebook: index maps, use of the codes, codes among encoder vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from oasis_utils.plotting.style import (
    BLUE,
    COLOURS,
    GREY,
    ORANGE,
    axes_or_new,
    figure_of,
    grey_limit,
    hide_axes,
    label_rows,
    legend_below,
    log_y_axis,
)

RARE = 0.05  # of an even use: where the axes of `compare_usage` begin


def index_maps(
    originals: np.ndarray,
    indices: np.ndarray,
    decoded: np.ndarray,
    order: np.ndarray,
    titles: Sequence[str],
    title: str = "",
    labels: Sequence[str] = ("original", "index map", "decode(indices)"),
) -> Figure:
    """Original, index map and decode(indices), one column for each slice.

    Args:
        originals: (n, height, width), uint8 or float in [0, 1].
        indices: (n, rows, cols) in [0, n_codes).
        decoded: Slices decoded from `indices`, shape and type as of the originals.
        order: All codes in the order of their colours, such as from dark to bright.
        titles: One text for each slice.
        title: Above the figure.
        labels: Names of the three rows.

    Returns:
        A new figure.
    """
    rank = np.empty(len(order), dtype=int)
    rank[order] = np.arange(len(order))
    figure, axes = plt.subplots(
        3, len(originals), figsize=(1.5 * len(originals) + 0.8, 5), squeeze=False
    )
    for i in range(len(originals)):
        axes[0, i].imshow(originals[i], cmap="gray", vmin=0, vmax=grey_limit(originals))
        axes[1, i].imshow(rank[indices[i]], cmap="viridis", vmin=0, vmax=len(order) - 1)
        axes[2, i].imshow(decoded[i], cmap="gray", vmin=0, vmax=grey_limit(decoded))
        axes[0, i].set_title(titles[i], fontsize=8)
    label_rows(axes, labels)
    label = "rank of the code,\ndark to bright"
    figure.colorbar(axes[1, -1].images[0], ax=axes[1], shrink=0.8, label=label)
    figure.suptitle(title)
    return figure


def compare_codebooks(
    originals: np.ndarray,
    shown: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    histories: dict[str, Sequence[dict]],
    title: str = "",
) -> Figure:
    """Two or more codebooks on the same slices: index maps, reconstructions and training curves.

    The losses may differ in kind, so each is divided by its first value. The first and the
    last number of codes are written above their points.

    Args:
        originals: (n, height, width), uint8 or float in [0, 1].
        shown: {name: (index maps, order as in `index_maps`, reconstructions)}.
        histories: {name: training records with steps, used_fraction, validation_loss and ssim}.
        title: Above the figure.

    Returns:
        A new figure.
    """
    rows = [("original", originals, "gray", grey_limit(originals))]
    for name, (indices, order, outputs) in shown.items():
        ranks = np.argsort(order)[indices]
        rows += [
            (f"{name}:\nindex map", ranks, "viridis", max(ranks.max(), 1)),
            (f"{name}:\nreconstruction", outputs, "gray", grey_limit(outputs)),
        ]
    figure = plt.figure(figsize=(1.25 * len(originals) + 4.6, 1.3 * len(rows) + 0.4))
    parts = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.25 * len(originals) + 0.8, 3.8))
    left, right = parts[0]
    axes = left.subplots(len(rows), len(originals), squeeze=False)
    for row, (_, pictures, cmap, limit) in zip(axes, rows, strict=True):
        for ax, picture in zip(row, pictures, strict=True):
            ax.imshow(picture, cmap=cmap, vmin=0, vmax=limit)
    label_rows(axes, [label for label, *_ in rows])
    panels = {
        "used_fraction": "codes used, held-out",
        "validation_loss": "held-out loss\n(its first value = 1)",
        "ssim": "held-out SSIM",
    }
    for ax, (key, label) in zip(right.subplots(3, 1), panels.items(), strict=True):
        for colour, (name, history) in zip(COLOURS, histories.items(), strict=False):
            scale = {
                "used_fraction": len(shown[name][1]),
                "validation_loss": 1 / history[0]["validation_loss"],
            }
            steps = [record["steps"] for record in history]
            values = [scale.get(key, 1) * record[key] for record in history]
            ax.plot(steps, values, color=colour, marker="o", markersize=3, label=name)
            if key == "used_fraction":
                for end in (0, -1):
                    _number_above(ax, float(steps[end]), float(values[end]), colour)
        ax.set(xlabel="training steps", ylabel=label)
        if key == "used_fraction":
            log_y_axis(ax)
            ax.margins(y=0.15)
        ax.legend(fontsize=7)
    figure.suptitle(title)
    return figure


def _number_above(ax: Axes, x: float, y: float, colour: str) -> None:
    """A whole number just above its point."""
    ax.annotate(
        f"{y:.0f}",
        (x, y),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        color=colour,
        fontsize=7,
    )


def usage(counts: np.ndarray, title: str = "", ax: Axes | None = None) -> Figure:
    """Share of all cells that each code fills, most used first, on a logarithmic axis.

    Args:
        counts: (n_codes,) uses of each code.
        title: Above the axes.
        ax: Axes to draw on; None: a new figure.

    Returns:
        The figure of the axes.
    """
    ax = axes_or_new(ax, 6.0, 2.6)
    share = np.sort(counts)[::-1] / counts.sum()
    used = int((counts > 0).sum())
    ax.bar(np.arange(used), share[:used], width=1.0, color=BLUE)
    ax.axhline(
        1 / len(counts), color=GREY, linestyle="--", linewidth=1, label="all codes equally often"
    )
    if used < len(counts):
        ax.axvspan(
            used - 0.5,
            len(counts) - 0.5,
            color=ORANGE,
            alpha=0.2,
            label=f"{len(counts) - used} never used",
        )
    ax.set(
        yscale="log",
        xlabel="code, most used first",
        ylabel="share of all cells",
        xlim=(-0.5, len(counts) - 0.5),
    )
    _few_ticks(ax)
    ax.legend(fontsize=7)
    ax.set_title(title)
    return figure_of(ax)


def _few_ticks(ax: Axes) -> None:
    """Few labels on a logarithmic y axis, in per cent: powers of ten, and 2 and 5 times them where
    these are few.
    """
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    ax.yaxis.set_major_formatter(FuncFormatter(_per_cent))
    ax.yaxis.set_minor_formatter(NullFormatter())


def code_pairs(
    values: Float[np.ndarray, "n_codes n_codes"],
    tones: Float[np.ndarray, " n_codes"],
    black: float,
    label: str,
    limit: float,
    title: str = "",
) -> Figure:
    """A number for each pair of codes, both axes from dark to bright.

    Args:
        values: Of each pair.
        tones: Mean grey level of the cells of each code, in [0, 1]; nan: unused, drawn last.
        black: Thin lines part the codes that are darker than this from the others.
        label: Of the colour bar, with the unit.
        limit: Ends of the colour scale are -limit and limit.
        title: Above the axes.

    Returns:
        A new figure.
    """
    order = tones.argsort(kind="stable")
    figure, ax = plt.subplots(figsize=(5.2, 4.4))
    values = values[np.ix_(order, order)]
    image = ax.imshow(values, origin="lower", cmap="coolwarm", vmin=-limit, vmax=limit)
    figure.colorbar(image, ax=ax, shrink=0.8, label=label, extend="both")
    edge = np.searchsorted(tones[order], black) - 0.5
    ax.axvline(edge, color="black", linewidth=0.6)
    ax.axhline(edge, color="black", linewidth=0.6)
    levels = [grey for grey in (0.7, 0.5, 0.3, black) if grey <= np.nanmax(tones)]
    ticks = {np.searchsorted(tones[order], grey) - 0.5: f"{grey:g}" for grey in levels}
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(list(ticks), ticks.values())
        axis.set_label_text("mean grey of the code, dark to bright")
    ax.tick_params(axis="x", rotation=90)
    ax.set_title(title)
    return figure


def compare_usage(
    counts: np.ndarray, others: dict[str, np.ndarray], xlabel: str, ylabel: str, title: str = ""
) -> Figure:
    """How often each code is used by one set of maps, against other sets: a point for each code.

    Args:
        counts: (n_codes,) uses, for the horizontal axis.
        others: {name: (n_codes,) uses}, for the vertical axis.
        xlabel: What `counts` are of; they are drawn as shares of all cells.
        ylabel: What the others are of.
        title: Above the axes.

    Returns:
        A new figure with equal, logarithmic axes from about a twentieth of an even use; a code
        that is rarer in a set, or never occurs, stands at the edge.
    """
    figure, ax = plt.subplots(figsize=(4.8, 4.4))
    edge = RARE / len(counts)
    shares = {
        name: np.maximum((uses + 0.5) / uses.sum(), edge)
        for name, uses in {"": counts, **others}.items()
    }
    x = shares.pop("")
    dots = {"s": 16, "alpha": 0.6, "linewidths": 0, "clip_on": False}  # whole at the edge too
    for colour, marker, (name, y) in zip(COLOURS, "os^D", shares.items(), strict=False):
        ax.scatter(x, y, marker=marker, color=colour, label=name, **dots)
    drawn = np.concatenate([x, *shares.values()])
    ends = max(drawn.min() / 1.5, edge), drawn.max() * 1.5
    ax.plot(ends, ends, color=GREY, linestyle="--", linewidth=1, label="equal use")
    ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel=xlabel, ylabel=ylabel)
    ax.set_aspect("equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(_per_cent))
        axis.set_minor_formatter(NullFormatter())
    ax.legend(fontsize=8)
    ax.set_title(title)
    return figure


def _per_cent(share: float, _: int) -> str:
    return f"{100 * share:g} %"


def nearest_regions(
    vectors: Float[np.ndarray, "n 2"],
    codebooks: Mapping[str, Float[np.ndarray, "n_codes 2"]],
    title: str = "",
) -> Figure:
    """The plane divided by the nearest code (Voronoi cells), one panel for each codebook.

    Args:
        vectors: Points that are quantised.
        codebooks: {title of a panel: codes}.
        title: Above the figure.

    Returns:
        A new figure; codes that are the nearest one of no vector are crosses.
    """
    every = np.concatenate([vectors, *codebooks.values()])
    (left, low), (right, high) = every.min(axis=0) - 0.3, every.max(axis=0) + 0.3
    places = np.stack(
        np.meshgrid(np.linspace(left, right, 240), np.linspace(low, high, 240)), axis=-1
    )
    figure, axes = plt.subplots(
        1, len(codebooks), figsize=(3.6 * len(codebooks), 3.0), squeeze=False
    )
    for ax, (name, codes) in zip(axes[0], codebooks.items(), strict=True):
        used = np.isin(np.arange(len(codes)), _nearest(vectors, codes))
        regions = _nearest(places, codes)
        ax.imshow(regions, cmap="Pastel1", origin="lower", extent=(left, right, low, high))
        ax.scatter(*vectors.T, s=4, color=GREY, linewidths=0, label="encoder vectors")
        for group, marker, colour, label in (
            (used, "o", BLUE, "codes"),
            (~used, "X", ORANGE, "codes that are never the nearest"),
        ):
            ax.scatter(*codes[group].T, s=50, marker=marker, color=colour, label=label)
        ax.set_title(name)
        hide_axes(ax)
    legend_below(figure)
    figure.suptitle(title)
    return figure


def _nearest(points: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The row of the code nearest to each point."""
    return ((points[..., None, :] - codes) ** 2).sum(-1).argmin(-1)
