"""Waiting threads leave the cores to other processes."""

import os
import subprocess
import sys
import threading
import time

import pytest

from oasis_utils.runtime import sharing
from oasis_utils.runtime.sharing import IdleTeams, Reading, adapt, cores_of_others, teams_needed

linux = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")

# every thread of this process: those of OpenMP, too
COUNTED = """
import os, time
import torch
from oasis_utils.runtime.sharing import IdleTeams
def threads():
    return len(os.listdir("/proc/self/task"))
def settled(expected):
    end = time.monotonic() + 30
    while threads() != expected and time.monotonic() < end:
        time.sleep(0.01)
    return threads()
work = lambda: torch.ones(2**20).exp_()
work()
team, before = torch.get_num_threads(), threads()
teams = IdleTeams(2, work)
teams.start()
during = settled(before + 2 * team)
teams.stop()
print(team, before, during, settled(before))
"""


@linux
def test_idle_teams_are_threads_of_openmp_that_end_again():
    """Libgomp counts them: two teams, each of the thread that starts it and of its own."""
    done = subprocess.run(
        [sys.executable, "-c", COUNTED],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    team, before, during, after = map(int, done.stdout.split())
    assert during == before + 2 * team
    assert after == before


@pytest.mark.parametrize(
    ("threads", "cores", "teams"), [(1, 2, 0), (2, 2, 1), (2, 4, 3), (16, 32, 2), (32, 32, 1)]
)
def test_teams_make_more_threads_than_cores(threads, cores, teams):
    assert teams_needed(threads, cores) == teams
    if teams:
        assert threads + teams * (threads - 1) > cores
        assert teams == 1 or threads + (teams - 1) * (threads - 1) <= cores


def test_the_load_of_others_is_what_this_process_did_not_use():
    before, after = Reading(10.0, 100.0, 5.0), Reading(12.0, 104.0, 6.0)
    assert cores_of_others(before, after) == pytest.approx(1.5)
    assert cores_of_others(before, Reading(12.0, 100.0, 5.5)) == 0


@linux
def test_only_the_cores_of_this_process_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {1, 3})
    tick = os.sysconf("SC_CLK_TCK")
    lines = ["cpu  9 9 9 9 9 9 9 9 9 9"] + [
        f"cpu{number} {100 * number * tick} 0 0 {7 * tick} {5 * tick} 0 0 0 0 0"
        for number in range(5)
    ]
    assert sharing.read_load("\n".join(lines)).busy == 400


def test_teams_come_and_go_with_the_load():
    started = threading.Semaphore(0)
    teams = IdleTeams(2, started.release)
    seen = []
    for contested in (0.1, 0.4, 0.9, 0.4, 0.1, 0.9):
        adapt(teams, contested)
        seen.append(teams.present)
    assert seen == [False, False, True, True, False, True]
    for _ in range(4):
        assert started.acquire(timeout=30)
    teams.stop()


# losses of a few training steps, alone and beside idle teams
COMPUTED = """
import torch
from oasis_utils.config import load_profile
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime.sharing import IdleTeams
from oasis_utils.training.trainer import Trainer
def losses():
    torch.manual_seed(0)
    smoke = load_profile("smoke")
    trainer = Trainer(VQVAE(smoke.vqvae).train(), smoke.vqvae_training, total_steps=100)
    side = smoke.vqvae.image_size
    return [float(trainer.step({"images": torch.rand(8, 1, side, side)})["loss"]) for _ in range(5)]
teams = IdleTeams(2, lambda: torch.ones(2**20).exp_())
alone = losses()
teams.start()
print(alone == losses(), torch.get_num_threads(), alone[0] != alone[-1])
"""


@linux
def test_idle_teams_change_no_result():
    done = subprocess.run(
        [sys.executable, "-c", COMPUTED],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    same, threads, trained = done.stdout.split()
    assert (same, threads, trained) == ("True", "2", "True")


@linux
def test_a_load_that_cannot_be_read_ends_the_watch(monkeypatch):
    def refused():
        raise PermissionError("/proc/stat")

    monkeypatch.setattr(sharing, "read_load", refused)
    teams = IdleTeams(1, lambda: None)
    teams.start()
    sharing._watch(teams, 0)
    assert not teams.present
    assert sharing.load_in_words(0.0) == ""


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_a_setting_of_the_user_wins(name):
    assert not sharing.share_cores({name: "1"})


@linux
def test_one_watch_a_process(monkeypatch):
    import torch

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(sharing, "_WATCHED", threading.Lock())
    begun = []
    monkeypatch.setattr(sharing, "_watch", lambda teams, spare: begun.append((teams.count, spare)))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3})
    assert sharing.share_cores({})
    assert sharing.share_cores({})
    end = time.monotonic() + 30
    while not begun and time.monotonic() < end:
        time.sleep(0.01)
    assert begun == [(3, 2)]


@linux
def test_the_banner_tells_of_a_busy_machine(monkeypatch):
    clock_busy_own = [(0.0, 0.0, 0.0), (1.0, 1.7, 0.2), (2.0, 2.0, 0.2), (3.0, 2.2, 0.2)]
    readings = iter([Reading(*values) for values in clock_busy_own])
    monkeypatch.setattr(sharing, "read_load", lambda: next(readings))
    assert sharing.load_in_words(0.0) == "other processes use 1.5 cores"
    assert sharing.load_in_words(0.0) == ""
