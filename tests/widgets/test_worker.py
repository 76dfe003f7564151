"""Background drawing: one at a time, the newest wins, what runs can be stopped, errors do not end
the thread.
"""

import threading

import pytest

from oasis_utils.widgets.worker import Latest, Stopped, Ticket


@pytest.fixture
def latest():
    return Latest()


class Slow:
    """A job that runs until it is stopped, and says when it started."""

    def __init__(self):
        self.started, self.end = threading.Event(), None

    def __call__(self, ticket):
        self.started.set()
        try:
            while True:
                ticket.check()
        except Stopped as stopped:
            self.end = "cancelled" if stopped.cancelled else "superseded"
            raise


def test_a_newer_job_takes_the_place_of_the_running_one(latest):
    slow, done = Slow(), []
    latest.submit(slow)
    assert slow.started.wait(5)
    latest.submit(lambda ticket: done.append("newer"))
    assert latest.wait(5.0)
    assert (slow.end, done) == ("superseded", ["newer"])


def test_jobs_that_still_wait_are_never_started(latest):
    slow, done = Slow(), []
    latest.submit(slow)
    assert slow.started.wait(5)
    for k in range(20):
        latest.submit(lambda ticket, k=k: done.append(k))
    assert latest.wait(5.0)
    assert done[-1] == 19 and done == sorted(set(done))


def test_cancel_stops_and_leaves_nothing(latest):
    slow, done = Slow(), []
    latest.submit(slow)
    assert slow.started.wait(5)
    latest.submit(lambda ticket: done.append("waiting"))
    latest.cancel()
    assert latest.wait(5.0) and not done
    latest.submit(lambda ticket: done.append("after"))
    assert latest.wait(5.0) and done == ["after"]


def test_all_jobs_share_one_thread_and_never_overlap(latest):
    names, running = set(), threading.Lock()

    def job(ticket):
        assert running.acquire(blocking=False)
        names.add(threading.current_thread().name)
        running.release()

    for _ in range(10):
        latest.submit(job)
        assert latest.wait(5.0)
    assert names == {"drawing"} and threading.current_thread().name not in names


def test_waiting_ends_without_an_answer(latest):
    latest.submit(slow := Slow())
    assert slow.started.wait(5)
    assert not latest.wait(0.01)
    latest.cancel()
    assert latest.wait(5.0)


def test_the_first_reason_to_stop_counts():
    ticket = Ticket()
    ticket.check()
    ticket.stop(cancelled=True)
    ticket.stop(cancelled=False)
    with pytest.raises(Stopped, match="cancelled"):
        ticket.check()
