"""What do the records say? README's table of speed and the figure of growth, both made from benchmarks/results.

    python benchmarks/summary.py
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from oasis_utils.runtime import atomic, project_root, read_json  # noqa: E402

README, FIGURE = project_root() / "README.md", project_root() / "figures/growth.png"
BEGIN, END = "<!-- speed: made by benchmarks/summary.py -->", "<!-- end of speed -->"
SUBJECTS = ("quantizer", "train_step", "sampling", "data")  # a record has at least these
Record = dict[str, Any]


def times(value: float) -> str:
    return f"{value:,.0f}×" if value >= 20 else f"{value:.1f}×"


# (what, where it is in a record, target, whether a value meets it, how it is written)
ROWS: list[tuple[str, str, str, Callable[[float], bool] | None, Callable[[float], str]]] = [
    ("vector quantiser, forward + backward + averages: textbook one-hot form takes", "quantizer.vs_textbook",
     "≥ 4.5×", lambda v: v >= 4.5, times),
    ("… MONAI takes", "quantizer.vs_monai", "≥ 5×", lambda v: v >= 5, times),
    ("… lucidrains takes", "quantizer.vs_lucidrains", "≥ 7×", lambda v: v >= 7, times),
    ("… memory beyond its inputs", "quantizer.extra_mib", "≤ 150 MiB", lambda v: v <= 150, lambda v: f"{v:.0f} MiB"),
    ("… wrong indices of 65,536, float32 and autocast", "quantizer.wrong_indices", "0", lambda v: v == 0, "{:.0f}".format),
    ("… wrong indices of the textbook form under autocast", "quantizer.wrong.textbook_autocast", "", None,
     "{:.0f}".format),
    ("VQ-VAE step at 256², the 2017 architecture, float32: textbook takes", "train_step.fp32_vs_textbook", "≥ 1.3×",
     lambda v: v >= 1.3, times),
    ("… MONAI takes", "train_step.fp32_vs_monai", "", None, times),
    ("… with bfloat16: textbook in float32 takes", "train_step.bf16_vs_textbook_fp32", "≥ 3.5×", lambda v: v >= 3.5,
     times),
    ("… with bfloat16: textbook in bfloat16 takes", "train_step.bf16_vs_textbook_bf16", "≥ 2×", lambda v: v >= 2, times),
    ("… memory beside the textbook's", "train_step.memory_ratio", "≤ 0.5×", lambda v: v <= 0.5, "{:.2f}×".format),
    ("the package's own VQ-VAE for the same task: textbook takes", "train_step.package_vs_textbook", "", None, times),
    ("… memory beside the textbook's", "train_step.package_memory_ratio", "", None, "{:.2f}×".format),
    ("PixelCNN, 16 maps of 32×32: naive sampling takes", "sampling.32.vs_naive", "≥ 400×", lambda v: v >= 400, times),
    ("… 64×64", "sampling.64.vs_naive", "≥ 2,000×", lambda v: v >= 2000, times),
    ("… one map of 32×32 alone", "sampling.32.core_seconds_one_map_alone", "≤ 1 s", lambda v: v <= 1,
     lambda v: f"{v:.2f} s"),
    ("cache of 9,664 PNGs of 256², once", "data.build_core_seconds", "≤ 8 core-s", lambda v: v <= 8,
     lambda v: f"{v:.1f} core-s"),
    ("… batches out of it, images a second and core", "data.images_per_s_core", "≥ 10,000", lambda v: v >= 10_000,
     "{:,.0f}".format),
    ("… beside ImageFolder + DataLoader", "data.vs_imagefolder", "", None, times),
    ("whole series, `smoke`", "series.smoke.seconds", "≤ 3 min", lambda v: v <= 180, lambda v: f"{v / 60:.1f} min"),
    ("whole series, `demo`", "series.demo.seconds", "≤ 15 min", lambda v: v <= 900, lambda v: f"{v / 60:.1f} min"),
    ("whole series, `full`", "series.full.seconds", "≤ 10 min on a GPU", lambda v: v <= 600, lambda v: f"{v / 60:.1f} min"),
]
CURVES = {"quantiser, vectors": "quantizer.growth.vectors", "quantiser, codes": "quantizer.growth.codes",
          "training step, images": "train_step.growth.images", "training step, pixels": "train_step.growth.pixels",
          "sampling, maps": "sampling.growth.maps", "sampling, cells": "sampling.growth.cells",
          "cache, slices": "data.growth.slices"}


def machines() -> dict[str, Record]:
    """{name: record} of every machine on which the benchmarks ran."""
    records = [read_json(path) for path in sorted((project_root() / "benchmarks/results").glob("*.json"))]
    return {record["machine"]: record for record in records if all(subject in record for subject in SUBJECTS)}


def find(record: Record, place: str) -> Any:
    """The value at a dotted place; None if there is none."""
    for key in place.split("."):
        record = record.get(key) if isinstance(record, dict) else None
    return record


def table(records: dict[str, Record]) -> str:
    """Markdown: one row a figure, one column a machine."""
    def cell(record: Record, place: str, meets, written) -> str:
        value = find(record, place)
        if value is None:
            return "–"
        return written(value) + ("" if meets is None or meets(value) else " (missed)")

    lines = ["| | target |" + "".join(f" {name} |" for name in records), "|---|---:|" + "---:|" * len(records)]
    lines += [f"| {what} | {target} |" + "".join(f" {cell(record, place, meets, written)} |"
                                                 for record in records.values())
              for what, place, target, meets, written in ROWS
              if any(find(record, place) is not None for record in records.values())]
    return "\n".join(lines)


def draw(record: Record, machine: str) -> plt.Figure:
    """Cost over size, both relative to the smallest size; a cost that grows linearly lies on the dashed line."""
    figure, panels = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained", sharex=True, sharey=True)
    for panel, cost, title in zip(panels, ("seconds", "mib"), ("time", "peak memory"), strict=True):
        for number, (name, place) in enumerate(CURVES.items()):
            rows = find(record, place)
            if rows and rows.get(cost):
                x, y = ([value / values[0] for value in values] for values in (rows["sizes"], rows[cost]))
                panel.plot(x, y, marker="os^vDPX"[number], color=f"C{number}", label=name, linewidth=1.2)
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
    """README with the table between its marks."""
    return re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: f"{BEGIN}\n{text}\n{END}", page, flags=re.DOTALL)


def main() -> None:
    records = machines()
    text = table(records)
    README.write_text(with_table(README.read_text(encoding="utf-8"), text), encoding="utf-8")
    machine, record = next(iter(records.items()))
    with atomic(FIGURE) as partial:
        draw(record, machine).savefig(partial, dpi=110, format="png")
    print(f"{text}\n\nwritten to {README.name} and {Path(FIGURE).relative_to(project_root())}")


if __name__ == "__main__":
    main()
