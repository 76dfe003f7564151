"""The scorecard: seven headings, each filled from the report or said to be unmeasured."""

import copy
import json
from pathlib import Path

import pytest

from oasis_utils.evaluation import scorecard_numbers
from oasis_utils.evaluation.model_card import write_card
from oasis_utils.evaluation.scorecard import (
    HEADINGS,
    NOT_MEASURED,
    scorecard,
    scorecard_lines,
    scorecard_rows,
)

RECORD = Path(__file__).parents[2] / "benchmarks/results/demo_2_cpu_cores.json"


@pytest.fixture
def report():
    """A whole report without the sections of notebook 09."""
    found = json.loads(RECORD.read_text(encoding="utf-8"))
    return {k: v for k, v in found.items() if k not in ("membership", "utility", "groups")}


def membership(alarm):
    estimate = {"value": 0.9, "interval": [0.8, 1.0]}
    attack = dict.fromkeys(("slice_auc", "slice_found", "person_auc", "person_found"), estimate)
    row = {"score": "x", "plain": attack, "calibrated": attack, "null": attack, "alarm": alarm}
    return {"models": {"PixelCNN": row | {"verdict": "members are told from others"}}}


def test_an_empty_report_is_not_measured():
    found = scorecard({})
    assert list(found) == list(HEADINGS) and len(found) == 7
    assert all(any(NOT_MEASURED in text for text in sentences) for sentences in found.values())
    assert [name for name, texts in found.items() if texts == [NOT_MEASURED]] == [
        "constraint",
        "completeness",
        "comprehension",
    ]


def test_sections_that_are_missing_are_said_to_be(report):
    found = scorecard(report)
    assert f"Membership: {NOT_MEASURED}." in found["compliance"]
    assert f"Groups of people: {NOT_MEASURED}." in found["coverage"]
    assert f"As training data: {NOT_MEASURED}." in found["congruence"]
    assert any(text.startswith("Readers: not measured") for text in found["congruence"])
    assert found["completeness"] != [NOT_MEASURED] and found["comprehension"] != [NOT_MEASURED]


def test_numbers_are_those_of_the_report(report):
    kid = report["priors"]["pixelcnn"]["comparisons"]["decoded"]["learned"]["kid"]["value"]
    assert f"KID to decoded real slices {kid:.3f}" in scorecard(report)["congruence"][0]
    report["priors"]["pixelcnn"]["comparisons"]["decoded"]["learned"]["kid"]["value"] = 0.5
    assert "KID to decoded real slices 0.500" in scorecard(report)["congruence"][0]


def test_an_alarm_is_followed_by_what_to_do(report):
    advice = "The weights tell members from others: share them under the same terms as the data."
    assert advice in scorecard(report | {"membership": membership("yes")})["compliance"]
    assert advice not in scorecard(report | {"membership": membership("unclear")})["compliance"]


def test_groups_that_are_unknown_are_named(report):
    groups = {"attributes": {"age": {"verdict": "gaps by age"}}}
    coverage = scorecard(report | {"groups": groups})["coverage"]
    assert "gaps by age" in coverage
    assert f"Groups by sex, CDR: {NOT_MEASURED}, unknown or the same for all." in coverage


def test_few_people_give_no_verdict(report):
    few = copy.deepcopy(report)
    for evaluation in few["priors"].values():
        evaluation["real_subjects"] = 9
    assert "too few people to say" in scorecard(few)["congruence"][0]
    assert "too few people" not in scorecard(report)["congruence"][0]


@pytest.mark.parametrize(("perplexity", "word"), [(86, "well used"), (85, "poorly used")])
def test_the_codebook_is_judged_by_a_third_of_its_codes(report, perplexity, word):
    report["codebook"]["perplexity"] = perplexity  # of 256
    assert any(word in text for text in scorecard(report)["consistency"])


def test_reader_verdicts_are_taken_over(report):
    report["priors"]["dcgan"]["readers"] = {"dcgan": {"verdict": "right in 90 %"}}
    assert "Readers, dcgan: right in 90 %" in scorecard(report)["congruence"]


def test_the_card_of_a_run_holds_the_scorecard(report, tmp_path):
    write_card(tmp_path / "card.md", report, ["a.png"])
    card = (tmp_path / "card.md").read_text(encoding="utf-8")
    for heading in (
        "## Verdicts",
        "## Scorecard",
        "### Congruence",
        "### Consistency",
        "## Limits",
    ):
        assert card.count(heading + "\n") == 1
    assert "\n".join(scorecard_lines(report)) in card
    assert "![a.png](a.png)\n\n## Scorecard" in card


LAST = "reference, or not measured"


def test_in_brief_an_empty_report_is_not_measured():
    rows = scorecard_rows({})
    assert list(rows) == list(HEADINGS)
    assert all(list(row) == ["question", LAST] for row in rows.values())
    assert all(NOT_MEASURED in row[LAST] for row in rows.values())


def test_in_brief_each_prior_stands_beside_its_reference(report):
    sides = report["priors"]["pixelcnn"]["comparisons"]
    sides["decoded"]["learned"]["kid"] = {"value": 0.5, "interval": [0.4, 0.6]}
    sides["decoded_vs_decoded"]["learned"]["kid"] = {"value": 0.01, "interval": [0, 0.02]}
    row = scorecard_rows(report)["congruence"]
    assert list(row) == ["question", "PixelCNN", "DCGAN", LAST]
    assert row["PixelCNN"].startswith("KID **0.500**, AUC ")
    assert row[LAST].startswith("KID 0.010; AUC ")
    assert row[LAST].endswith(f"as training data: {NOT_MEASURED}; readers: {NOT_MEASURED}")
    sides["decoded"]["learned"]["kid"]["interval"] = [0.0, 0.6]  # contains the reference
    assert scorecard_rows(report)["congruence"]["PixelCNN"].startswith("KID 0.500, AUC ")


