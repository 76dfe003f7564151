"""It keeps its word when it is killed, runs out of disk or is started twice: nothing is lost,
nothing half is whole.
"""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
import torch

from oasis_utils.cli import parser as cli
from oasis_utils.config import TrainingConfig, VQVAEConfig
from oasis_utils.data.batches import Batches
from oasis_utils.models import checkpoints
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.pipeline import cache_keys, runner
from oasis_utils.pipeline import series as notebooks
from oasis_utils.runtime import (
    RunFolder,
    StorageError,
    exclusive,
    seed_everything,
    write_json,
)
from oasis_utils.runtime.symmetry import LEFT_RIGHT
from oasis_utils.training.history import read_history
from oasis_utils.training.loop import fit

pytestmark = pytest.mark.faults

MODEL = VQVAEConfig(image_size=32, channels=8, residual_blocks=1, n_codes=16, code_dim=4)
SCHEDULE = TrainingConfig(
    epochs=50, batch_size=8, learning_rate=2e-3, warmup_steps=2, ema_decay=0.9
)
STEPS = 4  # of an epoch


def batches(shuffle):
    images = torch.randint(
        0, 256, (8 * STEPS, 1, 32, 32), generator=torch.Generator().manual_seed(1)
    )
    return Batches(
        {"images": images.to(torch.uint8)},
        SCHEDULE.batch_size,
        shuffle=shuffle,
        mirror=LEFT_RIGHT if shuffle else None,
        seed=5,
    )


def train(root, after_step=lambda: None):
    torch.set_num_threads(1)
    seed_everything(3)
    model = VQVAE(MODEL)
    plain = model.step

    def step(batch, phase):
        losses = plain(batch, phase)
        after_step()
        return losses

    model.step = step
    return fit(model, batches(True), batches(False), SCHEDULE, RunFolder(root), "vqvae", seed=3)


def heed_ctrl_c():
    """Background jobs of a shell are started deaf to it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def nursery():
    """Forks a training for each line "folder largest_file" it reads: torch is imported once, lives
    start at once.
    """
    with open(os.devnull, "w") as nowhere:
        tell = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    for line in sys.stdin:
        root, largest = line.rsplit(maxsplit=1)
        pid = os.fork()
        if pid == 0:
            heed_ctrl_c()
            if int(largest):
                resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), resource.RLIM_INFINITY))
            try:
                train(Path(root), lambda: tell.write("step\n"))
            except StorageError as error:
                tell.write(f"{error}\n")
            os._exit(0)
        tell.write(f"{pid}\n")
        tell.write(f"over {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")


class Life:
    """A training in a process of its own; `lines` is what it tells."""

    def __init__(self, nursery, root, largest_file=0):
        self.lines = nursery.stdout
        nursery.stdin.write(f"{root} {largest_file}\n")
        nursery.stdin.flush()
        self.pid = int(next(self.lines))

    def rest(self):
        told = []
        for line in self.lines:
            told.append(line.strip())
            if line.startswith("over "):
                return told
        raise AssertionError("the nursery died")


@pytest.fixture(scope="module")
def lives():
    process = subprocess.Popen(
        [sys.executable, "-c", "import test_faults; test_faults.nursery()"],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.stdin.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a training that nothing disturbed."""
    root = tmp_path_factory.mktemp("whole")
    train(root)
    return RunFolder(root)


def assert_same_end(run, whole):
    tensors, about = checkpoints.load_tensors(run.checkpoint("vqvae"))
    expected, _known = checkpoints.load_tensors(whole.checkpoint("vqvae"))
    assert about["complete"] and tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    histories = [
        [
            {k: v for k, v in record.items() if k != "seconds"}
            for record in read_history(r.history("vqvae"))
        ]
        for r in (run, whole)
    ]
    assert histories[0] == histories[1] and len(histories[0]) == SCHEDULE.epochs


def test_training_killed_at_25_random_points_ends_bit_for_bit_as_a_whole_one(
    tmp_path, lives, whole
):
    rng, run, reached = random.Random(0), RunFolder(tmp_path), set()
    for number in range(25):
        life = Life(lives, tmp_path)
        for _ in range(rng.randrange(2 * STEPS)):
            assert next(life.lines) == "step\n"
        time.sleep(
            rng.random() * 0.02
        )  # anywhere in a step, in a validation, in the writing of a file
        os.kill(life.pid, (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)[number % 3])
        assert life.rest()[-1] != "over 0"
        if run.checkpoint("vqvae").exists():
            _, about = checkpoints.load_model(run.checkpoint("vqvae"), VQVAE)
            assert not about["complete"]
        reached.add(len(read_history(run.history("vqvae"))))
    assert len(reached) > 8  # it went on between the kills
    train(tmp_path)
    assert_same_end(run, whole)
    assert not list(run.root.rglob("*.resume.safetensors"))


