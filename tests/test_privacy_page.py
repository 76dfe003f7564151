"""docs/privacy.md agrees with its records, and its claims with their numbers."""

import json
import sys
from pathlib import Path

import pytest

from oasis_utils.runtime.report import MembershipResults, checked, section

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks/results"
STUDY, AUDIT = (
    json.loads((RESULTS / name).read_text(encoding="utf-8"))
    for name in ("membership.json", "demo_privacy.json")
)
PAGE = (ROOT / "docs/privacy.md").read_text(encoding="utf-8")


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import membership_tables

    yield membership_tables
    for name in ("membership_tables", "copy_tables", "measure"):
        sys.modules.pop(name, None)


def test_the_tables_are_those_of_the_records(tables):
    assert tables.with_section(PAGE, tables.section(STUDY, AUDIT)) == PAGE


@pytest.mark.parametrize("name", ["membership", "utility", "groups"])
def test_the_record_has_the_form_of_a_report(name):
    assert section(name, AUDIT[name]) == AUDIT[name]


def test_outputs_are_no_copies_and_weights_tell_members():
    audit = checked(MembershipResults, AUDIT["membership"], "the record")
    prior = audit.models["PixelCNN"]
    assert (
        prior.alarm == "yes"
        and prior.calibrated.person_auc.value > prior.plain.person_auc.value + 0.2
    )
    assert prior.null.person_auc.interval[0] < 0.5 < prior.null.person_auc.interval[1]
    assert [row.alarm for row in audit.controls.values()] == ["yes", "no"]


def test_the_study_has_three_seeds_and_one_positive_control():
    counts = {name: len(runs) for name, runs in STUDY["runs"].items()}
    control = counts.pop("20 epochs without augmentation")
    assert control >= 1 and set(counts.values()) == {3}
    rows = STUDY["rows"]
    assert rows["20 epochs without augmentation"]["person_auc"]["median"] > 0.99
    assert rows["4 times the people"]["person_auc"]["most"] < rows["base"]["person_auc"]["least"]


def test_kid_praises_the_model_that_remembers_most():
    kids = {name: row["kid_to_decoded"]["median"] for name, row in STUDY["rows"].items()}
    nats = {name: row["nats_per_code"]["median"] for name, row in STUDY["rows"].items()}
    assert min(kids, key=kids.get) == max(nats, key=nats.get) == "20 epochs without augmentation"


def test_the_order_of_the_training_sets():
    rows = AUDIT["utility"]["age"]["rows"]
    errors = [rows[name]["value"] for name in ("real", "PixelCNN", "DCGAN", "shuffled labels")]
    assert errors == sorted(errors)
