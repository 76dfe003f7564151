"""Checks a built site: every local link and anchor exists, nothing is loaded from the network."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

THEME = "_static"  # files of the theme, no pages
LOADED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "video": "src"}
LINKED_FILES = ("stylesheet", "icon", "preload", "modulepreload", "preconnect", "dns-prefetch")


class Page(HTMLParser):
    """What a page refers to.

    Attributes:
        links: Values of href and src, in order.
        loaded: Those that a browser loads by itself.
        anchors: Names that a link may end in.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the references of a tag."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        self.links += [values[name] for name in ("href", "src") if name in values]
        if tag in LOADED and values.get(LOADED[tag]):
            self.loaded.append(values[LOADED[tag]])
        if tag == "link" and values.get("rel") in LINKED_FILES:
            self.loaded.append(values.get("href", ""))


def faults(site: Path, secrets: list[str] | None = None) -> list[str]:
    """What is wrong with a site.

    Args:
        site: Folder of the HTML pages.
        secrets: Texts that no page may show, such as paths of the machine.

    Returns:
        One line for each fault; none if all is well.
    """
    paths = [path for path in sorted(site.rglob("*.html")) if THEME not in path.parts]
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    read = {path.resolve(): Page(text) for path, text in texts.items()}
    found = []
    for path, text in texts.items():
        name = path.relative_to(site)
        found += [f"{name}: {fault}" for fault in _of_page(path.resolve(), read)]
        found += [f"{name}: shows {secret}" for secret in secrets or [] if secret in text]
    return found


def _of_page(path: Path, read: dict[Path, Page]) -> Iterator[str]:
    for address in dict.fromkeys(read[path].loaded):
        if urlsplit(address).netloc:
            yield f"loads {address} from the network"
    for link in dict.fromkeys(read[path].links):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not target.exists():
            yield f"link to {link}, which does not exist"
        elif target in read and unquote(parts.fragment) not in read[target].anchors | {""}:
            yield f"link to {link}, whose anchor does not exist"
