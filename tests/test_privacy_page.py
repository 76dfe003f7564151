"""docs/privacy.md agrees with its records, and its claims with their numbers."""

import json
import sys
from pathlib import Path

import pytest

from oasis_utils.runtime.report import MembershipResults, checked, section

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks/results"
STUDY, DEMO = (
    json.loads((RESULTS / name).read_text(encoding="utf-8"))
    for name in ("membership.json", "demo_2_cpu_cores.json")
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
    assert tables.with_section(PAGE, tables.section(STUDY, tables.audit_of(DEMO))) == PAGE


@pytest.mark.parametrize("name", ["membership", "utility", "groups"])
def test_the_record_has_the_form_of_a_report(name):
    assert section(name, DEMO[name]) == DEMO[name]


def _brief(item):
    return "{:.2f} ({:.2f} to {:.2f})".format(item.value, *item.interval)


def test_copying_is_not_shown_and_weights_tell_members():
    tests = [prior["memorisation"] for prior in DEMO["priors"].values()]
    assert len(tests) == 2 and not any(test["p_value"] < 0.01 for test in tests)
    planted = DEMO["evaluation"]["controls"]["planted copies, decoded"]
    assert planted["suspicious_share"] == 1 and planted["memorised"]
    audit = checked(MembershipResults, DEMO["membership"], "the record")
    prior = audit.models["PixelCNN"]
    assert (
        prior.alarm == "unclear"
        and prior.calibrated.person_auc.interval[0] > 0.6
        and prior.calibrated.person_auc.value > prior.plain.person_auc.value + 0.1
    )
    low, high = prior.null.person_auc.interval
    assert (low < 0.5 < high) == ("the null itself leaves out 0.5" not in PAGE)
    assert f"AUC of {_brief(prior.calibrated.person_auc)}" in PAGE.replace("\n  ", " ")
    assert [row.alarm for row in audit.controls.values()] == ["yes", "no"]


def test_fewer_people_are_told_apart_by_the_weights():
    """The record of the models of `demo` when they were trained on 64 people."""
    record = json.loads((RESULTS / "demo_64_people_privacy.json").read_text(encoding="utf-8"))
    few = checked(MembershipResults, record["membership"], "the record")
    many = checked(MembershipResults, DEMO["membership"], "the record")
    assert few.people["members"] == 64 and many.people["members"] == 256
    found, now = (x.models["PixelCNN"].calibrated.person_auc for x in (few, many))
    assert f"gave {_brief(found)}" in PAGE.replace("\n  ", " ")
    assert few.models["PixelCNN"].alarm == "yes"
    assert now.interval[1] < found.interval[0]


def test_the_study_has_three_seeds_and_a_positive_control():
    counts = {name: len(runs) for name, runs in STUDY["runs"].items()}
    assert set(counts.values()) == {3}
    rows = STUDY["rows"]
    assert rows["20 epochs without augmentation"]["person_auc"]["least"] > 0.99
    assert rows["4 times the people"]["person_auc"]["most"] < rows["base"]["person_auc"]["least"]


def test_kid_praises_the_model_that_remembers_most():
    others = dict(STUDY["rows"])
    control = others.pop("20 epochs without augmentation")
    kids, nats = (
        [row[key] for row in others.values()] for key in ("kid_to_decoded", "nats_per_code")
    )
    assert control["kid_to_decoded"]["most"] < min(kid["least"] for kid in kids)
    assert control["nats_per_code"]["least"] > max(nat["most"] for nat in nats)


def test_what_hardly_matters_and_what_costs():
    """The sentences of the page on each choice."""
    rows, base = STUDY["rows"], STUDY["rows"]["base"]

    def median(name, key):
        return rows[name][key]["median"]

    for name in ("weight decay 0.3", "noisy context, up to 30 %"):
        assert 0.01 < base["person_auc"]["median"] - median(name, "person_auc") < 0.03
    nats = base["nats_per_code"]["median"]
    assert median("weight decay 0.3", "nats_per_code") < nats
    assert median("noisy context, up to 30 %", "nats_per_code") > nats
    for name in ("dropout 0.2", "half the steps", "no layout"):
        assert 0.85 < median(name, "person_auc") < base["person_auc"]["least"]
        assert median(name, "kid_to_decoded") > base["kid_to_decoded"]["most"]
    found = {name: median(name, "person_found") for name in rows if name != "4 times the people"}
    assert min(found, key=found.get) == "no layout"


def test_what_is_said_of_utility_and_groups():
    tissues = DEMO["utility"]["segmentation"]["rows"]
    gains = [row["gain_interval"][1] for row in tissues.values() if row["generated_slices"]]
    assert len(gains) == 8 and max(gains) < 0.001
    assert tissues["10 % of people"]["value"] > tissues["real"]["value"] - 0.002
    gaps = DEMO["groups"]["attributes"]["age"]["gaps"]
    shown = [name for name, gap in gaps.items() if gap["shown"]]
    assert shown == ["reconstruction SSIM"]


def test_the_order_of_the_training_sets():
    rows = DEMO["utility"]["age"]["rows"]
    errors = [rows[name]["value"] for name in ("real", "PixelCNN", "DCGAN", "shuffled labels")]
    assert errors == sorted(errors)
