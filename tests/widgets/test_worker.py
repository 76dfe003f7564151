"""Background jobs: one at a time, replaced by newer ones, stopped at a check."""

import threading

import pytest

from oasis_utils.widgets.worker import BackgroundWorker, Stopped, StopToken


@pytest.fixture
def worker():
    return BackgroundWorker()


class Slow:
    """A job that runs until it is stopped; `started` is set when it begins."""

    def __init__(self):
        self.started, self.end = threading.Event(), None

    def __call__(self, token):
        self.started.set()
        try:
            while True:
                token.check()
        except Stopped as stopped:
            self.end = "cancelled" if stopped.cancelled else "superseded"
            raise


def test_a_newer_job_takes_the_place_of_the_running_one(worker):
    slow, done = Slow(), []
    worker.submit(slow)
    assert slow.started.wait(5)
    worker.submit(lambda token: done.append("newer"))
    assert worker.wait(5.0)
    assert (slow.end, done) == ("superseded", ["newer"])


def test_jobs_that_still_wait_are_never_started(worker):
    slow, done = Slow(), []
    worker.submit(slow)
    assert slow.started.wait(5)
    for k in range(20):
        worker.submit(lambda token, k=k: done.append(k))
    assert worker.wait(5.0)
    assert done[-1] == 19 and done == sorted(set(done))


def test_cancel_stops_and_leaves_nothing(worker):
    slow, done = Slow(), []
    worker.submit(slow)
    assert slow.started.wait(5)
    worker.submit(lambda token: done.append("waiting"))
    worker.cancel()
    assert worker.wait(5.0) and not done
    worker.submit(lambda token: done.append("after"))
    assert worker.wait(5.0) and done == ["after"]


def test_all_jobs_share_one_thread_and_never_overlap(worker):
    names, running = set(), threading.Lock()

    def job(token):
        assert running.acquire(blocking=False)
        names.add(threading.current_thread().name)
        running.release()

    for _ in range(10):
        worker.submit(job)
        assert worker.wait(5.0)
    assert names == {"drawing"} and threading.current_thread().name not in names


def test_waiting_ends_without_an_answer(worker):
    worker.submit(slow := Slow())
    assert slow.started.wait(5)
    assert not worker.wait(0.01)
    worker.cancel()
    assert worker.wait(5.0)


def test_the_first_reason_to_stop_counts():
    token = StopToken()
    token.check()
    token.stop(cancelled=True)
    token.stop(cancelled=False)
    with pytest.raises(Stopped, match="cancelled"):
        token.check()
