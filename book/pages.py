"""Pages that the book adds to those of the checkout: the front page and the API reference."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oasis_utils
from oasis_utils.runtime import RunFolder, clock

# sections of the README that the contents of the book replace
ONLY_IN_README = ("Repository", "More")
TRY_IT = "To see the models draw, [draw brains in your browser](draw.md): nothing to install.\n"
DRAW = """# Draw brains in your browser

The DCGAN and the decoder of this run, without a server
(<a href="page/index.html">as a page of its own</a>).

<iframe src="page/index.html" title="Sliders that draw brain slices" class="draw"></iframe>
"""
NO_OUTPUTS = (
    "*This book was made without the outputs of these solutions: run the notebook to see them, or"
    " `make solutions` before `make book`.*"
)


def draws(run: RunFolder) -> bool:
    """Whether the run has the models of the page that draws in the browser."""
    return run.checkpoint("vqvae").exists() and run.checkpoint("dcgan").exists()


def front_page(readme: str, origin: str, contents: dict[str, list[str]]) -> str:
    """The front page: the README without its lists of files, and the contents of the book.

    Args:
        readme: Text of README.md.
        origin: One paragraph on the run that is shown.
        contents: {caption: names of pages, without ending}.

    Returns:
        Markdown.
    """
    parts = re.split(r"^(?=## )", readme, flags=re.MULTILINE)
    kept = [part for part in parts if part[3:].split("\n")[0].strip() not in ONLY_IN_README]
    trees = [toctree(caption, pages) for caption, pages in contents.items() if pages]
    return "\n".join([kept[0], f"{origin}\n", *kept[1:], *trees])


def toctree(caption: str, pages: list[str]) -> str:
    """A group of the contents.

    Args:
        caption: Its title.
        pages: Names of pages, without ending.

    Returns:
        A directive of MyST.
    """
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""])


def origin(report: dict[str, Any]) -> str:
    """Where the outputs in the book come from.

    Args:
        report: The report of the run; empty if there is none.

    Returns:
        One paragraph of Markdown.
    """
    made, data = report.get("provenance") or {}, report.get("data") or {}
    facts = {
        "profile": report.get("profile"),
        "data": data.get("source"),
        "seed": made.get("seed"),
        "hardware": made.get("hardware"),
        "revision": made.get("revision"),
        "time": clock(report["seconds"]["total"]) if report.get("seconds") else None,
    }
    shown = " · ".join(f"{name}: {value}" for name, value in facts.items() if value is not None)
    run = f"one run ({shown})" if shown else "one run"
    return (
        "**Two kinds of numbers.** The notebooks of this book, and its solutions where they have"
        f" outputs, show {run}. Numbers and pictures on this page and in the documentation are of"
        " recorded runs, which are named beside them; they can differ a little."
    )


def modules(name: str, folder: Path) -> Iterator[str]:
    """Dotted names of the public modules of a part of the package, the part itself first.

    Args:
        name: Dotted name of the part.
        folder: Its folder or file.

    Yields:
        Names in alphabetical order.
    """
    yield name
    for found in sorted(pkgutil.iter_modules([str(folder)]), key=lambda m: m.name):
        if not found.name.startswith("_"):
            yield from modules(f"{name}.{found.name}", folder / found.name)


def api_pages() -> dict[str, str]:
    """One page for each part of the package.

    Returns:
        {name of the page without ending: reStructuredText}.
    """
    folder = Path(oasis_utils.__file__).parent
    parts = sorted(m.name for m in pkgutil.iter_modules([str(folder)]) if m.name[0] != "_")
    return {f"api/{part}": _api_page(f"oasis_utils.{part}", folder / part) for part in parts}


def _api_page(name: str, folder: Path) -> str:
    part, *others = modules(name, folder)
    sections = [f"{part}\n{'=' * len(part)}\n\n.. automodule:: {part}\n"]
    if not folder.is_dir():
        sections[0] += "   :members:\n"
    for module in others:
        title = module.removeprefix(f"{part}.")
        sections.append(f"{title}\n{'-' * len(title)}\n\n.. automodule:: {module}\n   :members:\n")
    return "\n".join(sections)
