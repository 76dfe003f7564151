"""The server of the app's pages: many clients, kernels that nobody uses, death of its parent."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil
import pytest

from oasis_utils.widgets import app
from oasis_utils.widgets.page_server import MAX_PAGES

pytestmark = [pytest.mark.faults, pytest.mark.slow]
QUICK = ["--PageKernels.cull_idle_timeout=2", "--PageKernels.cull_interval=1"]
START = """
import subprocess, sys
from pathlib import Path
from oasis_utils.widgets import app
print(subprocess.Popen(sys.argv[1:], env=app.voila_environment("secret")).pid, flush=True)
input()
"""


SHOWS_ITS_FOLDER = """
import os, ipywidgets
name = os.getcwd()
print(name)
display(name, ipywidgets.Label(name), ipywidgets.Text(description=name))
ipywidgets.Button(description=name, tooltip=name)
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


PRINTS_ITS_KERNEL = "import os; print(f'kernel <{os.getpid()}>')"


def small_notebook(folder, sources=(PRINTS_ITS_KERNEL,)):
    folder.mkdir(parents=True, exist_ok=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    path = folder / "page.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


class Server:
    """A server of a small page, started by a process of its own, as `app` starts it."""

    def __init__(self, folder, *options, sources=(PRINTS_ITS_KERNEL,)):
        self.port = free_port()
        command = [*app.voila_command(small_notebook(folder, sources), self.port), *options]
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.parent = subprocess.Popen(
                [sys.executable, "-c", START, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.process = psutil.Process(int(self.parent.stdout.readline()))
        end = time.monotonic() + 60
        while self.page("/voila/static/voila.js")[0] != 200:
            assert time.monotonic() < end and self.process.is_running(), self.log.read_text()
            time.sleep(0.1)

    def page(self, path="/"):
        """Status and text of a page."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": "token secret"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode("utf-8", "replace")
        except OSError as error:
            return 0, str(error)

    def kernels(self):
        found = []
        for child in self.process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # gone since, or a zombie
                if "ipykernel_launcher" in " ".join(child.cmdline()):
                    found.append(child)
        return found

    def wait_for_kernels(self, n, seconds=20):
        end = time.monotonic() + seconds
        while len(self.kernels()) != n:
            assert time.monotonic() < end, f"{len(self.kernels())} kernels: {self.log.read_text()}"
            time.sleep(0.2)


@pytest.fixture
def server(tmp_path, request):
    server = Server(tmp_path / "a:b {x} $1", *getattr(request, "param", ()))
    yield from ended(server)


def ended(server):
    """Yield the server, then end all its processes."""
    yield server
    everything = [server.process, *server.kernels()] if server.process.is_running() else []
    server.parent.kill()
    server.parent.communicate()
    _, left = psutil.wait_procs(everything, 20)
    for process in left:
        process.kill()
    assert not left


@pytest.mark.parametrize("server", [QUICK], indirect=True)
def test_of_twenty_clients_at_once_four_are_served_and_all_kernels_end(server):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: server.page(), range(20)))
    served = [text for status, text in answers if status == 200]
    refused = [text for status, text in answers if status == 503]
    assert len(served) == MAX_PAGES and len(refused) == 20 - MAX_PAGES
    assert len({re.search(r"kernel (?:&lt;|<)(\d+)", text)[1] for text in served}) == MAX_PAGES
    assert all("close one, wait" in text and "https://" not in text for text in refused)
    server.wait_for_kernels(0)  # the clients went without a word
    assert server.page()[0] == 200


@pytest.mark.parametrize("server", [QUICK], indirect=True)
def test_a_page_that_is_open_keeps_its_kernel_and_a_dead_kernel_is_not_replaced(server):
    from tornado.websocket import websocket_connect

    _, text = server.page()
    number = re.search(r'"kernelId": ?"([0-9a-f-]+)"', text)[1]
    address = f"ws://127.0.0.1:{server.port}/api/kernels/{number}/channels?token=secret"

    async def stay():
        connection = await websocket_connect(address)
        await asyncio.sleep(5)
        (kernel,) = server.kernels()
        kernel.kill()
        while True:  # the page is told
            message = await asyncio.wait_for(connection.read_message(), 20)
            if isinstance(message, str) and '"dead"' in message:
                break
        connection.close()

    asyncio.run(stay())
    time.sleep(2)
    assert not server.kernels()


def test_its_kernels_are_encrypted_and_it_says_nothing_of_unknown_options(server):
    server.page()
    (kernel,) = server.kernels()
    connection = json.loads(Path(kernel.cmdline()[-1]).read_text())
    assert connection.get("curve_publickey") or any("curve" in key for key in connection)
    assert "Unrecognized" not in server.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_it_ends_with_its_parent(server, number):
    if number != signal.SIGKILL and signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("this signal is ignored, as nohup does; processes inherit that")
    server.page()
    everything = [server.process, *server.kernels()]
    assert len(everything) == 2
    server.parent.send_signal(number)
    _, left = psutil.wait_procs(everything, 15)
    assert not left and server.page()[0] == 0


def test_kernels_end_with_a_server_that_is_killed(server):
    server.page()
    kernels = server.kernels()
    os.kill(server.process.pid, signal.SIGKILL)
    _, left = psutil.wait_procs(kernels, 15)
    assert kernels and not left


MARK = "<img src=x onerror=alert(1)>"


@pytest.fixture
def hostile(tmp_path):
    folder = tmp_path / f"{MARK}<" / "script>alert(1)<" / "script>{{ 7*7 }}{% raw %}$x$"
    yield from ended(Server(folder, sources=(SHOWS_ITS_FOLDER, "raise ValueError(name)")))


def test_names_of_folders_are_text_on_the_page(hostile):
    status, text = hostile.page()
    assert status == 200 and text.count("&lt;img src=x onerror") >= 2  # printed, shown
    assert MARK not in text and "<script>alert" not in text and "{{ 7*7 }}" in text
