"""Starts the processes of a data-parallel training with torch's launcher, and ends them together.

Each process runs the same command and finds its number in the environment, as under torchrun. When
one of them fails, the launcher ends the others, and one line says which it was and what to do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import oasis_utils
from oasis_utils.config import TrainingConfig
from oasis_utils.runtime import RunFolder, processes

ERRORS = "OASIS_VQ_ERRORS"  # environment: folder in which a failing process leaves its reason
SECONDS_FOR_OTHERS = 10  # in which the launcher finds the process that failed first
GO_ON = "run the same command again to go on after the last whole epoch"


class ProcessFailed(RuntimeError):
    """One of the processes failed; the message names it and says what to do."""


def launch(words: list[str], devices: int, nodes: int = 1, endpoint: str = "") -> None:
    """Run `python -m oasis_utils` in several processes and wait for them.

    Args:
        words: of the command line after the module's name.
        devices: processes on this machine.
        nodes: machines; the same command must run on each of them.
        endpoint: HOST:PORT at which the machines meet, on one of them; not needed for one machine.

    Raises:
        ProcessFailed: a process failed; all are ended.
        KeyboardInterrupt: the job was asked to stop; all processes are ended.
    """
    with tempfile.TemporaryDirectory() as folder, _environment(folder, devices):
        _run(words, devices, nodes, endpoint, Path(folder))


def _run(words: list[str], devices: int, nodes: int, endpoint: str, folder: Path) -> None:
    import logging

    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # one line of ours says it
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=devices,
        run_id="oasis-vq",
        rdzv_backend="c10d",
        rdzv_endpoint=endpoint or "127.0.0.1:0",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / "logs")),
    )
    try:
        elastic_launch(config, sys.executable)("-m", oasis_utils.__name__, *words)
    except SignalException:
        raise KeyboardInterrupt from None
    except ChildFailedError as failed:
        reasons = {int(path.stem): path.read_text("utf-8") for path in folder.glob("*.txt")}
        codes = {rank: failure.exitcode for rank, failure in failed.failures.items()}
        raise ProcessFailed(what_failed(codes, reasons, devices * nodes)) from None


@contextmanager
def _environment(folder: str, devices: int) -> Iterator[None]:
    """What the processes find in their environment; the cores are divided between them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    ours = {
        ERRORS: folder,
        "OMP_NUM_THREADS": os.getenv("OMP_NUM_THREADS", str(max((cores or 1) // devices, 1))),
        "PYTHONPATH": _with_package(os.getenv("PYTHONPATH", "")),
        # seconds until processes that do not end when asked are killed
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": os.getenv("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "10"),
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _with_package(path: str) -> str:
    """A PYTHONPATH by which the processes find this package."""
    root = str(Path(oasis_utils.__file__).parent.parent)
    return os.pathsep.join([root, *filter(None, [path])])


def what_failed(codes: Mapping[int, int], reasons: Mapping[int, str], total: int) -> str:
    """The process that failed first, in words.

    Args:
        codes: exit codes of the processes that failed, by number; negative: of a signal.
        reasons: what processes wrote about their own errors.
        total: number of all processes.

    Returns:
        One line: a process that gave a reason, or was killed, comes before those that only lost it.
    """
    told = sorted(rank for rank in codes if rank in reasons)
    # the launcher itself ends the others by SIGTERM
    killed = sorted(rank for rank, code in codes.items() if code < 0 and code != -signal.SIGTERM)
    rank = [*told, *killed, *sorted(codes)][0]
    who = f"process {rank} of {total} (numbered from 0)"
    if rank in reasons:
        return f"{who} failed: {reasons[rank]}"
    if codes[rank] >= 0:
        return f"{who} ended with exit code {codes[rank]}: {GO_ON}"
    name = signal.Signals(-codes[rank]).name
    why = "; the memory may be exhausted" if name == "SIGKILL" else ""
    return f"{who} was ended by signal {-codes[rank]} ({name}{why}): {GO_ON}"


@contextmanager
def watched() -> Iterator[None]:
    """Run the block as one of the launched processes. The process ends when its launcher asks or
    has died. If the connection to another process breaks, it waits, so that the launcher reports
    the process that failed first.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        yield
    except RuntimeError as error:
        if not _connection_lost(error):
            raise
        time.sleep(SECONDS_FOR_OTHERS)
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise ProcessFailed(
            f"the connection to another process broke ({first_line}): {GO_ON}"
        ) from error


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _connection_lost(error: RuntimeError) -> bool:
    import torch.distributed as dist

    signs = ("gloo", "Connection closed by peer", "Connection reset", "Broken pipe", "NCCL")
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in signs)


def leave_reason(text: str) -> bool:
    """Tell the launcher in one line why this process fails; False without a launcher of ours."""
    folder = os.getenv(ERRORS)
    if not (folder and processes.launched()):
        return False
    Path(folder, f"{os.environ['RANK']}.txt").write_text(text, "utf-8")
    return True


# ---------------------------------------------------------------- from a notebook


def in_processes(
    devices: int,
    name: str,
    config: Any,
    schedule: TrainingConfig,
    run: RunFolder,
    profile: str,
    seed: int,
    device: str,
) -> None:
    """Train a model in several processes, so that `fit` afterwards loads it; with one device
    nothing happens, and `fit` trains.

    Args:
        devices: processes, or GPUs.
        name: vqvae, dcgan or pixelcnn.
        config: of the model.
        schedule: of the training.
        run: the run folder.
        profile: of the run.
        seed: of the run.
        device: auto, cpu or cuda.

    Raises:
        RuntimeError: the training failed; the last line of its output says why.
    """
    if devices == 1:
        return
    from oasis_utils.training.stages import MODEL_PARAMETERS, SCHEDULE

    options = {"run": run.root, "profile": profile, "seed": seed, "device": device}
    words = [f"--{key}={value}" for key, value in {**options, "devices": devices}.items()]
    for source, keys in ((config, MODEL_PARAMETERS[name]), (schedule, SCHEDULE)):
        words += [word for key in keys for word in ("-p", f"{key}={getattr(source, key)}")]
    environment = {**os.environ, "PYTHONPATH": _with_package(os.getenv("PYTHONPATH", ""))}
    command = [sys.executable, "-m", oasis_utils.__name__, "train", name, *words]
    _relay(command, {**environment, "PYTHONUNBUFFERED": "1"})


def _relay(command: list[str], environment: Mapping[str, str]) -> None:
    """Run a command and print its output as it comes."""
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        line = ""
        assert process.stdout is not None
        try:
            for line in process.stdout:
                print(line, end="", flush=True)
        except KeyboardInterrupt:
            process.terminate()
            raise
    if process.returncode:
        raise RuntimeError(line.strip().removeprefix("error: ") or "the training failed")
