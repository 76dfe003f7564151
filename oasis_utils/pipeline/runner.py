"""Executes the notebooks in order with papermill and skips those that are up to date."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from oasis_utils.pipeline.cache_keys import cache_record, earlier, is_done, set_cache_keys
from oasis_utils.pipeline.execution import execute_notebook
from oasis_utils.pipeline.results import finish_report
from oasis_utils.pipeline.series import NotebookFailed, Step
from oasis_utils.runtime import (
    RunFolder,
    clock,
    exclusive,
    read_json,
    storage_errors,
    write_json,
)
from oasis_utils.runtime.files import refuse_special


def run_series(
    steps: list[Step], run: RunFolder, data: str = "", force: bool = False
) -> dict[str, Any]:
    """Execute the steps that are not up to date.

    Args:
        steps: Notebooks in order, with their parameters; seconds and summaries are set.
        run: Where results are written.
        data: Path of the data; empty: sample brains.
        force: Whether to execute also the steps that are up to date.

    Returns:
        The report of the run, see `results.finish_report`.

    Raises:
        NotebookFailed: A cell raised or the kernel died.
        FolderInUse: Another process writes into the run folder.
    """
    with exclusive(run.lock, run.root):
        return _run_series(steps, run, data, force)


def _run_series(steps: list[Step], run: RunFolder, data: str, force: bool) -> dict[str, Any]:
    with storage_errors(run.notebooks):
        run.notebooks.mkdir(parents=True, exist_ok=True)
    set_cache_keys(steps, data)
    for number, step in enumerate(steps, 1):
        head = f"[{number}/{len(steps)}] {step.name}"
        if not force and is_done(step, run):
            step.skipped, step.seconds = True, read_json(cache_record(run, step.name))["seconds"]
            print(f"{head} · done before, skipped", flush=True)
        else:
            print(f"{head} …", flush=True)
            execute(step, run)
            print(f"{head} · {clock(step.seconds)}", flush=True)
        if run.summary(step.name).exists():
            step.summary = read_json(run.summary(step.name)).get("summary", "")
    return finish_report(run)


def execute(step: Step, run: RunFolder) -> None:
    """Execute one notebook; its executed copy is kept even when a cell fails.

    Args:
        step: Its seconds are set.
        run: Where the copy and the cache record are written.

    Raises:
        NotebookFailed: A cell raised or the kernel died.
    """
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    output, record = run.notebooks / f"{step.name}.ipynb", cache_record(run, step.name)
    refuse_special(output)  # papermill writes it after each cell
    record.unlink(missing_ok=True)
    start = time.monotonic()
    try:
        with storage_errors(output):
            _stoppable(lambda: execute_notebook(step.source, output, step.parameters))
    except PapermillExecutionError as error:
        raise NotebookFailed(
            f"{step.name}, cell {error.exec_count}: {error.ename}: {_one_line(error.evalue)} "
            f"(partial notebook: {output})"
        ) from None
    except DeadKernelError:
        raise NotebookFailed(
            f"{step.name}: the kernel died (out of memory?); partial notebook: {output}. "
            "Run again to go on, or choose a smaller batch_size"
        ) from None
    step.seconds = time.monotonic() - start
    write_json(
        record,
        {
            "cache_key": step.cache_key,
            "seconds": step.seconds,
            "finished": time.time_ns(),
            "earlier": earlier(run, step.name),
        },
    )


def _stoppable(job: Callable[[], None]) -> None:
    """Run a job that starts kernels in a thread, so that a signal stops job and kernels at once.

    In the main thread nbclient would handle the signals itself and report a dead kernel. Killing a
    kernel loses nothing, because it writes files completely or not at all. A papermill process of
    its own with `killpg` would not do: jupyter_client starts each kernel in a session of its own,
    which the signal would not reach.
    """
    import psutil

    me, failure = psutil.Process(), []
    before = set(me.children(recursive=True))

    def work():
        try:
            job()
        except BaseException as error:  # raised again in the main thread
            failure.append(error)
        finally:
            with contextlib.suppress(RuntimeError):  # no loop was ever started
                asyncio.get_event_loop().close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
    except KeyboardInterrupt:
        for child in set(me.children(recursive=True)) - before:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        thread.join(5)
        raise
    if failure:
        raise failure[0]


def _one_line(text: str) -> str:
    return " ".join(str(text).split())
