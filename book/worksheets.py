"""`python -m book.worksheets`: the exercises as notebooks to fill in, without their solutions."""

from __future__ import annotations

import argparse
import json
import re
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

from nbformat.v4 import new_code_cell, new_markdown_cell

from book.executed import read_notebook
from oasis_utils.cli.messages import in_words
from oasis_utils.runtime import project_root

TASK = r"^(\d+)\. \((one line|words|short|project)\) (.+)$"
ASKED = {
    "words": "*Your answer:*",
    "project": "*Question, what you vary, what you keep equal, what you measure, how many seeds:*",
}


def worksheet(notebook: dict[str, Any], solutions: dict[str, Any], file: str) -> dict[str, Any]:
    """The exercises of one notebook, each with room for an answer.

    Args:
        notebook: A notebook of the series.
        solutions: The solutions of its exercises. The cells before the first one, which open the
            run, are kept.
        file: Name of both files.

    Returns:
        A notebook without outputs.
    """
    title = re.match(r"# (.+)", _text(notebook["cells"][0]))
    name = title[1] if title else ""
    before = takewhile(lambda cell: not re.match(r"## \d", _text(cell)), solutions["cells"][1:])
    cells = [new_markdown_cell(_opening(name, file), id="opening"), *before]
    for number, size, task in re.findall(TASK, _exercises(notebook), re.M):
        cells.append(new_markdown_cell(f"## {number}. ({size})\n\n{task}", id=f"task-{number}"))
        asked = ASKED.get(size, "*What do you expect, and why?*")
        cells.append(new_markdown_cell(asked, id=f"words-{number}"))
        if size != "words":
            cells.append(new_code_cell("", id=f"code-{number}"))
            cells.append(new_markdown_cell("*What did you find?*", id=f"found-{number}"))
    return solutions | {"cells": cells}


def write_worksheets(root: Path, out: Path) -> list[Path]:
    """Write a worksheet for every notebook.

    Args:
        root: The checkout.
        out: The folder; made if missing. Files that are there are kept, since they may hold
            answers.

    Returns:
        The files that were written.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for source in sorted((root / "exercises").glob("*.ipynb")):
        target = out / source.name
        if target.exists():
            continue
        notebook = read_notebook(root / "notebooks" / source.name)
        made = worksheet(notebook, read_notebook(source), source.name)
        target.write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        written.append(target)
    return written


def main(arguments: list[str] | None = None) -> int:
    """Write the worksheets.

    Args:
        arguments: Words of the command line; None: those of this process.

    Returns:
        The exit code: 0 done, 1 failed.
    """
    options = argparse.ArgumentParser(prog="python -m book.worksheets", description=__doc__)
    options.add_argument("--out", default="worksheets", metavar="DIR", help="default: worksheets")
    out = Path(options.parse_args(arguments).out)
    try:
        written = write_worksheets(project_root(), out)
    except OSError as error:
        print(f"error: {in_words(error)}", file=sys.stderr)
        return 1
    print(f"wrote {len(written)} worksheets into {out}; files that were there are kept")
    return 0


def _opening(title: str, file: str) -> str:
    return (
        f"# Worksheet for {title}\n\n"
        "**Name:**\n\n"
        f"The exercises of [notebook {file[:2]}](../notebooks/{file}). *words* and *one line* take "
        "about 5 minutes, *short* 15 to 30, a *project* a day.\n\n"
        "Fill in the cells below each task: first what you expect and why, then code, then what "
        "you found, with its uncertainty where there is one. The first cells open a run in which "
        "the notebook has been executed; nothing is written into it. If your code trains, let it "
        "write into a folder of its own."
    )


def _exercises(notebook: dict[str, Any]) -> str:
    texts = (_text(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    return next((text for text in texts if text.startswith("## Exercises\n")), "")


def _text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


if __name__ == "__main__":
    raise SystemExit(main())
