"""Likelihood baselines: closed forms, distributions that sum to one, and chains that find what was
put in.
"""

import math

import numpy as np
import pytest
import torch
from small_pixelcnn import AGES, random_maps, tiny

from oasis_utils.data.batches import Batches
from oasis_utils.evaluation.likelihood import prior_nats
from oasis_utils.metrics.likelihood import (
    Markov,
    baseline_nats,
    interval,
    likelihood_baselines,
    position_unigram_nats,
    unigram_nats,
)
from oasis_utils.models.codes import CodeMaps


def test_unigram_closed_form():
    train = np.array([[[0, 0], [0, 1]]])  # add-one: (3 + 1, 1 + 1, 0 + 1) of 7
    held_out = np.array([[[0, 1], [2, 2]]])
    expected = -np.log(np.array([4, 2, 1, 1]) / 7).mean()
    assert unigram_nats(train, held_out, 3) == pytest.approx(expected)


def test_position_unigram_closed_form():
    train = np.array([[[0, 1]], [[0, 0]]])
    share = np.array([4, 2, 1]) / 7  # unigram frequencies, add-one
    first = (np.array([2, 0, 0]) + 5 * share) / 7
    second = (np.array([1, 1, 0]) + 5 * share) / 7
    for a in range(3):
        for b in range(3):
            held_out = np.array([[[a, b]]])
            expected = -(np.log(first[a]) + np.log(second[b])) / 2
            assert position_unigram_nats(train, held_out, 3, strength=5.0) == pytest.approx(
                expected
            )


def test_uniform_random_codes_cost_about_ln_k():
    rng = np.random.default_rng(0)
    train, held_out = (rng.integers(0, 8, (n, 4, 4)) for n in (2000, 200))
    assert unigram_nats(train, held_out, 8) == pytest.approx(math.log(8), abs=0.01)
    assert position_unigram_nats(train, held_out, 8) == pytest.approx(math.log(8), abs=0.02)


def test_codes_fixed_by_their_cell_cost_nothing_once_the_cell_is_known():
    maps = np.tile(np.arange(16).reshape(1, 4, 4), (2000, 1, 1))
    assert unigram_nats(maps, maps[:5], 16) == pytest.approx(math.log(16), abs=1e-3)
    assert position_unigram_nats(maps, maps[:5], 16) < 0.02


def test_strength_goes_from_cell_frequencies_to_the_unigram():
    rng = np.random.default_rng(0)
    cells = 4 * (np.arange(16).reshape(4, 4) % 3)
    train, held_out = (rng.integers(0, 4, (50, 4, 4)) + cells for _ in range(2))
    strong = position_unigram_nats(train, held_out, 12, strength=1e9)
    assert strong == pytest.approx(unigram_nats(train, held_out, 12), rel=1e-5)
    assert position_unigram_nats(train, held_out, 12, strength=1.0) < strong - 0.5


# ---------------------------------------------------------------- Markov chain


def chain(n, seed, grid=6, n_codes=5):
    """Maps whose code is its left neighbour plus the upper one, or, one time in five, any code."""
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, n_codes, (n, grid, grid))
    for row in range(1, grid):
        for col in range(1, grid):
            follow = (maps[:, row, col - 1] + maps[:, row - 1, col]) % n_codes
            maps[:, row, col] = np.where(rng.random(n) < 0.8, follow, maps[:, row, col])
    return maps


@pytest.mark.parametrize("cell", [False, True])
def test_markov_probabilities_sum_to_one_in_every_context(cell):
    model = Markov.fit(chain(30, 0), chain(10, 1), 5, cell)
    maps = np.repeat(chain(4, 2), 5, axis=0)
    for row, col in [(0, 0), (0, 3), (2, 0), (3, 4)]:
        every = maps.copy()
        every[:, row, col] = np.tile(np.arange(5), 4)
        shares = np.exp(-model.nats(every)[:, row, col]).reshape(4, 5)
        assert shares.sum(1) == pytest.approx(np.ones(4), abs=1e-12)
    assert model.weights.sum(1) == pytest.approx(np.ones(len(model.weights)))


