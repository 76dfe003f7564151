"""The table of a sweep: a row a run, and mean and spread over the seeds, as text and as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oasis_utils.pipeline.sweep.metrics import (
    METRICS,
    Estimate,
    Metric,
    mean_and_spread,
    report_of,
)
from oasis_utils.pipeline.sweep.plan import SweepRun
from oasis_utils.pipeline.sweep.state import State
from oasis_utils.runtime import printable
from oasis_utils.runtime.files import write_texts

ORDER = ("done", "stale", "running", "waiting", "failed", "missing")


@dataclass(frozen=True)
class Row:
    """A run with its state and its metrics.

    Attributes:
        run: The run.
        state: How far it is.
        found: {name of a metric: its value}; those of notebooks that are done.
    """

    run: SweepRun
    state: State
    found: dict[str, Estimate]


def rows_of(runs: list[SweepRun], states: dict[str, State]) -> list[Row]:
    """A row for each run.

    Args:
        runs: In order.
        states: {name of a run: its state}.

    Returns:
        Rows in the same order.
    """
    rows = []
    for run in runs:
        report = report_of(run)
        found = {metric.name: metric.of(report) for metric in METRICS}
        rows.append(Row(run, states[run.name], {k: v for k, v in found.items() if v is not None}))
    return rows


def shown_metrics(rows: list[Row]) -> list[Metric]:
    """The metrics that any run has."""
    return [metric for metric in METRICS if any(metric.name in row.found for row in rows)]


def counted(states: dict[str, State]) -> str:
    """Such as "2 done, 1 failed"."""
    words = [state.word for state in states.values()]
    return ", ".join(f"{words.count(word)} {word}" for word in ORDER if word in words)


def table_text(rows: list[Row]) -> str:
    """The table as text, below it where runs failed, and mean and spread over seeds.

    Args:
        rows: At least one.

    Returns:
        Lines; an interval holds 95 % over people, a spread is a standard deviation over seeds.
    """
    metrics, varied = shown_metrics(rows), list(rows[0].run.varied)
    head = [*varied, "seed", "state", *(metric.name for metric in metrics)]
    body = [
        [
            *(str(row.run.varied[name]) for name in varied),
            str(row.run.seed),
            row.state.word,
            *(metric.text(row.found.get(metric.name)) for metric in metrics),
        ]
        for row in rows
    ]
    parts = [_aligned([head, *body])]
    lost = [f"{r.run.name} · {printable(r.state.where)}" for r in rows if r.state.where]
    if lost:
        parts.append("\n".join(["failed:", *lost]))
    over_seeds = seed_rows(rows)
    if any(row.seeds > 1 for row in over_seeds):
        parts.append(f"mean and standard deviation over seeds:\n{_seed_text(over_seeds, metrics)}")
    return "\n\n".join(parts) + "\n"


@dataclass(frozen=True)
class SeedRow:
    """Mean and standard deviation over the done runs of a combination that have the metric.

    Attributes:
        varied: The combination.
        seeds: Number of done runs.
        found: {name of a metric: (mean, standard deviation or None for one seed)}.
    """

    varied: dict[str, Any]
    seeds: int
    found: dict[str, tuple[float, float | None]]


def seed_rows(rows: list[Row]) -> list[SeedRow]:
    """Mean and spread over the seeds of each combination, of done runs only."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row.found and row.state.word == "done":
            groups.setdefault(row.run.combination, []).append(row)
    found = []
    for members in groups.values():
        values = {
            metric.name: [
                row.found[metric.name].value for row in members if metric.name in row.found
            ]
            for metric in METRICS
        }
        both = {name: mean_and_spread(some) for name, some in values.items() if some}
        found.append(SeedRow(members[0].run.varied, len(members), both))
    return found


def _seed_text(rows: list[SeedRow], metrics: list[Metric]) -> str:
    lines = [[*rows[0].varied, "seeds", *(metric.name for metric in metrics)]]
    for row in rows:
        cells = [
            _mean_text(metric, *row.found.get(metric.name, (None, None))) for metric in metrics
        ]
        lines.append([*map(str, row.varied.values()), str(row.seeds), *cells])
    return _aligned(lines)


def _mean_text(metric: Metric, mean: float | None, spread: float | None) -> str:
    if mean is None:
        return ""
    text = f"{mean:.{metric.digits}f}"
    return text if spread is None else f"{text} ± {spread:.{metric.digits}f}"


def table_csv(rows: list[Row]) -> str:
    """The table as CSV with full precision: a metric, and in the next two columns its interval."""
    metrics, varied = shown_metrics(rows), list(rows[0].run.varied)
    names = [name for m in metrics for name in (m.name, f"{m.name}_low", f"{m.name}_high")]
    lines: list[list[object]] = [["run", *varied, "seed", "state", *names, "where"]]
    for row in rows:
        cells: list[object] = []
        for metric in metrics:
            found = row.found.get(metric.name)
            cells += ["" if found is None else found.value]
            cells += found.interval if found and found.interval else ["", ""]
        values = row.run.varied.values()
        where = printable(row.state.where)
        lines.append([row.run.name, *values, row.run.seed, row.state.word, *cells, where])
    return _csv(lines)


def write_table(rows: list[Row], out: Path) -> list[Path]:
    """Write table.txt, table.csv and seeds.csv.

    Args:
        rows: At least one.
        out: The folder.

    Returns:
        The files.
    """
    texts: dict[str | Path, str] = {
        out / "table.txt": table_text(rows),
        out / "table.csv": table_csv(rows),
        out / "seeds.csv": _seed_csv(rows),
    }
    write_texts(texts)
    return [Path(path) for path in texts]


def _seed_csv(rows: list[Row]) -> str:
    metrics, varied = shown_metrics(rows), list(rows[0].run.varied)
    names = [name for m in metrics for name in (f"{m.name}_mean", f"{m.name}_sd")]
    lines: list[list[object]] = [[*varied, "seeds", *names]]
    for row in seed_rows(rows):
        both = [row.found.get(metric.name, (None, None)) for metric in metrics]
        cells = ["" if number is None else number for pair in both for number in pair]
        lines.append([*row.varied.values(), row.seeds, *cells])
    return _csv(lines)


def _csv(lines: list[list[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
