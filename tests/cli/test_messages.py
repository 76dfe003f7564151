"""Every error of a command is one printable line, in any encoding; --debug shows the traceback."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from test_cli import ARGUMENTS, COMMANDS

from oasis_utils.cli.messages import in_words
from oasis_utils.cli.parser import main
from oasis_utils.runtime import StorageError


class Foreign(Exception):
    """An exception of a library, which derives from nothing that `main` knows."""


def fails_with(error):
    def fail(_args):
        raise error

    return fail


def unforeseen():
    """{name: a function that fails inside a library or an operation of Python}."""
    return {
        "KeyError": lambda: {}["format"],
        "TypeError": lambda: len(3),
        "AttributeError": lambda: None.shape,
        "IndexError": lambda: [][1],
        "OverflowError": lambda: np.int64(2**70),
        "JSONDecodeError": lambda: json.loads("{"),
        "UnicodeDecodeError": lambda: b"\xff".decode(),
        "ZeroDivisionError": lambda: 1 / 0,
        "AssertionError": lambda: np.testing.assert_equal(1, 2),
        "RecursionError": lambda: json.loads("[" * 100_000),
    }


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", unforeseen())
def test_what_nobody_foresaw_is_one_line_with_its_place(monkeypatch, capsys, command, name):
    monkeypatch.setattr(f"oasis_utils.cli.{command}.{command}", lambda _args: unforeseen()[name]())
    assert main([command, *ARGUMENTS[command]]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "Traceback" not in line
    assert line.startswith(f"error: unexpected {name} at oasis_utils/cli/parser.py:")
    assert "--debug shows the traceback" in line
    try:
        main(["--debug", command, *ARGUMENTS[command]])
    except Exception as error:
        assert type(error).__name__ == name
    else:
        raise AssertionError("--debug raises the error")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyError("a"), "'a'"),
        (Foreign(), "Foreign"),
        (EOFError(), "EOFError"),
        (OSError(), "OSError"),
        (StorageError("no room"), "no room"),
        (FileNotFoundError(2, "No such file", "a/b.npz"), "a/b.npz: no such file or folder: check"),
        (PermissionError(13, "Permission denied", b"a"), "a: no permission"),
        (OSError(5, "Input/output error", "x"), "x: the disk or the network drive fails"),
        (OSError(99, "Strange", "x"), "x: Strange"),
        (ValueError("one\ntwo\x1b[31m\x00three\u202e"), r"one two\x1b[31m\x00three\u202e"),
        (ValueError("ä …"), "ä …"),
    ],
)
def test_meant_messages_are_kept_and_files_are_named(monkeypatch, capsys, error, words):
    monkeypatch.setattr("oasis_utils.cli.report.report", fails_with(error))
    assert main(["report", "none"]) == 1
    line = capsys.readouterr().err
    assert line.startswith(f"error: {words}") and line.count("\n") == 1


def test_exhausted_memory_says_what_helps():
    with pytest.raises(MemoryError) as caught:
        np.zeros(2**58, np.uint8)
    line = in_words(caught.value)
    assert "the memory is exhausted (Unable to allocate" in line and "smaller images" in line


def test_a_write_without_a_name_has_advice():
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match="No space left") as caught:
        os.write(full, b"x")
    os.close(full)
    assert in_words(caught.value) == "cannot write: the disk is full: free some space"


SAY = """
import sys
from oasis_utils.cli import parser, report
def say(args):
    print("… ü " + args.run)
    print("… ü", file=sys.stderr)
    if args.out:
        raise ValueError("… ü " + args.run)
report.report = say
sys.exit(parser.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8", "cp1252", "utf-8:strict"])
@pytest.mark.parametrize("name", ["ü", b"\xff\xfe"])
def test_a_terminal_of_another_encoding_shows_escapes(encoding, name):
    for more, code in ([], 0), (["--out", "x"], 1):
        done = subprocess.run(
            [sys.executable, "-c", SAY, "report", name, *more],
            env=os.environ | {"PYTHONIOENCODING": encoding},
            capture_output=True,
        )
        assert done.returncode == code, done.stderr
        assert b"Traceback" not in done.stderr and done.stdout.count(b"\n") == 1
        if encoding == "ascii":
            assert done.stdout.startswith(rb"\u2026 \xfc ")


def test_a_reader_that_has_enough_gives_no_traceback():
    command = [sys.executable, "-c", SAY.replace('"… ü "', '"x" * 1_000_000'), "report", "x"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 1


def test_closed_streams_and_a_deleted_folder_end_in_order(tmp_path):
    words = f"{sys.executable} -m oasis_utils prepare {tmp_path}/none --out {tmp_path}/out"
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        done = subprocess.run(["sh", "-c", f"{words} {closed}"], capture_output=True, text=True)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "unexpected" not in done.stderr
    (tmp_path / "gone").mkdir()
    done = subprocess.run(
        ["sh", "-c", f"cd {tmp_path}/gone && rmdir ../gone && {words}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == "error: the working folder was deleted: change to another one\n"
