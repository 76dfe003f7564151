"""The membership attack: blind to position and covariates, finds planted members."""

import numpy as np
import pytest

from oasis_utils.metrics.membership import ScoredSlices, adjusted, found_at, membership


def people(n, seed, gain=0.0, slope=3.0, slices=16):
    """n people whose scores depend on position and a covariate; `gain` is what membership adds."""
    rng = np.random.default_rng(seed)
    who, positions = np.repeat(np.arange(n), slices), np.tile(np.arange(slices), n)
    easy = np.repeat(rng.normal(size=n), slices) + rng.normal(size=n * slices) / 4
    scores = positions + slope * easy + gain + rng.normal(size=n * slices)
    return ScoredSlices(scores, positions, who, easy[:, None])


def test_the_residuals_do_not_depend_on_position_or_covariates():
    members, others = people(30, 0), people(20, 1)
    rest = np.concatenate(adjusted(members, others))
    positions = np.concatenate([members.positions, others.positions])
    easy = np.concatenate([members.covariates, others.covariates])[:, 0]
    assert np.abs([rest[positions == p].mean() for p in range(16)]).max() < 1e-9
    within = easy - np.array([easy[positions == p].mean() for p in range(16)])[positions]
    assert abs(within @ rest) < 1e-8


def test_a_constant_or_repeated_covariate_changes_nothing():
    members, others = people(10, 0), people(10, 1)

    def widened(side):
        more = np.column_stack([side.covariates, side.covariates, np.ones(len(side.scores))])
        return ScoredSlices(side.scores, side.positions, side.people, more)

    plain, wide = adjusted(members, others), adjusted(widened(members), widened(others))
    np.testing.assert_allclose(plain[0], wide[0], atol=1e-9)
    np.testing.assert_allclose(plain[1], wide[1], atol=1e-9)


def test_found_at_a_rate():
    others = np.arange(100.0)
    assert found_at(np.array([98.0, 99.0, 99.5, 200.0]), others) == 0.5
    assert found_at(np.array([98.0, 99.0, 99.5, 200.0]), others, 0.02) == 0.75
    assert found_at(np.array([3.0, 4.0]), np.array([3.0])) == 0.5  # none of one may be accused


def test_people_of_one_population_cannot_be_told_apart():
    results = [membership(people(40, seed), people(40, 100 + seed), 100) for seed in range(8)]
    assert np.mean([r["person_auc"][0] for r in results]) == pytest.approx(0.5, abs=0.04)
    held = [r["person_auc"][1][0] < 0.5 < r["person_auc"][1][1] for r in results]
    assert sum(held) >= 7  # of 95 % intervals
    assert np.mean([r["person_found"][0] for r in results]) < 0.06


def test_members_are_found_once_difficulty_is_known():
    members, others = people(40, 0, gain=1.0), people(40, 1)
    blind = [
        ScoredSlices(s.scores, s.positions, s.people, s.covariates * 0) for s in (members, others)
    ]
    assert membership(*blind, 50)["person_auc"][0] < 0.75
    result = membership(members, others, 50)
    assert result["person_auc"][1][0] > 0.95 and result["person_found"][0] > 0.8
    assert result["slice_auc"][0] < result["person_auc"][0]


def test_few_people_give_no_interval():
    assert membership(people(3, 0), people(40, 1))["slice_auc"][1] is None


def test_equal_slices_of_both_sides_score_a_half():
    same = people(10, 0)
    assert membership(same, same, 50)["slice_auc"][0] == pytest.approx(0.5)
