"""Table and figure of a sweep, from reports of runs."""

import csv
import statistics

import matplotlib.image
import numpy as np
import pytest
from small_sweeps import fail, finish, planned, sweep_file, write_report

from oasis_utils.cli.parser import main
from oasis_utils.pipeline.sweep.metrics import METRICS, report_of
from oasis_utils.pipeline.sweep.state import SubmittedJobs, states
from oasis_utils.pipeline.sweep.table import rows_of, seed_rows, table_text
from oasis_utils.runtime import project_root, read_json

GRID = """
profile: smoke
seeds: [0, 1, 2]
grid: {n_codes: [8, 16]}
stages: [01, 02]
"""
SSIM = {8: (0.90, 0.92, 0.94), 16: (0.95, 0.96, 0.0)}


@pytest.fixture
def made(tmp_path):
    """(file, runs): two combinations of three seeds, the last run failed."""
    path = sweep_file(tmp_path, GRID)
    for seed in range(3):
        finish(planned(path)[seed].preparation)
    runs = planned(path)
    for run in runs[:-1]:
        finish(run)
        ssim = SSIM[run.varied["n_codes"]][run.seed]
        write_report(run, ssim, ssim - 0.01, ssim + 0.02)
    finish(runs[-1], 1)
    fail(runs[-1], 1, "02_train_vqvae, cell 3: too bad")
    return path, runs


def rows(runs, tmp_path):
    return rows_of(runs, states(runs, SubmittedJobs(tmp_path, None)))


def test_every_metric_is_that_of_the_report():
    report = read_json(project_root() / "benchmarks/results/demo_2_cpu_cores.json")
    found = {metric.name: metric.of(report) for metric in METRICS}
    assert all(found.values())
    assert found["ssim"].value == report["reconstruction"]["ssim"]
    assert found["brain_ssim"].interval == tuple(
        report["reconstruction"]["intervals"]["brain_ssim"]
    )
    assert found["perplexity"].value == report["codebook"]["perplexity"]
    assert found["nats_per_code"].interval == tuple(report["pixelcnn"]["intervals"]["PixelCNN"])
    assert found["kid_dcgan"].interval == tuple(report["priors"]["dcgan"]["kid_interval"])
    assert found["auc_pixelcnn"].value == report["priors"]["pixelcnn"]["two_sample_auc"]
    assert found["seconds"].value == report["seconds"]["total"]
    bits = found["nats_per_code"].value / np.log(2) / report["vqvae"]["downsampling"] ** 2
    assert found["bits_per_pixel"].value == pytest.approx(bits)
    low, high = found["bits_per_pixel"].interval
    assert low < bits < high
    assert low / found["nats_per_code"].interval[0] == pytest.approx(1 / np.log(2) / 16)


def test_a_report_is_what_the_up_to_date_notebooks_saved(tmp_path):
    text = "profile: smoke\nstages: [01, 02, [03, 04, 05], [06, 07, 08]]"
    path = sweep_file(tmp_path, text)
    finish(planned(path)[0].preparation)
    (run,) = planned(path)
    write_report(run, 0.9, 0.8, 0.95, kid=0.5)  # of an earlier setting
    assert rows([run], tmp_path)[0].found == {}
    finish(run, 1)
    assert rows([run], tmp_path)[0].found == {}  # no KID, and no seconds of a part of the run
    finish(run, 2)
    assert set(rows([run], tmp_path)[0].found) == {"ssim", "brain_ssim"}
    finish(run)
    found = rows([run], tmp_path)[0].found
    assert found["kid_dcgan"].value == 0.5 and found["seconds"].value == 16.0
    (changed,) = planned(sweep_file(tmp_path, text, parameters="{epochs: 3}"))
    assert rows([changed], tmp_path)[0].found == {}


def test_what_follows_an_outdated_notebook_of_its_stage_does_not_count(tmp_path):
    text = "profile: smoke\nstages: [01, [02, 03, 04, 05, 06, 07, 08]]"
    path = sweep_file(tmp_path, text)
    finish(planned(path)[0].preparation)
    (run,) = planned(path)
    finish(run)
    write_report(run, 0.9, 0.8, 0.95)
    assert {"reconstruction", "codebook", "priors", "seconds"} <= set(report_of(run))
    (changed,) = planned(sweep_file(tmp_path, text, parameters="{revive_below: 0.5}"))  # of 02
    assert set(report_of(changed)) & set(report_of(run)) == {"data"}
    assert rows([changed], tmp_path)[0].found == {}


def test_stages_of_an_earlier_file_do_not_count(made, tmp_path):
    _, runs = made
    assert set(rows(runs[:1], tmp_path)[0].found) == {"ssim", "brain_ssim", "seconds"}


@pytest.mark.parametrize(
    "text",
    [
        "damaged",
        "[]",
        '{"summary": "", "reconstruction": []}',
        '{"summary": "", "reconstruction": {"ssim": "high", "intervals": 3}}',
    ],
)
def test_a_damaged_report_leaves_the_cells_of_its_run_empty(text, made, tmp_path):
    path, runs = made
    runs[0].folder.summary("02_train_vqvae").write_text(text)
    assert report_of(runs[0]) == {}
    assert main(["sweep", str(path), "--table"]) == 0
    first, second = rows(runs[:2], tmp_path)
    assert first.found == {} and second.found["ssim"].value == 0.92


@pytest.mark.parametrize("section", [[], {"ssim": "high", "intervals": 3}, {"ssim": [1]}, "x", 3])
def test_a_metric_of_another_form_is_none(section):
    assert METRICS[0].of({"reconstruction": section}) is None


