"""Hostile and damaged inputs: a named error or a right result, in bounded memory and time.

Nothing else on the disk changes. Every builder is one case; its docstring says what is wrong.
"""

import re
import shutil

import pytest
from attacks import (
    archives,
    arrays,
    caches,
    checkpoints,
    options,
    picture_files,
    reports,
    special_files,
    tables,
    volumes,
)
from attacks.files import tree
from attacks.harness import CASES, COMMANDS, MAX_BYTES, MAX_INPUT, MAX_SECONDS, contents, run

MODULES = (
    archives,
    arrays,
    caches,
    checkpoints,
    options,
    picture_files,
    reports,
    special_files,
    tables,
    volumes,
)
MAX_MESSAGE = 1000  # characters of an error
PROGRESS = re.compile(r"^.* [█·]+ .*\n", re.MULTILINE)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """What commands need beside the attack: a tree of slices and a run."""
    folder = tmp_path_factory.mktemp("sound")
    tree(folder / "tree")
    checkpoints.sound_run(folder / "run")
    return folder


def words_of(case, folder, sound):
    places = {
        "DATA": folder / "data",
        "OUT": folder / "out",
        "SOURCE": sound / "tree",
        "RUN": sound / "run",
    }
    words = [*COMMANDS[case.command].split(), *case.options]
    pattern = re.compile(r"^(DATA|OUT|SOURCE|RUN)")
    return [pattern.sub(lambda match: str(places[match[1]]), word) for word in words]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_attack(case, sound, tmp_path):
    case.build(tmp_path / "data")
    before, around = contents(tmp_path), contents(sound)
    assert sum(len(c) for c in before.values() if isinstance(c, bytes)) <= MAX_INPUT
    outcome = run(words_of(case, tmp_path, sound))
    after = {name: c for name, c in contents(tmp_path).items() if name.split("/")[0] != "out"}
    if case.command == "again" and case.error is None:
        before = after  # the cache is made again
    assert (after, contents(sound)) == (before, around)
    message = PROGRESS.sub("", outcome.err)
    if case.error is None:
        assert (outcome.code, message) == (0, "")
    else:
        assert outcome.code in (1, 2) and re.search(case.error, message), message
        assert re.fullmatch(r"error: [^\n]+\n", message) and len(message) <= MAX_MESSAGE
        assert message[:-1].isprintable() and "error: unexpected " not in message
    assert outcome.peak <= MAX_BYTES and outcome.seconds <= MAX_SECONDS


def test_every_case_is_described_once():
    assert len(CASES) >= 120 and len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        text = (case.build.__doc__ or "").strip()
        assert text.endswith(".") and "\n" not in text and len(text) < 100, case.name
    assert {case.build.__module__ for case in CASES} == {module.__name__ for module in MODULES}


def test_the_sound_inputs_are_right(sound, tmp_path):
    """The attacks differ from these by what they attack only."""
    shutil.copytree(sound / "tree", tmp_path / "data")
    words = ["prepare", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--size", "32"]
    assert run(words).code == 0
    words = ["sample", "--run", str(sound / "run"), "--n", "2", "--out", str(tmp_path / "new.npz")]
    assert run(words).code == 0
