"""AUROC: agreement with scikit-learn, ties, empty sets, and wins by pairs of groups."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from oasis_utils.metrics.ranking import auroc, group_wins


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_as_in_scikit_learn(ties):
    rng = np.random.default_rng(0)
    anomalous, normal = rng.normal(0.7, 1, 40), rng.normal(0, 1, 90)
    if ties:
        anomalous, normal = anomalous.round(), normal.round()
    expected = roc_auc_score(np.r_[np.ones(40), np.zeros(90)], np.r_[anomalous, normal])
    assert auroc(anomalous, normal) == pytest.approx(expected, abs=1e-12)
    assert auroc(anomalous, normal) + auroc(normal, anomalous) == pytest.approx(1)


def test_auroc_of_nothing_is_nan():
    assert np.isnan(auroc(np.zeros(0), np.ones(3))) and np.isnan(auroc(np.ones(3), np.zeros(0)))


def test_wins_of_two_people_by_hand():
    table = group_wins(
        np.array([1.0, 3.0]), np.array([0.0, 1.0, 2.0]), np.array([0, 1]), np.array([0, 0, 1])
    )
    assert table.tolist() == [
        [1.5, 0.0],
        [2.0, 1.0],
    ]  # 1 beats 0, ties with 1, loses to 2; 3 beats all


def test_wins_add_up_to_the_auroc():
    rng = np.random.default_rng(0)
    changed, unchanged = rng.integers(0, 9, 40).astype(float), rng.integers(0, 9, 60).astype(float)
    table = group_wins(changed, unchanged, rng.integers(0, 5, 40), rng.integers(0, 5, 60))
    assert table.sum() / (40 * 60) == pytest.approx(auroc(changed, unchanged))
