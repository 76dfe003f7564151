"""What gives generated slices away: differences in deviations, and the advice beside them."""

import numpy as np
import pytest
from random_slices import blobs
from scipy.ndimage import gaussian_filter

from oasis_utils.evaluation.giveaways import (
    BLUNT,
    COARSE,
    GREY,
    SHARP,
    giveaway_rows,
    giveaways,
    in_words,
    meaning_of,
)
from oasis_utils.evaluation.measured_sets import MeasuredSet
from oasis_utils.metrics.radiomic import radiomic, radiomic_table
from oasis_utils.runtime.symmetry import LEFT_RIGHT


def measured(images):
    """A set of which only what `giveaways` reads is filled in; its numbers are standardised."""
    n = len(images)
    empty, rows = np.zeros((n, 0)), np.arange(n)
    numbers = (radiomic(images) - 3.0) / 7.0
    outside = np.zeros((n, 0), bool)
    return MeasuredSet(images, rows, rows, empty, empty, numbers, empty, outside, (), rows * 1.0)


def test_differences_are_in_deviations_of_the_decoded_slices_and_sorted():
    a, b = blobs(12, 1), blobs(12, 2) // 2
    found = giveaways(measured(a), measured(b), LEFT_RIGHT)
    tables = radiomic_table(a), radiomic_table(b)
    for name, value in found.items():
        if value is not None:
            difference = tables[0][name].mean() - tables[1][name].mean()
            assert value == pytest.approx(difference / tables[1][name].std(), rel=1e-6)
    sizes = [abs(value or 0.0) for value in found.values()]
    assert sizes == sorted(sizes, reverse=True) and set(found) == set(tables[0])
    assert found["mean"] > 1  # twice as bright


def test_equal_sets_differ_in_nothing_and_constant_numbers_are_none():
    a, flat = blobs(6, 1), np.zeros((6, 32, 32), np.uint8)
    assert all(not value for value in giveaways(measured(a), measured(a), LEFT_RIGHT).values())
    assert None in giveaways(measured(a), measured(flat), LEFT_RIGHT).values()


def test_rows_hold_the_largest_differences_of_any_prior():
    evaluations = {
        "A": {"giveaways": {"outline": 3.0, "mean": -0.1, "overlap": None}},
        "B": {"giveaways": {"outline": 0.2, "mean": -4.0, "overlap": 0.5}},
        "C": {"giveaways": None},  # evaluated without a VQ-VAE
    }
    rows = giveaway_rows(evaluations, count=2)
    assert list(rows) == ["mean", "outline"]
    assert rows["outline"]["A"] == "+3.00, ragged or speckled"
    assert rows["mean"]["B"] == "-4.00, too low"
    assert rows["outline"]["B"] == "+0.20"  # too small for words
    assert rows["outline"]["C"] == ""
    assert list(rows["outline"]) == ["A", "B", "C"]


def test_every_number_has_a_meaning():
    names = list(radiomic_table(blobs(2, 1)))
    texts = {name: meaning_of(name) for name in names}
    assert texts["0.25 to 0.5 cycles a pixel"] == texts["sharpness"] == SHARP
    assert texts["skewness"] == GREY
    assert all(all(text) for text in texts.values())
    assert texts["0.03 to 0.06 cycles a pixel"] == COARSE


def test_the_sign_of_the_meaning_is_that_of_noise_and_blur():
    images, random = blobs(24, 1), np.random.default_rng(0)
    changed = {
        "noisy": np.where(images > 0, images + random.normal(0, 12, images.shape), 0),
        "smooth": gaussian_filter(images.astype(float), (0, 1, 1)),
    }
    tables = {name: radiomic_table(x.clip(0, 255).astype(np.uint8)) for name, x in changed.items()}
    before = radiomic_table(images)
    for number in before:
        moved = {name: (table[number] - before[number]).mean() for name, table in tables.items()}
        if meaning_of(number) == SHARP:
            assert moved["noisy"] > 0 > moved["smooth"], number
        if meaning_of(number) == BLUNT:
            assert moved["noisy"] < 0 < moved["smooth"], number


def test_the_sign_decides_the_meaning():
    assert in_words("overlap", -1.5) == "-1.50, halves do not match"
    assert in_words("asymmetry", 1.5) == "+1.50, halves do not match"
    assert in_words("correlation", -0.5) == "-0.50, too noisy"
    assert in_words("sharpness", -0.5) == "-0.50, too smooth"
