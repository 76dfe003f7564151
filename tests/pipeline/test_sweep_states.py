"""The state of each run, the local engine, and that only what is missing runs."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from command_line import oasis
from small_sweeps import fail, finish, planned, sweep_file, with_commands

from oasis_utils.pipeline.sweep.job import StageFailed, StageJob
from oasis_utils.pipeline.sweep.local import run_here
from oasis_utils.pipeline.sweep.state import State, SubmittedJobs, queue, states
from oasis_utils.runtime import exclusive, write_json

THREE = """
profile: smoke
grid: {n_codes: [8, 16, 32]}
stages: [01, 02, 03]
"""


def words(runs, jobs):
    return [(state.word, state.stage) for state in states(runs, jobs).values()]


@pytest.fixture
def runs(tmp_path):
    """Three runs whose slices are prepared."""
    finish(planned(sweep_file(tmp_path, THREE))[0].preparation)
    return planned(sweep_file(tmp_path, THREE))


def test_states_come_from_the_run_folders(runs, tmp_path):
    jobs = SubmittedJobs(tmp_path / "runs", None)
    assert words(runs, jobs) == [("missing", 0)] * 3
    finish(runs[0])
    finish(runs[1], 2)
    finish(runs[2], 1)
    fail(runs[2], 1, "02_train_vqvae, cell 3: ValueError: no")
    assert words(runs, jobs) == [("done", 3), ("missing", 2), ("failed", 1)]
    where = states(runs, jobs)[runs[2].name].where
    assert where == "stage 02: 02_train_vqvae, cell 3: ValueError: no"
    (runs[0].folder.root / "checkpoints" / "vqvae.safetensors").unlink()
    assert words(runs, jobs)[0] == ("stale", 1)
    finish(runs[2])  # a log of a failure before does not count
    assert words(runs, jobs)[2] == ("done", 3)


def test_other_parameters_make_finished_runs_stale(runs, tmp_path):
    finish(runs[0])
    changed = planned(sweep_file(tmp_path, THREE, parameters="{epochs: 3}"))
    assert words(changed, SubmittedJobs(tmp_path, None))[0] == (
        "stale",
        1,
    )  # notebook 01 has no epochs


def test_a_run_in_use_is_running(runs, tmp_path):
    finish(runs[0], 1)
    code = "import sys, time; from pathlib import Path; from oasis_utils.runtime import exclusive\n"
    code += "with exclusive(Path(sys.argv[1]), 'x'): print('held', flush=True); time.sleep(60)"
    lock = str(runs[0].folder.lock)
    holder = subprocess.Popen([sys.executable, "-c", code, lock], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        assert words(runs, SubmittedJobs(tmp_path, None))[0] == ("running", 1)
    finally:
        holder.kill()
        holder.communicate()
    assert words(runs, SubmittedJobs(tmp_path, None))[0] == ("missing", 1)


def test_failed_slices_are_the_reason_of_their_runs(tmp_path):
    runs = planned(sweep_file(tmp_path, THREE))
    fail(runs[0].preparation, 0, "no disk")
    found = states(runs, SubmittedJobs(tmp_path, None))
    assert set(found.values()) == {State("failed", 0, "data/seed=0, stage 01: no disk")}


# ---------------------------------------------------------------- jobs in the queue of Slurm


def test_jobs_in_the_queue_are_not_missing(runs, tmp_path):
    write_json(tmp_path / "jobs.json", {runs[0].name: ["7_0", "8_0"], runs[1].name: ["7_1", "8_1"]})
    jobs = SubmittedJobs(
        tmp_path, {"8_0": "PENDING", "7_1": "RUNNING", "8_1": "PENDING", "9": "RUNNING"}
    )
    assert words(runs, jobs) == [("waiting", 0), ("running", 0), ("missing", 0)]
    finish(runs[0])
    assert words(runs, jobs)[0] == ("done", 3)


def test_a_job_that_left_before_its_stage_began_is_named(tmp_path):
    runs = planned(sweep_file(tmp_path, THREE))
    finish(runs[0].preparation)
    runs = planned(sweep_file(tmp_path, THREE))
    for run in runs[:2]:
        finish(run, 1)
    ids = {runs[0].name: ["7_0", "8_0", "9_0"], runs[1].name: ["8_1", "9_1"]}
    write_json(tmp_path / "jobs.json", ids | {runs[2].name: ["7_2"]})  # its others were refused
    assert words(runs, SubmittedJobs(tmp_path, None)) == [("missing", 1)] * 2 + [("missing", 0)]
    found = states(runs, SubmittedJobs(tmp_path, {}))
    why = f"stage 02: job 8_{{}} left the queue before its stage began: see {tmp_path / 'slurm'}"
    assert found[runs[0].name] == State("failed", 1, why.format(0))
    assert found[runs[1].name] == State("failed", 1, why.format(1))
    assert found[runs[2].name] == State("missing", 0)
    fail(runs[0], 1, "no disk")  # it began
    assert states(runs, SubmittedJobs(tmp_path, {}))[runs[0].name].where == "stage 02: no disk"


def test_a_preparation_that_never_began_is_the_reason_of_its_runs(tmp_path):
    runs = planned(sweep_file(tmp_path, THREE))
    lost = {runs[0].preparation.name: ["5"], **{run.name: ["6", "7", "8"] for run in runs}}
    write_json(tmp_path / "jobs.json", lost)
    found = states(runs, SubmittedJobs(tmp_path, {}))
    begins = "data/seed=0, stage 01: job 5 left the queue"
    assert all(state.where.startswith(begins) for state in found.values())


def test_a_new_submission_replaces_the_jobs_of_a_run(tmp_path):
    jobs = SubmittedJobs(tmp_path, None)
    for job, first in (("1_0", True), ("2_0", False), ("5", True)):
        jobs.add("run", job, first)
    jobs.save()
    assert SubmittedJobs(tmp_path, {"5": "PENDING", "2_0": "PENDING"}).queued("run") == ["5"]
    jobs.path.write_text("damaged")
    assert SubmittedJobs(tmp_path, None).jobs == {}


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


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def says(run, word):
    log = run.stages[0].log
    return log.exists() and word in log.read_text()


def zombie(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


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


def test_a_command_that_was_killed_says_so(runs, tmp_path):
    with pytest.raises(StageFailed, match=r"^ended by signal 9 \(out of memory\?\)$"):
        job(with_commands(runs[0], ["kill -9 $$", "", ""]), tmp_path)()
    with pytest.raises(StageFailed, match="^ended by signal 15$"):
        job(with_commands(runs[0], ["kill -15 $$", "", ""]), tmp_path)()


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
    until(lambda: says(run, "up"))
    working.request_stop()
    working.wait(time.monotonic() + 30)
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
    wait = (
        "touch {0}/{1}; for i in $(seq 200); do test -e {0}/{2} && exit; sleep 0.1; done;"
        " echo timeout; exit 1"
    )
    made = [
        with_commands(runs[i], [wait.format(tmp_path, name, other), "true", "true"])
        for i, (name, other) in enumerate((("a", "b"), ("b", "a")))
    ]
    run_here(made, dict.fromkeys((run.name for run in made), 0), 2, 1)
    assert [run.stages[0].log.read_text().count("timeout") for run in made] == [0, 0]


def stopped(made, ask, times):
    """Run two runs at once, and ask this process to stop once both are at work."""

    def work():
        until(lambda: all(says(run, "up") for run in made))
        for number in range(times):
            time.sleep(0.4 * number)
            os.kill(os.getpid(), ask)

    thread = threading.Thread(target=work)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_here(made, dict.fromkeys((run.name for run in made), 0), 2, 1)
    thread.join(60)
    return [run.stages[0].log.read_text() for run in made]


@pytest.mark.parametrize("ask", [signal.SIGINT, signal.SIGHUP])
def test_all_jobs_are_asked_to_stop_before_any_is_waited_for(ask, runs, tmp_path):
    """Each ends only once the other was asked, and a second request changes nothing."""
    script = (
        "trap 'touch {0}/{1}; i=0; until test -e {0}/{2} || test $i = 200; do sleep 0.1;"
        " i=$((i+1)); done; sleep 1.5; test $i = 200 || echo ended; exit 1' TERM;"
        " echo up; for i in $(seq 600); do sleep 0.1; done"
    )
    made = [
        with_commands(run, [script.format(tmp_path, name, other), "touch never", ""])
        for run, name, other in zip(runs, "ab", "ba", strict=False)
    ]
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)
    assert [log.endswith("ended\n") for log in stopped(made, ask, 2)] == [True, True]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)) == before
    assert not any(run.stages[1].log.exists() for run in made)


def test_what_does_not_stop_is_killed_with_all_it_started(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("oasis_utils.pipeline.sweep.local.STOP_SECONDS", 0.5)
    script = "trap '' TERM; setsid sleep 300 & echo $! > {}; echo up; sleep 300"
    pids = [tmp_path / "a", tmp_path / "b"]
    made = [
        with_commands(run, [script.format(pid), "", ""])
        for run, pid in zip(runs, pids, strict=False)
    ]
    start = time.monotonic()
    logs = stopped(made, signal.SIGINT, 1)
    assert time.monotonic() - start < 60 and not any("signal 9" in log for log in logs)
    left = [int(pid.read_text()) for pid in pids]
    until(lambda: not any(psutil.pid_exists(pid) and not zombie(pid) for pid in left))


def test_a_hangup_that_is_ignored_stays_so(runs, tmp_path):
    """As under nohup."""
    made = with_commands(runs[0], [f"kill -HUP {os.getpid()}; touch {tmp_path}/after", "", ""])
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run_here([made], {made.name: 0}, 1, 1)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (tmp_path / "after").exists()


# ---------------------------------------------------------------- with notebooks


def test_ctrl_c_stops_a_local_sweep_and_leaves_no_process(tmp_path):
    path = sweep_file(tmp_path, seeds="[0, 1]")
    command = [sys.executable, "-m", "oasis_utils", "sweep", str(path), "--jobs", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    logs = [tmp_path / "runs" / "logs" / "data" / f"seed={seed}" / "01.log" for seed in (0, 1)]
    until(lambda: all(log.exists() and "01_data" in log.read_text() for log in logs))
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "run the same command again to continue" in errors
    assert all("stopped" in log.read_text() for log in logs)
    for seed in (0, 1):
        with exclusive(tmp_path / "runs" / "data" / f"seed={seed}" / ".lock", "x"):
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
