"""The form of an evaluation is checked entry by entry. (test_evaluation.py reads verdicts and cards
of real ones.)
"""

from dataclasses import MISSING, fields

import pytest

from oasis_utils.evaluation.model_card import (
    cell,
    metric_rows,
    model_card,
    plain_text,
    variety_rows,
)
from oasis_utils.evaluation.verdicts import (
    anatomy_rows,
    compare_priors,
    differs,
    verdict_rows,
    verdicts,
)
from oasis_utils.runtime.report import EvaluationResults, checked

FORM = [field.name for field in fields(EvaluationResults) if field.default is MISSING]

PAIR = {
    "sample": 1,
    "train_index": 2,
    "subject": 3,
    "position": 4,
    "mirrored": False,
    "distance": 0.1,
    "ratio": 0.5,
    "grey_distance": 0.1,
    "edge_distance": 0.2,
}


def item(value, half=0.01):
    return {"value": value, "interval": [value - half, value + half]}


def comparison(kid, auc, coverage=0.9, ventricles=0.1):
    shares = {key: item(coverage) for key in ("precision", "recall", "density", "coverage")}
    return {
        "learned": {"kid": item(kid), "frechet": item(1.0), **shares},
        "radiomic": {"kid": item(kid), "frechet": item(1.0), **shares},
        "two_sample": {"network": item(auc), "logistic": item(auc)},
        "anatomy": {"ventricles": item(ventricles), "fluid": item(0.0)},
    }


def side(outside=0.1, error=1.0):
    return {
        "outside": {"ventricles": outside},
        "outside_share": outside,
        "outside_share_interval": [outside - 0.05, outside + 0.05],
        "position_error": error,
        "position_error_interval": [error - 0.1, error + 0.1],
    }


def evaluation(kid=0.2, prior=0.05, coverage=0.7, ms_ssim=0.5, **changes):
    """An evaluation written by hand; `decoded=False`: of images alone."""
    sides = {
        "real": comparison(kid, 0.9, 0.1),
        "decoded": comparison(prior, 0.6, coverage, 0.5),
        "real_vs_real": comparison(0.0, 0.52),
        "training_vs_real": comparison(0.01, 0.55),
        "decoded_vs_real": comparison(0.1, 0.7),
        "decoded_vs_decoded": comparison(0.0, 0.55),
    }
    pairs = {"pair_ms_ssim": item(ms_ssim), "pair_ssim": item(ms_ssim)}
    values = dict.fromkeys(FORM) | {
        "schema": "oasis_utils.evaluation",
        "version": 2,
        "images": 64,
        "compared": 64,
        "real_subjects": 64,
        "reference_subjects": 32,
        "positions": "given",
        "features": {"learned": "…"},
        "kid": kid,
        "kid_interval": [kid - 0.01, kid + 0.01],
        "kid_real_vs_real": 0.0,
        "kid_real_vs_real_interval": [-0.01, 0.01],
        "two_sample_auc": 0.9,
        "two_sample_auc_interval": [0.89, 0.91],
        "two_sample_auc_real_vs_real": 0.52,
        "two_sample_auc_real_vs_real_interval": [0.51, 0.53],
        "resolution": {"learned kid": 0.01, "two_sample network": 0.01},
        "memorised": False,
        "copy_gap": 0.0,
        "variety": {
            "generated": pairs,
            "real": pairs,
            "decoded": {name: item(0.5) for name in pairs},
        },
        "anatomy": {"generated": side(), "real": side(), "decoded": side()},
        "comparisons": sides,
        "memorisation": {
            "suspicious": 1,
            "suspicious_share": 1 / 64,
            "suspicious_share_real": 0.01,
            "suspicious_share_limit": 0.02,
            "p_value": 0.5,
            "threshold": 0.8,
            "median_ratio": 1.0,
            "copy_gap": 0.0,
            "rule": "text",
        },
        "verdicts": dict.fromkeys(("fidelity", "diversity", "anatomy", "privacy"), "text"),
        "seconds": {"copies": 0.1},
        "suspicious_pairs": [PAIR],
    }
    return values | changes


GOOD = evaluation()


def test_a_good_evaluation_passes():
    assert checked(EvaluationResults, GOOD, "an evaluation").kid_interval == tuple(
        GOOD["kid_interval"]
    )
    checked(EvaluationResults, GOOD | {"valid": 1.0}, "an evaluation")
    assert set(GOOD) == set(FORM)


