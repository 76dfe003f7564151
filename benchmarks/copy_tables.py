"""The tables of docs/privacy.md that compare rules for copies, made from their record."""

from __future__ import annotations

from typing import Any

import numpy as np
from measure import RESULTS

from oasis_utils.runtime import project_root, read_json

RECORD = RESULTS / "copy_rules.json"
PAGE = project_root() / "docs/privacy.md"
BEGIN, END = "<!-- copies: made by benchmarks/copy_rules.py -->", "<!-- end of copies -->"


def cell(figure: dict[str, Any], scale: float, digits: int, seeds: bool = False) -> str:
    """A value with its interval, and the range over seeds where there are several, such as
    93 (90 to 95; 92 to 94); the value alone where all of it is the same.
    """
    numbers = np.array([figure["value"], *figure["interval"], *figure["seeds"]]) * scale
    value, low, high, *each = (f"{x:.{digits}f}" for x in numbers)
    if {value} == {low, high, *(each if seeds else [])}:
        return value
    several = seeds and len(each) > 1
    spread = f"; {min(each, key=float)} to {max(each, key=float)}" if several else ""
    return f"{value} ({low} to {high}{spread})"


def summary_row(name: str, score: str, rule: dict[str, Any]) -> list[str]:
    """A row of the first table."""
    return [
        f"{name}, {score}",
        cell(rule["false_positives"], 100, 1, True),
        cell(rule["false_positives_decoded"], 100, 1, True),
        cell(rule["found_mean"], 100, 0, True),
        cell(rule["auc_mean"], 1, 3, True),
        cell(rule["found_harder_mean"], 100, 0, True),
        cell(rule["auc_harder_mean"], 1, 3, True),
    ]


HEAD = [
    "space, score",
    "other people called copies, %",
    "other people, decoded, %",
    "copies found, %",
    "AUC",
    "harder copies found, %",
    "AUC",
]


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with numbers to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def by_kind(spaces: dict[str, Any], score: str) -> str:
    """The share of each kind of copy that each space finds with one score."""
    rules = {name: space["rules"][score] for name, space in spaces.items()}
    kinds = next(iter(rules.values()))["found"]
    rows = [
        [kind, *(cell(rule["found"][kind], 100, 0) for rule in rules.values())] for kind in kinds
    ]
    return markdown([f"copies found by {score}, %", *rules], rows)


def published(spaces: dict[str, Any]) -> str:
    """One sentence: what the encoders do at the thresholds of their papers."""
    parts = []
    for name, space in spaces.items():
        if runs := space.get("published"):
            wrong, found = (
                [100 * run[key] for run in runs] for key in ("false_positives", "found_mean")
            )
            parts.append(
                f"{name} {min(wrong):.1f} to {max(wrong):.1f} % and {min(found):.0f} to"
                f" {max(found):.0f} %"
            )
    return (
        "At the thresholds of their papers, on the distance (other people called copies, copies"
        f" found; ranges over seeds): {'; '.join(parts)}."
    )


def origin(record: dict[str, Any]) -> str:
    """One sentence: sizes, trainings and where the numbers are from."""
    trainings = [about for space in record["spaces"].values() for about in space["trainings"]]
    steps = [about["steps"] for about in trainings]
    about, people = record["provenance"], record["people"]
    return (
        f"{people['training']} training, {people['held out']} held-out, {people['calibration']}"
        f" calibration and {people['fresh']} fresh people. Each encoder was trained for"
        f" {record['seconds']:.0f} CPU seconds ({min(steps)} to {max(steps)} steps of 64) with"
        f" {len(record['seeds'])} seeds. [Record](../benchmarks/results/{RECORD.name}),"
        f" `{record['command']}`: {record['cpu_seconds'] / 60:.0f} CPU minutes on"
        f" {about['hardware']}, revision {about['revision'][:7]}."
    )


def tables(record: dict[str, Any]) -> str:
    """All tables of the page, and where they are from."""
    spaces = record["spaces"]
    rows = [
        summary_row(name, score, rule)
        for name, space in spaces.items()
        for score, rule in space["rules"].items()
    ]
    kinds = [by_kind(spaces, score) for score in ("distance", "ratio")]
    parts = [markdown(HEAD, rows), *kinds, published(spaces), origin(record)]
    return "\n\n".join(parts)


def with_tables(page: str, text: str) -> str:
    """The page with this between its markers."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}"


def write_page() -> None:
    """The tables of the record into the page."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_tables(page, tables(read_json(RECORD))), encoding="utf-8")
