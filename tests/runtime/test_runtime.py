"""Folders, atomic files, device, seeds, banner and progress."""

import errno
import json
import os
import platform
import random
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import oasis_utils
from oasis_utils.runtime import runtime
from oasis_utils.runtime.runtime import (
    Progress,
    RunFolder,
    anchored,
    atomic,
    banner,
    clock,
    project_root,
    provenance,
    read_json,
    seed_everything,
    select_device,
    select_dtype,
    write_json,
)

CPU = torch.device("cpu")


# ---------------------------------------------------------------- folders


def test_relative_path_counts_from_the_project_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert anchored("runs/demo") == project_root() / "runs" / "demo"
    assert anchored("runs/demo").is_absolute()


def test_absolute_path_stays_and_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert anchored(tmp_path / "x") == tmp_path / "x"
    assert anchored("~/x") == tmp_path / "x"


def test_project_root_holds_the_notebooks():
    assert (project_root() / "pyproject.toml").is_file()
    assert (project_root() / "notebooks").is_dir()


def test_installed_copy_takes_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(
        oasis_utils, "__file__", str(tmp_path / "site" / "oasis_utils" / "__init__.py")
    )
    monkeypatch.chdir(tmp_path)
    assert project_root() == tmp_path


def test_run_folder_keeps_everything_inside_and_apart(tmp_path):
    run = RunFolder.at(tmp_path)
    paths = [
        run.data,
        run.figures,
        run.notebooks,
        run.codes,
        run.report,
        run.checkpoint("vqvae"),
        run.history("vqvae"),
        run.watched("vqvae"),
        run.samples("dcgan"),
        run.samples("pixelcnn"),
        run.headline("02"),
    ]
    assert all(tmp_path in path.parents for path in paths)
    assert len(set(paths)) == len(paths)


def test_require_gives_the_path_or_names_the_notebook(tmp_path):
    run = RunFolder(tmp_path)
    with pytest.raises(
        FileNotFoundError, match="codes.npz is missing: run notebook 03_codebook_analysis"
    ):
        run.require(run.codes, "03_codebook_analysis")
    run.codes.touch()
    assert run.require(run.codes, "03_codebook_analysis") == run.codes


# ---------------------------------------------------------------- files


def test_atomic_writes_the_whole_file_and_its_folder(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    with atomic(path) as partial:
        partial.write_text("new")
        assert not path.exists()
        assert partial.parent == path.parent  # a rename stays on one file system
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["file.txt"]


def test_atomic_keeps_the_old_file_when_the_block_raises(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), atomic(path) as partial:
        partial.write_text("half")
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_atomic_refuses_a_block_that_wrote_nothing(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic(path):
        pass
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "the disk is full: free some space"),
        (errno.EROFS, "read-only: choose another folder"),
        (errno.EACCES, "no permission"),
        (errno.EDQUOT, "quota"),
    ],
)
def test_storage_errors_say_what_to_do_and_keep_the_old_file(tmp_path, number, advice):
    path = tmp_path / "report.json"
    runtime.write_json(path, 1)
    with (
        pytest.raises(
            runtime.StorageError, match=f"cannot write .*report.json: .*{advice}.* is kept"
        ),
        runtime.atomic(path) as partial,
    ):
        partial.write_text("half")
        raise OSError(number, "some text of the system")
    assert runtime.read_json(path) == 1 and list(tmp_path.iterdir()) == [path]


def test_other_errors_of_the_system_pass_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), runtime.atomic(tmp_path / "x"):
        (tmp_path / "elsewhere").read_text()


def test_a_held_lock_names_its_holder_and_is_let_go(tmp_path):
    lock = tmp_path / "new folder" / ".lock"
    with (
        runtime.exclusive(lock, "runs/demo"),
        pytest.raises(
            runtime.FolderInUse,
            match=f"runs/demo is in use by process {os.getpid()} on .* since 20",
        ),
        runtime.exclusive(lock, "runs/demo"),
    ):
        raise AssertionError("two are in")
    with runtime.exclusive(lock, "runs/demo"):
        lock.with_name(".lock.json").unlink()
        with pytest.raises(runtime.FolderInUse, match="in use by another process"):
            with runtime.exclusive(lock, "runs/demo"):
                raise AssertionError("two are in")


def test_json_round_trip(tmp_path):
    value = {"a": [1, 2.5, None, True], "b": {"ü": "ø"}}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_json_refuses_numbers_it_lacks_and_keeps_the_old_file(tmp_path, number):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": [number]})
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["x.json"]


# ---------------------------------------------------------------- device, precision, seeds


def test_cuda_without_a_gpu_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="torch sees no GPU: use device 'auto' or 'cpu'"):
        select_device("cuda")
    assert select_device("auto") == CPU


