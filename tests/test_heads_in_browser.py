"""A head in JupyterLab in headless Chromium: NiiVue shows it upright, and sliders do without WebGL.

Screenshots are kept in runs/browser/. Without a Chromium these tests are skipped: see
`chromium.py`.
"""

import io
import secrets
import time

import nbformat
import numpy as np
import pytest
from chromium import launched
from jupyter_servers import (
    LONG,
    MILLISECONDS,
    ROOT,
    free_port,
    lab_command,
    local_tab,
    run_all,
    server,
)
from PIL import Image

from oasis_utils.data.head_geometry import HeadGeometry
from oasis_utils.data.head_volumes import write_head

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PICTURES = ROOT / "runs" / "browser"  # ignored by git
GEOMETRY = HeadGeometry(pixel=3.0, spacing=4.0, left=True)
BODY, LEFT, TOP, FRONT = 60, 110, 170, 255  # grey levels
CELL = """
import ipywidgets
from oasis_utils.data.head_geometry import HeadGeometry
from oasis_utils.data.head_volumes import head_files, read_heads
from oasis_utils.widgets.head_viewer import HeadView
from pathlib import Path

view = HeadView(ipywidgets.Image(format="png"), HeadGeometry(3.0, 4.0, left=True))
slices, _ = read_heads(head_files(Path("heads")), 100)
view.planes.picture.value = view.load(slices)
view.widget
"""


def marked_head():
    """A block that is brighter at the front, at the top and at the left."""
    head = np.zeros((30, 48, 48), np.uint8)
    head[3:27, 4:44, 8:40] = BODY
    head[3:27, 4:44, 8:14] = LEFT
    head[22:27, 4:44, 8:40] = TOP
    head[3:27, 4:10, 8:40] = FRONT
    return head


@pytest.fixture
def lab(tmp_path):
    """(address of a notebook that shows the head, its server running)."""
    root = tmp_path / "root"
    write_head(root / "heads", "001", marked_head(), GEOMETRY, {})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, root / "head.ipynb")
    port, token = free_port(), secrets.token_hex(16)
    address = f"http://127.0.0.1:{port}"
    command = lab_command(port, token, root)
    with server(command, f"{address}/api/status?token={token}", tmp_path):
        yield f"{address}/lab/tree/head.ipynb?reset&token={token}"


def shot(element, name):
    """A screenshot of an element as grey levels; kept."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    content = element.screenshot(path=PICTURES / f"{name}.png")
    return np.asarray(Image.open(io.BytesIO(content)).convert("L"))


def plane(pixels, half, grey):
    """(mean row, mean column) of a grey level in a plane, each from 0 to 1 across the body there.

    `half` cuts one plane out of a picture of several.
    """
    part = pixels[half].astype(int)
    rows, cols = np.nonzero((part > BODY // 2) & (part < 254) | (part == FRONT))
    found = np.nonzero(abs(part - grey) <= 6)
    assert len(found[0]) > 200, f"no area of grey level {grey}"
    return [
        (where.mean() - np.quantile(body, 0.01)) / np.ptp(np.quantile(body, (0.01, 0.99)))
        for where, body in zip(found, (rows, cols), strict=True)
    ]


def assert_upright(axial, coronal, sagittal):
    """The marks lie where a reader of the planes expects them; each is (pixels, half)."""
    for view in (axial, sagittal):
        row, col = plane(*view, FRONT)
        assert (row if view is axial else col) < 0.3  # front: at the top, or at the left
    for view in (coronal, sagittal):
        assert plane(*view, TOP)[0] < 0.3
    for view in (axial, coronal):
        assert plane(*view, LEFT)[1] < 0.3


def test_niivue_shows_the_head_upright(lab, tmp_path):
    with launched(tmp_path / "chromium") as context, local_tab(context) as page:
        run_all(page, lab)
        canvas = page.locator(".jp-OutputArea canvas")
        canvas.wait_for(timeout=LONG)
        canvas.scroll_into_view_if_needed()
        end = time.monotonic() + LONG / MILLISECONDS
        while not (shot(canvas, "head_niivue") == BODY).any():  # the head has come
            assert time.monotonic() < end
            page.wait_for_timeout(500)
        page.wait_for_timeout(1000)
        pixels = shot(canvas, "head_niivue")
        page.screenshot(path=PICTURES / "head_lab.png")
        assert page.get_by_text("left is left").is_visible()
        box = canvas.bounding_box()
        right, below = (slice(round(box[side] / 2), None) for side in ("width", "height"))
        left, above = (slice(None, round(box[side] / 2)) for side in ("width", "height"))
        assert_upright((pixels, (below, left)), (pixels, (above, left)), (pixels, (above, right)))
        # a click in one plane moves the others
        canvas.click(position={"x": box["width"] * 0.3, "y": box["height"] * 0.9})
        page.wait_for_timeout(1000)
        assert (shot(canvas, "head_niivue_moved")[above] != pixels[above]).mean() > 0.001


def test_without_webgl_sliders_move_the_planes(lab, tmp_path):
    with (
        launched(tmp_path / "chromium", "--disable-3d-apis") as context,
        local_tab(context) as page,
    ):
        run_all(page, lab)
        page.get_by_text("NiiVue needs WebGL 2").wait_for(timeout=LONG)
        assert page.locator(".jp-OutputArea canvas").count() == 0
        picture = page.locator(".jp-OutputArea img.widget-image")
        pixels = shot(picture, "head_sliders")
        third = pixels.shape[1] // 3
        views = [(pixels, (slice(None), slice(i * third, (i + 1) * third))) for i in range(3)]
        assert_upright(*views)
        before = picture.get_attribute("src")
        page.locator(".noUi-handle").first.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "([image, old]) => image.src !== old && image.complete",
            arg=[picture.element_handle(), before],
            timeout=LONG,
        )
        page.screenshot(path=PICTURES / "head_without_webgl.png")
