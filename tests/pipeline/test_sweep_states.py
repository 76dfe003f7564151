"""The state of each run, the local engine, and that only what is missing runs."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from command_line import oasis
from small_sweeps import fail, finish, planned, sweep_file, with_commands

from oasis_utils.pipeline.sweep.job import StageFailed, StageJob
from oasis_utils.pipeline.sweep.local import run_here
from oasis_utils.pipeline.sweep.state import JobBook, State, queue, states
from oasis_utils.runtime import exclusive, write_json

THREE = """
profile: smoke
grid: {n_codes: [8, 16, 32]}
stages: [01, 02, 03]
"""


def words(runs, book):
    return [(state.word, state.stage) for state in states(runs, book).values()]


@pytest.fixture
def runs(tmp_path):
    """Three runs whose slices are prepared."""
    finish(planned(sweep_file(tmp_path, THREE))[0].needs)
    return planned(sweep_file(tmp_path, THREE))


def test_states_come_from_the_run_folders(runs, tmp_path):
    book = JobBook(tmp_path / "runs", None)
    assert words(runs, book) == [("missing", 0)] * 3
    finish(runs[0])
    finish(runs[1], 2)
    finish(runs[2], 1)
    fail(runs[2], 1, "02_train_vqvae, cell 3: ValueError: no")
    assert words(runs, book) == [("done", 3), ("missing", 2), ("failed", 1)]
    where = states(runs, book)[runs[2].name].where
    assert where == "stage 02: 02_train_vqvae, cell 3: ValueError: no"
    (runs[0].folder.root / "checkpoints" / "vqvae.safetensors").unlink()
    assert words(runs, book)[0] == ("stale", 1)
    finish(runs[2])  # a log of a failure before does not count
    assert words(runs, book)[2] == ("done", 3)


def test_other_parameters_make_finished_runs_stale(runs, tmp_path):
    finish(runs[0])
    changed = planned(sweep_file(tmp_path, THREE, parameters="{epochs: 3}"))
    assert words(changed, JobBook(tmp_path, None))[0] == ("stale", 1)  # notebook 01 has no epochs


def test_a_run_in_use_is_running(runs, tmp_path):
    finish(runs[0], 1)
    code = "import sys, time; from pathlib import Path; from oasis_utils.runtime import exclusive\n"
    code += "with exclusive(Path(sys.argv[1]), 'x'): print('held', flush=True); time.sleep(60)"
    lock = str(runs[0].folder.lock)
    holder = subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        assert words(runs, JobBook(tmp_path, None))[0] == ("running", 1)
    finally:
        holder.kill()
        holder.communicate()
    assert words(runs, JobBook(tmp_path, None))[0] == ("missing", 1)


def test_failed_slices_are_the_reason_of_their_runs(tmp_path):
    runs = planned(sweep_file(tmp_path, THREE))
    fail(runs[0].needs, 0, "no disk")
    found = states(runs, JobBook(tmp_path, None))
    assert set(found.values()) == {State("failed", 0, "data/seed=0, stage 01: no disk")}


# ---------------------------------------------------------------- jobs in the queue of Slurm


def test_jobs_in_the_queue_are_not_missing(runs, tmp_path):
    write_json(tmp_path / "jobs.json", {runs[0].name: ["7_0", "8_0"], runs[1].name: ["7_1", "8_1"]})
    book = JobBook(tmp_path, {"8_0": "PENDING", "7_1": "RUNNING", "8_1": "PENDING", "9": "RUNNING"})
    assert words(runs, book) == [("waiting", 0), ("running", 0), ("missing", 0)]
    finish(runs[0])
    assert words(runs, book)[0] == ("done", 3)


def test_a_new_submission_replaces_the_jobs_of_a_run(tmp_path):
    book = JobBook(tmp_path, None)
    for job, first in (("1_0", True), ("2_0", False), ("5", True)):
        book.add("run", job, first)
    book.save()
    assert JobBook(tmp_path, {"5": "PENDING", "2_0": "PENDING"}).queued("run") == ["5"]
    book.path.write_text("damaged")
    assert JobBook(tmp_path, None).jobs == {}


def test_the_queue_is_read_and_its_absence_is_an_error_only_where_it_is_needed(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    program = tmp_path / "squeue"
    program.write_text("#!/bin/sh\necho '12_0 RUNNING'\necho '13 PENDING'\n")
    program.chmod(0o755)
    assert queue(needed=True) == {"12_0": "RUNNING", "13": "PENDING"}
    program.write_text("#!/bin/sh\necho 'no controller' >&2\nexit 1\n")
    assert queue() is None
    with pytest.raises(RuntimeError, match="Slurm does not answer: no controller"):
        queue(needed=True)


# ---------------------------------------------------------------- jobs and the local engine


def job(run, tmp_path, attempts=1):
    return StageJob(run.stages[0], tmp_path, attempts)


def test_a_job_is_tried_again_and_its_log_keeps_all_attempts(runs, tmp_path):
    script = "test -e second && echo fine || { touch second; echo 'error: too bad'; exit 1; }"
    run = with_commands(runs[0], [script, "", ""])
    with pytest.raises(StageFailed, match="^too bad$"):
        job(run, tmp_path)()
    (tmp_path / "second").unlink()
    job(run, tmp_path, attempts=2)()
    log = run.stages[0].log.read_text()
    assert log.count("--- ") == 3 and log.index("too bad") < log.index("fine")


def test_wrong_usage_is_not_tried_again(runs, tmp_path):
    run = with_commands(runs[0], ["echo tried; exit 2", "", ""])
    with pytest.raises(StageFailed):
        job(run, tmp_path, attempts=3)()
    assert run.stages[0].log.read_text().count("tried") == 1


def test_a_log_that_cannot_be_written_is_the_reason(runs, tmp_path):
    run = with_commands(runs[0], ["true", "", ""])
    (tmp_path / "runs" / "logs").write_text("in the way")
    with pytest.raises(StageFailed, match="logs"):
        job(run, tmp_path, attempts=3)()


def test_a_stopped_job_ends_its_command_and_is_not_tried_again(runs, tmp_path):
    run = with_commands(
        runs[0], ["trap 'echo ended; exit 1' TERM; echo up; while :; do sleep 0.1; done", "", ""]
    )
    working = job(run, tmp_path, attempts=3)

    def work():
        with pytest.raises(StageFailed):
            working()

    thread = threading.Thread(target=work)
    thread.start()
    while not run.stages[0].log.exists() or "up" not in run.stages[0].log.read_text():
        time.sleep(0.05)
    working.stop()
    thread.join(10)
    text = run.stages[0].log.read_text()
    assert not thread.is_alive() and text.count("--- ") == 1 and text.endswith("ended\n")


def test_a_failure_ends_its_own_run_only(runs, tmp_path, capsys):
    made = [
        with_commands(run, [f"echo {run.varied['n_codes']}-{i} >> order" for i in range(3)])
        for run in runs
    ]
    made[1] = with_commands(
        runs[1], ["echo 'error: bad luck'; exit 1", "touch never", "touch never"]
    )
    here = tmp_path / "work"
    here.mkdir()
    for run in made:
        for stage in run.stages:
            stage.command[2] = f"cd {here} && " + stage.command[2]
    run_here(made, {made[0].name: 0, made[1].name: 0, made[2].name: 1}, 1, 1)
    assert (here / "order").read_text().split() == ["8-0", "8-1", "8-2", "32-1", "32-2"]
    assert not (here / "never").exists()
    assert f"{made[1].name} · stage 01 failed: bad luck" in capsys.readouterr().out


def test_several_runs_work_at_once(runs, tmp_path):
    wait = "touch {0}/{1}; until test -e {0}/{2}; do sleep 0.05; done"
    made = [
        with_commands(runs[i], [wait.format(tmp_path, name, other), "true", "true"])
        for i, (name, other) in enumerate((("a", "b"), ("b", "a")))
    ]
    run_here(made, dict.fromkeys((run.name for run in made), 0), 2, 1)  # else it never ends


# ---------------------------------------------------------------- with notebooks


def test_ctrl_c_stops_a_local_sweep_and_leaves_no_process(tmp_path):
    path = sweep_file(tmp_path)
    command = [sys.executable, "-m", "oasis_utils", "sweep", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "runs" / "logs" / "data" / "seed=0" / "01.log"
    end = time.monotonic() + 60
    while time.monotonic() < end and not (log.exists() and "01_data" in log.read_text()):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "run the same command again to continue" in errors
    assert "stopped" in log.read_text()
    with exclusive(tmp_path / "runs" / "data" / "seed=0" / ".lock", "x"):
        pass  # no process works there any more


@pytest.mark.slow
def test_a_local_sweep_of_which_one_run_fails_ends_with_the_table(tmp_path, brains):
    text = "profile: smoke\ndevice: cpu\nretries: 0\nstages: ['01,02']\nparameters: {epochs: 1}\n"
    path = sweep_file(tmp_path, text + "grid: {n_codes: [1, 16]}", data=brains.folder)
    done = oasis("sweep", path)
    assert done.returncode == 1 and "not done: 1 run of 2" in done.stderr
    rows = [line.split()[:3] for line in done.stdout.splitlines()]
    assert ["1", "0", "failed"] in rows and ["16", "0", "done"] in rows
    assert "ValueError: n_codes must be at least 2" in done.stdout
    assert (tmp_path / "runs" / "sweep.png").stat().st_size > 5000
    weights = tmp_path / "runs" / "n_codes=16,seed=0" / "checkpoints" / "vqvae.safetensors"
    before = weights.stat().st_mtime_ns
    again = oasis("sweep", path)
    assert "small, 2 runs: 1 done, 1 failed" in again.stdout and again.returncode == 1
    assert "n_codes=16,seed=0 · stage" not in again.stdout
    assert weights.stat().st_mtime_ns == before
