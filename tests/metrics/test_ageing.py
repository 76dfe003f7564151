"""Lines of a measure against age: closed forms, intervals that cover, and what no interval can be
given for.
"""

import numpy as np
import pytest

from oasis_utils.data.dataset import Split
from oasis_utils.metrics.ageing import (
    MAX_SLICES,
    AgeTrend,
    DarkAreaTrends,
    central,
    compared,
    darkest_rows,
    interval_text,
    noise_similarity,
    verdict,
)


def people(n, slope=0.3, level=20.0, noise=1.0, seed=0, slices=1):
    """(values, ages, owners) of n people with `slices` slices each, noise shared by the slices of a
    person.
    """
    rng = np.random.default_rng(seed)
    ages = rng.uniform(20, 90, n)
    values = level + slope * (ages - 60) + noise * rng.standard_normal(n)
    return values.repeat(slices), ages.repeat(slices), np.arange(n).repeat(slices)


def test_a_line_without_noise_is_found_exactly():
    trend = AgeTrend.fit(*people(8, noise=0.0))
    assert trend.slope == pytest.approx(0.3) and trend.level == pytest.approx(20.0)
    assert trend.at(np.array([30.0, 60.0])) == pytest.approx([11.0, 20.0])
    assert trend.slopes == pytest.approx(np.full(1000, 0.3)) and trend.levels == pytest.approx(
        np.full(1000, 20.0)
    )


def test_the_line_is_that_of_polyfit():
    values, ages, owners = people(30)
    slope, level = np.polyfit(ages - 60, values, 1)
    trend = AgeTrend.fit(values, ages, owners)
    assert (trend.slope, trend.level) == pytest.approx((slope, level))


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    covered = [central(AgeTrend.fit(*people(40, seed=seed)).slopes) for seed in range(200)]
    share = np.mean([low < 0.3 < high for low, high in covered])
    assert 0.88 <= share <= 0.99


def test_slices_of_one_person_are_no_new_people():
    one, many = (AgeTrend.fit(*people(20, slices=slices)) for slices in (1, 8))
    assert np.ptp(central(many.slopes)) == pytest.approx(np.ptp(central(one.slopes)), rel=0.05)


def test_unknown_ages_are_left_out():
    values, ages, owners = people(20)
    known = AgeTrend.fit(values[5:], ages[5:], owners[5:])
    ages[:5] = np.nan
    assert AgeTrend.fit(values, ages, owners).slope == known.slope


@pytest.mark.parametrize("ages", [[40.0, 40.0, 40.0], [np.nan, np.nan, 50.0]])
def test_without_two_ages_there_is_no_line(ages):
    assert AgeTrend.fit(np.arange(3.0), np.array(ages), np.arange(3)) is None


def test_three_people_have_a_line_but_no_interval():
    trend = AgeTrend.fit(*people(3, noise=0.0))
    assert trend.slope == pytest.approx(0.3) and len(trend.slopes) == 0
    assert trend.as_text() == {"change in 10 years": "3.0", "at 60 years": "20.0"}
    assert (trend - AgeTrend.fit(*people(30))).differs_from_zero() == {"slope": None, "level": None}


def test_differences_are_seen_where_they_are_and_only_there():
    real, low = AgeTrend.fit(*people(60, seed=1)), AgeTrend.fit(*people(60, level=17.0, seed=2))
    flat = AgeTrend.fit(*people(60, slope=0.1, seed=3))
    assert (low - real).differs_from_zero() == {"slope": False, "level": True}
    assert (flat - real).differs_from_zero()["slope"] is True
    text = (low - real).as_text()["at 60 years"]
    value, lower, upper = (float(part.strip("(to)")) for part in text.replace("to ", "").split())
    assert lower < value < upper < 0 and value == pytest.approx(-3.0, abs=0.7)


def test_values_are_written_with_their_intervals():
    assert AgeTrend.fit(*people(30, noise=0.0)).as_text()["at 60 years"] == "20.0 (20.0 to 20.0)"
    assert interval_text(1.234, np.array([1.0, 1.0]), 2) == "1.23 (1.00 to 1.00)"
    assert AgeTrend(0.1236, 1.0, *np.zeros((2, 0))).as_text(3)["change in 10 years"] == "1.236"


