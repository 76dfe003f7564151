"""The app: a page made of notebook 07, served on this machine only. (test_browser.py opens it.)"""

import json
import re
import socket
from pathlib import Path

import nbformat
import pytest

from oasis_utils.runtime import RunFolder
from oasis_utils.widgets import app


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path)


def test_the_page_has_the_panels_and_nothing_slow(run):
    notebook = nbformat.read(app.app_notebook(run), as_version=4)
    nbformat.validate(notebook)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert any("Explorer(" in source for source in code) and "display(panel.widget)" in code[-1]
    assert not any(
        re.search(r"save_figure\(|generate\(|plotting\.slices", source) for source in code
    )
    assert any(f"run_folder = {json.dumps(str(run.root))}" in source for source in code)
    assert notebook.cells[0].source == app.TITLE


def test_it_listens_on_the_loopback_address_only(run):
    command = app.voila_command(run.root / "x.ipynb", 8866)
    assert "--Voila.ip=127.0.0.1" in command and "--no-browser" in command
    assert not any("0.0.0.0" in word for word in command)


def test_the_token_is_in_no_command_line(run):
    assert "--token" in app.voila_command(run.root / "x.ipynb", 8866)
    assert app.voila_environment("secret")["JUPYTER_TOKEN"] == "secret"


def test_the_template_asks_no_other_server():
    share = app.voila_environment("secret")["JUPYTER_PATH"].split(":")[0]
    (page,) = Path(share).rglob("index.html.j2")
    assert 'replace("https://cdn.jsdelivr.net/npm/"' in page.read_text(encoding="utf-8")


def test_without_voila_it_says_what_to_install(run, monkeypatch):
    monkeypatch.setattr(app.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"pip install 'oasis-vq\[app\]'"):
        app.serve(run, 8866)


def test_a_port_that_is_taken_is_named(run):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"port {port} is taken"):
            app.serve(run, port)


def test_without_any_models_it_says_so_before_it_starts(run, monkeypatch):
    monkeypatch.setattr(app, "project_root", lambda: run.root / "installed")
    with pytest.raises(RuntimeError, match="has no vqvae, pixelcnn, dcgan, and .* train them"):
        app.serve(run, 8866)


def test_a_package_in_a_folder_that_jupyter_cannot_name_is_refused(run, monkeypatch):
    monkeypatch.setattr(app, "JUPYTER_FILES", Path("/a:b/oasis_utils/widgets/assets/jupyter"))
    with pytest.raises(RuntimeError, match="cannot run from /a:b/oasis_utils: .* move the project"):
        app.serve(run, 8866)
