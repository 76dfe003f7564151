"""Law of the folder: what existed before a command that fails exists after it, byte for byte.

Each command is run again and again; each time another one of its changes of the file system fails.
Then come requests that are refused: they change nothing at all.
"""

import errno
import os
import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from slice_files import make_tree, write
from small_models import small_model

from oasis_utils import evaluation
from oasis_utils.cli.parser import main
from oasis_utils.config import DataConfig
from oasis_utils.data.dataset import build_cache, open_cache
from oasis_utils.evaluation import model_card, reference
from oasis_utils.models.checkpoints import save_model, weights_digest
from oasis_utils.pipeline import runner
from oasis_utils.runtime import RunFolder, write_json
from oasis_utils.widgets import app

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink")
FAULTS = {
    "full disk": lambda path: OSError(errno.ENOSPC, "No space left on device", path),
    "no permission": lambda path: PermissionError(errno.EACCES, "Permission denied", path),
    "Ctrl-C": lambda _path: KeyboardInterrupt(),
}


class Fault:
    """Counts the changes of files below a folder, and lets one of them fail."""

    def __init__(self):
        self.folder, self.left, self.seen, self.error = None, None, 0, None
        sys.addaudithook(self.look)  # it can never be removed, only disarmed

    def look(self, event, arguments):
        if self.folder is None or not (event == "open" or event in CHANGES):
            return
        path = arguments[0]
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        if not isinstance(path, (str, bytes)) or not os.fsdecode(path).startswith(self.folder):
            return
        self.seen += 1
        if self.seen - 1 == self.left:
            raise self.error(path)

    def run(self, folder, command, number=None, error=None):
        """(exit code, number of changes) of a command whose change `number` fails."""
        self.seen, self.left, self.error = 0, number, error
        self.folder = str(folder)
        try:
            return main(command), self.seen
        finally:
            self.folder = None


@pytest.fixture(scope="module")
def fault():
    return Fault()


def contents(folder):
    """{path: kind and bytes} of everything below a folder."""
    found = {}
    for path in folder.rglob("*"):
        mode = os.lstat(path).st_mode
        read = {stat.S_IFREG: Path.read_bytes, stat.S_IFLNK: os.readlink}.get(stat.S_IFMT(mode))
        found[str(path.relative_to(folder))] = (mode, read and read(path))
    return found


def lost(before, after):
    return sorted(name for name, what in before.items() if after.get(name) != what)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


def make_world(root):
    """Data, a prepared folder, a run with models, outputs of older commands, and a thesis."""
    make_tree(root / "data", masks=True)
    build_cache(root / "data", root / "prepared", DataConfig(image_size=32))
    build_cache(root / "data", root / "large", DataConfig(image_size=48))
    make_tree(root / "bad")
    next((root / "bad").rglob("case_005*.png")).write_bytes(b"damaged")
    run = RunFolder(root / "run")
    build_cache(root / "data", run.data, DataConfig(image_size=32))
    inputs = {"vqvae": weights_digest(small_model("vqvae"))}
    for name in ("vqvae", "pixelcnn", "dcgan"):
        model = small_model(name)
        save_model(run.checkpoint(name), model, **({} if name == "vqvae" else {"inputs": inputs}))
    write_json(run.summary("01_data_exploration"), {"summary": "six people"})
    app.app_notebook(run)
    images = np.tile(np.arange(32, dtype=np.uint8), (64, 32, 1))
    (root / "out").mkdir()
    np.savez(root / "out" / "images.npz", images=images)
    for folder in ("data", "run", "run/data", "run/notebooks", "out", "run/figures"):
        (root / folder).mkdir(exist_ok=True)
        (root / folder / ".thesis.txt").write_text("years of work")
    write(run.figures / "01_slices.png", np.zeros((8, 8), np.uint8))
    for name in ("old.npz", "old.json", "old.md", "old.html", "thesis.txt"):
        (root / "out" / name).write_text(f"the older {name}")
    (root / "out" / "link").symlink_to("thesis.txt")
    return root


@pytest.fixture
def copy(world, tmp_path, monkeypatch):
    """A copy of the world; what takes long and writes nothing is left out of the commands."""
    shutil.copytree(world, tmp_path / "w", symlinks=True)
    metrics = {"kid": 0.1, "verdicts": {}}
    monkeypatch.setattr(reference.Reference, "of", lambda *_, **__: None)
    monkeypatch.setattr(evaluation, "evaluate_images", lambda *_: metrics)
    monkeypatch.setattr(evaluation, "require_images", lambda *_: None)
    monkeypatch.setattr(model_card, "model_card", lambda *_: "a card")
    monkeypatch.setattr(
        runner, "execute_notebook", lambda _source, output, _given: output.write_text("{}")
    )

    def no_server(*_, **__):
        raise RuntimeError("no server in this test")

    monkeypatch.setattr(app.subprocess, "Popen", no_server)
    return tmp_path / "w"


def commands(root):
    """{name: command that replaces what older commands wrote}."""
    run, out = str(root / "run"), root / "out"
    sample = ["sample", "--run", run, "--n", "2", "--out", str(out / "old.npz")]
    against = ["--against", str(root / "prepared")]
    outputs = ["--json", str(out / "old.json"), "--card", str(out / "old.md")]
    series = ["run", "--profile", "smoke", "--only", "01", "--data", str(root / "data")]
    prepare = ["prepare", str(root / "data"), "--size", "48", "--out"]
    return {
        "sample": sample,
        "sample as source": [*sample, "--as-source"],
        "reconstruct": ["reconstruct", run, "--run", run, "--out", str(out / "old.npz")],
        "evaluate": ["evaluate", str(out / "images.npz"), *against, *outputs],
        "report": ["report", run, "--out", str(out / "old.html")],
        "report in the run": ["report", run],
        "run": [*series, "--out", run],
        "app": ["app", "--run", run, "--no-browser"],
        "prepare": [*prepare, str(root / "prepared")],
        "prepare with PNG": [*prepare, str(root / "new"), "--png", str(root / "png")],
    }


