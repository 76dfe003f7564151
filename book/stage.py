"""Writes the sources of the book: notebooks with outputs, docs, front page, API reference.

They lie as in the checkout, so most links between them need no change.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from nbformat.v4 import new_markdown_cell

from book import pages
from book.executed import executed_notebooks, read_notebook, without_machine
from book.links import LinkRewriter
from book.solutions import executed_solution
from oasis_utils.runtime import RunFolder, read_json

FRONT = "README.md"
PROJECT = ("CONTRIBUTING.md", "CHANGELOG.md")
SCRATCH = ".ipynb_checkpoints"


def stage(root: Path, run: RunFolder, target: Path, repository: str = "", publish: bool = False):
    """Write all sources into a folder.

    Args:
        root: The checkout.
        run: A finished run of sample brains, or one with pictures that may be published.
        target: An empty folder.
        repository: Address of the repository with its branch, as ADDRESS@BRANCH; empty: unknown.
        publish: Whether the user states that the pictures of other data may be published.

    Raises:
        UsageError: The run is not finished, or its data are not sample brains.
    """
    names = [path.stem for path in sorted((root / "notebooks").glob("*.ipynb"))]
    executed = dict(zip(names, executed_notebooks(run, names, publish), strict=True))
    contents = find_pages(root)
    files = [page for group in contents.values() for page in group]
    links = LinkRewriter(root, {FRONT: "index.md", **{page: page for page in files}}, repository)
    for page in files:
        if page.endswith(".md"):
            _write(target / page, links.rewrite((root / page).read_text("utf-8"), page))
            continue
        source = executed_solution(root, run, page)
        if page.startswith("notebooks/"):
            source = executed.get(Path(page).stem)
        notebook = without_machine(read_notebook(source or root / page), run)
        if source is None:
            notebook["cells"].insert(1, new_markdown_cell(pages.NO_OUTPUTS, id="no-outputs"))
        _rewrite_cells(notebook["cells"], links, page)
        _write(target / page, json.dumps(notebook, ensure_ascii=False, indent=1))
    reference = pages.api_pages()
    for name, text in reference.items():
        _write(target / f"{name}.rst", text)
    trees = {title: [_entry(page) for page in group] for title, group in contents.items()}
    about = trees.pop("Project")
    trees |= {"Package": list(reference), "Project": about}
    readme = links.rewrite((root / FRONT).read_text("utf-8"), FRONT)
    report = read_json(run.report) if run.report.exists() else {}
    origin = pages.origin(report)
    if pages.draws(run):
        origin += f"\n\n{pages.TRY_IT}"
        _write(target / "draw.md", pages.DRAW)
        trees = {"Try it": ["draw"], **trees}
    _write(target / "index.md", pages.front_page(readme, origin, trees))
    for name in sorted(links.copied):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, target / name)


def find_pages(root: Path) -> dict[str, list[str]]:
    """The pages of the book, in order.

    Args:
        root: The checkout.

    Returns:
        {caption: paths in the checkout}: notebooks, solutions if there are any, documentation in
        the order of its index, project.
    """
    notices = _found(root, "oasis_utils/**/*.md")
    index = root / "docs" / "index.md"
    linked = re.findall(r"\]\((\w+\.md)[)#]", index.read_text("utf-8")) if index.exists() else []
    order = {
        f"docs/{name}": number for number, name in enumerate(dict.fromkeys(["index.md", *linked]))
    }
    docs = sorted(_found(root, "docs/*.md"), key=lambda page: (order.get(page, len(order)), page))
    exercises = [*_found(root, "exercises/**/*.md"), *_found(root, "exercises/**/*.ipynb")]
    exercises.sort(key=lambda page: (Path(page).stem.lower() not in ("readme", "index"), page))
    project = [name for name in PROJECT if (root / name).exists()]
    return {
        "Notebooks": _found(root, "notebooks/*.ipynb"),
        "Solutions": exercises,
        "Documentation": docs,
        "Project": [*project, *notices],
    }


def _found(root: Path, pattern: str) -> list[str]:
    paths = (path.relative_to(root) for path in sorted(root.glob(pattern)))
    return [path.as_posix() for path in paths if SCRATCH not in path.parts]


def _rewrite_cells(cells: list[dict[str, Any]], links: LinkRewriter, page: str) -> None:
    """Turn the links in the prose and in the printed Markdown of a notebook."""
    for cell in cells:
        if cell["cell_type"] == "markdown":
            cell["source"] = links.rewrite("".join(cell["source"]), page)
        for output in cell.get("outputs", []):
            text = output.get("data", {}).get("text/markdown")
            if text:
                output["data"]["text/markdown"] = links.rewrite("".join(text), page)


def _entry(page: str) -> str:
    """A line of the contents; the index of the docs has the title of its group."""
    name = page.rpartition(".")[0]
    return f"Overview <{name}>" if name == "docs/index" else name


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
