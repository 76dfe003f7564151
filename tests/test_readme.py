"""README and docs/ agree with the repository: tree, commands, options, pictures, links."""

import argparse
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from oasis_utils.cli.parser import build_parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted((ROOT / "docs").glob("*.md"))
MARKDOWN = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS]
PAGES = [
    *MARKDOWN,
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
    *sorted((ROOT / "exercises").glob("*.ipynb")),
    *sorted(ROOT.glob("oasis_utils/**/*.md")),
]
IGNORED = {
    ".git",
    ".venv",
    "runs",
    "data",
    "__pycache__",
    ".pytest_cache",
    ".ruff_cache",
    ".import_linter_cache",
    ".ipynb_checkpoints",
}


def blocks(text, kind):
    """The fenced blocks of one kind in a Markdown text."""
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


def commands_of(text):
    """Lines of the bash blocks, without comments."""
    lines = [line for block in blocks(text, "bash") for line in block.splitlines()]
    return [line.split(" #")[0].strip() for line in lines if line.strip() and line[0] != "#"]


COMMANDS = list(
    dict.fromkeys(
        line for path in MARKDOWN for line in commands_of(path.read_text(encoding="utf-8"))
    )
)
(TREE,) = [block for block in blocks(README, "text") if "oasis_utils" in block]


def tree_entries():
    """{path: comment} of the README tree: two spaces of indent a level, then names with one space
    between them, then two or more spaces and a comment.
    """
    parent, entries = "", {}
    for line in TREE.splitlines():
        indent, names, comment = re.fullmatch(r"( *)(\S+(?: \S+)*)(?: {2,}(\S.*))?", line).groups()
        for name in names.split():
            entries[f"{parent}/{name}" if indent else name] = comment
        if not indent:
            parent = names
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


def test_readme_is_short():
    assert len(README.encode()) <= 9000


def test_the_tree_shows_the_top_level():
    listed = {path for path in tree_entries() if "/" not in path}
    assert listed == on_disk(ROOT)


def test_the_tree_shows_every_room():
    listed = {path.split("/")[1] for path in tree_entries() if path.startswith("oasis_utils/")}
    assert listed == {name.removesuffix(".py") for name in on_disk(ROOT / "oasis_utils")} | {
        "py.typed"
    }


def test_the_table_shows_every_notebook():
    listed = set(re.findall(r"\| \[[^\]]+\]\(notebooks/([^)]+)\)", README))
    assert listed == on_disk(ROOT / "notebooks")


def test_every_entry_of_the_tree_has_a_comment():
    assert [path for path, comment in tree_entries().items() if not comment] == []


@pytest.mark.parametrize("command", [c for c in COMMANDS if "-m oasis_utils" in c])
def test_commands_parse(command):
    words = shlex.split(command)
    assert build_parser().parse_args(words[words.index("oasis_utils") + 1 :]).command


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make")])
def test_make_targets_exist(command):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    _, target, *variables = command.split()
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    for variable in variables:
        assert re.search(rf"^{variable.split('=')[0]} \?=", makefile, re.MULTILINE)


def notebook_parameters(path):
    """Names in the cell tagged `parameters`."""
    cells = json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]
    (cell,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    return set(re.findall(r"^(\w+)\b", "".join(cell["source"]), re.MULTILINE))


@pytest.mark.parametrize("command", [c for c in COMMANDS if "papermill" in c])
def test_papermill_lines_name_notebooks_and_their_parameters(command):
    words = shlex.split(command)
    (notebook,) = [word for word in words if word.startswith("notebooks/")]
    given = {words[i + 1] for i, word in enumerate(words) if word == "-p"}
    assert given <= notebook_parameters(notebook)


def subcommands():
    (action,) = [
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    return action.choices


def section(text, title):
    """The text under a heading of the second level."""
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)[1]


@pytest.mark.parametrize("name", subcommands())
def test_the_command_page_shows_every_option(name):
    """The table of a command lists the options that the parser has, and no other."""
    text = section((ROOT / "docs/commands.md").read_text(encoding="utf-8"), name)
    listed = set(re.findall(r"^\| `(--?[\w-]+)", text, re.MULTILINE))
    actions = subcommands()[name]._actions
    known = {
        option
        for action in actions
        for option in action.option_strings
        if option not in ("-h", "--help", "--debug")
    }
    assert listed == known


def test_the_command_page_shows_every_command_and_make_target():
    text = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    assert set(subcommands()) <= set(re.findall(r"^## (\w+)$", text, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert set(re.findall(r"^\| `make ([\w-]+)`", text, re.MULTILINE)) == set(phony.split())


def test_the_two_commands_come_first():
    assert commands_of(README)[:2] == ["make demo", "make test"]


def test_every_figure_is_used_with_an_alt_text():
    texts = "\n".join(path.read_text(encoding="utf-8") for path in MARKDOWN)
    used = {
        path: alt for alt, path in re.findall(r"!\[([^\]]*)\]\((?:\.\./)?(figures/[^)]+)\)", texts)
    }
    assert set(used) == {f"figures/{path.name}" for path in (ROOT / "figures").iterdir()}
    assert all(len(alt) > 20 for alt in used.values())


def titles(markdown):
    """The headings of a text."""
    return re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", markdown, flags=re.DOTALL), re.MULTILINE
    )


def anchors(markdown):
    """The names under which GitHub and Jupyter reach the headings of a text."""
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles(markdown)}


def prose(path):
    """The text of a Markdown file or of a notebook's Markdown cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n\n".join(
        "".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "markdown"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(((?!\w+:)[^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        found = (page.parent / path) if path else page
        assert found.exists(), target
        assert not anchor or anchor.lower() in anchors(prose(found)), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_paths_in_code_type_exist(page):
    """`folder/file` in the prose of a Markdown page is in the repository."""
    if page.suffix != ".md":
        return
    folders = "oasis_utils|tests|benchmarks|notebooks|exercises|docs|figures|checkpoints"
    for path in re.findall(rf"`((?:{folders})/[\w./-]+)`", prose(page)):
        assert path.endswith("MACHINE.json") or (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_pictures_are_described(page):
    assert all(len(alt) > 20 for alt in re.findall(r"!\[([^\]]*)\]\(", prose(page)))


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=lambda path: path.name)
def test_headings_have_different_anchors(page):
    text = prose(page)
    assert len(titles(text)) == len(anchors(text))


def test_the_index_names_every_page():
    text = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\((\w+\.md)\)", text))
    assert linked == {path.name for path in DOCS} - {"index.md"}
    assert all(f"docs/{path.name}" in README for path in DOCS)


def test_the_index_names_definitions_that_exist():
    text = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w+)` in `(oasis_utils/[\w./]+)`", text)
    assert len(named) > 10
    for name, place in named:
        path = ROOT / place
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        defined = rf"^ *(def|class) {name}\b"
        assert any(
            re.search(defined, file.read_text(encoding="utf-8"), re.MULTILINE) for file in files
        ), (name, place)
