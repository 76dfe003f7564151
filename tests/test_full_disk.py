"""Commands on a disk that is full: one line in words, and the older results are kept.

The disk is a small tmpfs in a mount namespace of its own, which most systems let everybody make.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.slow]
FREE = (0, 4, 24, 100)  # KiB that are left


def fill(disk, free):
    """Fill a disk with a file, except for `free` KiB."""
    with open(disk / "ballast", "wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        file.truncate(max(0, file.tell() - (free << 10)))


def commands(root, disk):
    """{name: (command, its output)}; the runs of notebooks are short ones."""
    run, new = str(root / "run"), disk / "old.npz"
    series = ["run", "--profile", "smoke", "--only", "01", "--data", str(root / "data")]
    return {
        "prepare": (["prepare", str(root / "data"), "--size", "128", "--out"], disk / "prepared"),
        "PNG": (["prepare", str(root / "data"), "--out", str(root / "c"), "--png"], disk / "png"),
        "sample": (["sample", "--run", run, "--n", "300", "--out"], new),
        "reconstruct": (["reconstruct", run, "--run", run, "--out"], new),
        "report": (["report", run, "--out"], disk / "old.html"),
        "run": ([*series, "--out"], disk / "run"),
    }


def play(root, disk):
    """Run every command on a disk with little room; prints what `played` reads."""
    from test_law_of_the_folder import contents, lost

    from oasis_utils.cli.parser import main
    from oasis_utils.config import DataConfig
    from oasis_utils.data.dataset import build_cache, open_cache

    for name in commands(root, disk):
        for free in FREE:
            for path in disk.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            build_cache(root / "data", disk / "prepared", DataConfig(image_size=32))
            for old in ("old.npz", "old.html", "thesis.txt"):
                (disk / old).write_text("the older result")
            fill(disk, free)
            before, said = contents(disk), io.StringIO()
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
                command, out = commands(root, disk)[name]
                code = main([*command, str(out)])
            errors = [line for line in said.getvalue().splitlines() if "error" in line]
            losses = lost(before, contents(disk)) if code else []
            open_cache(disk / "prepared")
            print(json.dumps([name, free, code, errors, losses]), flush=True)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """[command, KiB left, code, errors, losses] of each, from a process that has a small disk."""
    from test_law_of_the_folder import make_world

    root = make_world(tmp_path_factory.mktemp("world"))
    (root / "disk").mkdir()
    code = "import sys, pathlib, test_full_disk as t; t.play(*map(pathlib.Path, sys.argv[1:]))"
    script = 'mount -t tmpfs -o size=600k tmpfs "$1/disk" && exec "$2" -c "$3" "$1" "$1/disk"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    try:
        done = subprocess.run(
            [*command, str(root), sys.executable, code],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent,
            env=os.environ | {"TMPDIR": str(root)},
        )
    except FileNotFoundError:
        pytest.skip("a small disk needs the command unshare (Linux)")
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"this system lets nobody mount a small disk: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", commands(Path("x"), Path("x")))
def test_a_command_on_a_full_disk(name, played):
    mine = [line for line in played if line[0] == name]
    assert len(mine) == len(FREE) and any(code for _, _, code, _, _ in mine)
    for _, _free, code, errors, losses in mine:
        if code:
            assert len(errors) == 1 and "disk is full" in errors[0], errors
            assert "cannot write /" in errors[0] and not losses
