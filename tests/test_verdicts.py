"""The form of an evaluation is checked entry by entry. (test_evaluation.py reads verdicts and cards of real ones.)"""

import pytest

from oasis_utils.verdicts import FORM, SCHEMA, VERSION, cell, check_form, figure_table

GOOD = {"schema": SCHEMA, "version": VERSION, "images": 64, "compared": 64, "real_subjects": 8, "positions": "given",
        "features": {"learned": "…"}, "kid": -0.001, "kid_interval": [-0.01, 0.02], "kid_floor": 0.0,
        "kid_floor_interval": [0.0, 0.1], "kid_ceiling": None, "two_sample_auc": 0.5, "two_sample_interval": [0.4, 0.6],
        "two_sample_null": 0.5, "memorised": False, "copy_gap": 0.0, "pair_ssim": None, "pair_ms_ssim": 0.5,
        "pair_ssim_real": 0.4, "pair_ms_ssim_real": 0.5, "anatomy": {"a": 1}, "memorisation": {"a": 1},
        "comparisons": {"a": 1}, "verdicts": {"a": "b"},
        "suspicious_pairs": [{"sample": 1, "train_index": 2, "subject": 3, "position": 4, "mirrored": False,
                              "distance": 0.1, "ratio": 0.5, "grey_distance": 0.1, "edge_distance": 0.2}]}


def test_a_good_evaluation_passes_and_may_hold_more():
    check_form(GOOD)
    check_form(GOOD | {"valid": 1.0})
    assert set(GOOD) == set(FORM)


@pytest.mark.parametrize("name", FORM)
def test_every_entry_is_needed(name):
    with pytest.raises(ValueError, match=f"needs '{name}'"):
        check_form({key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize(("name", "value"), [
    ("schema", "other"), ("version", 2), ("images", -1), ("images", True), ("kid", float("nan")), ("kid", "0.1"),
    ("kid_interval", [0.2, 0.1]), ("kid_interval", (0.1, 0.2)), ("two_sample_auc", 1.2), ("memorised", 0),
    ("memorised", "no"), ("suspicious_pairs", None), ("suspicious_pairs", [{"sample": 1}]), ("verdicts", {}),
    ("positions", "guessed"), ("kid_ceiling", "none")])
def test_an_entry_of_another_form_is_named(name, value):
    with pytest.raises(ValueError, match=f"'{name}' of an evaluation is"):
        check_form(GOOD | {name: value})


@pytest.mark.parametrize("measures", [("brain area", "ventricles"), ("head area", "ventricles"), ("head area",)])
def test_the_table_shows_the_anatomy_that_was_measured(measures):
    value = {"value": 0.5, "interval": None}
    side = {"learned": dict.fromkeys(("kid", "frechet", "coverage"), value),
            "radiomic": dict.fromkeys(("kid", "frechet"), value),
            "two_sample": dict.fromkeys(("network", "logistic"), value), "anatomy": dict.fromkeys(measures, value)}
    seen = {"outside_share": 0.1, "position_error": 1.0}
    lines = figure_table({"ours": GOOD | {
        "comparisons": {"real": side, "floor": side, "ceiling": None},
        "anatomy": {"generated": seen, "real": seen, "decoded": None}}})
    shown = [line.split(",")[0][2:] for line in lines if "real deviations" in line]
    assert shown == [name for name in measures if name != "brain area"]


def test_a_cell_shows_three_figures_and_the_interval():
    assert cell({"value": 0.12345, "interval": [0.1, 0.2]}) == "0.123 (0.100–0.200)"
    assert cell({"value": 123.4, "interval": None}) == "123" and cell(None) == ""
