"""Sweeps on a real Slurm of one node: order, failures, requeueing, and only what is missing."""

import json
import re
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from one_node import missing, one_node
from small_sweeps import planned, sweep_file, with_commands

from oasis_utils.cli.parser import main
from oasis_utils.pipeline.sweep.cluster import submit
from oasis_utils.pipeline.sweep.description import read_sweep
from oasis_utils.pipeline.sweep.plan import preparations
from oasis_utils.pipeline.sweep.state import SubmittedJobs, queue, states

pytest.importorskip("submitit", reason="needs submitit: pip install -e '.[slurm]'")
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(missing()),
        reason=f"needs Slurm, which Debian has in slurm-wlm and munge: no {', '.join(missing())}",
    ),
]
STAGES = """
profile: smoke
device: cpu
retries: 0
grid: {n_codes: [8, 16, 32]}
stages: [01, 02, 03]
slurm: {time: 5, cpus_per_task: 1, setup: [export OMP_NUM_THREADS=1]}
"""
NOTEBOOKS = """
name: four
profile: smoke
device: cpu
retries: 0
grid: {n_codes: [8, 1, 16, 32]}
parameters: {epochs: 1}
stages: [01, 02]
slurm: {time: 10, cpus_per_task: 1, setup: [export OMP_NUM_THREADS=1]}
"""


@pytest.fixture(scope="module")
def cluster():
    """The environment of the cluster."""
    with one_node() as environment:
        yield environment


@pytest.fixture
def slurm(cluster, monkeypatch):
    """This process sees the cluster, whose queue is empty."""
    monkeypatch.setenv("SLURM_CONF", cluster["SLURM_CONF"])
    assert queue(needed=True) == {}
    yield
    left = {job.split("_")[0] for job in queue(needed=True)}
    if left:
        subprocess.run(["scancel", *left], check=True)
        wait_for(lambda: not queue(needed=True))


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, queue()
        time.sleep(0.2)
    return found


def submitted(path, runs, at=0):
    """The jobs of runs whose commands are shell scripts."""
    jobs = SubmittedJobs(path.parent / "runs", queue(needed=True))
    first = {run.name: at for run in [*preparations(runs), *runs]}
    submit(read_sweep(path), runs, first, jobs)
    return jobs.jobs


def test_each_task_waits_for_its_own_run_and_a_failure_ends_that_run_only(slurm, tmp_path):
    path = sweep_file(tmp_path, STAGES)
    log = tmp_path / "order"
    say = [f"echo {{0}}-{number} >> {log}" for number in range(3)]
    first, second, third = (
        with_commands(run, [text.format(run.varied["n_codes"]) for text in say])
        for run in planned(path)
    )
    # the first one goes on to its end while the last one is still in its first stage
    first.stages[0].command[2] = f"sleep 1; {first.stages[0].command[2]}"
    second.stages[0].command[2] += "; exit 1"
    third.stages[0].command[2] = f"until grep 8-2 {log}; do sleep 0.1; done; {say[0].format(32)}"
    jobs = submitted(path, [first, second, third])
    assert [len(ids) for ids in jobs.values()] == [3, 3, 3]
    assert {job.split("_")[1] for job in jobs[third.name]} == {"2"}
    wait_for(lambda: not queue(needed=True))
    lines = log.read_text().split()
    assert [line for line in lines if line[:2] == "8-"] == ["8-0", "8-1", "8-2"]
    assert [line for line in lines if line[:2] == "32"] == ["32-0", "32-1", "32-2"]
    assert lines.index("8-2") < lines.index("32-0")
    assert [line for line in lines if line[:2] == "16"] == ["16-0"]


def test_a_job_near_its_limit_stops_is_requeued_and_its_followers_wait(slurm, tmp_path):
    path = sweep_file(tmp_path, STAGES.replace("8, 16, 32", "8"))
    (run,) = planned(path)
    mark = tmp_path / "mark"
    stopping = (
        f"test -e {mark}.stopped && {{ touch {mark}.again; exit 0; }};"
        f" trap 'touch {mark}.stopped; exit 1' TERM; touch {mark}.up;"
        " for i in $(seq 600); do sleep 0.1; done"
    )
    after = f"test -e {mark}.again && touch {mark}.after"
    run = with_commands(run, [stopping, after, "true"])
    job, follower, _ = submitted(path, [run])[run.name]
    wait_for((tmp_path / "mark.up").exists)
    subprocess.run(["scancel", "--signal=USR2", job], check=True)  # what Slurm sends at the limit
    wait_for((tmp_path / "mark.stopped").exists)
    wait_for(lambda: queue(needed=True).get(job) == "PENDING")
    assert queue(needed=True)[follower] == "PENDING"
    wait_for(lambda: not queue(needed=True))
    assert (tmp_path / "mark.after").exists()
    assert run.stages[0].log.read_text().count("attempt 1 of 1") == 2


def test_a_cancelled_job_ends_at_once_and_is_not_tried_again(slurm, tmp_path):
    path = sweep_file(
        tmp_path, STAGES.replace("8, 16, 32", "8").replace("retries: 0", "retries: 3")
    )
    (run,) = planned(path)
    up = tmp_path / "up"
    run = with_commands(
        run, [f"touch {up}; for i in $(seq 600); do sleep 0.1; done", "true", "true"]
    )
    (job, *_) = submitted(path, [run])[run.name]
    wait_for(up.exists)
    subprocess.run(["scancel", job], check=True)
    wait_for(lambda: not queue(needed=True), 20)  # KillWait, after which Slurm kills, is 30
    assert run.stages[0].log.read_text().count("--- ") == 1


