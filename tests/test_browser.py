"""Notebook 07 used as people use it: JupyterLab and Voilà in headless Chromium, by keyboard and
mouse.

Screenshots and times are kept in runs/browser/. Without a Chromium these tests are skipped: see
`chromium.py`.
"""

import json
import secrets
import shutil
import time
import urllib.request
from functools import partial
from pathlib import Path

import nbformat
import pytest
from chromium import launched
from jupyter_servers import LONG, free_port, lab_command, local_tab, run_all, server
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from oasis_utils.models.sampler import load_sampler, shipped
from oasis_utils.runtime import RunFolder, select_device
from oasis_utils.widgets import app, painter

pytestmark = [pytest.mark.browser, pytest.mark.slow]
ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "runs" / "browser"  # ignored by git


# ---------------------------------------------------------------- servers and browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with launched(tmp_path_factory.mktemp("chromium")) as context:
        yield context


@pytest.fixture
def page(chromium):
    """A page that must neither see a JavaScript error nor ask another server for anything."""
    with local_tab(chromium) as tab:
        yield tab


@pytest.fixture(scope="module")
def times():
    """Seconds from key to picture; printed and kept, not judged: they are the machine's."""
    seconds = {}
    yield seconds
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / "times.json").write_text(json.dumps(seconds, indent=2) + "\n", encoding="utf-8")
    print("\nkey to picture, seconds:", json.dumps(seconds))


# ---------------------------------------------------------------- a person at the panels


class Person:
    """Finds things by what they are called, like somebody who sees, or hears, the page."""

    def __init__(self, page, panels):
        self.page, self.panels = page, panels

    @property
    def tab(self):
        return self.panels.locator(".widget-tab-contents > :not(.lm-mod-hidden)")

    def open(self, name):
        self.panels.get_by_role("tab", name=name).click()
        self.tab.locator("img").last.wait_for()
        self.settled()

    def status(self):
        return self.tab.locator(".widget-label:visible").all_inner_texts()[-1]

    def settled(self):
        # the panels are asked, not the tab: a tab is replaced when its content has loaded
        self.page.wait_for_function(
            """panels => {
            const shown = '.widget-tab-contents > :not(.lm-mod-hidden) .widget-label';
            const texts = [...panels.querySelectorAll(shown)].map(label => label.textContent);
            const done = / in [\\d.]+ s$|^cells painted|^cancelled|^could/;
            return texts.some(text => done.test(text)); }""",
            arg=self.panels.element_handle(),
            timeout=LONG,
        )

    def handle(self, name):
        """The handle of a labelled slider."""
        row = (
            self.tab.locator(".widget-inline-hbox")
            .filter(has=self.page.locator(".widget-label", has_text=name))
            .filter(has=self.page.locator(".noUi-handle"))
        )
        return row.first.locator(".noUi-handle")

    def box(self, name):
        """The number box of this label."""
        row = self.tab.locator(".widget-text").filter(
            has=self.page.locator(".widget-label", has_text=name)
        )
        return row.first.locator("input")

    def press(self, element, key, picture):
        """Seconds from the key to another picture, complete."""
        before = picture.get_attribute("src")
        element.focus()
        start = time.monotonic()
        self.page.keyboard.press(key)
        self.changed(picture, before)
        seconds = time.monotonic() - start
        self.settled()
        return round(seconds, 3)

    def changed(self, picture, before):
        self.page.wait_for_function(
            "([image, old]) => image.src !== old && image.complete",
            arg=[picture.element_handle(), before],
            timeout=LONG,
        )

    def picture(self):
        return self.tab.locator("img.widget-image:visible")


def sample(person, times, where):
    """Every slider of the first panel, by keyboard, changes the picture."""
    picture = person.picture()
    person.press(person.handle("images"), "Home", picture)
    for slider, key in {
        "position": "ArrowRight",
        "temperature": "End",
        "top-p": "Home",
        "top-k": "ArrowRight",
        "images": "ArrowRight",
    }.items():
        times[f"{where}: PixelCNN, {slider}"] = person.press(person.handle(slider), key, picture)
    times[f"{where}: PixelCNN, seed"] = person.press(person.box("seed"), "ArrowUp", picture)
    before = picture.get_attribute("src")
    person.tab.get_by_role("button", name="DCGAN").click()
    person.changed(picture, before)
    person.settled()
    times[f"{where}: DCGAN, seed"] = person.press(person.box("seed"), "ArrowUp", picture)


