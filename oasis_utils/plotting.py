"""What draws this? Arrays in, Figure out. One house style: slices in grey on [0, 1] or [0, 255],
labelled axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from oasis_utils.runtime import in_notebook

STYLE = {
    "figure.dpi": 110,
    "savefig.dpi": 130,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
BLUE, ORANGE, GREEN, GREY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#7F7F7F",
)  # Okabe-Ito: safe for colour-blind readers
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")


def use_style() -> None:
    """The house style for all figures that follow; in a notebook they appear, whatever MPLBACKEND a
    cluster sets.
    """
    if in_notebook():
        from IPython import get_ipython

        get_ipython().run_line_magic("matplotlib", "inline")
    plt.rcParams.update(STYLE)


def save_figure(figure: Figure, folder: Path, name: str) -> Path:
    """Write a PNG into a run's figure folder; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    figure.savefig(path)
    return path


def _limit(images: np.ndarray) -> float:
    return 255.0 if images.dtype == np.uint8 else 1.0


def _blank(ax) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def _label_rows(axes: np.ndarray, labels: Sequence[str]) -> None:
    """A sheet without ticks, each row named at its left."""
    for ax in axes.flat:
        _blank(ax)
    for ax, label in zip(axes[:, 0], labels, strict=False):
        ax.set_ylabel(label, fontsize=8)


def slices(
    images: np.ndarray,
    titles: Sequence[str] | None = None,
    columns: int = 8,
    row_labels=None,
    title: str = "",
    size: float = 1.25,
) -> Figure:
    """A sheet of grey slices (n, height, width), fixed grey range. row_labels: one text for each
    row of the sheet. Titles may be fewer than the slices, such as those of the first row.
    """
    rows, titled = -(-len(images) // columns), -(-len(titles or ()) // columns)
    figure, axes = plt.subplots(
        rows, columns, squeeze=False, figsize=(columns * size, rows * size + titled * 0.2 + 0.35)
    )
    for i in range(len(images)):
        axes.flat[i].imshow(images[i], cmap="gray", vmin=0, vmax=_limit(images))
    for ax, text in zip(axes.flat, titles or (), strict=False):
        ax.set_title(text, fontsize=8)
    _label_rows(axes, row_labels or [])
    figure.suptitle(title)
    return figure


def reconstructions(
    originals: np.ndarray,
    outputs: np.ndarray,
    titles: Sequence[str],
    title: str = "",
    labels: Sequence[str] = ("original", "reconstruction", "|error|"),
) -> Figure:
    """Original, reconstruction and absolute error, one column a slice; floats in [0, 1] or
    uint8.
    """
    scale = _limit(originals)
    a, b = originals / scale, outputs / scale
    figure, axes = plt.subplots(3, len(a), figsize=(1.5 * len(a) + 0.8, 5), squeeze=False)
    for i in range(len(a)):
        axes[0, i].imshow(a[i], cmap="gray", vmin=0, vmax=1)
        axes[1, i].imshow(b[i], cmap="gray", vmin=0, vmax=1)
        error = axes[2, i].imshow(np.abs(a[i] - b[i]), cmap="magma", vmin=0, vmax=0.3)
        axes[0, i].set_title(titles[i], fontsize=8)
    _label_rows(axes, labels)
    figure.colorbar(error, ax=axes[2], shrink=0.8, label="grey level (0 to 1)")
    figure.suptitle(title)
    return figure


def index_maps(
    originals: np.ndarray,
    indices: np.ndarray,
    decoded: np.ndarray,
    order: np.ndarray,
    titles: Sequence[str],
    title: str = "",
    labels: Sequence[str] = ("original", "index map", "decode(indices)"),
) -> Figure:
    """Original, index map and decode(indices), one column a slice. `order` ranks the codes for
    their colours, such as by the grey level they draw, because index numbers themselves mean
    nothing.
    """
    rank = np.empty(len(order), dtype=int)
    rank[order] = np.arange(len(order))
    figure, axes = plt.subplots(
        3, len(originals), figsize=(1.5 * len(originals) + 0.8, 5), squeeze=False
    )
    for i in range(len(originals)):
        axes[0, i].imshow(originals[i], cmap="gray", vmin=0, vmax=_limit(originals))
        shown = axes[1, i].imshow(rank[indices[i]], cmap="viridis", vmin=0, vmax=len(order) - 1)
        axes[2, i].imshow(decoded[i], cmap="gray", vmin=0, vmax=_limit(decoded))
        axes[0, i].set_title(titles[i], fontsize=8)
    _label_rows(axes, labels)
    figure.colorbar(shown, ax=axes[1], shrink=0.8, label="code, dark to bright")
    figure.suptitle(title)
    return figure


def watched(originals: np.ndarray, stages: dict[str, np.ndarray], title: str = "") -> Figure:
    """Reconstructions through a training. originals (n, height, width); stages: {column title:
    reconstructions of them}, on the same grey range. Each slice takes two rows: pictures, and
    absolute errors below.
    """
    scale, n = _limit(originals), len(originals)
    figure, axes = plt.subplots(
        2 * n,
        len(stages) + 1,
        figsize=(1.45 * (len(stages) + 1) + 0.8, 2.75 * n + 0.5),
        squeeze=False,
    )
    for i, original in enumerate(originals):
        axes[2 * i, 0].imshow(original / scale, cmap="gray", vmin=0, vmax=1)
        for column, outputs in enumerate(stages.values(), start=1):
            axes[2 * i, column].imshow(outputs[i] / scale, cmap="gray", vmin=0, vmax=1)
            error = axes[2 * i + 1, column].imshow(
                np.abs(original / scale - outputs[i] / scale), cmap="magma", vmin=0, vmax=0.3
            )
    for ax, text in zip(axes[0], ("original", *stages), strict=True):
        ax.set_title(text, fontsize=8)
    _label_rows(axes, ("slice", "|error|") * n)
    figure.colorbar(error, ax=axes[1::2], shrink=0.6, label="grey level (0 to 1)")
    figure.suptitle(title)
    return figure


def rivals(
    originals: np.ndarray,
    shown: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    histories: dict[str, Sequence[dict]],
    title: str = "",
) -> Figure:
    """Two or more codebooks on the same slices: index maps, reconstructions, and at the right codes
    used, loss and SSIM through training. shown: {name: (index maps, order as in `index_maps`,
    reconstructions)}; each name has colours of its own, from its darkest to its brightest code. The
    losses may differ in kind, so each is divided by its first.
    """
    rows = [("original", originals, "gray", _limit(originals))]
    for name, (indices, order, outputs) in shown.items():
        ranks = np.argsort(order)[indices]
        rows += [
            (f"{name}:\nindex map", ranks, "viridis", max(ranks.max(), 1)),
            (f"{name}:\nreconstruction", outputs, "gray", _limit(outputs)),
        ]
    figure = plt.figure(figsize=(1.25 * len(originals) + 4.6, 1.3 * len(rows) + 0.4))
    left, right = figure.subfigures(1, 2, width_ratios=(1.25 * len(originals) + 0.8, 3.8))
    axes = left.subplots(len(rows), len(originals), squeeze=False)
    for row, (_, pictures, cmap, limit) in zip(axes, rows, strict=True):
        for ax, picture in zip(row, pictures, strict=True):
            ax.imshow(picture, cmap=cmap, vmin=0, vmax=limit)
    _label_rows(axes, [label for label, *_ in rows])
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
                [record["seconds"] for record in history],
                [scale.get(key, 1) * record[key] for record in history],
                color=colour,
                marker="o",
                markersize=3,
                label=name,
            )
        ax.set(
            xlabel="seconds of training",
            ylabel=label,
            yscale="log" if key == "used_fraction" else "linear",
        )
        ax.legend(fontsize=7)
    figure.suptitle(title)
    return figure


