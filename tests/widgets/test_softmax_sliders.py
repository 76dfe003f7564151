"""The sliders of one cell: their probabilities are those with which the sampler draws."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from oasis_utils.models.drawing import SamplingOptions, draw
from oasis_utils.widgets.softmax_sliders import (
    SoftmaxSliders,
    cell_probabilities,
    settings_text,
    uncertain_cell,
)

RNG = np.random.default_rng(0)
LOGITS = 2 * RNG.standard_normal((12, 4, 4)).astype(np.float32)
PICTURES = RNG.integers(0, 256, (12, 8, 8), dtype=np.uint8)


@pytest.fixture
def sliders():
    return SoftmaxSliders(LOGITS, np.zeros((32, 32), np.uint8), PICTURES)


def test_the_first_cell_and_setting_can_be_chosen():
    start = SamplingOptions(temperature=0.5, top_p=0.8)
    sliders = SoftmaxSliders(LOGITS, np.zeros((32, 32), np.uint8), PICTURES, (1, 0), start)
    assert (sliders.row.value, sliders.col.value) == (1, 0)
    assert (sliders.cell.row, sliders.cell.col) == (1, 0)
    assert sliders.options() == start


def drawn_shares(logits, options, count=20_000):
    noise = (torch.arange(count) + 0.5) / count
    codes = draw(torch.from_numpy(logits).expand(count, -1), noise, options)
    return codes.bincount(minlength=len(logits)).numpy() / count


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(0.0, 0, 1.0), (1.3, 3, 1.0), (0.6, 0, 0.7), (1.0, 0, 1.0)]
)
def test_bars_are_the_shares_that_the_sampler_draws(sliders, temperature, top_k, top_p):
    sliders.temperature.value, sliders.top_k.value = temperature, top_k
    sliders.top_p.value, sliders.row.value, sliders.col.value = top_p, 1, 3
    shares, options = sliders.shares(), SamplingOptions(temperature, top_k, top_p)
    logits = LOGITS[:, 1, 3].copy()
    after = list(shares.values())[-1]
    assert np.abs(after - drawn_shares(logits, options)).max() < 2e-4
    assert np.allclose(shares["as predicted"], torch.from_numpy(logits).softmax(0))
    assert sliders.text.value == f"codes that can be drawn: {(after > 0).sum()} of 12"


@pytest.mark.parametrize(
    ("control", "value"),
    [("temperature", 0.2), ("top_k", 2), ("top_p", 0.3), ("row", 0), ("col", 0)],
)
def test_every_control_changes_the_bars_and_the_way_back_restores_them(sliders, control, value):
    before, old = sliders.bars.value, getattr(sliders, control).value
    figures = plt.get_fignums()
    getattr(sliders, control).value = value
    assert sliders.bars.value != before
    getattr(sliders, control).value = old
    assert sliders.bars.value == before
    assert plt.get_fignums() == figures  # else a notebook shows them, and they stay in memory


def test_a_click_on_the_slice_sets_the_boxes_and_they_move_the_mark(sliders):
    sliders.cell.row, sliders.cell.col = 3, 0
    assert (sliders.row.value, sliders.col.value) == (3, 0)
    sliders.col.value = 2
    assert sliders.cell.col == 2 and sliders.cell.caption == "row 3, column 2"


def test_settings_are_named():
    assert settings_text(SamplingOptions(0.8, 5, 0.95)) == "temperature 0.8, top-k 5, top-p 0.95"
    assert list(cell_probabilities(LOGITS[:, 0, 0], SamplingOptions(0.5))) == [
        "as predicted",
        "temperature 0.5, top-p 1",
    ]


def test_the_uncertain_cell_has_the_perplexity_asked_for_and_is_not_dark():
    """Cell (0, 0) has 2 likely codes, (0, 1) and (1, 1) have 8, (1, 0) has 12."""
    logits = np.full((12, 2, 2), -50, np.float32)
    for (row, col), likely in {(0, 0): 2, (0, 1): 8, (1, 0): 12, (1, 1): 8}.items():
        logits[:likely, row, col] = 0
    image = np.kron([[200, 50], [200, 200]], np.ones((4, 4))).astype(np.uint8)
    assert uncertain_cell(logits, image) == (1, 1)  # (0, 1) is dark
    assert uncertain_cell(logits, image, codes=2.0) == (0, 0)
    assert uncertain_cell(logits, image, codes=12.0) == (1, 0)


@pytest.mark.parametrize("brightest", [0, 100])
def test_an_uncertain_cell_is_found_in_a_dim_slice(brightest):
    logits = np.full((12, 2, 2), -50, np.float32)
    for (row, col), likely in {(0, 0): 8, (0, 1): 2, (1, 0): 2, (1, 1): 7}.items():
        logits[:likely, row, col] = 0
    image = np.kron([[0, 1], [1, 1]], np.full((4, 4), brightest)).astype(np.uint8)
    assert uncertain_cell(logits, image) == ((1, 1) if brightest else (0, 0))
