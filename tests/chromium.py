"""Headless Chromium for the tests of pages."""

import contextlib
import shutil
from pathlib import Path

import pytest

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextlib.contextmanager
def launched(folder, *flags):
    """Playwright's own Chromium, or the system's, with its files in a folder; a test is skipped
    where there is none.
    """
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="browser tests need: pip install playwright"
    )
    with playwright.sync_playwright() as started:
        found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
        paths = [
            path
            for path in (started.chromium.executable_path, *found)
            if path and Path(path).exists()
        ]
        if not paths:
            pytest.skip("browser tests need a Chromium: python -m playwright install chromium")
        context = started.chromium.launch_persistent_context(
            str(folder),
            executable_path=paths[0],
            args=[*FLAGS, *flags],
            headless=True,
            viewport={"width": 1280, "height": 1000},
        )
        yield context
        context.close()


@contextlib.contextmanager
def offline_tab(context):
    """A tab of a browser that must see no error and ask no server for anything."""
    tab, errors = context.new_page(), []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    tab.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("file:", "data:", "blob:"))
            else errors.append(f"asked for {request.url}")
        ),
    )
    yield tab
    tab.close()
    assert not errors