OWN = {"run": ("run/notebooks/01_", "run/cache_keys/"), "app": ("run/app/",)}  # how far it came
TWO_OUTPUTS = ("evaluate", "prepare")  # replaced one after the other: older, or new and whole


@pytest.mark.faults
@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("name", commands(Path("x")))
def test_a_change_that_fails_loses_nothing(name, kind, world, copy, fault):
    command, before = commands(copy)[name], contents(copy)
    code, changes = fault.run(copy, command)
    assert code == (1 if name == "app" else 0) and changes
    done = contents(copy)
    for number in range(0, changes, 1 + changes // 20):
        shutil.rmtree(copy)
        shutil.copytree(world, copy, symlinks=True)
        code, _ = fault.run(copy, command, number, FAULTS[kind])
        assert code in (0, 1)
        if name == "prepare":
            open_cache(copy / "prepared")  # it finishes a replacement that counts already
        after = contents(copy)
        changed = [n for n in lost(before, after) if not n.startswith(OWN.get(name, "\0"))]
        assert not [n for n in changed if "thesis" in n or n.startswith("data")]
        if code and name not in TWO_OUTPUTS:
            assert not changed, f"change {number}"
        else:
            assert all(after.get(n) == done.get(n) for n in changed), f"change {number}"


REFUSED = {
    "sample: no such run": ["sample", "--run", "none", "--out", "out/old.npz"],
    "sample: a folder as output": ["sample", "--run", "run", "--n", "2", "--out", "run"],
    "sample: a link as output": ["sample", "--run", "run", "--n", "2", "--out", "out/link"],
    "sample: position": ["sample", "--run", "run", "--position", "9", "--out", "out/old.npz"],
    "sample: age": ["sample", "--run", "run", "--age", "50", "--out", "out/old.npz"],
    "sample: a file above": ["sample", "--run", "run", "--n", "2", "--out", "out/old.npz/new.npz"],
    "sample: over the data": ["sample", "--run", "run", "--out", "run/data/slices.npy"],
    "sample: over its model": [
        "sample",
        "--run",
        "run",
        "--out",
        "run/checkpoints/vqvae.safetensors",
    ],
    "report: over a figure": ["report", "run", "--out", "run/figures/01_slices.png"],
    "report: over the report": ["report", "run", "--out", "run/report.json"],
    "reconstruct: no data": ["reconstruct", "out", "--run", "run", "--out", "out/old.npz"],
    "reconstruct: size": ["reconstruct", "large", "--run", "run", "--out", "out/old.npz"],
    "reconstruct: into data": ["reconstruct", "data", "--run", "run", "--out", "data/new.npz"],
    "reconstruct: into prepared": [
        *("reconstruct", "prepared", "--run", "run", "--out", "prepared/slices.npy")
    ],
    "reconstruct: into run data": [
        *("reconstruct", "run", "--run", "run", "--out", "run/data/slices.npy")
    ],
    "evaluate: no images": [
        "evaluate",
        "out/old.npz",
        "--against",
        "data",
        "--json",
        "out/old.json",
    ],
    "evaluate: into data": [
        *("evaluate", "out/images.npz", "--against", "data", "--json", "data/new.json")
    ],
    "evaluate: over its images": [
        *("evaluate", "out/images.npz", "--against", "data", "--json", "out/images.npz")
    ],
    "evaluate: the second output": [
        *("evaluate", "out/images.npz", "--against", "prepared"),
        *("--json", "out/old.json", "--card", "out/link"),
    ],
    "report: nothing there": ["report", "out", "--out", "out/old.html"],
    "report: a folder": ["report", "run", "--out", "run"],
    "run: into data": ["run", "--profile", "smoke", "--data", "data", "--out", "data/run"],
    "run: profile": ["run", "--profile", "none", "--out", "run"],
    "run: parameter": ["run", "--profile", "smoke", "-p", "x=1", "--out", "run"],
    "run: no data": ["run", "--profile", "smoke", "--data", "none", "--out", "run"],
    "prepare: foreign": ["prepare", "data", "--out", "out"],
    "prepare: into itself": ["prepare", "data", "--out", "data/prepared"],
    "prepare: no data": ["prepare", "none", "--out", "prepared"],
    "prepare: PNG": ["prepare", "data", "--out", "prepared", "--size", "48", "--png", "out"],
    "prepare: PNG into data": ["prepare", "data", "--out", "prepared", "--png", "data/png"],
    "prepare: split": ["prepare", "data", "--out", "prepared", "--split", "0,0,1"],
    "prepare: damaged": ["prepare", "bad", "--out", "prepared"],
    "page: into the data": ["page", "--run", "run", "--out", "run/data"],
    "page: other files": ["page", "--run", "run", "--out", "out"],
    "readers: into the data": ["readers", "--run", "run", "--out", "run/data/trials.html"],
    "readers: no samples": ["readers", "--run", "run", "--out", "out/old.html"],
    "app: port": ["app", "--run", "run", "--port", "80"],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_changes_nothing(name, copy, capsys, monkeypatch):
    monkeypatch.chdir(copy)
    before = contents(copy)
    assert main(REFUSED[name]) in (1, 2)
    line = capsys.readouterr().err
    assert "unexpected" not in line and "Traceback" not in line and "error: " in line
    assert contents(copy) == before