def compare_and_reset(person, where):
    """A picture is kept beside another seed's; the dice and Reset work with the keyboard."""
    button, picture = partial(person.tab.get_by_role, "button"), person.picture()
    button(name="Keep as A").press("Enter")
    person.tab.get_by_text("A: prior DCGAN").wait_for()
    assert picture.count() == 2
    person.press(button(name="Random"), "Enter", picture.last)
    person.tab.get_by_text("B: seed").wait_for()
    person.page.screenshot(path=PICTURES / f"{where}_sample.png")
    person.press(button(name="Reset"), "Enter", picture.last)
    assert person.box("seed").input_value() == "0"
    button(name="Remove A").press("Enter")
    person.tab.get_by_text("A: prior DCGAN").wait_for(state="hidden")


def cancel(person):
    """A long drawing shows rows as they come and stops when asked."""
    person.handle("images").focus()
    person.page.keyboard.press("End")
    button = person.tab.get_by_role("button", name="Cancel")
    person.page.wait_for_function(
        "button => !button.disabled", arg=button.element_handle(), timeout=LONG
    )
    button.click()
    person.tab.get_by_text("cancelled").wait_for()
    assert button.is_disabled()


def leaf_through(person, times, where):
    times[f"{where}: stack, next position"] = person.press(
        person.handle("position"), "ArrowRight", person.picture()
    )


def paint(person, times, where):
    """Choose another cell by arrow key, another code by mouse, see the slice change; undo."""
    cells, slice_, codes = person.tab.get_by_role("application").all()
    slice_ = slice_.locator("img")
    cells.focus()
    person.page.keyboard.press("ArrowUp")
    middle = load_sampler(shipped(), "pixelcnn", select_device("cpu")).prior.config.grid // 2
    person.tab.get_by_text(f"row {middle - 1}, column {middle}:").wait_for()
    before, start = slice_.get_attribute("src"), time.monotonic()
    codes.click(position={"x": painter.PICTURE_SIDE - 6, "y": painter.PICTURE_SIDE - 6})
    person.changed(slice_, before)
    times[f"{where}: code to slice"] = round(time.monotonic() - start, 3)
    person.tab.get_by_text("cells painted: 1").wait_for()
    painted = slice_.get_attribute("src")
    person.tab.get_by_role("button", name="Undo").click()
    person.changed(slice_, painted)


def use_all_panels(person, times, where):
    sample(person, times, where)
    compare_and_reset(person, where)
    cancel(person)
    for name in ("Stack", "Walk", "Complete", "Paint"):
        person.open(name)
        if name == "Stack":
            leaf_through(person, times, where)
        if name == "Paint":
            paint(person, times, where)
        person.panels.scroll_into_view_if_needed()
        person.page.screenshot(path=PICTURES / f"{where}_{name.lower()}.png")
    person.page.close()  # before its server goes


@pytest.fixture(scope="module")
def run():
    """An empty run: the models that come with the project are used."""
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir(parents=True)
    return RunFolder(PICTURES / "run")


def test_jupyterlab(page, run, times, tmp_path):
    notebook = load_notebook_node(str(ROOT / "notebooks" / "07_generation.ipynb"))
    notebook = parameterize_notebook(notebook, {"run_folder": str(run.root), "n_images": 8})
    (tmp_path / "root").mkdir()
    nbformat.write(notebook, tmp_path / "root" / "06.ipynb")
    port, token = free_port(), secrets.token_hex(16)
    address = f"http://127.0.0.1:{port}"
    command = lab_command(port, token, tmp_path / "root")
    with server(command, f"{address}/api/status?token={token}", tmp_path):
        run_all(page, f"{address}/lab/tree/06.ipynb?reset&token={token}")
        panels = page.locator(".jp-OutputArea .widget-tab")
        panels.wait_for(timeout=LONG)
        panels.scroll_into_view_if_needed()
        person = Person(page, panels)
        person.settled()
        use_all_panels(person, times, "lab")


def test_voila(page, run, times, tmp_path):
    notebook, port, token = app.app_notebook(run), free_port(), secrets.token_hex(16)
    command = app.voila_command(notebook, port)
    start = time.monotonic()
    with server(
        command,
        f"http://127.0.0.1:{port}/voila/static/voila.js",
        tmp_path,
        app.voila_environment(token),
    ):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            assert "/login" in answer.url  # nobody comes in without the token
        page.goto(f"http://127.0.0.1:{port}/?token={token}")
        panels = page.locator(".widget-tab")
        panels.wait_for(timeout=LONG)
        person = Person(page, panels)
        person.settled()
        times["app: start to panels"] = round(time.monotonic() - start, 1)
        assert page.locator(".jp-InputArea-editor:visible").count() == 0
        # figures/07_app.png
        page.locator("#rendered_cells > div").screenshot(path=PICTURES / "07_app.png")
        use_all_panels(person, times, "app")
