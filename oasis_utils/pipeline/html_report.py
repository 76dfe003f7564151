"""Writes a run as one self-contained HTML page: figures, metrics, trivial baselines, provenance.

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
from oasis_utils.runtime import DataError, RunFolder, atomic, clock, read_json, read_plain

LARGEST_FIGURE = 2**26  # bytes
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
WRONG_SHAPE = (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError)
ASSETS = Path(__file__).parent / "assets"


def write_report(run: RunFolder, path: str | Path | None = None) -> Path:
    """Write the page.

    Args:
        run: A finished run, or one with some results.
        path: The HTML file; None: report.html in the run folder.

    Returns:
        The path of the file.
    """
    path = Path(path) if path else run.root / "report.html"
    text = report_page(run)
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def report_page(run: RunFolder) -> str:
    """The page as text.

    Args:
        run: A finished run, or one with some results.

    Returns:
        HTML that loads nothing from elsewhere.

    Raises:
        UsageError: The run has neither results nor figures.
        DataError: A file of the run is damaged, or a link that leads out of it.
    """
    from jinja2 import Environment

    report = own_json(run, run.report) if run.report.exists() else collected(run)
    chapters = [chapter(run, name) for name in PRODUCTS]
    if not report and not any(c["figures"] for c in chapters):
        raise UsageError(
            f"{run.root} holds neither results nor figures: run `python -m oasis_utils run` first"
        )
    seconds, provenance, groups = sections(report, run.report)
    template = Environment(autoescape=True, trim_blocks=True).from_string(
        (ASSETS / "report.html.j2").read_text(encoding="utf-8")
    )
    return template.render(
        name=run.root.name,
        version=oasis_utils.__version__,
        data=report.get("data") or {},
        finished=run.report.exists(),
        chapters=[c for c in chapters if c["summary"] or c["figures"]],
        provenance=provenance,
        seconds=seconds,
        groups=groups,
    )


def own_json(run: RunFolder, path: Path) -> dict[str, Any]:
    """The dictionary in a JSON file of a run; DataError for another value or a foreign file."""
    value = read_json(own_file(run, path))
    if not isinstance(value, dict):
        raise DataError(f"{path} does not hold the results of a run: remove it or run again")
    return value


def own_file(run: RunFolder, path: Path) -> Path:
    """The same path; DataError for a link to a file elsewhere, which a page would give away."""
    if not path.resolve().is_relative_to(run.root.resolve()):
        raise DataError(f"{path} is a link that leads out of the run folder: remove it")
    return path


def collected(run: RunFolder) -> dict[str, Any]:
    """`collect_report`, once every summary is seen to be a file of the run."""
    for name in PRODUCTS:
        if run.summary(name).exists():
            own_json(run, run.summary(name))
    return collect_report(run)


def sections(
    report: dict[str, Any], path: Path
) -> tuple[dict[str, str], dict[str, Any], dict[str, list[tuple[str, str, str]]]]:
    """Seconds, provenance and tables of a report; DataError for one of another shape."""
    entries = dict(report)
    seconds, provenance = entries.pop("seconds", {}), entries.pop("provenance", {})
    try:
        clocks = {key: clock(value) for key, value in seconds.items()}
        groups = {title: list(rows(g)) for title, g in sorted(grouped(entries).items())}
        if not (isinstance(provenance, dict) and isinstance(report.get("data", {}), dict)):
            raise TypeError("provenance and data are dictionaries")
    except (
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:
        raise DataError(
            f"{path} is no report of this version ({type(error).__name__}: {error}): remove it or"
            " run again"
        ) from None
    return clocks, provenance, groups


def chapter(run: RunFolder, notebook: str) -> dict[str, Any]:
    """The contribution of one notebook: title, summary, and figures with their captions."""
    source = notebook_file(notebook)
    cells = read_json(source)["cells"] if source.exists() else []
    saved = own_json(run, run.summary(notebook)) if run.summary(notebook).exists() else {}
    known, figures = captions(cells), []
    order = {name: number for number, name in enumerate(known)}
    for path in sorted(
        run.figures.glob(f"{notebook[:2]}_*.png"), key=lambda p: (order.get(p.stem, len(order)), p)
    ):
        name, text = known.get(path.stem, (path.stem[3:].replace("_", " "), ""))
        figures.append({"title": name, "text": text, "image": embedded(own_file(run, path))})
    title = (
        "".join(cells[0]["source"]).splitlines()[0].lstrip("# ")
        if cells
        else notebook.replace("_", " ")
    )
    return {"title": title, "summary": saved.get("summary", ""), "figures": figures}


def captions(cells: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Captions of the figures of a notebook.

    Args:
        cells: Cells of the notebook, as in its JSON.

    Returns:
        {name of the figure: (heading above the cell that saves it, first paragraph below that)}.
    """
    found, title, text = {}, "", ""
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            lines = [line for line in source.splitlines() if line.strip()]
            headings = [i for i, line in enumerate(lines) if line.startswith("## ")]
            if headings:
                title, lines = lines[headings[-1]].lstrip("# "), lines[headings[-1] + 1 :]
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
    """A PNG as a data URL; DataError for another file."""
    content = read_plain(path, LARGEST_FIGURE)
    if not content.startswith(PNG_SIGNATURE):
        raise DataError(f"{path} is no PNG: remove it or run its notebook again")
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


# ---------------------------------------------------------------- numbers


@dataclass(frozen=True)
class ComparedMetric:
    """A metric and the scores of the trivial baselines.

    Attributes:
        value: Of the model.
        baselines: {trivial baseline: its score}.
    """

    value: float | int
    baselines: dict[str, Any]


# {end of the key: label} of values that are shown in the row of their metric
BESIDE = {
    "interval": "95 %",
    "real_vs_real": "real vs real",
    "real_vs_real_interval": "its 95 %",
}


def grouped(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The groups of a report; single values at its top form the group "run"."""
    groups = {name: dict(value) for name, value in report.items() if isinstance(value, dict)}
    single = {name: value for name, value in report.items() if not isinstance(value, dict)}
    for group in groups.values():
        for name, baselines in group.pop("trivial_baselines", {}).items():
            group[name] = ComparedMetric(group[name], baselines)
    return {**groups, **({"run": single} if single else {})}


def rows(group: dict[str, Any], path: str = "") -> Iterator[tuple[str, str, str]]:
    """Rows of a table with every value of a group that was measured.

    Args:
        group: {name: value}, nested to any depth.
        path: Names of the groups around it.

    Yields:
        (name, value, values to compare it with), as text.
    """
    for name, value in group.items():
        label = f"{path} · {name}" if path else name
        label = label.replace("_", " ")
        if isinstance(value, ComparedMetric):
            yield (
                label,
                shown(value.value),
                " · ".join(f"{k.replace('_', ' ')} {shown(v)}" for k, v in value.baselines.items()),
            )
        elif value is None:
            continue  # not measured, such as readers before their study
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
    """A value as text, with three or four significant digits."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) >= 1e-3 else f"{value:.2g}"
    if isinstance(value, list):
        return (
            " to ".join(shown(item) for item in value)
            if len(value) == 2
            else ", ".join(map(shown, value))
        )
    return str(value)
