"""Answers of readers: Fleiss' own example; the binomial test and Wilson's interval as special
cases.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from oasis_utils.metrics.agreement import accuracy_interval, fleiss_kappa, guessing_p_value

# Fleiss 1971, table 1: 30 patients, 6 psychiatrists, 5 diagnoses
DIAGNOSES = """
00060 03003 01401 00006 03030 20400 00402 20310 20040 00006
10050 11040 03300 10050 02031 00501 30012 51000 02040 10203
00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""


def table(text):
    return np.array([[int(digit) for digit in row] for row in text.split()], dtype=int)


def test_fleiss_own_example():
    counts = table(DIAGNOSES)
    assert counts.shape == (30, 5) and (counts.sum(1) == 6).all()
    assert fleiss_kappa(counts) == pytest.approx(0.430, abs=5e-4)


def test_full_agreement_is_1_and_full_disagreement_of_two_is_minus_1():
    assert fleiss_kappa(table("30 03 30 30")) == pytest.approx(1)
    assert fleiss_kappa(table("11 11 11")) == pytest.approx(-1)
    assert np.isnan(fleiss_kappa(table("30 30")))


def test_readers_that_guess_agree_as_much_as_by_chance():
    left = np.random.default_rng(0).binomial(5, 0.5, 20_000)
    assert fleiss_kappa(np.stack([left, 5 - left], 1)) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("counts", ["10 01", "30 12 11", ""])
def test_agreement_needs_the_same_readers_everywhere(counts):
    with pytest.raises(ValueError, match="same two or more readers"):
        fleiss_kappa(table(counts).reshape(-1, 2))


@pytest.mark.parametrize("right", [0, 9, 20, 27, 40])
def test_one_reader_and_other_people_is_the_binomial_test(right):
    correct = np.arange(40)[None] < right
    people = np.random.default_rng(0).permutation(40)
    expected = binomtest(right, 40)
    assert guessing_p_value(correct, people) == pytest.approx(expected.pvalue)
    wilson = expected.proportion_ci(method="wilson")
    assert accuracy_interval(correct, people) == pytest.approx((wilson.low, wilson.high))


def test_copies_of_a_reader_add_nothing():
    """Readers who answer alike are one reader; five times the trials would be a smaller p-value."""
    correct, people = np.arange(40)[None] < 27, np.arange(40)
    alike = np.repeat(correct, 5, axis=0)
    assert guessing_p_value(alike, people) == pytest.approx(guessing_p_value(correct, people))
    assert binomtest(5 * 27, 5 * 40).pvalue < guessing_p_value(alike, people) / 100
    low, high = accuracy_interval(alike, people)
    one_low, one_high = accuracy_interval(correct, people)
    assert abs((high - low) - (one_high - one_low)) < 0.04


def test_trials_of_one_person_count_once():
    correct = np.repeat(np.arange(10) < 9, 4)[None]  # 10 people, 4 trials each, all alike
    people = np.repeat(np.arange(10), 4)
    assert guessing_p_value(correct, people) == pytest.approx(binomtest(9, 10).pvalue)


def test_readers_who_contradict_one_another_are_no_evidence():
    correct = np.stack([np.ones(20, bool), np.zeros(20, bool)])
    assert guessing_p_value(correct, np.arange(20)) == 1


def test_all_correct_is_no_interval_of_width_0():
    low, high = accuracy_interval(np.ones((3, 20), bool), np.arange(20))
    assert low == pytest.approx(binomtest(20, 20).proportion_ci(method="wilson").low) and high == 1


def test_three_people_have_no_interval():
    assert accuracy_interval(np.eye(3, 12, dtype=bool), np.arange(12) % 3) is None


def test_the_interval_covers_and_the_test_keeps_its_level():
    """Four readers who share a bias on each of 30 trials, which is no sign of the generated one."""
    rng, rejected, covered = np.random.default_rng(0), 0, 0
    people = np.arange(30)
    for _ in range(300):
        chance = rng.choice([0.1, 0.9], 30)
        correct = rng.random((4, 30)) < chance
        rejected += guessing_p_value(correct, people) < 0.05
        low, high = accuracy_interval(correct, people)
        covered += low <= 0.5 <= high
    assert rejected / 300 < 0.08 and covered / 300 > 0.9


def test_the_table_for_planning_a_study():
    page = (Path(__file__).parents[2] / "docs/commands.md").read_text(encoding="utf-8")
    rows = re.findall(r"^  \| (\d+) \| ([\d.]+) \| (\d+) \|$", page, re.MULTILINE)
    assert len(rows) == 5
    for n, width, fewest in ((int(n), float(width), int(k)) for n, width, k in rows):
        people = np.arange(n)
        low, high = accuracy_interval(people[None] < n // 2, people)
        assert 50 * (high - low) == pytest.approx(width, abs=0.05)
        assert guessing_p_value(people[None] < fewest, people) < 0.05
        assert guessing_p_value(people[None] < fewest - 1, people) >= 0.05
