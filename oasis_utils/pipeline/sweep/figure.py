"""The figure of a sweep: metrics with intervals by run, the seeds of a combination together.

Only done runs are drawn.
"""

from __future__ import annotations

from pathlib import Path

from oasis_utils.pipeline.sweep.table import Row, shown_metrics

MOST_SEEDS = 6  # that have a colour each
COLUMNS = 5


def write_figure(rows: list[Row], out: Path, title: str) -> Path | None:
    """Write sweep.png, or remove an earlier one if no run is done.

    Args:
        rows: Of the table.
        out: The folder.
        title: Above the figure.

    Returns:
        The file; None if no done run has metrics.
    """
    import matplotlib

    rows = [row for row in rows if row.state.word == "done"]
    metrics = shown_metrics(rows)
    if not metrics:
        (out / "sweep.png").unlink(missing_ok=True)  # of other parameters
        return None
    matplotlib.use("agg")  # no screen is needed
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    from oasis_utils.plotting import forest, legend_below, save_figure, use_style

    use_style()
    places = _places(rows)
    sets = len({part for _, part in places})
    height = (0.1 * sets + 0.14) * len({line for line, _ in places}) + 0.8
    columns = min(COLUMNS, len(metrics))
    lines = -(-len(metrics) // columns)
    figure, axes = plt.subplots(
        lines,
        columns,
        squeeze=False,
        sharey=True,
        figsize=(2.0 * columns + 1.6, height * lines + 0.6),
    )
    for ax, metric in zip(axes.flat, metrics, strict=False):
        shown: dict = {
            line: dict.fromkeys(dict.fromkeys(p for _, p in places)) for line, _ in places
        }
        for row, (line, part) in zip(rows, places, strict=True):
            found = row.found.get(metric.name)
            if found:
                shown[line][part] = {"value": found.value, "interval": found.interval}
        forest(shown, metric.title, metric.neutral, ax=ax)
        ax.xaxis.label.set_size(8)
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.tick_params(axis="x", labelsize=7)
    for ax in axes.flat[len(metrics) :]:
        ax.set_axis_off()
    if sets > 1:
        legend_below(figure)
    figure.suptitle(title)
    path = save_figure(figure, out, "sweep")
    plt.close(figure)
    return path


def _places(rows: list[Row]) -> list[tuple[str, str]]:
    """Line and colour of each run: combination and seed, or with many seeds a line a run."""
    seeds = {row.run.seed for row in rows}
    if len(seeds) > MOST_SEEDS:
        return [(row.run.name.replace(",", ", "), "runs") for row in rows]
    return [(row.run.combination.replace(",", ", "), f"seed {row.run.seed}") for row in rows]
