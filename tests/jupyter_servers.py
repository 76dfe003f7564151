"""Jupyter servers for the tests in headless Chromium, and tabs that look at them."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parent.parent
MILLISECONDS = 1000
LONG = 180 * MILLISECONDS


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment(folder, base):
    """Jupyter that reads and writes nothing of the user's own, and asks for no news; the package of
    this checkout.
    """
    news = (
        folder
        / "settings"
        / "@jupyterlab"
        / "apputils-extension"
        / "notification.jupyterlab-settings"
    )
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false", "checkForUpdates": false}', encoding="utf-8")
    own = {
        f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")
    }
    own |= {
        f"JUPYTERLAB_{name}_DIR": str(folder / name.lower()) for name in ("SETTINGS", "WORKSPACES")
    }
    paths = [str(ROOT), *filter(None, [base.get("PYTHONPATH")])]
    return (
        base
        | own
        | {
            "IPYTHONDIR": str(folder / "ipython"),
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONWARNINGS": "default",
        }
    )


@contextlib.contextmanager
def server(command, url, folder, base=os.environ):
    """A process that answers at `url`; ended, with its kernels, at the end."""
    log = folder / "server.log"
    with open(log, "wb") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment(folder, base),
            cwd=folder,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 120
        while True:
            assert process.poll() is None and time.monotonic() < end, log.read_text(
                encoding="utf-8"
            )[-4000:]
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
                break
            time.sleep(0.2)
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)


def lab_command(port, token, folder):
    """JupyterLab on a folder; it asks no other server for anything."""
    return [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        "--allow-root",
        f"--ServerApp.root_dir={folder}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]


def run_all(page, address):
    """Open a notebook of JupyterLab at this address, and run its cells."""
    page.goto(address)
    page.get_by_text("| Idle").first.wait_for(timeout=LONG)
    page.locator(".lm-MenuBar-item", has_text="Run").first.click()
    page.locator(".lm-Menu-item[data-command='runmenu:run-all']").click()


def local(url):
    return url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:"))


@contextlib.contextmanager
def local_tab(context):
    """A tab that must neither see a JavaScript error nor ask another server for anything."""
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda line: (
            errors.append(f"{line.text} {line.location['url']}") if line.type == "error" else None
        ),
    )
    page.on(
        "request",
        lambda request: None if local(request.url) else errors.append(f"asked for {request.url}"),
    )
    yield page
    page.close()
    assert not errors
