"""The runner: refuses invalid requests, runs the series, skips finished steps, names failures."""

import json
import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import jsonschema
import nbformat
import numpy as np
import pytest
import torch
from command_line import contents, oasis
from nbclient import NotebookClient
from slice_files import make_tree
from traitlets.config import Config

from oasis_utils.cli import parser as cli
from oasis_utils.config import DataConfig
from oasis_utils.data.dataset import build_cache
from oasis_utils.models.checkpoints import load_tensors
from oasis_utils.pipeline import cache_keys, results
from oasis_utils.pipeline import series as notebooks
from oasis_utils.pipeline.parameters import plan
from oasis_utils.pipeline.series import PRODUCTS, UsageError
from oasis_utils.runtime import RunFolder, project_root, read_json, report, write_json
from oasis_utils.runtime.report import EvaluationResults, SamplingResults, VQVAEResults, checked

SCHEMA = Path(report.__file__).parent / "assets" / "report.schema.json"
SAMPLING = SamplingResults(1.0, 0.95, 64, 0, {"dcgan": 1.0})

# ---------------------------------------------------------------- invalid requests


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--profile", "huge"), "unknown profile 'huge': choose one of smoke, demo, large, full"),
        (("--only", "11"), "unknown notebook '11'"),
        (("--only", "1"), "unknown notebook '1'"),
        (("--only", "0"), "unknown notebook '0'"),
        (("-p", "epoch=3"), "unknown parameter 'epoch'"),
        (("-p", "epochs"), "expected NAME=VALUE"),
        (("-p", "epochs=many"), "epochs='many' is not int"),
        (("-p", "epochs=1.5"), "epochs='1.5' is not int: give a value such as 50"),
        (("-p", "top_p=high"), "top_p='high' is not float"),
        (("-p", "seed=3"), "parameter 'seed' has its own option"),
        (("--data", "nowhere"), "no folder"),
    ],
)
def test_unknown_requests_are_refused_in_one_line(arguments, message, tmp_path):
    done = oasis("run", "--out", tmp_path, *arguments)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("inside", ["", "run", "a/run"])
