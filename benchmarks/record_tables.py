"""Writes the tables of the speed records into docs/benchmarks.md; takes no arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from copy_tables import markdown

from oasis_utils.runtime import project_root, read_json
from oasis_utils.runtime.files import write_texts

RECORDS = project_root() / "benchmarks/records"
PAGE = project_root() / "docs/benchmarks.md"
BEGIN, END = "<!-- records: made by benchmarks/record_tables.py -->", "<!-- end of records -->"
MODELS = {"vqvae": "VQ-VAE", "pixelcnn": "PixelCNN"}
SCORES = {"ssim": "SSIM", "kid": "KID", "nats_per_code": "nats per code"}
SIGNS = {">=": "≥", "<=": "≤"}


def of_model(model: str, record: dict[str, Any]) -> str:
    """One line for each change of a model's recipe."""
    goal = ", ".join(
        f"{SCORES[name]} {SIGNS[target['sign']]} {target['value']:g}"
        for name, target in record["target"].items()
    )
    first = record["records"][0]["cpu_seconds"]
    rows = [
        [
            item["change"],
            "{:.0f} ({:.0f} to {:.0f})".format(item["cpu_seconds"], *item["spread"]),
            f"{item['cpu_seconds'] / first:.0%}",
            f"{item['steps']:.0f}",
            f"{item['reached']} of {item['seeds']}",
            f"{item['revision'].rstrip('+')[:7]}",
        ]
        for item in record["records"]
    ]
    head = [f"{MODELS[model]} to {goal}", "CPU seconds (range over seeds)", "of the first line"]
    return markdown([*head, "steps", "seeds that reached it", "revision"], rows)


def text() -> str:
    """All tables, with the machines they were measured on."""
    records = {m: read_json(p) for m in MODELS if (p := RECORDS / f"{m}.json").exists()}
    lines = {item["hardware"] for record in records.values() for item in record["records"]}
    parts = [of_model(model, record) for model, record in records.items()]
    return "\n\n".join([*parts, f"{', '.join(sorted(lines))}."])


def with_tables(page: str, tables: str) -> str:
    """The page with these between its markers."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{tables}\n{END}{rest.split(END)[1]}"


def made(path: Path = PAGE) -> str:
    """The page as the records make it."""
    return with_tables(path.read_text(encoding="utf-8"), text())


if __name__ == "__main__":
    write_texts({PAGE: made()})
