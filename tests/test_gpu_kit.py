"""The kit for a machine with a GPU: parts that stop and go on, wheels, and results in pieces."""

import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from oasis_utils.cli.parser import build_parser

ROOT = Path(__file__).parent.parent
KIT = ROOT / "benchmarks/gpu"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(KIT))
    yield
    for name in ("kit", "pieces", "wheels"):
        sys.modules.pop(name, None)


# ---------------------------------------------------------------- results in pieces


@pytest.fixture
def files(tmp_path):
    """(name, path) of an empty file, a text, and one of three chunks that cannot be compressed."""
    made = {
        "a/empty.log": b"",
        "a/report.json": b"{}" * 500,
        "large.bin": np.random.default_rng(0).bytes(9 * 2**20),
    }
    for name, contents in made.items():
        path = tmp_path / "made" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
    return [(name, tmp_path / "made" / name) for name in made]


def test_pieces_are_restored_as_they_were_and_keep_their_limit(files, tmp_path):
    from pieces import pack, restore

    out = tmp_path / "out"
    assert pack(files, out, piece_bytes=5_000_000, pieces=3) == {}
    sizes = [path.stat().st_size for path in sorted(out.iterdir())]
    assert len(sizes) == 3 and max(sizes) <= 5_000_000
    assert restore(out, tmp_path / "back") == sorted(name for name, _ in files)
    for name, path in files:
        assert (tmp_path / "back" / name).read_bytes() == path.read_bytes()


def test_files_without_room_are_left_out_whole_and_named(files, tmp_path):
    from pieces import pack, restore

    out = tmp_path / "out"
    pack(files, out, 5_000_000, 3)  # replaced below
    gone = [("gone.json", tmp_path / "gone.json")]
    left = pack([*files[::-1], *gone], out, piece_bytes=5_000_000, pieces=2)
    assert left.keys() == {"large.bin", "gone.json"} and left["large.bin"] == "no room for 9.4 MB"
    assert [path.name for path in out.iterdir()] == ["results-0.zip"]
    assert restore(out, tmp_path / "back") == ["a/empty.log", "a/report.json"]


def test_names_that_lead_elsewhere_are_refused(tmp_path):
    from pieces import restore

    with zipfile.ZipFile(tmp_path / "results-0.zip", "w") as file:
        file.writestr("../outside", "x")
    with pytest.raises(ValueError, match="leads out"):
        restore(tmp_path, tmp_path / "back")
    assert not (tmp_path / "outside").exists()


# ---------------------------------------------------------------- parts


def kit_with(folder, seconds, **constants):
    import kit

    for name, value in constants.items():
        setattr(kit, name, value)
    (folder / "logs").mkdir(exist_ok=True)
    return kit.Kit(folder, time.monotonic() + seconds, kit.environment(None, folder))


def part(name, code):
    import kit

    return kit.Part(name, [sys.executable, "-c", code])


def test_a_part_that_fails_is_told_and_the_next_one_runs(tmp_path, capsys):
    made = kit_with(tmp_path, 60)
    assert made.execute(part("first", "import sys; print('out'); sys.exit('no such thing')"))
    assert made.execute(part("second", "print('fine')"))
    state = json.loads((tmp_path / "state.json").read_text())
    assert [state[name]["ended"] for name in state] == ["failed", "done"]
    assert "no such thing" in capsys.readouterr().out
    assert (tmp_path / "logs/second.log").read_text() == "fine\n"


GOES_ON = """
import pathlib, signal, sys, time
seen = pathlib.Path(r"{}")
if seen.exists():
    sys.exit(0)
def stop(*_):
    seen.write_text("stopped")
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
print("works", flush=True)
time.sleep(60)
"""


def test_a_part_is_asked_to_stop_at_the_deadline_and_goes_on_in_the_next_call(tmp_path, capsys):
    code = GOES_ON.format(tmp_path / "seen")
    assert not kit_with(tmp_path, 3, LEAST_SECONDS=1).execute(part("long", code))
    assert (tmp_path / "seen").read_text() == "stopped"
    assert "goes on in the next call" in capsys.readouterr().out
    assert kit_with(tmp_path, 60).execute(part("long", code))
    state = json.loads((tmp_path / "state.json").read_text())["long"]
    assert state["ended"] == "done" and state["calls"] == 2 and state["seconds"] > 2
    assert kit_with(tmp_path, 60).execute(part("long", "raise SystemExit(1)"))
    assert "long: done before" in capsys.readouterr().out


