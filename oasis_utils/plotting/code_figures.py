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

    The losses may differ in kind, so each is divided by its first value.

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
            ax.plot(
                [record["steps"] for record in history],
                [scale.get(key, 1) * record[key] for record in history],
                color=colour,
                marker="o",
                markersize=3,
                label=name,
            )
        ax.set(xlabel="training steps", ylabel=label)
        if key == "used_fraction":
            log_y_axis(ax)
        ax.legend(fontsize=7)
    figure.suptitle(title)
    return figure


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


def usage_overview(counts: np.ndarray, title: str = "") -> Figure:
    """Rank curve as in `usage`, and a histogram of the uses of a code beside it.

    Args:
        counts: (n_codes,) uses of each code.
        title: Above the figure.

    Returns:
        A new figure.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.6), width_ratios=(2, 1))
    usage(counts, "rank curve", axes[0])
    edges = np.linspace(0, np.log10(counts.max() + 1), 25)
    axes[1].hist(np.log10(counts + 1), bins=edges, color=BLUE)
    axes[1].set(xlabel="uses, log10(1 + n)", ylabel="codes", title="histogram")
    figure.suptitle(title)
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
        A new figure with equal, logarithmic axes; a code that never occurs stands at half a use.
    """
    figure, ax = plt.subplots(figsize=(4.8, 4.4))
    shares = {name: (uses + 0.5) / uses.sum() for name, uses in {"": counts, **others}.items()}
    x = shares.pop("")
    for colour, marker, (name, y) in zip(COLOURS, "os^D", shares.items(), strict=False):
        ax.scatter(x, y, s=16, marker=marker, color=colour, alpha=0.6, linewidths=0, label=name)
    drawn = np.concatenate([x, *shares.values()])
    ends = drawn.min() / 1.5, drawn.max() * 1.5
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


def codes_among_vectors(
    layouts: dict[str, tuple[np.ndarray, np.ndarray]],
    values: np.ndarray,
    label: str,
    title: str = "",
) -> Figure:
    """Codes on top of encoder vectors in two dimensions.

    Args:
        layouts: {name of the coordinates: (vectors (n, 2), codes (n_codes, 2))}.
        values: (n_codes,) numbers that colour the codes.
        label: Of the colour bar, with the unit.
        title: Above the figure.

    Returns:
        A new figure with one panel for each name.
    """
    figure, axes = plt.subplots(1, len(layouts), figsize=(4.2 * len(layouts), 3.4), squeeze=False)
    for ax, (name, (vectors, codes)) in zip(axes[0], layouts.items(), strict=True):
        ax.scatter(
            *vectors.T, s=3, color="#C8C8C8", linewidths=0, label=f"{len(vectors)} encoder vectors"
        )
        ax.scatter(
            *codes.T,
            c=values,
            s=14,
            cmap="viridis",
            edgecolors="black",
            linewidths=0.3,
            label=f"{len(codes)} codes",
        )
        ax.set(xlabel=f"{name} 1", ylabel=f"{name} 2", xticks=[], yticks=[])
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, markerscale=2
    )
    figure.colorbar(axes[0, -1].collections[-1], ax=axes, label=label)
    figure.suptitle(title)
    return figure


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
