"""From a run to the built site: sources, Sphinx, check of every link."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from book.check import faults
from book.pages import draws
from book.stage import stage
from oasis_utils.pipeline.series import UsageError
from oasis_utils.runtime import DataError, RunFolder
from oasis_utils.widgets.browser_page import write_page

PARTS = ("source", "doctrees", "html", "jupyter_execute")  # the last is of MyST-NB
FEW_CORES = 4


def build(
    root: Path, run: RunFolder, out: Path, repository: str = "", publish: bool = False
) -> Path:
    """Make the site of a run.

    Args:
        root: The checkout.
        run: A finished run.
        out: Folder of the build; html/ in it is the site. Its earlier build is replaced.
        repository: Address of the repository with its branch, as ADDRESS@BRANCH; empty: unknown.
        publish: Whether the user states that pictures of other data may be published.

    Returns:
        The front page.

    Raises:
        UsageError: The run or the folder cannot be used.
        DataError: Sphinx warned, or a link of the site leads nowhere.
    """
    out = out.resolve()
    foreign = {path.name for path in out.iterdir()} - set(PARTS) if out.is_dir() else set()
    if foreign:
        raise UsageError(f"{out} holds {sorted(foreign)[0]}: choose an empty folder for the book")
    source, html = out / "source.new", out / "html"
    shutil.rmtree(source, ignore_errors=True)
    try:
        stage(root, run, source, repository, publish)
        for part in PARTS:
            shutil.rmtree(out / part, ignore_errors=True)
        source.rename(out / "source")
    finally:
        shutil.rmtree(source, ignore_errors=True)
    if draws(run):
        write_page(run, html / "page", back="../draw.html")  # before Sphinx sets up its logging
    sphinx(out, repository)
    found = faults(html, secrets=[str(run.root), str(root)])
    if found:
        lines = "\n  ".join(found[:20])
        raise DataError(f"{len(found)} faults in {html}; correct the pages:\n  {lines}")
    return html / "index.html"


def sphinx(out: Path, repository: str) -> None:
    """Run Sphinx on out/source; warnings are errors.

    Args:
        out: Folder of the build.
        repository: As for `build`.

    Raises:
        DataError: Sphinx warned or stopped.
    """
    from sphinx.application import Sphinx
    from sphinx.errors import SphinxError

    app = Sphinx(
        out / "source",
        Path(__file__).parent,
        out / "html",
        out / "doctrees",
        "html",
        confoverrides=repository_options(repository),
        status=None,
        warning=sys.stderr,
        warningiserror=True,
        parallel=min(os.cpu_count() or 1, FEW_CORES),
    )
    try:
        app.build()
    except SphinxError as error:
        raise DataError(f"Sphinx stopped: {error}") from error
    if app.statuscode:
        raise DataError("Sphinx warned: correct what its lines above name")


def repository_options(repository: str) -> dict[str, Any]:
    """Settings of the theme for a repository: its link, and buttons that launch notebooks.

    Args:
        repository: As for `build`.

    Returns:
        Settings that replace those of conf.py; none without a repository.
    """
    if not repository:
        return {}
    address, _, branch = repository.rpartition("@")
    launch = {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"}
    if "github.com" in address:
        launch["colab_url"] = "https://colab.research.google.com"
    options = {
        "repository_url": address,
        "repository_branch": branch,
        "path_to_docs": "",
        "use_repository_button": True,
        "launch_buttons": launch,
    }
    return {f"html_theme_options.{name}": value for name, value in options.items()}
