"""A run as one self-contained HTML page: figures, metrics beside trivial baselines, provenance.

It reads report.json, or the summaries of an unfinished run.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import oasis_utils
from oasis_utils.pipeline.results import collect_report
from oasis_utils.pipeline.series import PRODUCTS, UsageError, notebook_file
from oasis_utils.runtime import RunFolder, atomic, clock, read_json

ASSETS = Path(__file__).parent / "assets"


def write_report(run: RunFolder, path: str | Path | None = None) -> Path:
    """Write the page, by default into the run folder; returns its path. UsageError for a run
    without results.
    """
    path = Path(path) if path else run.root / "report.html"
    text = report_page(run)
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def report_page(run: RunFolder) -> str:
    """The page as text."""
    from jinja2 import Environment

    report = read_json(run.report) if run.report.exists() else collect_report(run)
    chapters = [chapter(run, name) for name in PRODUCTS]
    if not report and not any(c["figures"] for c in chapters):
        raise UsageError(
            f"{run.root} holds neither results nor figures: run `python -m oasis_utils run` first"
        )
    seconds, provenance = report.pop("seconds", {}), report.pop("provenance", {})
    template = Environment(autoescape=True, trim_blocks=True).from_string(
        (ASSETS / "report.html.j2").read_text(encoding="utf-8")
    )
    return template.render(
        name=run.root.name,
        version=oasis_utils.__version__,
        data=report.get("data", {}),
        finished=run.report.exists(),
        chapters=[c for c in chapters if c["summary"] or c["figures"]],
        provenance=provenance,
        seconds={key: clock(value) for key, value in seconds.items()},
        groups={title: list(rows(group)) for title, group in sorted(grouped(report).items())},
    )


def chapter(run: RunFolder, notebook: str) -> dict[str, Any]:
    """What one notebook contributes: its title, its line of the final table, its figures with their
    captions.
    """
    source = notebook_file(notebook)
    cells = read_json(source)["cells"] if source.exists() else []
    headline = read_json(run.headline(notebook)) if run.headline(notebook).exists() else {}
    told, figures = captions(cells), []
    order = {name: place for place, name in enumerate(told)}
    for path in sorted(
        run.figures.glob(f"{notebook[:2]}_*.png"), key=lambda p: (order.get(p.stem, len(order)), p)
    ):
        name, text = told.get(path.stem, (path.stem[3:].replace("_", " "), ""))
        figures.append({"title": name, "text": text, "image": embedded(path)})
    title = (
        "".join(cells[0]["source"]).splitlines()[0].lstrip("# ")
        if cells
        else notebook.replace("_", " ")
    )
    return {"title": title, "summary": headline.get("summary", ""), "figures": figures}


def captions(cells: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """{figure name: (title, text)}: the heading above the cell that saves a figure, and what it
    says to look for.
    """
    found, title, text = {}, "", ""
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            lines = [line for line in source.splitlines() if line.strip()]
            if lines and lines[0].startswith("## "):
                title, lines = lines[0].lstrip("# "), lines[1:]
            text = next(
                (line for line in lines if not line.startswith(("|", "#", "$", "-", "```"))), ""
            )
            continue
        for line in source.splitlines():
            if "save_figure(" in line:
                found[line.rsplit('"', 2)[1]] = (title, plain(text))
    return found


def plain(markdown: str) -> str:
    """A paragraph without the marks of Markdown."""
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", markdown)
    return re.sub(r"[*`]", "", text)


def embedded(path: Path) -> str:
    """A PNG as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")


# ---------------------------------------------------------------- numbers


@dataclass(frozen=True)
class Judged:
    """A metric and the scores of the trivial baselines."""

    value: float | int
    floors: dict[str, Any]


BESIDE = {
    "interval": "95 %",
    "real_vs_real": "real vs real",
    "real_vs_real_interval": "its 95 %",
}  # ends of keys


def grouped(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The groups of a report; single values at its top make a group of their own."""
    groups = {
        name: dict(value)
        for name, value in report.items()
        if isinstance(value, dict) and name != "floors"
    }
    single = {name: value for name, value in report.items() if not isinstance(value, dict)}
    for name, floors in report.get("floors", {}).items():  # beside the figures that they belong to
        for group in groups.values():
            if isinstance(group.get(name), (int, float)):
                group[name] = Judged(group[name], floors)
    return {**groups, **({"run": single} if single else {})}


def rows(group: dict[str, Any], path: str = "") -> Iterator[tuple[str, str, str]]:
    """(name, value, what to compare it with) of every number of a group, however deep it lies."""
    for name, value in group.items():
        label = f"{path} · {name}" if path else name
        label = label.replace("_", " ")
        if isinstance(value, Judged):
            yield (
                label,
                shown(value.value),
                " · ".join(f"{k.replace('_', ' ')} {shown(v)}" for k, v in value.floors.items()),
            )
        elif isinstance(value, dict):
            yield from rows(value, f"{path} · {name}" if path else name)
        elif any(
            name.endswith(f"_{end}") and name.removesuffix(f"_{end}") in group for end in BESIDE
        ):
            continue  # shown beside its number
        else:
            kinds = {
                text: group[f"{name}_{end}"]
                for end, text in BESIDE.items()
                if f"{name}_{end}" in group
            }
            yield (
                label,
                shown(value),
                " · ".join(f"{text} {shown(other)}" for text, other in kinds.items()),
            )


def shown(value: Any) -> str:
    """A value as a person writes it."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) >= 1e-3 else f"{value:.2g}"
    if isinstance(value, list):
        return (
            " to ".join(shown(item) for item in value)
            if len(value) == 2
            else ", ".join(map(shown, value))
        )
    return str(value)
