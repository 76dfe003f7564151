"""Docstrings of the package as reStructuredText: they are plain text with code in backticks."""

from __future__ import annotations

import re
from typing import Any

PART = re.compile(r"(?P<tick>`+)(?P<code>.+?)(?P=tick)")
SPECIAL = re.compile(r"[*|]|(?<=\w)_(?!\w)")
RETURNED = re.compile(r"    \S.*?: ")


def escape(app: Any, kind: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Change the lines of a docstring in place, before its sections are read.

    Args:
        app: Sphinx.
        kind: module, class, function and so on.
        name: Dotted name.
        value: The object.
        options: Of its directive.
        lines: The docstring, a line each.
    """
    lines[:] = returned_as_list([escaped(line) for line in lines])


def with_valid_defaults(*event: Any) -> tuple[str | None, str | None]:
    """The signature with dots for defaults that are no expressions, such as <factory>.

    Args:
        event: As for `escape`, with the signature and the returned type as the last two.

    Returns:
        Both, as Sphinx can read them.
    """
    signature, returned = event[-2:]
    return re.sub(r"<[^<>]*>", "...", signature) if signature else signature, returned


def escaped(line: str) -> str:
    """A line in which code has double backticks and no other sign has a meaning.

    Args:
        line: Plain text with code in backticks.

    Returns:
        reStructuredText.
    """
    result, end = "", 0
    for match in PART.finditer(line):
        result += SPECIAL.sub(r"\\\g<0>", line[end : match.start()]) + f"``{match['code']}``"
        end = match.end()
        if re.match(r"\w", line[end:]):
            result += "\\ "  # a letter would not end the code
    return result + SPECIAL.sub(r"\\\g<0>", line[end:])


def returned_as_list(lines: list[str]) -> list[str]:
    """Lines in which several named results are a list.

    Args:
        lines: A docstring with Google sections.

    Returns:
        The same lines, with bullets under `Returns:` if more than one result has a name.
    """
    if "Returns:" not in lines:
        return lines
    start = lines.index("Returns:") + 1
    end = next((i for i, line in enumerate(lines[start:], start) if line[:1].strip()), len(lines))
    body = lines[start:end]
    own = [line for line in body if line[:4].isspace() and line[4:5].strip()]
    if len(own) < 2 or not all(RETURNED.match(line) for line in own):
        return lines
    listed = [
        f"    - {line[4:]}" if line in own else f"      {line.strip()}".rstrip() for line in body
    ]
    return [*lines[:start], "    \\ ", "", *listed, *lines[end:]]
