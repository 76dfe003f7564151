"""The final table: every number of the report that has an interval shows it."""

import pytest

from oasis_utils.evaluation import final_rows
from oasis_utils.runtime import project_root, read_json

RECORD = project_root() / "benchmarks/results/demo_2_cpu_cores.json"


@pytest.fixture(scope="module")
def report():
    return read_json(RECORD)


def test_rows_hold_values_intervals_and_references_of_the_report(report):
    rows, priors = final_rows(report), report["priors"]
    assert rows["PixelCNN, KID to real"] == {
        "value": priors["pixelcnn"]["kid"],
        "95 %": priors["pixelcnn"]["kid_interval"],
        "better": "lower",
        "reference": priors["pixelcnn"]["kid_real_vs_real"],
        "which": "real vs real",
    }
    decoded = priors["dcgan"]["comparisons"]
    assert rows["DCGAN, coverage to decoded"] == {
        "value": decoded["decoded"]["learned"]["coverage"]["value"],
        "95 %": decoded["decoded"]["learned"]["coverage"]["interval"],
        "better": "higher",
        "reference": decoded["decoded_vs_decoded"]["learned"]["coverage"]["value"],
        "which": "decoded vs decoded",
    }
    assert (
        rows["planted anomaly, white patch, AUROC"]["95 %"]
        == (report["anomalies"]["intervals"]["white patch"])
    )


def test_only_counts_and_the_copy_gap_have_no_interval(report):
    rows = final_rows(report)
    assert [name for name, row in rows.items() if row["95 %"] is None] == [
        "share of codes used",
        "PixelCNN, copy gap",
        "DCGAN, copy gap",
    ]
    for name, row in rows.items():
        if row["95 %"]:
            low, high = row["95 %"]
            assert low <= row["value"] <= high, name
