"""Executes one notebook with papermill, without the warnings that are not about our code."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

from oasis_utils.pipeline.parameters import papermill_path
from oasis_utils.runtime import project_root


def execute_notebook(source: Path, output: Path, parameters: dict[str, Any]) -> None:
    """Execute a notebook in the project's folder.

    Args:
        source: The notebook.
        output: Its executed copy, written after each cell.
        parameters: {name: value} for its parameters cell.

    Raises:
        PapermillExecutionError: A cell raised.
        DeadKernelError: The kernel died.
    """
    import papermill
    from traitlets.config import Config

    # otherwise each kernel warns of open TCP ports
    private = Config(KernelManager={"transport_encryption": "auto"})
    with warnings.catch_warnings():
        # of papermill and nbclient; warnings of our code appear in the notebook
        warnings.simplefilter("ignore")
        papermill.execute_notebook(
            papermill_path(source),
            papermill_path(output),
            parameters=parameters,
            kernel_name="python3",
            cwd=str(project_root()),
            log_output=False,
            progress_bar=sys.stderr.isatty(),
            config=private,
        )
