"""The file of a sweep: its runs, their names and commands, and what is refused."""

import re
import shlex
import subprocess
import sys

import pytest
from small_sweeps import SMALL, finish, planned, sweep_file

from oasis_utils.cli.parser import build_parser, main
from oasis_utils.pipeline.series import PRODUCTS, UsageError
from oasis_utils.pipeline.sweep import plan
from oasis_utils.pipeline.sweep.description import KEYS, read_sweep
from oasis_utils.pipeline.sweep.plan import preparations
from oasis_utils.runtime import RunFolder, project_root

GRID = """
profile: smoke
seeds: [0, 3]
grid:
  n_codes: [64, 256]
  revive_below: [0.10, 1e-3]
parameters: {epochs: 2}
stages: ["01,02", [03, 04], 05]
"""


def test_every_combination_and_seed_is_one_run_with_a_name_that_says_so(tmp_path):
    runs = planned(sweep_file(tmp_path, GRID))
    assert [run.name for run in runs] == [
        f"n_codes={codes},revive_below={share},seed={seed}"
        for codes in (64, 256)
        for share in (0.1, 0.001)
        for seed in (0, 3)
    ]
    assert [run.folder.root for run in runs] == [tmp_path / "runs" / run.name for run in runs]
    assert runs[0].varied == {"n_codes": 64, "revive_below": 0.1}
    assert runs[0].combination == runs[1].combination != runs[2].combination
    assert [run.name for run in planned(sweep_file(tmp_path, GRID))] == [run.name for run in runs]


def test_commands_are_those_of_run_with_what_their_notebooks_know(tmp_path):
    run = planned(sweep_file(tmp_path, GRID))[3]
    assert [stage.only for stage in run.stages] == ["01,02", "03,04", "05"]
    parsed = [build_parser().parse_args(stage.command[3:]) for stage in run.stages]
    for args, given in zip(parsed, (["n_codes=64", "revive_below=1e-3"], [], []), strict=True):
        assert args.command == "run" and args.profile == "smoke" and args.seed == 3
        assert args.out == str(run.folder.root) and args.data == str(run.preparation.folder.data)
        assert args.parameters == ["epochs=2", *given]
    assert run.stages[0].command[0] == sys.executable
    step = run.stages[0].steps[1]
    assert step.parameters["revive_below"] == 0.001 and step.parameters["epochs"] == 2