def test_in_brief_few_people_show_no_difference(report):
    for evaluation in report["priors"].values():
        evaluation["real_subjects"] = 9
    rows = scorecard_rows(report)
    assert not any(
        "**" in rows[heading][name]
        for heading in ("congruence", "coverage", "constraint")
        for name in ("PixelCNN", "DCGAN")
    )


@pytest.mark.parametrize(("alarm", "text"), [("yes", "**yes**"), ("unclear", "unclear")])
def test_in_brief_an_alarm_is_bold(report, alarm, text):
    row = scorecard_rows(report | {"membership": membership(alarm)})["compliance"]
    assert row["PixelCNN"] == f"copies not shown; members told apart: {text}, AUC 0.90"
    assert row["DCGAN"] == "copies not shown"  # not among the attacked
    assert row[LAST] == "AUC by chance 0.50"


def test_copies_and_what_their_test_cannot_say_are_told_once(report):
    sentences = scorecard(report)["compliance"]
    assert sum("no proof of privacy" in text for text in sentences) == 1
    found = report["priors"]["dcgan"]
    found["memorised"], found["memorisation"]["suspicious"] = True, 77
    assert f"copies: shown; 77 of {found['images']} samples" in scorecard(report)["compliance"][1]


# ---------------------------------------------------------------- bold and measured in brief


@pytest.mark.parametrize(("word", "bold"), [("higher", True), ("lower", True), ("alike", False)])
def test_in_brief_bold_follows_the_outcome_not_the_sentence(report, monkeypatch, word, bold):
    monkeypatch.setattr(scorecard_numbers, "differs", lambda *_: word)
    row = scorecard_rows(report)["congruence"]["PixelCNN"]
    assert (row.count("**") == 4) is bold and ("**" in row) is bold


@pytest.fixture
def measured():
    """A whole report, with utility and groups."""
    return json.loads(RECORD.read_text(encoding="utf-8"))


def test_in_brief_use_as_training_data_is_shown_beside_what_it_is_compared_with(measured):
    for task, value in (("age", 6.7), ("segmentation", 0.915)):
        measured["utility"][task]["rows"]["PixelCNN"] |= {"value": value}
    measured["utility"]["age"]["rows"]["PixelCNN"]["gain_interval"] = [-1.6, -0.1]
    measured["utility"]["segmentation"]["rows"]["PixelCNN"]["gain_interval"] = [-0.01, 0.01]
    row = scorecard_rows(measured)["congruence"]
    age, dice = "error of the age in years", "Dice of tissues"
    assert row["PixelCNN"].endswith(f"; {age} **6.7**; {dice} 0.915")
    assert f"; {age} 5.8; {dice} 0.915; readers" in row[LAST]  # Dice: relabelled slices
    measured["utility"]["age"]["test_people"] = 9
    measured["utility"]["segmentation"] = None
    row = scorecard_rows(measured)["congruence"]
    assert row["PixelCNN"].endswith(f"; {age} 6.7")
    assert f"{dice}: {NOT_MEASURED}" in row[LAST]
    del measured["utility"]["age"]["rows"]["DCGAN"]
    assert scorecard_rows(measured)["congruence"]["DCGAN"].endswith(f"; {age}: {NOT_MEASURED}")


@pytest.mark.parametrize(("shown", "text"), [(True, "**0.10**"), (False, "0.10"), (None, "0.10")])
def test_in_brief_gaps_of_groups_are_shown(measured, shown, text):
    gaps = measured["groups"]["attributes"]["age"]["gaps"]
    gaps["coverage, PixelCNN"] |= {"shown": shown, "difference": 0.1}
    del gaps["coverage, DCGAN"]
    row, what = scorecard_rows(measured)["coverage"], "largest gap of coverage by age"
    assert row["PixelCNN"].endswith(f"; {what}: {text}")
    assert row["DCGAN"].endswith(f"; {what}: {NOT_MEASURED}")


@pytest.mark.parametrize(("p_value", "text"), [(0.01, "**90%**"), (0.2, "90%")])
def test_in_brief_answers_of_readers_are_shown(report, p_value, text):
    read = {"accuracy": 0.9, "p_value": p_value, "verdict": ""}
    report["priors"]["dcgan"]["readers"] = {"dcgan": read}
    row = scorecard_rows(report)["congruence"]
    assert row["DCGAN"].endswith(f"; readers point at DCGAN in {text}")
    assert "readers" not in row["PixelCNN"]
    assert row[LAST].endswith("; readers by guessing: 50%")


def test_slices_of_which_no_two_share_a_position_have_no_variety(report):
    for evaluation in report["priors"].values():
        for side in evaluation["variety"].values():
            if side:
                side["pair_ms_ssim"] = {"value": None, "interval": None}
    assert "MS-SSIM of two slices not measured" in scorecard(report)["coverage"][0]
    assert "MS-SSIM not measured" in scorecard_rows(report)["coverage"]["PixelCNN"]