def test_no_room_for_a_checkpoint_is_one_clear_error_and_keeps_the_last_good_one(
    tmp_path, lives, whole
):
    run, stop = RunFolder(tmp_path), iter([False] * 9 + [True])

    def in_the_third_epoch():
        if next(stop):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, in_the_third_epoch)
    before = run.checkpoint("vqvae").read_bytes()
    message = Life(lives, tmp_path, largest_file=4096).rest()[-2]
    assert "cannot write" in message and "ulimit -f" in message and "is kept" in message
    assert run.checkpoint("vqvae").read_bytes() == before
    train(tmp_path)
    assert_same_end(run, whole)
    assert not list(tmp_path.rglob("*.partial"))


FULL_DISK = """
import sys
from pathlib import Path
from oasis_utils.runtime import StorageError, atomic, write_json
folder = Path(sys.argv[1])
write_json(folder / "report.json", {"good": True})
try:
    with atomic(folder / "report.json") as partial:
        partial.write_bytes(b"x" * (2 << 20))
except StorageError as error:
    print(error)
print(sorted(p.name for p in folder.iterdir()), (folder / "report.json").read_text())
"""


def test_a_full_disk_is_named_and_keeps_the_last_good_file(tmp_path):
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -c "$3" "$1"',
        "sh",
        str(tmp_path),
        sys.executable,
        FULL_DISK,
    ]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("a small disk needs the command unshare (Linux)")
    if "mount:" in ran.stderr or "unshare:" in ran.stderr:
        pytest.skip(f"this system lets nobody mount a small disk: {ran.stderr.strip()}")
    assert "the disk is full: free some space" in ran.stdout, ran.stderr
    assert "['report.json']" in ran.stdout and '"good": true' in ran.stdout


# ---------------------------------------------------------------- the runner


def notebook_step(folder, *cells):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    path = folder / "01_data_exploration.ipynb"
    nbformat.write(book, path)
    return notebooks.Step("01_data_exploration", path, {})


def test_a_killed_kernel_is_never_taken_for_a_finished_step(tmp_path):
    run = RunFolder(tmp_path / "run")
    step = notebook_step(
        tmp_path, "import os, signal", "os.kill(os.getpid(), signal.SIGKILL)", "print('after')"
    )
    write_json(cache_keys.cache_record(run, step.name), {"cache_key": "of an earlier run"})
    with pytest.raises(
        notebooks.NotebookFailed, match="01_data_exploration: the kernel died .* Run again to go on"
    ):
        runner.run_series([step], run)
    assert not cache_keys.cache_record(run, step.name).exists() and not cache_keys.is_done(
        step, run
    )


def start_series(out):
    """(process, its kernel) of a series that has just begun."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "oasis_utils",
            "run",
            "--profile",
            "smoke",
            "--only",
            "01",
            "--out",
            str(out),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for _ in range(300):
        kernels = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if "ipykernel_launcher" in " ".join(child.cmdline())
        ]
        if kernels:
            return process, kernels[0]
        time.sleep(0.1)
    raise AssertionError("no kernel after 30 s")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_series_leaves_no_kernel_and_no_cache_record(tmp_path, number):
    process, kernel = start_series(tmp_path)
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    if number != signal.SIGKILL:
        assert process.returncode == 1
        assert output.splitlines()[-1] == "stopped; run the same command again to continue"
        assert "Traceback" not in output
    kernel.wait(30)
    assert not (tmp_path / "cache_keys").exists()
    with exclusive(RunFolder(tmp_path).lock, tmp_path):  # nobody holds the folder any more
        pass


def test_a_second_run_into_the_same_folder_is_refused_with_the_name_of_the_first(tmp_path, capsys):
    with exclusive(RunFolder(tmp_path).lock, tmp_path):
        assert cli.main(["run", "--profile", "smoke", "--only", "01", "--out", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert (
        f"{tmp_path} is in use by process {os.getpid()} on " in message
        and "choose another run folder" in message
    )
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "notebooks").exists()


# ---------------------------------------------------------------- long runs


def test_memory_stays_flat_over_600_steps(tmp_path):
    me, seen = psutil.Process(), []

    def look():
        seen.append(me.memory_info().rss)

    seed_everything(0)
    config = TrainingConfig(epochs=150, batch_size=8, learning_rate=1e-3, validate_every=25)
    model = VQVAE(MODEL)
    plain = model.step
    model.step = lambda batch, phase: (look(), plain(batch, phase))[1]
    fit(model, batches(True), batches(False), config, RunFolder(tmp_path), "vqvae")
    assert len(seen) == 600
    assert (
        max(seen[500:]) - max(seen[90:110]) < 4 << 20
    )  # bytes; one leaked batch a step would be 130 MB