def test_the_text_has_a_row_a_run_and_says_where_one_failed(made, tmp_path):
    text = table_text(rows(made[1], tmp_path))
    table, failed, over_seeds = text.split("\n\n")
    head, *lines = table.splitlines()
    assert head.split()[:4] == ["n_codes", "seed", "state", "ssim"] and len(lines) == 6
    assert lines[0].split()[:7] == ["8", "0", "done", "0.900", "(0.890", "to", "0.920)"]
    assert lines[5].split() == ["16", "2", "failed"]
    assert failed.splitlines() == [
        "failed:",
        "n_codes=16,seed=2 · stage 02: 02_train_vqvae, cell 3: too bad",
    ]
    assert over_seeds.splitlines()[2].split()[:5] == ["8", "3", "0.920", "±", "0.020"]
    assert max(map(len, text.splitlines())) < 300


def test_mean_and_spread_are_over_the_finished_seeds(made, tmp_path):
    first, second = seed_rows(rows(made[1], tmp_path))
    assert (first.seeds, second.seeds) == (3, 2)
    assert first.found["ssim"] == (pytest.approx(0.92), pytest.approx(statistics.stdev(SSIM[8])))
    assert second.found["ssim"][0] == pytest.approx(0.955)
    (alone,) = seed_rows(rows(made[1][:1], tmp_path))
    assert alone.found["ssim"] == (0.9, None)


def test_the_command_writes_tables_and_figure_and_runs_nothing(made, tmp_path, capsys):
    path, runs = made
    assert main(["sweep", str(path), "--table"]) == 0
    assert "5 done, 1 failed" in capsys.readouterr().out
    out = tmp_path / "runs"
    with open(out / "table.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["run"] for line in lines] == [run.name for run in runs]
    assert float(lines[3]["ssim"]) == 0.95 and float(lines[3]["ssim_high"]) == 0.97
    assert lines[5]["ssim"] == "" and lines[5]["where"].startswith("stage 02: 02_train_vqvae")
    with open(out / "seeds.csv", encoding="utf-8", newline="") as file:
        first, _ = csv.DictReader(file)
    assert first["seeds"] == "3" and float(first["ssim_sd"]) == pytest.approx(0.02)
    picture = matplotlib.image.imread(out / "sweep.png")
    assert picture.shape[1] > 800 and picture[..., :3].std() > 0.05
    assert not runs[-1].folder.report.exists()


def figure_of(runs, tmp_path, monkeypatch):
    """The axes of the figure, caught where it is saved."""
    from oasis_utils import plotting
    from oasis_utils.pipeline.sweep import figure

    caught = []
    monkeypatch.setattr(plotting, "save_figure", lambda fig, *_: caught.append(fig.axes))
    figure.write_figure(rows(runs, tmp_path), tmp_path, "x")
    return {ax.get_xlabel(): ax for ax in caught[0]}


def test_the_figure_shows_each_value_in_the_line_of_its_combination(made, tmp_path, monkeypatch):
    ax = figure_of(made[1], tmp_path, monkeypatch)["SSIM"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["n_codes=8", "n_codes=16"]
    shown = {line.get_label(): line for line in ax.lines}
    assert set(shown) == {"seed 0", "seed 1", "seed 2"}
    assert shown["seed 1"].get_xdata() == pytest.approx([0.92, 0.96])
    assert shown["seed 2"].get_xdata() == pytest.approx([0.94])  # the other one failed
    assert np.round(shown["seed 1"].get_ydata()).tolist() == [0, 1]
    spans = [path.vertices[:, 0].tolist() for c in ax.collections for path in c.get_paths()]
    assert any(span == pytest.approx([0.91, 0.94]) for span in spans)


def test_with_many_seeds_each_run_has_a_line(tmp_path, monkeypatch):
    path = sweep_file(tmp_path, "profile: smoke\nseeds: [0, 1, 2, 3, 4, 5, 6]\nstages: [[01, 02]]")
    runs = planned(path)
    for run in runs:
        finish(run.preparation)
    runs = planned(path)
    for run in runs:
        finish(run)
        write_report(run, 0.9, 0.8, 0.95)
    ax = figure_of(runs, tmp_path, monkeypatch)["SSIM"]
    assert [label.get_text() for label in ax.get_yticklabels()] == [run.name for run in runs]
    assert len(ax.lines[0].get_xdata()) == 7


def test_the_figure_has_done_runs_only_and_an_old_one_goes(made, tmp_path, monkeypatch):
    path, runs = made
    finish(runs[0], 1)  # notebook 01 again: 02 is older
    runs[1].folder.checkpoint("vqvae").unlink()
    shown = {
        line.get_label(): line for line in figure_of(runs, tmp_path, monkeypatch)["SSIM"].lines
    }
    assert shown["seed 0"].get_xdata() == pytest.approx([0.95])
    assert shown["seed 1"].get_xdata() == pytest.approx([0.96])
    monkeypatch.undo()
    assert main(["sweep", str(path), "--table"]) == 0
    assert (tmp_path / "runs" / "sweep.png").exists()
    path.write_text(path.read_text() + "\nparameters: {epochs: 3}")
    assert main(["sweep", str(path), "--table"]) == 0
    assert not (tmp_path / "runs" / "sweep.png").exists()


def test_without_any_report_there_is_a_table_and_no_figure(tmp_path, capsys):
    path = sweep_file(tmp_path)
    assert main(["sweep", str(path), "--table"]) == 0
    assert "2 missing" in capsys.readouterr().out
    assert (tmp_path / "runs" / "table.csv").exists()
    assert not (tmp_path / "runs" / "sweep.png").exists()