def test_names_keep_underscores_and_the_package_is_read_once(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(plan, "package_state", lambda: calls.append(1) or "state")
    runs = planned(sweep_file(tmp_path, "seeds: [0, 1]\ngrid: {gradient: [a_b, a-b]}"))
    assert [run.name for run in runs[::2]] == ["gradient=a_b,seed=0", "gradient=a-b,seed=0"]
    assert calls == [1]
    assert len({run.stages[1].steps[0].cache_key for run in runs}) == len(runs)


def test_slices_are_prepared_once_for_each_seed_of_sample_brains(tmp_path):
    runs = planned(sweep_file(tmp_path, GRID))
    prepared = preparations(runs)
    assert [run.name for run in prepared] == ["data/seed=0", "data/seed=3"]
    assert {run.preparation.name for run in runs if run.seed == 3} == {"data/seed=3"}
    assert [stage.only for stage in prepared[0].stages] == ["01"]
    assert "--data" not in prepared[0].stages[0].command


def test_given_data_are_prepared_once_and_a_prepared_folder_not_again(tmp_path, tree, brains):
    runs = planned(sweep_file(tmp_path, GRID, data=tree))
    (prepared,) = preparations(runs)
    command = prepared.stages[0].command
    assert command[command.index("--data") + 1] == str(tree.resolve())
    runs = planned(sweep_file(tmp_path, GRID, data=brains.folder))
    assert preparations(runs) == []
    assert runs[0].stages[0].steps[0].parameters["data"] == str(brains.folder)


def test_without_stages_each_notebook_is_one(tmp_path):
    (run,) = planned(sweep_file(tmp_path, "profile: smoke"))
    assert [stage.only for stage in run.stages] == [name[:2] for name in PRODUCTS]
    assert run.name == "seed=0" and run.combination == "all"


REFUSED = {
    "colour: red": "unknown key 'colour': choose from name, profile",
    "[1, 2]": "the file must hold names with values",
    "grid: [64": "no YAML: while parsing a flow sequence",
    "profile: huge": "unknown profile 'huge': choose one of smoke",
    "device: gpu": "device 'gpu' is unknown: choose auto",
    "seeds: [0, x]": "seeds: 'x' is not a whole number from 0 to 4294967295",
    "seeds: []": "seeds has no value",
    "retries: -1": "retries: '-1' is not a whole number from 0 to 20",
    "grid: {n_codes: [8, 8]}": "grid: n_codes lists 8 twice",
    "grid: {n_codes: [8, 08]}": (
        "two values of the grid, or two seeds, give the folder n_codes=8,seed=0: leave one out"
    ),
    "seeds: [0, 00]": "two values of the grid, or two seeds, give the folder seed=0: leave one out",
    f"grid: {{gradient: [{'x' * 240}]}}": "would have a name of 256 bytes, more than 255",
    "grid: {n_codes: []}": "grid: n_codes has no value",
    "grid: {n_codes: [[8]]}": "grid: n_codes must be one value, not list",
    "grid: {n_codes: [8], n_codes: [9]}": "line 2: 'n_codes' is given twice",
    "grid: {colour: [1]}": "unknown parameter 'colour': the chosen notebooks have batch_size",
    "grid: {n_codes: [many]}": "parameter n_codes='many' is not int",
    "grid: {seed: [1]}": "parameter 'seed' has its own option",
    "{grid: {epochs: [1]}, parameters: {epochs: 2}}": "'epochs' is in grid and in parameters",
    "{stages: [01], grid: {n_codes: [8]}}": "unknown parameter 'n_codes'",
    "stages: [02, 03]": "stages must begin with notebook 01",
    "stages: [01, 03, 02]": "keep the order of the series",
    "stages: [01, [02, 02]]": "stages lists 02 twice",
    "stages: [01, 12]": "unknown notebook '12'",
    "stages: all": "stages must be a list",
    "data: nowhere": "no folder",
    r'out: "a\0b"': "out must be one line without control characters",
    "grid: &a {n_codes: *a}": "no YAML: found unconstructable recursive node",
    "grid: !!python/object/apply:os.getcwd []": "grid must hold names with values",
    f"{{seeds: [1, 2], grid: {{epochs: {list(range(501))}}}}}": "1002 runs",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_wrong_file_is_refused_in_one_line_that_names_it(text, tmp_path, capsys):
    path = sweep_file(tmp_path, text)
    if text[0] in "[{" or text.startswith("out"):
        path.write_text(text)
    assert main(["sweep", str(path), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}: ") and REFUSED[text] in error
    assert error.count("\n") == 1 and not (tmp_path / "runs").exists()


def test_a_missing_file_is_named(tmp_path, capsys):
    assert main(["sweep", str(tmp_path / "none.yml")]) == 2
    assert f"{tmp_path / 'none.yml'}" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["notebooks", "summaries", "cache_keys"])
def test_a_run_folder_is_no_folder_of_a_sweep(folder, tmp_path, capsys):
    path = sweep_file(tmp_path)
    (tmp_path / "runs" / folder).mkdir(parents=True)
    if folder == "notebooks":  # which alone could be anybody's
        assert main(["sweep", str(path), "--dry-run"]) == 0
        RunFolder(tmp_path / "runs").lock.touch()
    assert main(["sweep", str(path), "--dry-run"]) == 2
    assert "is a run folder: choose one for the runs of the sweep" in capsys.readouterr().err


def test_paths_start_at_the_project(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text("profile: smoke")
    sweep = read_sweep(path)
    assert sweep.out == project_root() / "runs" / "mine" and sweep.name == "mine"
    path.write_text("name: ../..")
    assert read_sweep(path).out == project_root() / "runs" / "sweep"


# ---------------------------------------------------------------- --dry-run


def test_a_dry_run_prints_commands_and_makes_nothing(tmp_path, capsys):
    path = sweep_file(tmp_path)
    assert main(["sweep", str(path), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 2 * 2  # the slices, then two stages of two runs
    assert all(build_parser().parse_args(shlex.split(line)[3:]).command == "run" for line in lines)
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_leaves_out_what_is_done(tmp_path, capsys):
    path = sweep_file(tmp_path)
    runs = planned(path)
    finish(runs[0].preparation)
    first, second = planned(path)  # with the slices that are there now
    finish(first)
    finish(second, 1)
    assert main(["sweep", str(path), "--dry-run"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "--only 02" in line and second.name in line


def batch_scripts(path, capsys):
    assert main(["sweep", str(path), "--dry-run", "--engine", "slurm"]) == 0
    return re.split(r"^# ---- ", capsys.readouterr().out, flags=re.MULTILINE)[1:]


def test_batch_scripts_are_arrays_that_wait_for_one_another(tmp_path, capsys):
    pytest.importorskip("submitit")
    options = (
        "{partition: gpu, time: 90, mem: 16GB, gpus_per_node: 1, array_parallelism: 1,"
        " setup: module load cuda, additional_parameters: {licenses: x}}"
    )
    scripts = batch_scripts(sweep_file(tmp_path, slurm=options), capsys)
    assert [script.split("\n")[0] for script in scripts] == ["JOB1", "JOB2", "JOB3"]
    slices, first, second = scripts
    assert "--array" not in slices and "--dependency" not in slices
    for script in (first, second):
        assert "#SBATCH --array=0-1%1\n" in script
        assert "#SBATCH --kill-on-invalid-dep=yes\n" in script
    assert "#SBATCH --dependency=afterok:JOB1\n" in first
    assert "#SBATCH --dependency=aftercorr:JOB2\n" in second
    for script in scripts:
        assert "\nmodule load cuda\n" in script
        for line in (
            "licenses=x",
            "requeue",
            "partition=gpu",
            "time=90",
            "mem=16GB",
            "gpus-per-node=1",
            "signal=USR2@120",
        ):
            assert f"#SBATCH --{line}\n" in script
        assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert not (tmp_path / "runs").exists()


def test_a_run_waits_for_its_own_slices_only(tmp_path, capsys):
    pytest.importorskip("submitit")
    scripts = batch_scripts(sweep_file(tmp_path, seeds="[0, 1]"), capsys)
    waits = [re.findall(r"--dependency=(\S+)", script) for script in scripts]
    assert waits == [
        *([], ["afterok:JOB1_0"], ["aftercorr:JOB2"]),
        *(["afterok:JOB1_1"], ["aftercorr:JOB4"]),
    ]
    tasks = [re.findall(r"^# task \d+, (\S+):", script, re.MULTILINE) for script in scripts]
    assert tasks[0] == ["data/seed=0", "data/seed=1"]
    assert tasks[1] == tasks[2] == ["n_codes=8,seed=0", "n_codes=16,seed=0"]
    assert tasks[3] == tasks[4] == ["n_codes=8,seed=1", "n_codes=16,seed=1"]


def test_srun_gets_the_cores_of_the_job(tmp_path, capsys):
    pytest.importorskip("submitit")
    options = "{cpus_per_task: 3, srun_args: [--label]}"
    for script in batch_scripts(sweep_file(tmp_path, slurm=options), capsys):
        assert "#SBATCH --cpus-per-task=3\n" in script
        assert re.search(r"^srun .* --cpus-per-task=3 --label ", script, re.MULTILINE)


def test_runs_that_are_further_get_arrays_of_their_own(tmp_path, capsys):
    pytest.importorskip("submitit")
    path = sweep_file(tmp_path, SMALL.replace("16", "16, 32"))
    finish(planned(path)[0].preparation)
    finish(planned(path)[1], 1)
    scripts = batch_scripts(path, capsys)
    tasks = [re.findall(r"^# task \d+, (\S+),seed=0:", script, re.MULTILINE) for script in scripts]
    assert tasks == [["n_codes=8", "n_codes=32"], ["n_codes=8", "n_codes=32"], ["n_codes=16"]]
    waits = [re.findall(r"--dependency=(\S+)", script) for script in scripts]
    assert waits == [[], ["aftercorr:JOB1"], []]
    assert "--array" not in scripts[2] and "--only 02" in scripts[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{colour: red}", "slurm: Unavailable parameter(s): ['colour'] Valid parameters are"),
        ("{time: 4:00:00}", "slurm: time must be a whole number (time: minutes)"),
        ("{dependency: x}", "slurm: dependency is set by the sweep"),
        ("{mem: [1, 2]}", "slurm: mem must be one value, not list"),
        ("{additional_parameters: x}", "slurm: additional_parameters must hold names"),
        ("{setup: [[x]]}", "slurm: setup must be a list of texts"),
        *(
            (f"{{additional_parameters: {{{name}: x}}}}", f"{name} is set by the sweep")
            for name in ("array", "output", "error", "signal", "job-name", "job_name", "dependency")
        ),
    ],
)
def test_wrong_options_of_slurm_are_refused(options, message, tmp_path, capsys):
    pytest.importorskip("submitit")
    path = sweep_file(tmp_path, slurm=options)
    assert main(["sweep", str(path), "--dry-run", "--engine", "slurm"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_slurm_without_submitit_names_the_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert main(["sweep", str(sweep_file(tmp_path)), "--dry-run", "--engine", "slurm"]) == 2
    assert "pip install -e '.[slurm]'" in capsys.readouterr().err


def test_slurm_where_there_is_none_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["sweep", str(sweep_file(tmp_path)), "--engine", "slurm"]) == 1
    assert "no Slurm on this machine" in capsys.readouterr().err
    assert main(["sweep", str(sweep_file(tmp_path)), "--engine", "slurm", "--jobs", "2"]) == 2


@pytest.mark.parametrize("name", ["students", "seeds"])
def test_the_documented_sweeps_are_valid(name, tmp_path):
    sweep = read_sweep(project_root() / "docs" / "sweeps" / f"{name}.yml")
    runs = planned(project_root() / "docs" / "sweeps" / f"{name}.yml")
    varied = {"students": ["n_codes", "code_dim", "downsampling"], "seeds": []}[name]
    assert list(runs[0].varied) == varied and len({run.name for run in runs}) == len(runs) > 2
    assert sweep.out == project_root() / "runs" / name


def test_the_page_shows_every_key_and_a_file_that_is_read(tmp_path):
    page = (project_root() / "docs" / "sweeps.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "mine.yml"
    path.write_text(example)
    sweep = read_sweep(path)
    assert sweep.stages == ("01,02,03", "04", "05", "06,07,08") and sweep.seeds == (0, 1, 2)
    assert sweep.grid == {"n_codes": ("64", "256"), "downsampling": ("4", "8")}
    table = page.split("## The file")[1].split("## Slurm")[0]
    rows = [
        re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.splitlines() if "| `" in line
    ]
    assert {key for row in rows for key in row} == set(KEYS)


def test_the_page_lists_the_options_that_submitit_passes():
    submitit = pytest.importorskip("submitit")
    page = (project_root() / "docs" / "sweeps.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"takes these options of `sbatch`: (.*?)\n\n", page, re.DOTALL)
    names = set(re.findall(r"`(\w+)`", listed))
    assert len(names) > 10 and names <= submitit.SlurmExecutor._valid_parameters()


def test_usage_errors_are_of_the_file(tmp_path):
    with pytest.raises(UsageError, match="small.yml: unknown key"):
        read_sweep(sweep_file(tmp_path, "x: 1"))
