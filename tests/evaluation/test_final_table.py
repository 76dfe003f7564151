"""The final table: every number of the report that has an interval shows it."""

import pytest

from oasis_utils.evaluation import final_rows
from oasis_utils.runtime import project_root, read_json

RECORD = project_root() / "benchmarks/results/demo_2_cpu_cores.json"


@pytest.fixture(scope="module")
def report():
    return read_json(RECORD)


def shown(value, ends, digits=3):
    return f"{value:.{digits}f} ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})"


def test_rows_hold_values_intervals_and_references_of_the_report(report):
    rows, prior, anomalies = final_rows(report), report["pixelcnn"], report["anomalies"]
    assert rows["PixelCNN, nats per code"] == {
        "value": shown(prior["nats_per_code"], prior["intervals"]["PixelCNN"], 2),
        "better": "lower",
        "reference": shown(prior["markov_cell_nats"], prior["intervals"]["Markov chain + cell"], 2),
        "which": "Markov chain with the cell",
    }
    scores = report["reconstruction"]
    assert rows["reconstruction SSIM in the brain"] == {
        "value": shown(scores["brain_ssim"], scores["intervals"]["brain_ssim"]),
        "better": "higher",
        "reference": f"{scores['trivial_baselines']['brain_ssim']['mean']:.3f}",
        "which": "mean image, the best trivial baseline",
    }
    patch = rows["planted anomaly, white patch, AUROC"]
    ends = anomalies["intervals"]["white patch"]
    assert patch["value"] == shown(anomalies["auroc"]["white patch"], ends)
    assert patch["reference"] == "0.500"


def test_only_the_share_of_codes_has_no_interval(report):
    rows = final_rows(report)
    assert [name for name, row in rows.items() if "(" not in row["value"]] == [
        "share of codes used"
    ]


def test_a_notebook_that_did_not_run_leaves_its_rows_out(report):
    left_out = {"anomalies", "reconstruction"}
    rows = final_rows({name: part for name, part in report.items() if name not in left_out})
    assert list(rows) == ["share of codes used", "PixelCNN, nats per code"]
    assert rows.items() <= final_rows(report).items()