def test_markov_chain_beats_the_unigram_and_nears_the_entropy_of_the_source():
    train, held_out = chain(800, 0), chain(200, 2)
    inner = Markov.fit(train, chain(200, 1), 5).nats(held_out)[:, 1:, 1:].mean()
    follow = 0.8 + 0.2 / 5
    entropy = -follow * math.log(follow) - 4 * 0.04 * math.log(0.04)
    assert inner == pytest.approx(entropy, abs=0.02)
    assert inner < unigram_nats(train, held_out, 5) - 0.5


def test_markov_chain_of_unrelated_codes_falls_back_to_the_unigram():
    rng = np.random.default_rng(0)
    train, validate, test = (
        rng.choice(16, (n, 6, 6), p=np.arange(1, 17) / 136) for n in (40, 100, 100)
    )
    assert Markov.fit(train, validate, 16).nats(test).mean() == pytest.approx(
        unigram_nats(train, test, 16), abs=0.01
    )


def test_the_cell_helps_where_codes_depend_on_it():
    rng = np.random.default_rng(0)
    train, validate, test = (
        rng.integers(0, 4, (n, 5, 5)) + 4 * (np.arange(25).reshape(5, 5) % 3) for n in (60, 30, 30)
    )
    plain, told = (
        Markov.fit(train, validate, 12, cell).nats(test).mean() for cell in (False, True)
    )
    assert told < plain - 0.05


def test_baselines_of_code_maps_as_they_are_stored():
    maps = {
        s: chain(n, i, 4, 8).astype(np.uint16)
        for i, (s, n) in enumerate({"train": 20, "validate": 6, "test": 5}.items())
    }
    none = {s: np.zeros(len(m), np.int64) for s, m in maps.items()}
    codes = CodeMaps(
        maps, none, none, {s: n.astype(np.float32) for s, n in none.items()}, {"n_codes": 8}
    )
    train, test = maps["train"].astype(np.int64), maps["test"].astype(np.int64)
    found = likelihood_baselines(codes.indices, 8)
    assert list(found) == [
        "unigram_nats",
        "position_unigram_nats",
        "markov_nats",
        "markov_cell_nats",
    ]
    assert found["unigram_nats"] == unigram_nats(train, test, 8)
    assert found["position_unigram_nats"] == position_unigram_nats(train, test, 8)
    assert found["markov_nats"] == pytest.approx(
        Markov.fit(train, maps["validate"], 8).nats(test).mean()
    )
    assert likelihood_baselines(codes.indices, 8, "validate") != found
    each = baseline_nats(codes.indices, 8)
    assert {len(values) for values in each.values()} == {len(test)}
    assert [values.mean() for values in each.values()] == pytest.approx(list(found.values()))
    assert each["unigram_nats"][2] == pytest.approx(unigram_nats(train, test[2:3], 8))


def test_nats_of_a_prior_are_those_of_its_validation_map_by_map():
    model, maps = tiny(**AGES), random_maps(10)
    tensors = {"indices": maps, "positions": torch.arange(10) % 4, "ages": torch.full((10,), 30.0)}
    nats = prior_nats(model, Batches(tensors, 4))
    assert nats.shape == (10,) and nats.mean() == pytest.approx(
        model.validate(Batches(tensors, 4))["nats_per_code"]
    )
    last = {name: values[9:] for name, values in tensors.items()}
    assert nats[9] == pytest.approx(model.validate(Batches(last, 4))["nats_per_code"], rel=1e-5)
    unknown = prior_nats(
        model, Batches({name: tensors[name] for name in ("indices", "positions")}, 4)
    )
    assert not np.allclose(unknown, nats)


def test_intervals_of_nats_are_over_subjects_and_narrower_for_paired_differences():
    rng = np.random.default_rng(0)
    subjects = np.arange(12).repeat(8)
    first = 3 + rng.standard_normal(12)[subjects] + 0.1 * rng.standard_normal(96)
    second = first + 0.2 + 0.05 * rng.standard_normal(96)
    low, high = interval(first, subjects)
    assert low < first.mean() < high and high - low > 3 * np.ptp(interval(first, np.arange(96))) / 2
    assert np.ptp(interval(second - first, subjects)) < 0.05 < high - low
    assert np.isnan(interval(first, subjects % 3)).all()
