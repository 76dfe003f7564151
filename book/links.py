"""Links of the sources, turned to pages of the book, to the repository, or to downloads."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

LARGEST_DOWNLOAD = 2**20  # bytes
PICTURES = (".png", ".jpg", ".jpeg", ".svg", ".gif")
TEXT = r"(?:[^\[\]]|\[[^\[\]]*\](?:\([^)\s]*\))?)*"
# a link, or code that is left alone: a fenced block, code in a line
LINK_OR_CODE = re.compile(
    r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)[ ]*$|(?P<tick>`+)(?!`).+?(?<!`)(?P=tick)(?!`)"
    rf"|(?P<image>!?)\[(?P<text>{TEXT})\]\((?P<target>(?!\w+:)[^)\s]+)\)",
    re.MULTILINE | re.DOTALL,
)


@dataclass
class LinkRewriter:
    """Turns relative links of sources into links that work in the book.

    Attributes:
        root: The checkout.
        pages: {path of a page in the checkout: its path in the book}, with slashes.
        repository: Address of the repository, with its branch; empty: none is known.
        copied: Files outside the pages that the book needs, found so far, as paths in the checkout.
    """

    root: Path
    pages: dict[str, str]
    repository: str = ""
    copied: set[str] = field(default_factory=set)

    def rewrite(self, text: str, origin: str) -> str:
        """The text of a page with links that work in the book.

        Args:
            text: Markdown.
            origin: Path of the page in the checkout.

        Returns:
            The Markdown; a link that leads to nothing a reader can have is only its text.
        """
        return LINK_OR_CODE.sub(lambda match: self._link(match, origin), text)

    def _link(self, match: re.Match[str], origin: str) -> str:
        if match["target"] is None:
            return match[0]  # code
        image, text = match["image"], self.rewrite(match["text"], origin)
        path, _, anchor = match["target"].partition("#")
        anchor = f"#{anchor.lower()}" if anchor else ""
        if not path:
            return f"{image}[{text}]({anchor})"
        target = os.path.normpath(PurePosixPath(origin).parent / path).replace(os.sep, "/")
        new = self._target(target, bool(image))
        if new is None:
            return text
        if "://" not in new:
            new = os.path.relpath(new, PurePosixPath(self.pages[origin]).parent).replace(
                os.sep, "/"
            )
        return f"{image}[{text}]({new}{anchor})"

    def _target(self, target: str, image: bool) -> str | None:
        """Where a link to a file of the checkout leads; None: nowhere."""
        place = self.root / target
        if target in self.pages:
            return self.pages[target]
        if image or target.lower().endswith(PICTURES) or not place.exists():
            self.copied.add(target)
            return target
        if self.repository:
            kind = "tree" if place.is_dir() else "blob"
            address, _, branch = self.repository.rpartition("@")
            return f"{address}/{kind}/{branch}/{target}"
        if place.is_file() and place.stat().st_size <= LARGEST_DOWNLOAD:
            self.copied.add(target)
            return target
        return None