def test_named_device_is_taken():
    assert select_device("cpu") == CPU


@pytest.mark.parametrize(("amx", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_cpu_precision_follows_the_hardware(monkeypatch, amx, dtype):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert select_dtype(CPU) == dtype
    with runtime.autocast(CPU):
        assert torch.is_autocast_enabled("cpu") == amx


def draws():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_seed_everything_repeats_python_numpy_and_torch():
    seed_everything(5)
    first = draws()
    seed_everything(5)
    second = draws()
    seed_everything(6)
    third = draws()
    assert first == second
    assert all(a != b for a, b in zip(first, third, strict=True))


def test_seed_beyond_numpys_range_is_taken():
    seed_everything(2**32 + 1)
    large = draws()
    seed_everything(2**32 + 1)
    assert draws() == large


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_freed_memory_is_kept_for_the_next_tensor():
    """Fresh pages are counted, in a process of its own, before and after it is asked for."""
    script = """
import resource, torch
from oasis_utils.runtime.runtime import keep_freed_memory
def fresh_mib():
    for _ in range(10):
        torch.ones(2**24)  # 64 MiB, freed at once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(2**24)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / 5 / 2**20
print(fresh_mib(), keep_freed_memory(), fresh_mib())
"""
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    given_back, asked, kept = found.stdout.split()
    assert asked == "True" and float(kept) < 1 < 60 < float(given_back)


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(runtime.ctypes, "CDLL", lambda _: pytest.fail("asked"))
    assert runtime.keep_freed_memory() is False


def test_banner_is_one_line_with_versions_and_seed_and_seeds():
    text = banner(123, "cpu")
    first = draws()
    assert "\n" not in text
    assert f"oasis_utils {oasis_utils.__version__}" in text
    assert f"torch {torch.__version__}" in text
    assert runtime.hardware(torch.device("cpu")) in text and "threads" in text
    assert text.endswith("seed 123")
    seed_everything(123)
    assert draws() == first


def test_provenance_is_plain_json_and_names_its_origin():
    record = provenance(7, CPU)
    assert json.loads(json.dumps(record)) == record
    assert record["seed"] == 7
    assert record["torch"] == torch.__version__
    assert {
        "oasis_utils",
        "python",
        "numpy",
        "revision",
        "hardware",
        "precision",
        "platform",
    } <= set(record)


def test_revision_outside_a_checkout_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "project_root", lambda: tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert runtime.revision() == "unknown"


# ---------------------------------------------------------------- progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0:00"),
        (59.4, "0:59"),
        (59.6, "1:00"),
        (83.0, "1:23"),
        (3599.7, "1:00:00"),
        (3723.0, "1:02:03"),
        (36e3, "10:00:00"),
    ],
)
def test_clock(seconds, text):
    assert clock(seconds) == text


def halfway(monkeypatch) -> Progress:
    """5 of 20 steps after 60 seconds."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress("encoding", total=20)
    now[0] += 60
    progress.done, progress.note = 5, "loss 0.2"
    return progress


def test_progress_line_says_share_time_rest_and_note(monkeypatch):
    line = halfway(monkeypatch).line()
    assert line == "encoding " + "█" * 5 + "·" * 15 + " 5/20 · 1:00 · 3:00 left · loss 0.2"


def test_progress_line_at_the_ends(monkeypatch):
    progress = halfway(monkeypatch)
    progress.note, progress.done = "", 0
    assert progress.line() == "encoding " + "·" * 20 + " 0/20 · 1:00"
    progress.done = 20
    assert progress.line() == "encoding " + "█" * 20 + " 20/20 · 1:00"


def test_progress_of_nothing_is_complete():
    assert "█" * 20 + " 0/0" in Progress("nothing", total=0).line()


def test_progress_in_a_log_ends_with_one_whole_line(capsys):
    with Progress("reading", total=3) as progress:
        for done in (1, 2, 3):
            progress.update(done, f"file {done}")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1  # a log keeps every line, so few of them
    assert "3/3" in lines[0] and lines[0].endswith("file 3")


def test_stopped_progress_says_so_and_lets_the_error_through(capsys):
    with pytest.raises(KeyError), Progress("reading", total=3) as progress:
        progress.update(1)
        raise KeyError("x")
    assert "1/3" in (text := capsys.readouterr().err) and text.rstrip().endswith("stopped")


def test_progress_keeps_a_note_until_the_next_one():
    progress = Progress("reading", total=3)
    progress.update(1, "a")
    progress.update(2)
    assert progress.line().endswith(" · a")


def test_progress_is_a_plain_callback():
    progress = Progress("reading", total=1)
    progress(4, 8)
    assert " 4/8 " in progress.line()
