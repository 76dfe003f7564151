"""README keeps its word: its tree is the disk's, its commands exist and parse, its pictures and
links are there.
"""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from oasis_utils.cli.parser import build_parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.split(" #")[0].strip()
    for kind, block in BLOCKS
    if kind == "bash"
    for line in block.splitlines()
    if line.strip() and not line.startswith("#")
]
TREE = next(block for kind, block in BLOCKS if kind == "text" and "oasis_utils/" in block)
IGNORED = {
    ".git",
    ".venv",
    "runs",
    "data",
    "__pycache__",
    ".pytest_cache",
    ".ruff_cache",
    ".ipynb_checkpoints",
}


def tree_entries():
    """Paths of the README tree: two spaces of indent a level, then a name, then its comment."""
    parents, entries = [], {}
    for line in TREE.splitlines():
        match = re.match(r"( *)(\S+)(?: +(\S.*))?$", line)
        if not match:
            continue
        depth = len(match[1]) // 2
        parents = [*parents[:depth], match[2].rstrip("/")]
        entries["/".join(parents)] = match[3]
    return entries


def on_disk(folder):
    """Names in a folder: those that git tracks, so that a user's own files do not count; all
    without a checkout.
    """
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=folder, capture_output=True, text=True)
    if listing.returncode == 0:
        return {path.split("/")[0] for path in listing.stdout.split("\0") if path}
    return {
        path.name
        for path in folder.iterdir()
        if path.name not in IGNORED and not path.name.endswith((".egg-info", ".pyc"))
    }


def test_the_tree_shows_the_top_level():
    listed = {path for path in tree_entries() if "/" not in path}
    assert listed == on_disk(ROOT)


@pytest.mark.parametrize("folder", ["oasis_utils", "notebooks"])
def test_the_tree_shows_every_module_and_notebook(folder):
    listed = {path.split("/")[1] for path in tree_entries() if path.startswith(folder + "/")}
    assert listed == on_disk(ROOT / folder)


def test_every_entry_of_the_tree_has_a_comment():
    assert [path for path, comment in tree_entries().items() if not comment] == []


@pytest.mark.parametrize("command", [c for c in COMMANDS if "oasis_utils" in c])
def test_commands_parse(command):
    words = shlex.split(command)
    assert build_parser().parse_args(words[words.index("oasis_utils") + 1 :]).command


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make")])
def test_make_targets_exist(command):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{command.split()[1]}:", makefile, re.MULTILINE)


def test_the_two_commands_come_first():
    assert COMMANDS[:2] == ["make demo", "make test"]


def test_every_figure_is_used_with_an_alt_text():
    used = {path: alt for alt, path in re.findall(r"!\[([^\]]*)\]\((figures/[^)]+)\)", README)}
    assert set(used) == {f"figures/{path.name}" for path in (ROOT / "figures").iterdir()}
    assert all(len(alt) > 20 for alt in used.values())


def anchors(markdown):
    """The names under which GitHub and Jupyter reach the headings of a text."""
    titles = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", markdown, flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def prose(path):
    """The text of a Markdown file or of a notebook's Markdown cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n\n".join(
        "".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "markdown"
    )


PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
    *sorted(ROOT.glob("oasis_utils/**/*.md")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(((?!\w+:)[^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        found = (page.parent / path) if path else page
        assert found.exists(), target
        assert not anchor or anchor.lower() in anchors(prose(found)), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_pictures_are_described(page):
    assert all(len(alt) > 20 for alt in re.findall(r"!\[([^\]]*)\]\(", prose(page)))


def test_headings_have_different_anchors():
    titles = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", README, flags=re.DOTALL), re.MULTILINE
    )
    assert len(titles) == len(anchors(README))
