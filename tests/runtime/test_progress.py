"""The progress line."""

import time

import pytest

from oasis_utils.runtime import (
    Progress,
    clock,
)


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
