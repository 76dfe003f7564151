"""Table of speed in docs/benchmarks.md and figure of growth, made from benchmarks/results.

python benchmarks/summary.py
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from oasis_utils.runtime import atomic, project_root, read_json

PAGE = project_root() / "docs/benchmarks.md"
FIGURE = project_root() / "figures/growth.png"
BEGIN, END = "<!-- speed: made by benchmarks/summary.py -->", "<!-- end of speed -->"
SUBJECTS = ("quantizer", "train_step", "sampling", "data")  # a record has at least these
Record = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A metric of the records: where it stands in one, how it is written, and its target."""

    what: str
    place: str
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
        """The value as it is shown; a dash where it was not measured."""
        value = find(record, self.place)
        if value is None:
            return "–"
        value /= self.unit
        missed = (self.at_least is not None and value < self.at_least) or (
            self.at_most is not None and value > self.at_most
        )
        return self.form.format(value) + (" (missed)" if missed else "")


ROWS = [
    Row(
        "vector quantiser, forward, backward and averages: the textbook's one-hot form takes",
        "quantizer.vs_textbook",
        "{:.1f}×",
        at_least=4.5,
    ),
    Row("… MONAI takes", "quantizer.vs_monai", "{:.1f}×", at_least=5),
    Row("… lucidrains takes", "quantizer.vs_lucidrains", "{:.1f}×", at_least=7),
    Row("… memory beyond its inputs", "quantizer.extra_mib", "{:.0f} MiB", at_most=150),
    Row(
        "… wrong indices of 65,536, float32 and autocast",
        "quantizer.wrong_indices",
        "{:.0f}",
        at_most=0,
    ),
    Row(
        "… wrong indices of the textbook's form under autocast",
        "quantizer.wrong.textbook_autocast",
        "{:.0f}",
    ),
    Row(
        "VQ-VAE step at 256², the 2017 architecture, float32: textbook takes",
        "train_step.fp32_vs_textbook",
        "{:.2f}×",
        at_least=1.3,
    ),
    Row("… MONAI takes", "train_step.fp32_vs_monai", "{:.2f}×"),
    Row(
        "… with bfloat16: textbook in float32 takes",
        "train_step.bf16_vs_textbook_fp32",
        "{:.1f}×",
        at_least=3.5,
    ),
    Row(
        "… with bfloat16: textbook in bfloat16 takes",
        "train_step.bf16_vs_textbook_bf16",
        "{:.1f}×",
        at_least=2,
    ),
    Row("… memory, of the textbook's", "train_step.memory_ratio", "{:.2f}", at_most=0.5),
    Row(
        "… memory with bfloat16, of the textbook's in float32",
        "train_step.bf16_memory_ratio",
        "{:.2f}",
        at_most=0.5,
    ),
    Row(
        "the package's own VQ-VAE, the same task: textbook takes",
        "train_step.package_vs_textbook",
        "{:.1f}×",
    ),
    Row("… memory, of the textbook's", "train_step.package_memory_ratio", "{:.2f}"),
    Row(
        "PixelCNN, 16 maps of 32×32: naive sampling takes",
        "sampling.32.vs_naive",
        "{:,.0f}×",
        at_least=400,
    ),
    Row("… of 64×64", "sampling.64.vs_naive", "{:,.0f}×", at_least=2000),
    Row(
        "… one map of 32×32 alone",
        "sampling.32.core_seconds_one_map_alone",
        "{:.2f} core-s",
        at_most=1,
    ),
    Row(
        "cache of 9,664 PNGs of 256², made once",
        "data.build_core_seconds",
        "{:.1f} core-s",
        at_most=8,
    ),
    Row(
        "… batches out of it, images a second and core",
        "data.images_per_s_core",
        "{:,.0f}",
        at_least=10_000,
    ),
    Row("… ImageFolder + DataLoader takes", "data.vs_imagefolder", "{:.0f}×"),
    Row(
        "freed memory kept for the next tensors: without it, a VQ-VAE step of `demo` takes",
        "habits.memory.vqvae_step.gain",
        "{:.2f}×",
    ),
    Row("… a PixelCNN step of `demo`", "habits.memory.pixelcnn_step.gain", "{:.2f}×"),
    Row("… features of an image network", "habits.memory.features.gain", "{:.2f}×"),
    Row("whole series, `smoke`", "series.smoke.seconds", "{:.1f} min", at_most=3, unit=60),
    Row("whole series, `demo`", "series.demo.seconds", "{:.1f} min", at_most=15, unit=60),
    Row("whole series, `full`", "series.full.seconds", "{:.1f} min", at_most=10, unit=60),
]
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


def find(record: Record, place: str) -> Any:
    """The value at a dotted place; None if there is none."""
    for key in place.split("."):
        record = record.get(key) if isinstance(record, dict) else None
    return record


def table(records: dict[str, Record]) -> str:
    """Markdown table: one row per metric, one column per machine."""
    lines = [
        "| | target |" + "".join(f" {name} |" for name in records),
        "|---|---:|" + "---:|" * len(records),
    ]
    for row in ROWS:
        if any(find(record, row.place) is not None for record in records.values()):
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
        for number, (name, place) in enumerate(CURVES.items()):
            rows = find(record, place)
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