@pytest.mark.parametrize("name", FORM)
def test_every_entry_is_needed(name):
    with pytest.raises(ValueError, match=f"an evaluation: '{name}': field required: write it"):
        checked(
            EvaluationResults,
            {key: value for key, value in GOOD.items() if key != name},
            "an evaluation",
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("schema", "other"),
        ("version", 1),
        ("images", -1),
        ("images", True),
        ("kid", float("nan")),
        ("kid", "0.1"),
        ("kid_interval", [0.2, 0.1]),
        ("kid_interval", [0.1]),
        ("two_sample_auc", 1.2),
        ("memorised", 0),
        ("memorised", "no"),
        ("suspicious_pairs", None),
        ("suspicious_pairs", [{"sample": 1}]),
        ("suspicious_pairs", [PAIR | {"mirrored": 1}]),
        ("verdicts", {}),
        ("positions", "guessed"),
        ("kid_prior", "none"),
        ("misspelt", 1),
    ],
)
def test_an_entry_of_another_form_is_named(name, value):
    with pytest.raises(ValueError, match=f"an evaluation: '{name}"):
        checked(EvaluationResults, GOOD | {name: value}, "an evaluation")


@pytest.mark.parametrize(
    ("value", "half", "word"),
    [
        (0.5, 0.1, "higher"),
        (0.3, 0.1, "not shown to differ"),
        (0.1, 0.3, "not shown to differ"),
        (-0.4, 0.1, "lower"),
    ],
)
def test_only_separate_intervals_differ(value, half, word):
    assert differs(item(value, half), item(0.1, 0.2)) == word


def test_verdicts_print_each_value_beside_the_reference_of_its_own_kind():
    said = verdicts(evaluation())
    assert (
        "Kernel distance to real slices 0.200 (95 %: 0.190 to 0.210); real vs real 0.000 (95 %:"
        " -0.010 to 0.010): higher." in said["fidelity"]
    )
    assert (
        "kernel distance 0.050 (95 %: 0.040 to 0.060); decoded vs decoded 0.000 (95 %: -0.010 to"
        " 0.010): higher" in said["fidelity"]
    )
    assert "Coverage 70% (95 %: 69% to 71%); decoded vs decoded 90%" in said["diversity"]
    assert "two decoded people 0.50 (95 %: 0.49 to 0.51): not shown to differ" in said["diversity"]
    assert (
        "ventricles, in real deviations 0.50 (95 %: 0.49 to 0.51); decoded vs decoded 0.10"
        in said["anatomy"]
    )
    assert (
        "1 of 64 samples (1.6%)" in said["privacy"]
        and "1.0% (95 % upper bound 2.0%)" in said["privacy"]
    )


def test_verdicts_follow_the_numbers():
    same = verdicts(evaluation(kid=0.005, prior=0.001, coverage=0.9, ms_ssim=0.8))
    assert (
        same["fidelity"].count("not shown to differ") == 3 and "Coverage 90%" in same["diversity"]
    )
    assert "two decoded people 0.50 (95 %: 0.49 to 0.51): higher" in same["diversity"]
    assert "contain copies" in verdicts(evaluation(memorised=True))["privacy"]


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (1.0, "not shown to differ"),
        (1.13, "not shown to differ"),
        (1.15, "higher"),
        (0.85, "lower"),
    ],
)
def test_a_difference_is_judged_by_its_own_interval(value, word):
    """Two intervals of ± 0.1 that just overlap: that of the difference is ± 0.14."""
    reference = {"value": 1.0, "interval": [0.9, 1.1]}
    assert differs({"value": value, "interval": [value - 0.1, value + 0.1]}, reference) == word


def test_priors_are_compared_by_the_same_rule():
    good, poor = evaluation(coverage=0.9), evaluation(prior=0.2, coverage=0.905)
    said = compare_priors({"PixelCNN": good, "DCGAN": poor})
    assert said.startswith(
        "Against decoded slices, PixelCNN is better in learned KID, radiomic KID; no "
    )
    assert said == compare_priors({"DCGAN": poor, "PixelCNN": good})
    assert "coverage" in said.split(";")[-1]
    fuller = compare_priors({"PixelCNN": good, "DCGAN": evaluation(prior=0.2, coverage=0.95)})
    assert "DCGAN is better in precision, recall, coverage" in fuller
    few = {"PixelCNN": evaluation(reference_subjects=8), "DCGAN": poor}
    assert compare_priors(few) == "8 people are too few to say."


def test_few_people_are_not_judged():
    said = verdicts(evaluation(reference_subjects=8))
    assert (
        "higher." not in said["fidelity"]
        and "0.010): 8 people are too few to say" in said["fidelity"]
    )


def images_alone():
    """As `evaluate` judges a file without a VQ-VAE."""
    judged = evaluation()
    missing = dict.fromkeys(("decoded", "decoded_vs_real", "decoded_vs_decoded"))
    return judged | {
        "comparisons": judged["comparisons"] | missing,
        "variety": judged["variety"] | {"decoded": None},
        "anatomy": judged["anatomy"] | {"decoded": None},
    }


def test_images_alone_are_read_against_real_vs_real():
    judged = images_alone()
    assert "decoded" not in " ".join(verdicts(judged).values())
    assert "Coverage 10% (95 %: 9% to 11%); real vs real 90%" in verdicts(judged)["diversity"]
    card = model_card({"them": judged | {"verdicts": verdicts(judged)}}, {})
    assert "Against decoded real slices" not in card and "None" not in card