def test_the_verdict_says_what_is_shown_and_what_is_not():
    real, low = AgeTrend.fit(*people(60, seed=1)), AgeTrend.fit(*people(60, level=17.0, seed=2))
    flat, few = AgeTrend.fit(*people(60, slope=0.1, seed=3)), AgeTrend.fit(*people(3))
    assert "level at 60 years is lower; no difference in slope is shown" in verdict(low, real)
    assert "level at 60 years is higher" in verdict(real, low) and "slope is flatter" in verdict(
        flat, real
    )
    assert "steeper" in verdict(real, flat)
    assert verdict(low, real, "real, decoded").startswith("Generated against real, decoded, by")
    assert verdict(few, real) == "Too few people for an interval, so no difference can be claimed."
    assert "No two ages are known" in verdict(None, real)


def test_rows_of_a_table_hold_both_lines_and_their_difference():
    real, low = AgeTrend.fit(*people(60, seed=1)), AgeTrend.fit(*people(60, level=17.0, seed=2))
    rows = compared(low, real)
    assert rows["generated - real"] == (low - real).as_text() and rows["real"] == real.as_text()
    assert list(compared(low, None)) == ["generated"]
    high = AgeTrend.fit(*people(60, level=23.0, seed=3))
    more = compared(low, real, high)
    assert {name: more[name] for name in rows} == rows
    assert more["real, decoded"] == high.as_text()
    assert more["generated - real, decoded"] == (low - high).as_text()
    assert compared(low, real, digits=3)["generated - real"] == (low - real).as_text(3)


def test_likeness_tells_the_same_noise_from_another():
    rng = np.random.default_rng(0)
    young = rng.integers(0, 200, (4, 16, 16), dtype=np.uint8)
    found = {k: v.mean() for k, v in noise_similarity(young, young + np.uint8(10)).items()}
    assert found["same noise"] > 0.9 > 0.3 > found["different noise"]
    with pytest.raises(ValueError, match="at least two noises"):
        noise_similarity(young[:1], young[:1])


def ageing_split(n=40, positions=3):
    """Slices whose dark central area grows with age, at one position more than at the others."""
    ages = np.linspace(20, 90, n).repeat(positions)
    where = np.tile(np.arange(positions), n)
    images = np.full((len(ages), 24, 24), 200, np.uint8)
    for image, age, position in zip(images, ages, where, strict=True):
        image[8:16, 8 : 8 + int(age / 90 * (8 if position == 1 else 4))] = 10
    return Split("train", images, np.arange(n).repeat(positions), where, ages.astype(np.float32))


def test_a_study_compares_slices_of_the_same_ages():
    split = ageing_split()
    level, rows = darkest_rows(split)
    assert level == 1 and len(rows) == 40 and (split.positions[rows] == 1).all()
    half = split.images[rows].copy()
    half[:, 8:12] = 200
    study = DarkAreaTrends.of(half, split, rows)
    assert study.lines["generated"].slope == pytest.approx(study.lines["real"].slope / 2, rel=1e-6)
    assert study.correlation["generated"] == pytest.approx(
        study.correlation["real"]
    )  # which sees no difference
    assert "lower; the slope is flatter" in verdict(**study.lines)
    ages, dark, line = study.curves()["real"]
    assert len(ages) == len(dark) == len(line) == 40 and 0 < dark.max() <= 100


def test_a_change_of_the_real_slices_changes_their_line_by_so_much():
    split = ageing_split()
    _, rows = darkest_rows(split)
    study = DarkAreaTrends.of(split.images[rows], split, rows)
    half = split.images[rows].copy()
    half[:, 8:12] = 200
    line = study.line_of(half, split, rows)
    assert line.level == pytest.approx(study.lines["real"].level / 2, rel=0.02)
    assert line.slope == pytest.approx(study.lines["real"].slope / 2, rel=1e-6)
    unchanged = study.line_of(split.images[rows], split, rows)
    assert unchanged.as_text() == study.lines["real"].as_text()


def test_a_study_without_ages_has_no_lines():
    split = ageing_split()
    ages = np.full(len(split.images), np.nan, np.float32)
    unknown = Split("train", split.images, split.subjects, split.positions, ages)
    _, rows = darkest_rows(unknown)
    study = DarkAreaTrends.of(unknown.images[rows], unknown, rows)
    assert study.lines == {"generated": None, "real": None} and study.curves() == {}


def test_many_rows_are_thinned_evenly():
    _, rows = darkest_rows(ageing_split(n=3 * MAX_SLICES, positions=2))
    assert len(rows) == MAX_SLICES and rows[0] < 3 and rows[-1] > 2 * 3 * MAX_SLICES - 3
