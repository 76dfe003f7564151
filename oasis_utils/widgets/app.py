"""Serves the panels of notebook 07 as a page without code, with Voilà, on this machine only."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

from oasis_utils.runtime import RunFolder, atomic, project_root
from oasis_utils.runtime.project_files import project_file
from oasis_utils.widgets.page_server import PARENT, PATIENCE

APP_TAG = "app"  # cells of notebook 07 that make the page: parameters, imports, loading, panels
MODELS = ("vqvae", "pixelcnn", "dcgan")
NOTEBOOK = "07_generation"
TITLE = "# OASIS-VQ: brain slices drawn by models"
# the template of the page loads nothing from other servers
JUPYTER_FILES = Path(__file__).parent / "assets" / "jupyter"
SERVER = "oasis_utils.widgets.page_server"


def app_notebook(run: RunFolder, device: str = "auto") -> Path:
    """Write the tagged cells of notebook 07, with this run as parameter, into the run folder.

    Args:
        run: Its models are used.
        device: As in `select_device`.

    Returns:
        The path of the written notebook.
    """
    import nbformat
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    notebook = load_notebook_node(str(project_file(f"notebooks/{NOTEBOOK}.ipynb")))
    notebook = parameterize_notebook(notebook, {"run_folder": str(run.root), "device": device})
    tags = {APP_TAG, "injected-parameters"}
    notebook.cells = [
        nbformat.v4.new_markdown_cell(TITLE),
        *(cell for cell in notebook.cells if tags & set(cell.metadata.tags)),
    ]
    path = run.root / "app" / "brains.ipynb"
    with atomic(path) as partial:
        partial.write_text(nbformat.writes(notebook), encoding="utf-8")
    return path


def voila_command(
    notebook: Path, port: int, browser: bool = False, theme: str = "light"
) -> list[str]:
    """The command that starts Voilà on the loopback address, protected by a token.

    Other machines cannot reach it, and other users do not know the token.

    Args:
        notebook: The notebook to serve.
        port: Voilà fails if it is taken.
        browser: Whether to open a browser.
        theme: light or dark.

    Returns:
        The words of the command.
    """
    command = [
        sys.executable,
        "-m",
        SERVER,
        str(notebook),
        "--Voila.ip=127.0.0.1",
        "--token",
        f"--port={port}",
        "--Voila.port_retries=0",
        f"--theme={theme}",
        "--template=oasis",
        "--VoilaConfiguration.show_tracebacks=True",
        "--VoilaConfiguration.show_margins=True",
        f"--VoilaConfiguration.multi_kernel_manager_class={SERVER}.PageKernels",
        "--KernelManager.transport_encryption=auto",
        "--KernelRestarter.restart_limit=0",  # a new kernel would know nothing of the page
    ]
    return command if browser else [*command, "--no-browser"]


def voila_environment(token: str) -> dict[str, str]:
    """The environment of Voilà: that of this process, with the page's template and the token.

    The token is not in the command, which other users could read. Voilà ends with this process.
    """
    paths = [str(JUPYTER_FILES), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    own = {"JUPYTER_PATH": os.pathsep.join(paths), "JUPYTER_TOKEN": token, PARENT: str(os.getpid())}
    return os.environ | own


def require_models(run: RunFolder) -> None:
    """RuntimeError if every page would fail, for lack of models in the run and in the project."""
    spare = RunFolder(project_root()).checkpoint("vqvae")
    missing = [name for name in MODELS if not run.checkpoint(name).exists()]
    if missing and not spare.exists():
        raise RuntimeError(
            f"{run.root} has no {', '.join(missing)}, and an installed package has no models of its"
            " own: train them with `python -m oasis_utils run`, or give another --run"
        )


def serve(
    run: RunFolder, port: int, browser: bool = True, theme: str = "light", device: str = "auto"
) -> None:
    """Serve the panels until interrupted.

    Args:
        run: Its models are used.
        port: On the loopback address.
        browser: Whether to open a browser.
        theme: light or dark.
        device: As in `select_device`.

    Raises:
        RuntimeError: Voilà is not installed or fails, there are no models, or the port is taken.
    """
    if importlib.util.find_spec("voila") is None:
        raise RuntimeError("the app needs Voilà: pip install 'oasis-vq[app]'")
    if os.pathsep in str(JUPYTER_FILES):
        raise RuntimeError(
            f"the app cannot run from {JUPYTER_FILES.parents[2]}: Jupyter splits paths at"
            f" {os.pathsep}; move the project to a folder without it"
        )
    require_models(run)
    with socket.socket() as listener:  # Voilà itself would wait without an end
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            raise RuntimeError(
                f"port {port} is taken, perhaps by another app: choose one with --port"
            ) from None
    command = voila_command(app_notebook(run, device), port, browser, theme)
    token = secrets.token_urlsafe(16)
    address = f"http://127.0.0.1:{port}/?token={token}"
    print(f"{address} shows the panels in a few seconds; Ctrl-C ends it", flush=True)
    process = subprocess.Popen(command, env=voila_environment(token))
    try:
        if process.wait() != 0:
            raise RuntimeError("Voilà failed: its message is above")
    except KeyboardInterrupt:
        process.terminate()  # it ends its kernels first
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
    finally:
        process.kill()