def test_tables_hold_each_metric_beside_its_reference_and_say_which_way_is_better():
    rows = metric_rows({"a": evaluation(), "b": evaluation(kid=0.3)})
    assert list(rows["KID, learned"]) == [
        "better",
        "a",
        "b",
        "real vs real",
        "training vs real",
        "decoded vs real",
    ]
    assert (
        rows["KID, learned"]["better"] == "lower"
        and rows["coverage, learned"]["better"] == "higher"
    )
    assert [rows["KID, learned"][column][:5] for column in ("b", "training vs real")] == [
        "0.300",
        "0.010",
    ]
    assert list(metric_rows({"a": evaluation()}, "decoded")["KID, learned"]) == [
        "better",
        "a",
        "decoded vs decoded",
    ]
    assert list(variety_rows({"a": evaluation()})["position error, slices"]) == [
        "better",
        "a",
        "real",
        "decoded real",
    ]


def test_what_the_data_cannot_show_has_no_row():
    """Whole heads without masks have no ventricles."""
    judged, rows = evaluation(), (("learned", "kid"), ("anatomy", "ventricles"))
    heads = {name: side and side | {"anatomy": {}} for name, side in judged["comparisons"].items()}
    assert "ventricles" in " ".join(metric_rows({"a": judged}, rows=rows))
    assert list(metric_rows({"a": judged | {"comparisons": heads}}, rows=rows)) == ["KID, learned"]


def test_a_cell_shows_three_digits_and_the_interval():
    assert cell({"value": 0.12345, "interval": [0.1, 0.2]}) == "0.123 (0.100 to 0.200)"
    assert cell({"value": 123.4, "interval": None}) == "123" and cell(None) == ""


def test_names_in_a_card_are_no_markup():
    assert plain_text("a|b<script>\n# c [d](e) *f* 07_g") == (
        r"a\|b&lt;script&gt; # c \[d\](e) \*f\* 07_g"
    )


def test_the_table_of_verdicts_follows_the_rule_of_the_sentences():
    rows = verdict_rows({"a": evaluation(), "b": evaluation(kid=0.005, prior=0.0)})
    assert rows["KID, against real"] == {
        "better": "lower",
        "reference": "0.000 (-0.010 to 0.010)",
        "a": "0.200 (0.190 to 0.210): higher",
        "b": "0.005 (-0.005 to 0.015): not shown to differ",
    }
    assert rows["share outside the real range"]["better"] == "as reference"
    assert rows["KID, against decoded"]["a"] == "0.050 (0.040 to 0.060): higher"
    assert list(rows)[-2:] == ["share outside the real range", "error of the position, in slices"]


def test_the_table_of_verdicts_judges_no_few_people_and_leaves_out_what_is_unknown():
    few = evaluation(real_subjects=9)
    alone = few | {"comparisons": few["comparisons"] | {"decoded": None}}
    rows = verdict_rows({"a": alone})
    assert all(row["a"].endswith(": too few people to say") for row in rows.values())
    assert not [name for name in rows if "decoded" in name]


def test_the_anatomy_of_all_measures_has_a_row_where_it_was_taken():
    with_joint = evaluation()
    for name, value in {"decoded": 0.3, "decoded_vs_decoded": 0.0}.items():
        with_joint["comparisons"][name]["anatomy_joint"] = item(value)
    rows = verdict_rows({"a": with_joint})
    assert rows["anatomy together, against decoded"] == {
        "better": "lower",
        "reference": "0.00 (-0.01 to 0.01)",
        "a": "0.30 (0.29 to 0.31): higher",
    }
    assert "anatomy together, against real" not in rows


def test_anatomy_in_short_names_the_measure_farthest_beyond_its_reference():
    some = evaluation()
    some["comparisons"]["real"]["anatomy"]["fluid"] = item(0.4)
    some["comparisons"]["real_vs_real"]["anatomy"]["fluid"] = item(0.35)
    some["comparisons"]["real_vs_real"]["anatomy"]["ventricles"] = item(0.02)
    some["comparisons"]["decoded"]["anatomy_effects"] = {
        "ventricles": item(-0.5),
        "fluid": item(0.2),
    }
    for name, value in {"decoded": 0.3, "decoded_vs_decoded": -0.1}.items():
        some["comparisons"][name]["anatomy_joint"] = item(value)
    assert anatomy_rows({"a": some}) == {
        "a": {
            "farthest, against real": "ventricles (+0.08)",
            "farthest, against decoded": "ventricles (+0.40)",
            "all together": "0.30 (0.29 to 0.31)",
            "decoded vs decoded": "-0.10 (-0.11 to -0.09)",
            "largest effect size": "ventricles -0.50 (-0.51 to -0.49)",
        }
    }
    alone = evaluation()
    alone["comparisons"] = alone["comparisons"] | {"decoded": None, "decoded_vs_decoded": None}
    assert list(anatomy_rows({"a": alone})["a"]) == ["farthest, against real"]
