"""Writes the tables of the speed records and of the comparison with tutorials into
docs/benchmarks.md; takes no arguments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from copy_tables import markdown

from oasis_utils.runtime import project_root, read_json
from oasis_utils.runtime.files import write_texts

RECORDS = project_root() / "benchmarks/records"
PEERS = project_root() / "benchmarks/results/peers.json"
PAGE = project_root() / "docs/benchmarks.md"
MARKERS = {
    name: (f"<!-- {name}: made by benchmarks/record_tables.py -->", f"<!-- end of {name} -->")
    for name in ("records", "peers")
}
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
            f"{item['cpu_seconds'] / first:.0%}" if item["reached"] else "not reached",
            f"{item['steps']:.0f}",
            f"{item['reached']} of {item['seeds']}",
            f"{item['revision'].rstrip('+')[:7]}",
        ]
        for item in record["records"]
    ]
    head = [f"{MODELS[model]} to {goal}", "CPU seconds (range over seeds)", "of the first line"]
    return markdown([*head, "steps", "seeds that reached it", "revision"], rows)


def of_records() -> str:
    """All records, with the machines they were measured on."""
    records = {m: read_json(p) for m in MODELS if (p := RECORDS / f"{m}.json").exists()}
    lines = {item["hardware"] for record in records.values() for item in record["records"]}
    parts = [of_model(model, record) for model, record in records.items()]
    return "\n\n".join([*parts, f"{', '.join(sorted(lines))}."])


def of_peers(found: dict[str, Any]) -> str:
    """What each recipe reached, by CPU time."""
    parts = []
    for model, goal in (("VQ-VAE", "SSIM"), ("PixelCNN", "nats per code")):
        rows = {k: v["after"] for k, v in found["rows"].items() if k.startswith(model)}
        times = list(next(iter(rows.values())))
        head = [f"{goal} after so many CPU seconds", *times]
        cells = [
            [name, *(f"{row[t]['value']:.3f} ({row[t]['steps']:,} steps)" for t in times)]
            for name, row in rows.items()
        ]
        parts.append(markdown(head, cells))
    return "\n\n".join([*parts, f"{found['hardware']}, seed {found['seed']}."])


def with_tables(page: str, name: str, tables: str) -> str:
    """The page with these between the markers of that name."""
    begin, end = MARKERS[name]
    before, rest = page.split(begin)
    return f"{before}{begin}\n{tables}\n{end}{rest.split(end)[1]}"


def made(path: Path = PAGE) -> str:
    """The page as records and comparison make it."""
    page = with_tables(path.read_text(encoding="utf-8"), "records", of_records())
    return with_tables(page, "peers", of_peers(read_json(PEERS))) if PEERS.exists() else page


if __name__ == "__main__":
    write_texts({PAGE: made()})
