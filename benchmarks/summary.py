"""Table of speed in docs/benchmarks.md and figure of growth, made from benchmarks/results.

python benchmarks/summary.py
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from oasis_utils.runtime import atomic, project_root, read_json

PAGE = project_root() / "docs/benchmarks.md"
TABLE_ROWS = Path(__file__).with_name("speed_rows.csv")
FIGURE = project_root() / "figures/growth.png"
BEGIN, END = "<!-- speed: made by benchmarks/summary.py -->", "<!-- end of speed -->"
SUBJECTS = ("quantizer", "train_step", "sampling", "data")  # a record has at least these
Record = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A metric of the records: its path in one, how it is written, and its target."""

    what: str
    path: str
    form: str
    at_least: float | None = None
    at_most: float | None = None
    unit: float = 1.0  # recorded numbers in one of the units that are written

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.form.format(self.at_least)}"
        if self.at_most is None:
            return ""
        return f"≤ {self.form.format(self.at_most)}" if self.at_most else "0"

    def cell(self, record: Record) -> str:
        """The value as text; a dash if it was not measured."""
        value = find(record, self.path)
        if value is None:
            return "–"
        value /= self.unit
        missed = (self.at_least is not None and value < self.at_least) or (
            self.at_most is not None and value > self.at_most
        )
        return self.form.format(value) + (" (missed)" if missed else "")


def _row(what: str, path: str, form: str, at_least: str, at_most: str, unit: str) -> Row:
    """A row from the texts of its fields; empty ones are not given."""
    limits = {"at_least": at_least, "at_most": at_most, "unit": unit}
    return Row(what, path, form, **{key: float(text) for key, text in limits.items() if text})


def read_rows() -> list[Row]:
    """The rows that the table may have, in order."""
    with TABLE_ROWS.open(encoding="utf-8", newline="") as file:
        return [_row(**fields) for fields in csv.DictReader(file)]


CURVES = {
    "quantiser, vectors": "quantizer.growth.vectors",
    "quantiser, codes": "quantizer.growth.codes",
    "training step, images": "train_step.growth.images",
    "training step, pixels": "train_step.growth.pixels",
    "sampling, maps": "sampling.growth.maps",
    "sampling, cells": "sampling.growth.cells",
    "cache, slices": "data.growth.slices",
}


def machines() -> dict[str, Record]:
    """{name: record} of every machine on which the benchmarks ran."""
    records = [
        read_json(path) for path in sorted((project_root() / "benchmarks/results").glob("*.json"))
    ]
    return {
        record["machine"]: record
        for record in records
        if all(subject in record for subject in SUBJECTS)
    }


def find(record: Record, path: str) -> Any:
    """The value at a dotted path of keys; None if there is none."""
    for key in path.split("."):
        record = record.get(key) if isinstance(record, dict) else None
    return record


def table(records: dict[str, Record]) -> str:
    """Markdown table: one row per metric, one column per machine."""
    lines = [
        "| | target |" + "".join(f" {name} |" for name in records),
        "|---|---:|" + "---:|" * len(records),
    ]
    for row in read_rows():
        if any(find(record, row.path) is not None for record in records.values()):
            lines.append(
                f"| {row.what} | {row.target} |"
                + "".join(f" {row.cell(r)} |" for r in records.values())
            )
    return "\n".join(lines)


def draw(record: Record, machine: str) -> plt.Figure:
    """Cost over size, both relative to the smallest size; a cost that grows linearly lies on the
    dashed line.
    """
    figure, panels = plt.subplots(
        1, 2, figsize=(9.5, 4.2), layout="constrained", sharex=True, sharey=True
    )
    for panel, cost, title in zip(panels, ("seconds", "mib"), ("time", "peak memory"), strict=True):
        for number, (name, path) in enumerate(CURVES.items()):
            rows = find(record, path)
            if rows and rows.get(cost):
                x, y = (
                    [value / values[0] for value in values]
                    for values in (rows["sizes"], rows[cost])
                )
                panel.plot(
                    x, y, marker="os^vDPX"[number], color=f"C{number}", label=name, linewidth=1.2
                )
        panel.plot([1, 16], [1, 16], color="0.4", linestyle="--", linewidth=1, label="linear")
        panel.set(title=title, xlabel="size, relative to the smallest", xscale="log", yscale="log")
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(matplotlib.ticker.FixedLocator([1, 2, 4, 8, 16]))
            axis.set_major_formatter("{x:.0f}×")
            axis.set_minor_locator(matplotlib.ticker.NullLocator())
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("cost, relative to the smallest")
    panels[0].legend(fontsize=8, loc="upper left")
    figure.suptitle(f"How cost grows with size ({machine})", fontsize=11)
    return figure


def with_table(page: str, text: str) -> str:
    """The page with the table between its marks."""
    return re.sub(
        re.escape(BEGIN) + ".*?" + re.escape(END),
        lambda _: f"{BEGIN}\n{text}\n{END}",
        page,
        flags=re.DOTALL,
    )


def main() -> None:
    records = machines()
    text = table(records)
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")
    machine, record = next(iter(records.items()))
    with atomic(FIGURE) as partial:
        draw(record, machine).savefig(partial, dpi=110, format="png")
    written = " and ".join(str(path.relative_to(project_root())) for path in (PAGE, FIGURE))
    print(f"{text}\n\nwritten to {written}")


if __name__ == "__main__":
    main()
