"""The classifier test: chance on equal sets, certainty on different ones, never the same subject on
both sides.
"""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from oasis_utils.metrics.two_sample import auc, logistic, network, split_groups, two_sample

GROUPS = np.arange(80) // 10


def rows(seed, shift=0.0, dim=5):
    return np.random.default_rng(seed).standard_normal((80, dim)) + shift


def test_equal_sets_are_separated_by_chance_only():
    tests = [
        two_sample(rows(2 * s), rows(2 * s + 1), GROUPS, GROUPS, logistic, 50, s) for s in range(10)
    ]
    assert np.mean([t.auc for t in tests]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([t.interval[0] <= 0.5 <= t.interval[1] for t in tests]) >= 0.7


def people(seed, independent=False):
    """256 rows of 32 people, who differ as much as a person's rows do; independent: each row is of
    somebody else.
    """
    rng = np.random.default_rng(seed)
    owners = np.arange(256) if independent else np.arange(256) // 8
    return (
        rng.standard_normal((owners.max() + 1, 10))[owners] + rng.standard_normal((256, 10))
    ) / 2**0.5, owners


def test_intervals_hold_chance_for_a_perfect_generator():
    """95 %, less what sixteen people a fold cannot give; independent folds would hold it in three
    of four.
    """
    tests = []
    for s in range(40):
        (real, subjects), (drawn, own) = people(2 * s), people(2 * s + 1, independent=True)
        tests.append(two_sample(drawn, real, own, subjects, logistic, 50, s))
    assert np.mean([t.auc for t in tests]) == pytest.approx(0.5, abs=0.04)
    assert np.mean([t.interval[0] <= 0.5 <= t.interval[1] for t in tests]) >= 0.8


def test_different_sets_are_separated_and_the_order_does_not_matter():
    a, b = rows(0, 1.0), rows(1)
    test = two_sample(a, b, GROUPS, GROUPS, logistic, 50)
    assert test.auc > 0.9 and test.interval[0] <= test.auc <= test.interval[1]
    assert two_sample(b, a, GROUPS, GROUPS, logistic, 50).auc == pytest.approx(test.auc, abs=0.05)


def test_subjects_are_not_recognised_again():
    """Each subject has its own marks; sets of other subjects are alike, so a leak would show as an
    AUC above chance.
    """
    marks = [np.repeat(rows(s, dim=30)[:8], 10, axis=0) + 0.1 * rows(s + 9, dim=30) for s in (0, 1)]
    aucs = [two_sample(*marks, GROUPS, GROUPS, logistic, 5, seed).auc for seed in range(8)]
    leaked = two_sample(*marks, np.arange(80), np.arange(80), logistic, 5).auc
    assert np.mean(aucs) < 0.7 < 0.99 < leaked


def test_a_fold_trains_one_classifier_for_both_sides():
    trained = []

    def scorer(known, labels, new, seed):
        trained.append((len(known), len(new)))
        return new[:, 0]

    found = two_sample(rows(0, 3.0), rows(1)[:60], GROUPS, GROUPS[:60], scorer, 20)
    assert trained == [(70, 70), (70, 70)] and found.auc > 0.95


def test_folds_never_share_a_group():
    folds = split_groups(GROUPS, 3)
    assert all(len(set(folds[g == GROUPS])) == 1 for g in range(8)) and np.bincount(
        folds
    ).tolist() == [40, 40]
    with pytest.raises(ValueError, match="at least 2 subjects on either side, got 1"):
        split_groups(np.zeros(9, int))


def test_logistic_finds_the_direction():
    a, b = rows(0, 2.0), rows(1)
    scores = logistic(
        np.concatenate([a, b]),
        np.repeat([1.0, 0.0], 80),
        np.array([np.full(5, 3.0), np.full(5, -1.0)]),
    )
    assert scores[0] > 1 and scores[1] < -1


def textbook_logits(rows, labels, new):
    """The minimum of log loss plus half the squared weights, on standardised rows."""
    mean, deviation = rows.mean(0), rows.std(0) + 1e-6
    x = (rows - mean) / deviation

    def loss(beta):
        logits = x @ beta[1:] + beta[0]
        error = expit(logits) - labels
        value = np.logaddexp(0, logits).sum() - labels @ logits + 0.5 * beta[1:] @ beta[1:]
        return value, np.concatenate([[error.sum()], x.T @ error + beta[1:]])

    options = {"ftol": 1e-15, "gtol": 1e-9}
    beta = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options=options).x
    return (new - mean) / deviation @ beta[1:] + beta[0]


@pytest.mark.parametrize("shift", [0.0, 0.5, 4.0])
def test_logistic_is_the_textbook_regression(shift):
    both, labels = np.concatenate([rows(0, shift), rows(1)]), np.repeat([1.0, 0.0], 80)
    both[:, 4] = 2.0  # a column without spread says nothing
    new = rows(2)
    new[:, 4] = 2.0
    np.testing.assert_allclose(
        logistic(both, labels, new), textbook_logits(both, labels, new), atol=1e-4
    )


def test_the_auc_is_the_share_of_pairs_by_brute_force():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 30).astype(float), rng.integers(0, 8, 40).astype(float)
    pairs = (a[:, None] > b) + 0.5 * (a[:, None] == b)
    found = auc(a, b, np.arange(30) // 5 + 7, np.arange(40) // 4, 50)
    assert found.auc == pytest.approx(pairs.mean(), abs=1e-12)
    assert found.interval[0] < found.auc < found.interval[1]


def test_network_sees_texture_and_repeats_itself():
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.random((40, 16, 16)), np.ones((4, 4))).astype(np.float32)
    rough = rng.random((40, 64, 64)).astype(np.float32)
    test = two_sample(smooth, rough, np.arange(40), np.arange(40), network, 10)
    assert test.auc > 0.95
    labels = np.repeat([1.0, 0.0], 8)
    images = np.concatenate([smooth[:8], rough[:8]])
    assert np.array_equal(
        network(images, labels, rough[:3], 1), network(images, labels, rough[:3], 1)
    )
