"""Charts of numbers: training curves, lines, trends, histograms, bars, scatter plots, matrices."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oasis_utils.plotting.style import BLUE, COLOURS, GREY


def curves(
    history: Sequence[dict],
    panels: dict[str, Sequence[str] | dict[str, str]],
    marks: dict[str, dict[str, float]] | None = None,
    title: str = "",
) -> Figure:
    """Training curves over the number of steps.

    Args:
        history: Training records; a metric may be missing in some.
        panels: {y label: names of metrics, or {name: label}}.
        marks: {y label: {label: level of a dashed line}}.
        title: Above the figure.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(3.4 * len(panels), 3), squeeze=False)
    for ax, (label, names) in zip(axes[0], panels.items(), strict=True):
        labels = names if isinstance(names, dict) else {name: name for name in names}
        for colour, (name, text) in zip(COLOURS, labels.items(), strict=False):
            points = [(record["steps"], record[name]) for record in history if name in record]
            ax.plot(
                *zip(*points, strict=True), color=colour, marker="o", markersize=2.5, label=text
            )
        for style, (name, level) in zip(
            ("--", ":", "-."), (marks or {}).get(label, {}).items(), strict=False
        ):
            ax.axhline(level, color=GREY, linestyle=style, linewidth=1, label=name)
        ax.set_xlabel("training steps")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set_ylabel(label)
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
    ax=None,
    log: bool = False,
) -> Figure:
    """Several curves over one axis."""
    if ax is None:
        _, ax = plt.subplots(figsize=(5, 2.8))
    for colour, (name, y) in zip(COLOURS, series.items(), strict=False):
        ax.plot(x, y, color=colour, label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if log:
        ax.set_yscale("log")
    if len(series) > 1:
        ax.legend(fontsize=7)
    ax.set_title(title)
    return ax.figure


def trends(
    series: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    xlabel: str,
    ylabel: str,
    title: str = "",
) -> Figure:
    """Points and the lines fitted to them: {name: (x, y, value of the line at each x)}."""
    figure, ax = plt.subplots(figsize=(5.5, 3))
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
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(fontsize=7)
    ax.set_title(title)
    return figure


def histograms(
    edges: np.ndarray,
    counts: dict[str, np.ndarray],
    xlabel: str,
    ylabel: str,
    title: str = "",
    ax=None,
) -> Figure:
    """Outlines of several histograms over the same bins; `edges` is one longer than each of the
    counts.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(5.5, 2.8))
    for colour, (name, heights) in zip(COLOURS, counts.items(), strict=False):
        ax.stairs(heights, edges, color=colour, label=name, linewidth=1.3)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(fontsize=7)
    ax.set_title(title)
    return ax.figure


def bars(
    values: dict[str, float],
    ylabel: str,
    highlight: Sequence[str] = (),
    title: str = "",
    ax=None,
    intervals: dict[str, Sequence[float]] | None = None,
) -> Figure:
    """Named metrics as bars with their numbers.

    Args:
        values: {name: value}.
        ylabel: With the unit.
        highlight: Names drawn in colour; the others are grey.
        title: Above the axes.
        ax: Axes to draw on; None: a new figure.
        intervals: {name: (low, high)} ends of the error bars.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(1.1 * len(values) + 1.2, 2.8))
    ax.bar(
        range(len(values)),
        list(values.values()),
        color=[BLUE if name in highlight else GREY for name in values],
    )
    for i, name in enumerate(values):
        if name in (intervals or {}):
            ax.vlines(i, *intervals[name], color="black", linewidth=1)
    tops = [max(value, (intervals or {}).get(name, [value])[-1]) for name, value in values.items()]
    for i, (value, top) in enumerate(zip(values.values(), tops, strict=True)):
        text = f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.3f}"
        ax.annotate(
            text, (i, top), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=8
        )
    ax.set_xticks(range(len(values)), [name.replace("_", "\n") for name in values], fontsize=8)
    ax.set_ylabel(ylabel)
    ax.margins(y=0.15)
    ax.set_title(title)
    return ax.figure


def scatter(
    points: Sequence[tuple[str, np.ndarray]],
    colours: Sequence[tuple[str, np.ndarray]],
    title: str = "",
) -> Figure:
    """Two-dimensional coordinates (rows: named coordinates) coloured by several quantities
    (columns).
    """
    figure, axes = plt.subplots(
        len(points), len(colours), squeeze=False, figsize=(3.6 * len(colours), 3.1 * len(points))
    )
    for row, (name, xy) in zip(axes, points, strict=True):
        for ax, (label, value) in zip(row, colours, strict=True):
            dots = ax.scatter(xy[:, 0], xy[:, 1], c=value, s=14, cmap="viridis", linewidths=0)
            ax.set(xlabel=f"{name} 1", ylabel=f"{name} 2", xticks=[], yticks=[])
            figure.colorbar(dots, ax=ax, label=label)
    figure.suptitle(title)
    return figure


def matrix(
    values: dict[str, dict[str, float]], label: str, limit: float, title: str = ""
) -> Figure:
    """A table of numbers with colours.

    Args:
        values: {row: {column: number}}; numbers below 1 are written in grey.
        label: Of the colour bar, with the unit.
        limit: Number from which the colour is darkest.
        title: Above the axes.
    """
    names, columns = list(values), list(next(iter(values.values())))
    numbers = np.array([[values[name][column] for column in columns] for name in names])
    figure, ax = plt.subplots(figsize=(0.85 * len(columns) + 2.6, 0.3 * len(names) + 1.4))
    shown = ax.imshow(numbers, cmap="Blues", vmin=0, vmax=limit, aspect="auto")
    for (i, j), number in np.ndenumerate(numbers):
        colour = GREY if number < 1 else "white" if number > 0.6 * limit else "black"
        ax.text(
            j,
            i,
            f"{number:.0f}" if abs(number) >= 10 else f"{number:.1f}",
            ha="center",
            va="center",
            fontsize=8,
            color=colour,
        )
    ax.set_xticks(
        range(len(columns)), [column.replace(" ", "\n") for column in columns], fontsize=8
    )
    ax.set_yticks(range(len(names)), names, fontsize=8)
    figure.colorbar(shown, ax=ax, label=label, extend="max")
    ax.set_title(title)
    return figure