def curves(
    history: Sequence[dict],
    panels: dict[str, Sequence[str] | dict[str, str]],
    marks: dict[str, dict[str, float]] | None = None,
    title: str = "",
) -> Figure:
    """Training curves over the number of steps. panels: {y label: names of metrics in the history,
    or {name: label}}; a metric may be missing in some records. marks: {y label: {label: level of a
    dashed line}}.
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


def _few_ticks(ax) -> None:
    """Few labels on a logarithmic y axis, in per cent: powers of ten, and 2 and 5 times them where
    these are few.
    """
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def usage(counts: np.ndarray, title: str = "", ax=None) -> Figure:
    """How often each code is used, most used first, on a logarithmic axis; unused codes are
    marked.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(6, 2.6))
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
    return ax.figure


def usage_overview(counts: np.ndarray, title: str = "") -> Figure:
    """Rank curve as in `usage`, and beside it how many codes are used how often."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.6), width_ratios=(2, 1))
    usage(counts, "rank curve", axes[0])
    edges = np.linspace(0, np.log10(counts.max() + 1), 25)
    axes[1].hist(np.log10(counts + 1), bins=edges, color=BLUE)
    axes[1].set(xlabel="uses, log10(1 + n)", ylabel="codes", title="histogram")
    figure.suptitle(title)
    return figure


def among(
    layouts: dict[str, tuple[np.ndarray, np.ndarray]],
    values: np.ndarray,
    label: str,
    title: str = "",
) -> Figure:
    """Codes on top of encoder vectors: {name of the coordinates: (vectors (n, 2), codes (n_codes,
    2))}.
    """
    figure, axes = plt.subplots(1, len(layouts), figsize=(4.2 * len(layouts), 3.4), squeeze=False)
    for ax, (name, (vectors, codes)) in zip(axes[0], layouts.items(), strict=True):
        ax.scatter(
            *vectors.T, s=3, color="#C8C8C8", linewidths=0, label=f"{len(vectors)} encoder vectors"
        )
        dots = ax.scatter(
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
    figure.colorbar(dots, ax=axes, label=label)
    figure.suptitle(title)
    return figure


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


def heat(
    maps: np.ndarray,
    titles: Sequence[str],
    label: str,
    columns: int = 8,
    cmap: str = "magma",
    limits: tuple[float, float] | None = None,
    title: str = "",
    levels: Sequence[str] = (),
) -> Figure:
    """Maps (n, rows, cols) on one colour scale with its bar. levels: names of the classes 0, 1, 2
    ... where the maps hold classes; the bar then has one field for each.
    """
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.5 * columns + 0.9, 1.75 * rows + 0.3), squeeze=False
    )
    low, high = limits or (float(np.min(maps)), float(np.max(maps)))
    if levels:
        cmap, low, high = plt.get_cmap(cmap, len(levels)), -0.5, len(levels) - 0.5
    for ax in axes.flat:
        _blank(ax)
    for ax, values, text in zip(axes.flat, maps, titles, strict=False):
        shown = ax.imshow(values, cmap=cmap, vmin=low, vmax=high)
        ax.set_title(text, fontsize=8)
    bar = figure.colorbar(shown, ax=axes, shrink=0.8, label=label)
    if levels:
        bar.set_ticks(range(len(levels)), labels=levels)
        bar.minorticks_off()
    figure.suptitle(title)
    return figure


def bars(
    values: dict[str, float],
    ylabel: str,
    highlight: Sequence[str] = (),
    title: str = "",
    ax=None,
    intervals: dict[str, Sequence[float]] | None = None,
) -> Figure:
    """Named figures side by side with their numbers; `highlight` names ours among the floors,
    `intervals` gives the ends of their error bars.
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


