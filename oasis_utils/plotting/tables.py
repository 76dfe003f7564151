"""Markdown tables and source listings for notebooks."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

import numpy as np


def table(rows: dict[str, dict[str, object]], corner: str = "", digits: int = 3, folded: str = ""):
    """A Markdown table for a notebook: words to the left, numbers to the right.

    Args:
        rows: {row: {column: value}}; missing values are left empty.
        corner: Heading of the first column.
        digits: After the point, of floats.
        folded: Line that a reader clicks to see the table. Default: the table is open.

    Returns:
        An `IPython.display.Markdown`, which a notebook shows as a table.
    """
    from IPython.display import Markdown

    columns = list(dict.fromkeys(name for row in rows.values() for name in row))

    def text(value: object) -> str:
        return f"{value:.{digits}f}" if isinstance(value, (float, np.floating)) else str(value)

    cells = {name: [text(row.get(column, "")) for column in columns] for name, row in rows.items()}
    sides = [
        "---:" if all(map(_is_number, column)) else "---"
        for column in zip(*cells.values(), strict=True)
    ]
    head = f"| {corner} | {' | '.join(columns)} |\n|---|{''.join(f'{side}|' for side in sides)}\n"
    body = "\n".join(f"| {name} | {' | '.join(row)} |" for name, row in cells.items())
    return Markdown(_folded(head + body, folded))


def _is_number(text: str) -> bool:
    """Whether a cell is empty or begins as a number does, as intervals do; bold ones count."""
    text = text.strip("*")
    return text[:1] in "+-−" or text[0].isdigit() or text == "nan"


def span(ends: Sequence[float], digits: int = 3) -> str:
    """An interval as text for a table.

    Args:
        ends: Lower and upper end; nan where too few subjects allow no interval.
        digits: After the point.

    Returns:
        Such as "2.041 to 2.120", or "too few subjects".
    """
    low, high = ends
    return (
        f"{low:.{digits}f} to {high:.{digits}f}"
        if np.isfinite([low, high]).all()
        else "too few subjects"
    )


def outcome(ends: Sequence[float], above: str, below: str) -> str:
    """What the interval of a difference shows, in words.

    Args:
        ends: Lower and upper end; nan where too few subjects allow no interval.
        above: The words for an interval that lies above 0.
        below: The words for one that lies below 0.

    Returns:
        `above`, `below`, "not shown to differ" or "too few subjects to say".
    """
    low, high = ends
    if not np.isfinite([low, high]).all():
        return "too few subjects to say"
    return above if low > 0 else below if high < 0 else "not shown to differ"


def settings(meanings: dict[str, str], *configs):
    """A table of configuration fields with their values.

    Args:
        meanings: {field: what it means}.
        configs: The first one that has a field gives its value.

    Returns:
        An `IPython.display.Markdown`, as from `table`.

    Raises:
        ValueError: No configuration has the field.
    """
    rows = {}
    for name, meaning in meanings.items():
        owner = next((config for config in configs if hasattr(config, name)), None)
        if owner is None:
            raise ValueError(f"no configuration here has a field {name}")
        value = getattr(owner, name)
        rows[f"`{name}`"] = {
            "value": f"{value:g}" if isinstance(value, float) else value,
            "meaning": meaning,
        }
    return table(rows, "setting")


def source(thing, folded: str = ""):
    """The source of a function or method as a listing for a notebook.

    Docstrings are cut after their first paragraph, and remarks for the type checker are left out.

    Args:
        thing: A function, method or class written in Python.
        folded: Line that a reader clicks to see the listing. Default: the listing is open.

    Returns:
        An `IPython.display.Markdown`.
    """
    import inspect
    import textwrap

    from IPython.display import Markdown

    listing = f"```python\n{_shortened(textwrap.dedent(inspect.getsource(thing)))}```"
    return Markdown(_folded(listing, folded))


def _folded(text: str, summary: str) -> str:
    """The text under a line that opens it; without a line, the text."""
    if not summary:
        return text
    return f"<details><summary>{summary}</summary>\n\n{text}\n\n</details>"


def _shortened(text: str) -> str:
    lines = re.sub(r"[ ]*# pyright: ignore\[\w+\][^\n]*", "", text).splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            first = node.body[0].lineno - 1
            last = node.body[0].end_lineno or first + 1
            paragraph = "".join(lines[first:last]).split("\n\n")[0].rstrip()
            closed = paragraph if paragraph.endswith('"""') else paragraph + '"""'
            lines[first:last] = [closed + "\n"] + [""] * (last - first - 1)
    return "".join(lines)