def test_a_part_that_does_not_stop_is_killed(tmp_path):
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    made = kit_with(tmp_path, 2, LEAST_SECONDS=1, STOP_SECONDS=1)
    start = time.monotonic()
    assert not made.execute(part("deaf", code)) and time.monotonic() - start < 30


def test_no_part_begins_shortly_before_the_end(tmp_path, capsys):
    assert not kit_with(tmp_path, 5).execute(part("late", "print('begun')"))
    assert "waits for the next call" in capsys.readouterr().out
    assert not (tmp_path / "logs/late.log").exists()


def test_commands_of_all_parts_are_understood(tmp_path, monkeypatch):
    import kit

    arguments = ["kit", "--out", str(tmp_path), "--set", "epochs=2", "--only", "01,02"]
    monkeypatch.setattr(sys, "argv", arguments)
    asked = []
    monkeypatch.setattr(kit, "call", lambda options: asked.append(options) or True)
    with pytest.raises(SystemExit):
        kit.main()
    found = {part.name: part.command[1:] for part in kit.parts(asked[0], tmp_path)}
    assert list(found)[:3] == ["machine", "tests", "series"]
    series = build_parser().parse_args(found.pop("series")[2:])
    assert (series.profile, series.device, series.only) == ("full", "cuda", "01,02")
    tests = [word for word in found.pop("tests") if word.endswith(".py")]
    assert len(tests) == 3 and all((ROOT / file).exists() for file in tests)
    for name, (script, *words) in found.items():
        text = (ROOT / script).read_text()
        for word in words:
            assert not word.startswith("--") or f'"{word}"' in text, (name, word)


@pytest.mark.slow
def test_results_of_a_call_come_back(tmp_path):
    """The machine and the first notebook, on the CPU."""
    command = [sys.executable, KIT / "kit.py", "--out", tmp_path / "out", "--device", "cpu"]
    command += ["--folder", tmp_path / "kit", "--profile", "smoke", "--only", "01"]
    done = subprocess.run(
        [*command, "--parts", "machine,series"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 parts have ended, failed: none" in done.stdout
    command = [*command, "--folder", tmp_path / "back", "--restore"]
    subprocess.run(command, check=True, capture_output=True)
    assert "gemm_float32_gflops" in (tmp_path / "back/logs/machine.log").read_text()
    assert (tmp_path / "back/run/notebooks/01_data_exploration.ipynb").exists()
    wrong = subprocess.run([*command[:-1], "--parts", "gpu"], capture_output=True, text=True)
    assert wrong.returncode == 1 and "no part is called gpu" in wrong.stderr


# ---------------------------------------------------------------- wheels


def test_what_an_image_lacks_is_carried_in_the_locked_version():
    import wheels

    on_312 = wheels.target("3.12")
    bare = wheels.missing({}, on_312)
    assert bare["papermill"] == wheels.locked(on_312)["papermill"]
    assert {"numpy", "ipykernel", "umap-learn", "pytest", "beartype", "aiohttp"} <= bare.keys()
    assert not {"torch", "torchvision", "jupyterlab", "sympy"} & bare.keys()
    assert "importlib-resources" not in bare  # of older Pythons
    complete = dict.fromkeys(bare, "")
    assert wheels.missing(complete, on_312) == {}


def test_versions_that_the_project_refuses_are_replaced():
    import wheels

    on_312 = wheels.target("3.12")
    have = dict.fromkeys(wheels.missing({}, on_312), "")
    assert wheels.missing(have | {"papermill": "99.0"}, on_312) == {}
    assert list(wheels.missing(have | {"papermill": "1.0"}, on_312)) == ["papermill"]


def test_lists_of_packages_are_read_as_pip_prints_them(tmp_path):
    import wheels

    (tmp_path / "image.txt").write_text("NumPy==2.5.2\ntorch==2.11.0+cu130\nabsl_py, pip.\n")
    assert wheels.image(tmp_path / "image.txt") == {
        "numpy": "2.5.2",
        "torch": "2.11.0+cu130",
        "absl-py": "",
        "pip": "",
    }