def test_failed_slices_end_the_runs_of_their_seed_only(slurm, tmp_path):
    path = sweep_file(tmp_path, STAGES.replace("8, 16, 32", "8, 16"), seeds="[0, 1]")
    log = tmp_path / "order"
    runs = planned(path)
    prepared = {
        run.name: with_commands(run, [f"sleep 1; echo {run.seed} >> {log}; exit {1 - run.seed}"])
        for run in preparations(runs)
    }
    scripts = [f"echo {{}}-{{}}-{number} >> {log}" for number in range(3)]
    made = [
        replace(
            with_commands(run, [text.format(run.seed, run.varied["n_codes"]) for text in scripts]),
            preparation=prepared[run.preparation.name],
        )
        for run in runs
    ]
    jobs = submitted(path, made)
    assert [job.split("_")[1] for name in prepared for job in jobs[name]] == ["0", "1"]
    wait_for(lambda: not queue(needed=True))
    lines = log.read_text().split()
    assert sorted(line for line in lines if line[0] == "0") == ["0"]
    assert sorted(line for line in lines if line[0] == "1") == [
        "1",
        *(f"1-16-{number}" for number in range(3)),
        *(f"1-8-{number}" for number in range(3)),
    ]


def test_a_job_that_slurm_ends_before_its_stage_is_named_in_the_table(slurm, tmp_path):
    text = STAGES.replace("[export OMP_NUM_THREADS=1]", "[exit 1]").replace("8, 16, 32", "8")
    path = sweep_file(tmp_path, text)
    assert main(["sweep", str(path), "--engine", "slurm"]) == 0
    wait_for(lambda: not queue(needed=True))
    job = json.loads((tmp_path / "runs" / "jobs.json").read_text())["data/seed=0"][0]
    (found,) = states(planned(path), SubmittedJobs(tmp_path / "runs", queue())).values()
    assert f"data/seed=0, stage 01: job {job} left the queue" in found.where
    assert list((tmp_path / "runs" / "slurm").glob(f"{job}_*"))


def test_what_waits_for_slices_waits_for_its_own_once(slurm, tmp_path):
    """The command, with jobs that Slurm holds: nothing runs, and a second call adds nothing."""
    options = "{additional_parameters: {hold: true}}"
    text = "seeds: [0, 1]\n" + re.sub(r"slurm: .*", f"slurm: {options}", STAGES)
    path = sweep_file(tmp_path, text)
    assert main(["sweep", str(path), "--engine", "slurm"]) == 0
    assert len(queue(needed=True)) == 2 * (1 + 3 * 3)
    assert main(["sweep", str(path), "--engine", "slurm"]) == 0
    assert len(queue(needed=True)) == 2 * (1 + 3 * 3)
    longer = sweep_file(tmp_path, text.replace("32", "32, 64"))
    assert main(["sweep", str(longer), "--engine", "slurm"]) == 0
    jobs = json.loads((tmp_path / "runs" / "jobs.json").read_text())
    added = {run: ids for run, ids in jobs.items() if "64" in run}
    assert len(queue(needed=True)) == 2 * (1 + 4 * 3) and len(added) == 2
    for run, ids in added.items():
        shown = subprocess.run(
            ["scontrol", "show", "job", ids[0]], capture_output=True, text=True, check=True
        ).stdout
        own = jobs[f"data/{run.split(',')[1]}"][0]
        assert f"Dependency=afterok:{own}(" in shown


def test_slurm_says_why_it_refuses_a_job(slurm, tmp_path, capsys):
    path = sweep_file(tmp_path, re.sub(r"slurm: .*", "slurm: {partition: none}", STAGES))
    assert main(["sweep", str(path), "--engine", "slurm"]) == 1
    error = capsys.readouterr().err
    assert "Slurm refuses a job: " in error and "invalid partition" in error.lower()
    assert error.count("\n") == 1


def sweep(path, *words):
    command = [sys.executable, "-m", "oasis_utils", "sweep", str(path), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_four_runs_of_notebooks_of_which_one_fails(slurm, tmp_path, brains):
    path = sweep_file(tmp_path, NOTEBOOKS, data=brains.folder)
    shown = sweep(path, "--engine", "slurm", "--dry-run")
    assert "submitted 8 jobs for 4 runs" in sweep(path, "--engine", "slurm")
    scripts = sorted((tmp_path / "runs" / "slurm").glob("*_submission.sh"))
    wanted = [re.sub(r"(aftercorr:)\d+", r"\1JOB1", script.read_text()) for script in scripts]
    assert all(script in shown for script in wanted) and len(wanted) == 2
    wait_for(lambda: not queue(needed=True), 600)
    table = [line.split()[:3] for line in sweep(path, "--table").splitlines()]
    states = [line for line in table if line[2:] in (["done"], ["failed"])]
    assert states == [
        [codes, "0", "failed" if codes == "1" else "done"] for codes in ["8", "1", "16", "32"]
    ]
    assert "n_codes must be at least 2" in (tmp_path / "runs" / "table.txt").read_text()
    for run in planned(path):
        reports = {path.stem[:2] for path in (run.folder.root / "summaries").glob("*.json")}
        assert reports == ({"01"} if run.varied["n_codes"] == 1 else {"01", "02"})
    done = planned(path)[2]
    before = done.folder.checkpoint("vqvae").stat().st_mtime_ns
    planned(path)[3].folder.checkpoint("vqvae").unlink()
    again = sweep(path, "--engine", "slurm")
    assert "four, 4 runs: 2 done, 1 stale, 1 failed" in again
    assert "submitted 2 jobs for 2 runs" in again
    assert "four, 4 runs: 2 done, 2 " in sweep(path, "--engine", "slurm")  # now in the queue
    wait_for(lambda: not queue(needed=True), 300)
    assert "3 done, 1 failed" in sweep(path, "--table")
    assert done.folder.checkpoint("vqvae").stat().st_mtime_ns == before
