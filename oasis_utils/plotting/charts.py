"""Charts of numbers: training curves, lines, trends, histograms, bars, scatter plots, matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import MaxNLocator

from oasis_utils.plotting.style import (
    COLOURS,
    GREY,
    axes_or_new,
    figure_of,
    legend_below,
    log_y_axis,
)

BANDS: tuple[dict[str, Any], ...] = (  # looks of the references in a forest plot
    {"facecolor": "#D9D9D9"},
    {"facecolor": "none", "edgecolor": GREY, "linestyle": "--"},
)


def curves(
    history: Sequence[dict],
    panels: dict[str, Sequence[str] | dict[str, str]],
    reference_lines: dict[str, dict[str, float]] | None = None,
    title: str = "",
    lowest: dict[str, float] | None = None,
) -> Figure:
    """Training curves over the number of steps.

    Args:
        history: Training records with "steps"; a metric may be missing in some.
        panels: {y label: names of metrics, or {name: label}}; one panel for each y label.
        reference_lines: {y label: {label: level of a dashed line}}.
        title: Above the figure.
        lowest: {y label: where its axis begins}, to cut off what would flatten the rest.

    Returns:
        A new figure with the panels side by side.
    """
    width = max(5.2, 3.4 * len(panels))  # a single panel leaves room for the title
    figure, axes = plt.subplots(1, len(panels), figsize=(width, 3), squeeze=False)
    for ax, (label, names) in zip(axes[0], panels.items(), strict=True):
        labels = names if isinstance(names, dict) else {name: name for name in names}
        for colour, (name, text) in zip(COLOURS, labels.items(), strict=False):
            points = [(record["steps"], record[name]) for record in history if name in record]
            ax.plot(
                *zip(*points, strict=True), color=colour, marker="o", markersize=2.5, label=text
            )
        for style, (name, level) in zip(
            ("--", ":", "-."), (reference_lines or {}).get(label, {}).items(), strict=False
        ):
            ax.axhline(level, color=GREY, linestyle=style, linewidth=1, label=name)
        ax.set_xlabel("training steps")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set_ylabel(label)
        ax.set_ylim(bottom=(lowest or {}).get(label))
        ax.legend(
            fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2
        )  # above: inside it hides lines
    figure.suptitle(title)
    return figure


def lines(
    x: np.ndarray,
    series: dict[str, np.ndarray],
    xlabel: str,
    ylabel: str,
    title: str = "",
    ax: Axes | None = None,
    log: bool = False,
    marker: str = "",
) -> Figure:
    """Several curves over one axis, with a legend if there are two or more.

    Args:
        x: (n,) coordinates that the curves share.
        series: {name: (n,) values}.
        xlabel: With the unit.
        ylabel: With the unit.
        title: Above the axes.
        ax: Axes to draw on; None: a new figure.
        log: Whether the y axis is logarithmic.
        marker: Of the points of a curve, such as "o"; empty: none.

    Returns:
        The figure of the axes.
    """
    ax = axes_or_new(ax, 5.0, 2.8)
    for colour, (name, y) in zip(COLOURS, series.items(), strict=False):
        ax.plot(x, y, color=colour, marker=marker, markersize=3, label=name)
    if log:
        log_y_axis(ax)
    return _labelled(ax, xlabel, ylabel, title, legend=len(series) > 1)


def _labelled(ax: Axes, xlabel: str, ylabel: str, title: str, legend: bool = True) -> Figure:
    """Axes of finished curves with their labels, title and legend."""
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if legend:
        ax.legend(fontsize=7)
    ax.set_title(title)
    return figure_of(ax)


def trends(
    series: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    xlabel: str,
    ylabel: str,
    title: str = "",
) -> Figure:
    """Points and the lines fitted to them.

    Args:
        series: {name: (x, y, value of the line at each x)}, three (n,) arrays.
        xlabel: With the unit.
        ylabel: With the unit.
        title: Above the axes.

    Returns:
        A new figure.
    """
    ax = axes_or_new(None, 5.5, 3.0)
    for colour, marker, (name, (x, y, line)) in zip(
        COLOURS, "osD^v<", series.items(), strict=False
    ):
        order = np.argsort(x)
        ax.scatter(x, y, s=14, marker=marker, color=colour, alpha=0.5, linewidths=0)
        ax.plot(
            np.asarray(x)[order],
            np.asarray(line)[order],
            color=colour,
            marker=marker,
            markevery=[0, -1],
            markersize=4,
            label=name,
        )
    return _labelled(ax, xlabel, ylabel, title)


def histograms(
    edges: np.ndarray,
    counts: dict[str, np.ndarray],
    xlabel: str,
    ylabel: str,
    title: str = "",
    ax: Axes | None = None,
    values: dict[str, np.ndarray] | None = None,
) -> Figure:
    """Outlines of several histograms over the same bins.

    Args:
        edges: (bins + 1,) ends of the bins.
        counts: {name: (bins,) heights}.
        xlabel: With the unit.
        ylabel: With the unit.
        title: Above the axes.
        ax: Axes to draw on; None: a new figure.
        values: {name: all values of that histogram}, each as a tick below the outlines.

    Returns:
        The figure of the axes.
    """
    ax = axes_or_new(ax, 5.5, 2.8)
    for colour, (name, heights) in zip(COLOURS, counts.items(), strict=False):
        ax.stairs(heights, edges, color=colour, label=name, linewidth=1.3)
    top = ax.get_ylim()[1]
    for row, (name, x) in enumerate((values or {}).items(), start=1):
        colour = COLOURS[list(counts).index(name)]
        ax.plot(x, np.full(len(x), -0.06 * row * top), "|", color=colour, markersize=6)
    if values:
        ax.set_yticks([tick for tick in ax.get_yticks() if tick >= 0])
    return _labelled(ax, xlabel, ylabel, title)


def bars(
    values: dict[str, float],
    ylabel: str,
    highlight: Sequence[str] = (),
    title: str = "",
    ax: Axes | None = None,
    intervals: dict[str, Sequence[float]] | None = None,
) -> Figure:
    """Named metrics as bars with their numbers.

    Args:
        values: {name: value}.
        ylabel: With the unit.
        highlight: Names drawn each in its colour; the others are grey.
        title: Above the axes.
        ax: Axes to draw on; None: a new figure.
        intervals: {name: (low, high)} ends of the error bars.

    Returns:
        The figure of the axes.
    """
    ax, ends = axes_or_new(ax, 1.1 * len(values) + 1.2, 2.8), intervals or {}
    ax.bar(
        range(len(values)),
        list(values.values()),
        color=[
            COLOURS[list(highlight).index(name) % len(COLOURS)] if name in highlight else GREY
            for name in values
        ],
    )
    for i, name in enumerate(values):
        if name in ends:
            low, high = ends[name]
            ax.vlines(i, low, high, color="black", linewidth=1)
    tops = [max(value, ends.get(name, [value])[-1]) for name, value in values.items()]
    for i, (value, top) in enumerate(zip(values.values(), tops, strict=True)):
        text = f"{value:#.3g}".rstrip(".") if abs(value) >= 0.1 else f"{value:.3f}"
        ax.annotate(
            text, (i, top), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=8
        )
    ax.set_xticks(range(len(values)), [name.replace("_", "\n") for name in values], fontsize=8)
    ax.set_ylabel(ylabel)
    ax.margins(y=0.15)
    ax.set_title(title)
    return figure_of(ax)


def forest(
    rows: dict[str, dict[str, dict[str, Any] | None]],
    xlabel: str,
    neutral: float | None = None,
    title: str = "",
    ax: Axes | None = None,
    bands: Sequence[str] = (),
) -> Figure:
    """Values with their intervals, one row for each metric, one colour for each set (forest plot).

    Args:
        rows: {metric: {set: {"value": v, "interval": (low, high) or None}}}; None, or a value of
            None: not measured. The sets are those of the first row, at most six.
        xlabel: With the unit.
        neutral: Place of a dashed vertical line, such as 0.5 for an AUC.
        title: Above the axes.
        ax: Axes to draw on, which then get no legend; None: a new figure.
        bands: Sets that are references, at most two: grey bands behind the others.

    Returns:
        The figure of the axes.
    """
    sets = [name for name in next(iter(rows.values())) if name not in bands]
    legend = ax is None and len(sets) + len(bands) > 1
    ax = axes_or_new(ax, 6.0, (0.16 * len(sets) + 0.14) * len(rows) + 0.9)
    if neutral is not None:
        ax.axvline(neutral, color=GREY, linestyle="--", linewidth=1)
    for name, look in zip(bands, BANDS, strict=False):
        _band(ax, [row.get(name) for row in rows.values()], name, look)
    found = {name: _measured(rows, name) for name in sets}
    lanes = [name for name, items in found.items() if items]  # no room for a set without values
    for name, colour, marker in zip(sets, COLOURS, "osD^v<", strict=False):
        offset = 0.7 * ((lanes.index(name) + 0.5) / len(lanes) - 0.5) if found[name] else 0.0
        known = [(y + offset, item) for y, item in found[name]]
        for y, item in known:
            if item["interval"] is not None and np.isfinite(item["interval"]).all():
                ax.hlines(y, *item["interval"], color=colour, linewidth=1.2)
        places, values = [y for y, _ in known], [item["value"] for _, item in known]
        ax.plot(values, places, color=colour, marker=marker, markersize=4, linestyle="", label=name)
    ax.set_ylim(len(rows) - 0.5, -0.5)  # the first row on top
    ax.set_yticks(range(len(rows)), list(rows), fontsize=8)
    ax.grid(axis="x", linewidth=0.4, alpha=0.5)
    ax.locator_params(axis="x", nbins=5)  # room for labels of four decimals
    ax.set(xlabel=xlabel, title=title)
    if legend:
        legend_below(figure_of(ax))
    return figure_of(ax)


def _measured(
    rows: dict[str, dict[str, dict[str, Any] | None]], name: str
) -> list[tuple[int, dict[str, Any]]]:
    """Rows of `forest` in which a set has a value."""
    items = ((y, row.get(name)) for y, row in enumerate(rows.values()))
    return [(y, item) for y, item in items if item is not None and item["value"] is not None]


def _band(ax: Axes, items: list[dict[str, Any] | None], name: str, look: dict[str, Any]) -> None:
    """The intervals of a reference, one box a row, with a tick at each estimate."""
    known = [(y, item["interval"]) for y, item in enumerate(items) if item and item["interval"]]
    places, widths = [y for y, _ in known], [high - low for _, (low, high) in known]
    left = [low for _, (low, _) in known]
    ax.use_sticky_edges = False  # else the axis ends at the edge of a box
    ax.barh(places, widths, 0.8, left, label=name, zorder=0, linewidth=1, **look)
    style = look.get("linestyle", "-")  # the tick of a dashed box is dashed
    for y, item in enumerate(items):
        if item:
            ax.vlines(item["value"], y - 0.4, y + 0.4, "0.35", style, linewidth=0.8, zorder=1)


def scatter(
    points: Sequence[tuple[str, np.ndarray]],
    colours: Sequence[tuple[str, np.ndarray]],
    title: str = "",
    pictures: np.ndarray | None = None,
) -> Figure:
    """Two-dimensional coordinates coloured by several quantities, one panel for each pair.

    Args:
        points: Rows of panels: (name of the coordinates, (n, 2) array).
        colours: Columns of panels: (label of the colour bar, (n,) values).
        title: Above the figure.
        pictures: (n, height, width) floats in [0, 1], NaN where a point has none; a first column
            shows those of points that are far apart. None: no such column.

    Returns:
        A new figure.
    """
    shown = int(pictures is not None)
    columns = len(colours) + shown
    width = 3.3 if shown else 3.6
    figure, axes = plt.subplots(
        len(points), columns, squeeze=False, figsize=(width * columns, 3.1 * len(points))
    )
    for row, (name, xy) in zip(axes, points, strict=True):
        for ax in row:
            ax.set(xlabel=f"{name} 1", ylabel=f"{name} 2", xticks=[], yticks=[])
        for ax, (label, value) in zip(row[shown:], colours, strict=True):
            dots = ax.scatter(xy[:, 0], xy[:, 1], c=value, s=14, cmap="viridis", linewidths=0)
            figure.colorbar(dots, ax=ax, label=label)
        if pictures is not None:
            _picture_scatter(row[0], xy, pictures)
    figure.suptitle(title)
    return figure


def _picture_scatter(ax: Axes, xy: np.ndarray, pictures: np.ndarray, most: int = 40) -> None:
    """Points in grey, with the pictures of some that are far apart."""
    ax.scatter(xy[:, 0], xy[:, 1], s=4, color=GREY, linewidths=0)
    ax.margins(0.08)
    known = np.flatnonzero(np.isfinite(pictures).all(axis=(1, 2)))
    places = (xy[known] - xy.min(axis=0)) / np.ptp(xy, axis=0).clip(1e-12)
    for chosen in known[_spread_out(places, most, apart=0.09)]:
        thumbnail = OffsetImage(
            pictures[chosen], zoom=15 / pictures.shape[2], cmap="gray", norm=Normalize(0, 1)
        )
        ax.add_artist(AnnotationBbox(thumbnail, tuple(xy[chosen]), frameon=False, pad=0))


def _spread_out(places: np.ndarray, most: int, apart: float) -> list[int]:
    """Points in an order in which each is the farthest from those before it.

    Args:
        places: (n, 2) coordinates.
        most: Largest number of points.
        apart: Smallest distance of two of them.

    Returns:
        Their rows.
    """
    chosen: list[int] = []
    distance = np.full(len(places), np.inf)
    while len(chosen) < min(most, len(places)) and distance.max() >= apart:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(places - places[chosen[-1]], axis=1))
    return chosen


def matrix(
    values: dict[str, dict[str, float]], label: str, limit: float, title: str = ""
) -> Figure:
    """A table of numbers with colours, on a logarithmic scale from 1.

    Args:
        values: {row: {column: number}}; those below 1 are left white and written "<1".
        label: Of the colour bar, with the unit.
        limit: Number above 1 from which the colour is darkest.
        title: Above the axes.

    Returns:
        A new figure.
    """
    names, columns = list(values), list(next(iter(values.values())))
    numbers = np.array([[values[name][column] for column in columns] for name in names])
    figure, ax = plt.subplots(figsize=(0.85 * len(columns) + 2.6, 0.3 * len(names) + 1.4))
    shades = plt.get_cmap("Blues").with_extremes(under="white")
    shown = ax.imshow(numbers, cmap=shades, norm=LogNorm(1, limit), aspect="auto")
    for (i, j), number in np.ndenumerate(numbers):
        colour = GREY if number < 1 else "white" if number > limit**0.6 else "black"
        text = "<1" if number < 1 else f"{number:.1f}" if number < 10 else f"{number:.0f}"
        ax.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)
    ax.set_xticks(
        range(len(columns)), [column.replace(" ", "\n") for column in columns], fontsize=8
    )
    ax.set_yticks(range(len(names)), names, fontsize=8)
    figure.colorbar(shown, ax=ax, label=label, extend="both", format="{x:g}")
    ax.set_title(title)
    return figure