def matrix(
    values: dict[str, dict[str, float]], label: str, limit: float, title: str = ""
) -> Figure:
    """Rows of named numbers, darker the larger, fully dark from `limit` on; numbers below 1 are
    written in grey.
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


def overlay(
    images: np.ndarray,
    labels: np.ndarray,
    levels: dict[str, int],
    titles: Sequence[str],
    title: str = "",
) -> Figure:
    """Slices above, and below them the same slices tinted by label; levels: {name in the legend:
    value in `labels`}.
    """
    figure, axes = plt.subplots(
        2, len(images), figsize=(1.6 * len(images) + 0.4, 4.1), squeeze=False
    )
    for above, below, image, label, text in zip(*axes, images, labels, titles, strict=True):
        for ax in (above, below):
            ax.imshow(image, cmap="gray", vmin=0, vmax=_limit(images))
        for colour, value in zip(COLOURS, levels.values(), strict=False):
            below.imshow(
                np.where(label == value, 1.0, np.nan), cmap=ListedColormap([colour]), alpha=0.45
            )
        above.set_title(text, fontsize=8)
    _label_rows(axes, ("slice", "with mask"))
    figure.legend(
        handles=[
            Patch(color=colour, alpha=0.6, label=name)
            for colour, name in zip(COLOURS, levels, strict=False)
        ],
        loc="outside lower center",
        ncols=len(levels),
        fontsize=8,
    )
    figure.suptitle(title)
    return figure


# ---------------------------------------------------------------- text


def table(rows: dict[str, dict[str, object]], corner: str = "", digits: int = 3):
    """Rows of named values as a Markdown table for a notebook; a value that a row lacks is left
    empty.
    """
    from IPython.display import Markdown

    columns = list(dict.fromkeys(name for row in rows.values() for name in row))

    def text(value: object) -> str:
        return f"{value:.{digits}f}" if isinstance(value, (float, np.floating)) else str(value)

    head = f"| {corner} | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}\n"
    body = "\n".join(
        f"| {name} | {' | '.join(text(row.get(c, '')) for c in columns)} |"
        for name, row in rows.items()
    )
    return Markdown(head + body)


def span(ends: Sequence[float], digits: int = 3) -> str:
    """An interval as text for a table: "2.041 to 2.120"; says so where there is none (nan)."""
    low, high = ends
    return (
        f"{low:.{digits}f} to {high:.{digits}f}"
        if np.isfinite([low, high]).all()
        else "too few subjects"
    )


def settings(meanings: dict[str, str], *configs):
    """A table of fields of configurations as they are in force, {field: what it means}; the first
    configuration that has a field gives its value. ValueError for a field that none has.
    """
    rows = {}
    for name, meaning in meanings.items():
        owner = next((config for config in configs if hasattr(config, name)), None)
        if owner is None:
            raise ValueError(f"no configuration here has a field {name}")
        value = getattr(owner, name)
        rows[f"`{name}`"] = {
            "value": f"{value:g}" if isinstance(value, float) else value,
            "meaning": meaning,
        }
    return table(rows, "setting")


def source(thing):
    """The source of one function or method under discussion, as a listing for a notebook."""
    import inspect
    import textwrap

    from IPython.display import Markdown

    return Markdown(f"```python\n{textwrap.dedent(inspect.getsource(thing))}```")