@pytest.mark.parametrize("prepared", [False, True])
def test_a_run_inside_its_data_is_refused_before_anything_is_written(
    tmp_path, capsys, inside, prepared
):
    data = make_tree(tmp_path / "data")
    if prepared:
        source, data = data, tmp_path / "prepared"
        build_cache(source, data, DataConfig(image_size=64))
    link = tmp_path / "link"
    link.symlink_to(data)
    before = contents(tmp_path)
    for out in (data / inside, link / inside):
        arguments = ["run", "--profile", "smoke", "--only", "01", "--data", data, "--out", out]
        assert cli.main([*map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert "lies inside the source" in error and error.count("\n") == 1
    assert contents(tmp_path) == before


def test_parameters_take_the_annotated_type(tmp_path):
    steps = plan("smoke", "", RunFolder(tmp_path), "02,07", {"epochs": "3", "top_p": "0.5"})
    assert [step.name[:2] for step in steps] == ["02", "07"]
    assert steps[0].parameters["epochs"] == 3 and "epochs" not in steps[1].parameters
    assert steps[1].parameters["top_p"] == 0.5


def test_every_notebook_gets_the_shared_parameters(tmp_path):
    for step in plan("smoke", "", RunFolder(tmp_path), None, {}, seed=7, device="cpu"):
        assert step.parameters["profile"] == "smoke" and step.parameters["run_folder"] == str(
            tmp_path
        )
        assert step.parameters["seed"] == 7 and step.parameters["device"] == "cpu"


def test_only_keeps_the_order_of_the_series():
    assert notebooks.notebook_names("05,02") == ["02_train_vqvae", "05_train_pixelcnn"]
    assert notebooks.notebook_names(None) == list(PRODUCTS)
    with pytest.raises(UsageError, match="choose from 01, 02"):
        notebooks.notebook_names("x")


# ---------------------------------------------------------------- cache keys and reports


def test_a_step_is_done_only_with_its_cache_key_and_its_products(tmp_path):
    run = RunFolder(tmp_path)
    (step,) = plan("smoke", "", run, "02", {})
    cache_keys.set_cache_keys([step], "")
    assert not cache_keys.is_done(step, run)
    write_json(
        cache_keys.cache_record(run, step.name),
        {"cache_key": step.cache_key, "seconds": 1.0, "finished": 5, "earlier": {}},
    )
    assert not cache_keys.is_done(step, run)
    run.checkpoint("vqvae").parent.mkdir()
    run.checkpoint("vqvae").touch()
    assert cache_keys.is_done(step, run)
    (other,) = plan("smoke", "", run, "02", {"epochs": "9"})
    cache_keys.set_cache_keys([other], "")
    assert not cache_keys.is_done(other, run)
    first = {"cache_key": "x", "seconds": 1.0, "finished": 9, "earlier": {}}
    write_json(cache_keys.cache_record(run, "01_data_exploration"), first)
    assert not cache_keys.is_done(step, run), "notebook 01 ran after it"


@pytest.mark.parametrize(
    "changed", ["model.py", "deep/inner/model.py", "assets/slab.npz", "deep/assets/page.css"]
)
def test_the_package_state_covers_packages_inside_and_assets(tmp_path, monkeypatch, changed):
    for name in (
        "__init__.py",
        "model.py",
        "deep/inner/model.py",
        "assets/slab.npz",
        "deep/assets/page.css",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\xff 1")
    monkeypatch.setattr(cache_keys.oasis_utils, "__file__", str(tmp_path / "__init__.py"))
    before = cache_keys.package_state()
    (tmp_path / "deep/__pycache__").mkdir()
    (tmp_path / "deep/__pycache__/model.py").write_bytes(b"compiled")
    (tmp_path / "notes.txt").write_text("no part of it")
    assert cache_keys.package_state() == before
    (tmp_path / changed).write_bytes(b"\xff 2")
    assert cache_keys.package_state() != before


def test_data_state_follows_the_files(tmp_path):
    (tmp_path / "a.png").write_bytes(b"1")
    before = cache_keys.data_state(str(tmp_path))
    (tmp_path / "a.png").write_bytes(b"22")
    assert cache_keys.data_state(str(tmp_path)) != before


def test_sections_of_notebooks_make_one_report(tmp_path):
    run = RunFolder(tmp_path)
    vqvae = VQVAEResults(4, 64, 1536.0, 3, "straight-through", "ema")
    results.save_results(run, "02_train_vqvae", "text", profile="smoke", vqvae=vqvae)
    results.save_results(run, "07_generation", "text", sampling=SAMPLING)
    assert set(results.collect_report(run)) == {"profile", "vqvae", "sampling"}
    report = results.save_report(run, {"total": 1.0})
    assert report == read_json(run.report)
    assert report["vqvae"]["downsampling"] == 4 and report["sampling"]["valid"] == {"dcgan": 1.0}
    jsonschema.validate(report, read_json(SCHEMA))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sample", SAMPLING, "a report has no entry 'sample': choose one of schema"),
        (
            "sampling",
            replace(SAMPLING, valid={"dcgan": 1.5}),
            "'valid.dcgan': input should be less",
        ),
        ("sampling", replace(SAMPLING, temperature=float("nan")), "'temperature': input should be"),
        ("sampling", {"seed": 0}, "'temperature': field required, and 3 more"),
        ("profile", 3, "profile: 'value': input should be a valid string"),
    ],
)
def test_a_section_of_another_form_is_named_and_not_written(tmp_path, name, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        results.save_results(RunFolder(tmp_path), "07_generation", "text", **{name: value})
    assert not RunFolder(tmp_path).summary("07_generation").exists()


@pytest.mark.slow
def test_a_failing_cell_gives_one_line_and_the_partial_notebook(tmp_path):
    done = oasis("run", "--profile", "smoke", "--only", "03", "--out", tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "03_codebook_analysis, cell 4: FileNotFoundError" in done.stderr
    assert "run notebook 01_data_exploration" in done.stderr
    partial = nbformat.read(tmp_path / "notebooks" / "03_codebook_analysis.ipynb", as_version=4)
    assert any(
        output.output_type == "error"
        for cell in partial.cells
        for output in cell.get("outputs", [])
    )
    assert not cache_keys.cache_record(RunFolder(tmp_path), "03_codebook_analysis").exists()


# ---------------------------------------------------------------- the whole series


@pytest.mark.slow
def test_the_series_ends_with_a_table(series):
    done, run = series
    assert done.returncode == 0, done.stderr
    for name in PRODUCTS:
        assert f"{name}  " in done.stdout
    assert f"report: {run.report}" in done.stdout
    assert "WARNING" not in done.stderr


@pytest.mark.slow
def test_the_report_holds_every_documented_metric(series, tree):
    report = read_json(series[1].report)
    assert 0 < report["reconstruction"]["ssim"] <= 1 and report["reconstruction"]["psnr"] > 0
    assert set(report["reconstruction"]["trivial_baselines"]["ssim"]) == {
        "black",
        "mean",
        "other_subject",
    }
    assert 0 < report["codebook"]["used_fraction"] <= 1 and report["codebook"]["perplexity"] >= 1
    assert set(report["pixelcnn"]) >= {"nats_per_code", "unigram_nats", "position_unigram_nats"}
    for prior in ("pixelcnn", "dcgan"):
        metrics = report["priors"][prior]
        assert metrics["valid"] == 1.0 and metrics["distinct_codes"] >= 1
        checked(EvaluationResults, metrics, prior)
    jsonschema.validate(report, read_json(SCHEMA))
    assert set(report["evaluation"]["controls"]) == {"planted copies, decoded", "other people"}
    assert "## Verdicts" in series[1].card.read_text(encoding="utf-8")
    assert set(report["seconds"]) == {"total", *PRODUCTS}
    assert (
        report["profile"] == "smoke"
        and report["data"]["source"] == f"PNG slices of {tree.resolve().name}"
    )
    assert set(report["provenance"]) >= {"torch", "hardware", "revision", "seed"}


@pytest.mark.slow
def test_learning_beats_the_trivial_baselines(series):
    report = read_json(series[1].report)
    assert (
        report["reconstruction"]["ssim"]
        > max(report["reconstruction"]["trivial_baselines"]["ssim"].values()) + 0.05
    )
    assert report["codebook"]["used_fraction"] > 0.5
    assert report["pixelcnn"]["nats_per_code"] < report["pixelcnn"]["unigram_nats"]


@pytest.mark.slow
def test_executed_notebooks_hold_figures_and_no_errors(series):
    run = series[1]
    for name in PRODUCTS:
        cells = nbformat.read(run.notebooks / f"{name}.ipynb", as_version=4).cells
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        assert not [o for o in outputs if o.output_type == "error"]
        assert not [o for o in outputs if o.get("name") == "stderr"], f"{name} warns"
        assert any("image/png" in o.get("data", {}) for o in outputs)
    figures = {path.stem[:2] for path in run.figures.glob("*.png")}
    assert figures == {name[:2] for name in PRODUCTS}


@pytest.mark.slow
def test_jupyter_ends_with_the_same_weights_as_papermill(series, tmp_path):
    """The second notebook, its parameters typed in by hand and run by nbclient, as JupyterLab's
    kernel would.
    """
    _, run = series
    again = RunFolder(tmp_path / "by hand")
    shutil.copytree(run.data, again.data)
    book = nbformat.read(project_root() / "notebooks" / "02_train_vqvae.ipynb", as_version=4)
    cell = next(cell for cell in book.cells if "parameters" in cell.metadata.get("tags", ()))
    cell.source += f"\nprofile, run_folder, device = 'smoke', {str(again.root)!r}, 'cpu'"
    quiet = Config(KernelManager={"transport_encryption": "auto"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        NotebookClient(
            book,
            kernel_name="python3",
            config=quiet,
            resources={"metadata": {"path": str(tmp_path)}},
        ).execute()
    (ours, _), (theirs, _) = (load_tensors(r.checkpoint("vqvae")) for r in (again, run))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
def test_an_identical_run_skips_everything(series, tree):
    before = {p: p.stat().st_mtime_ns for p in series[1].root.glob("checkpoints/*")}
    again = oasis("run", "--profile", "smoke", "--data", tree, "--out", series[1].root)
    assert again.returncode == 0
    assert again.stdout.count("done before, skipped") == len(PRODUCTS)
    assert {p: p.stat().st_mtime_ns for p in series[1].root.glob("checkpoints/*")} == before


@pytest.mark.slow
def test_sample_writes_slices_of_both_priors(series, tmp_path):
    for prior, extra in (
        ("pixelcnn", ("--temperature", "0.9", "--top-k", "20", "--top-p", "0.9")),
        ("dcgan", ()),
    ):
        file = tmp_path / f"{prior}.npz"
        done = oasis(
            "sample",
            "--run",
            series[1].root,
            "--prior",
            prior,
            "--n",
            5,
            "--position",
            3,
            "--seed",
            2,
            "--out",
            file,
            *extra,
        )
        assert done.returncode == 0, done.stderr
        with np.load(file) as arrays:
            assert arrays["images"].shape == (5, 64, 64) and arrays["images"].dtype == np.uint8
            assert arrays["indices"].shape == (5, 16, 16) and arrays["indices"].max() < 64
            assert (arrays["positions"] == 3).all()


@pytest.mark.slow
def test_generation_works_before_any_training(tmp_path):
    """A fresh clone has the shipped models: notebook 07 and `sample` need nothing else."""
    done = oasis("run", "--profile", "smoke", "--only", "07", "--out", tmp_path / "empty")
    assert done.returncode == 0, done.stderr
    cells = nbformat.read(
        tmp_path / "empty" / "notebooks" / "07_generation.ipynb", as_version=4
    ).cells
    printed = "".join(o.get("text", "") for cell in cells for o in cell.get("outputs", []))
    assert "using the shipped models, trained on synthetic sample brains" in printed
    done = oasis("sample", "--run", project_root(), "--n", 2, "--out", tmp_path / "new.npz")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_reconstruct_and_evaluate(series, tree, tmp_path):
    done = oasis("reconstruct", tree, "--run", series[1].root, "--out", tmp_path / "r.npz")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "r.npz") as arrays:
        assert set(arrays) == {
            "images",
            "reconstructions",
            "indices",
            "subjects",
            "positions",
            "series",
        }
        assert arrays["images"].shape == arrays["reconstructions"].shape == (64, 64, 64)
    done = oasis(
        "evaluate",
        series[1].samples("pixelcnn"),
        "--against",
        tree,
        "--json",
        tmp_path / "e.json",
        "--card",
        tmp_path / "e.md",
    )
    assert done.returncode == 0, done.stderr
    judged = json.loads((tmp_path / "e.json").read_text())
    checked(EvaluationResults, judged, "the file")
    assert judged["kid"] > 0 and "privacy:" in done.stdout
    assert f"PNG slices of {tree.resolve().name}" in (tmp_path / "e.md").read_text()
