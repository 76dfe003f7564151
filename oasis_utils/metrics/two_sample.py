"""The classifier two-sample test (Lopez-Paz 2017, arXiv 1610.06545): a fresh classifier separates
two sets of slices.

An area under the ROC curve of 0.5 means that it cannot, 1.0 that it always can. Groups (subjects)
are never split between training and testing. A network on small pictures saturates on weak models,
so a logistic regression on hand-crafted features stands beside it. Both are compared with the same
test of two sets of real people.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer, UInt8
from torch import nn

from oasis_utils.metrics.bootstrap import bootstrap, number_groups
from oasis_utils.metrics.features import as_floats
from oasis_utils.metrics.ranking import group_wins

FOLDS = 2  # each half of the groups is scored by a classifier that was trained on the other half
PICTURE_SIDE = 64  # pixels of the network's pictures
EPOCHS = 15
Scorer = Callable[
    [np.ndarray, np.ndarray, np.ndarray, int], np.ndarray
]  # rows, labels, new rows, seed -> scores


@dataclass(frozen=True)
class TwoSample:
    """How well held-out rows are separated, averaged over the folds.

    Attributes:
        auc: Area under the ROC curve in [0, 1]; 0.5 means not at all.
        interval: Central 95 % over groups: mean of the folds' intervals, see `two_sample`.
    """

    auc: float
    interval: tuple[float, float]


def two_sample(
    a: Float[np.ndarray, "n ..."],
    b: Float[np.ndarray, "m ..."],
    groups_a: Integer[np.ndarray, " n"],
    groups_b: Integer[np.ndarray, " m"],
    scorer: Scorer,
    rounds: int,
    seed: int = 0,
) -> TwoSample:
    """Train on half of the groups of both sides, test on the others, and the reverse.

    The folds are no independent measurements: where sets differ by the chance of their people, each
    fold finds the direction in which the other differs (for a linear classifier both AUCs rest on
    the product of the two folds' mean differences; their correlation is about 0.9 for equal sets
    and falls to 0 for sets far apart). An interval that took them for independent would miss in 15
    % to 30 % of cases, so the folds' intervals are averaged and not narrowed. ValueError if a side
    has a single group: its rows would be on both sides of the split.
    """
    folds_a, folds_b = split_groups(groups_a, seed), split_groups(groups_b, seed + 1)
    results = []
    for fold in range(FOLDS):
        rows = np.concatenate([a[folds_a != fold], b[folds_b != fold]])
        labels = np.repeat([1.0, 0.0], [(folds_a != fold).sum(), (folds_b != fold).sum()])
        tested_a, tested_b = groups_a[folds_a == fold], groups_b[folds_b == fold]
        new = np.concatenate([a[folds_a == fold], b[folds_b == fold]])
        scores_a, scores_b = np.split(scorer(rows, labels, new, seed), [len(tested_a)])
        results.append(auc(scores_a, scores_b, tested_a, tested_b, rounds, seed))
    low, high = np.mean([r.interval for r in results], axis=0)
    return TwoSample(float(np.mean([r.auc for r in results])), (float(low), float(high)))


def auc(
    a: Float[np.ndarray, " n"],
    b: Float[np.ndarray, " m"],
    groups_a: Integer[np.ndarray, " n"],
    groups_b: Integer[np.ndarray, " m"],
    rounds: int,
    seed: int = 0,
) -> TwoSample:
    """Share of pairs in which a's score is the higher one, ties counted half, and its bootstrap
    over groups.
    """
    numbers_a, numbers_b = number_groups(groups_a), number_groups(groups_b)
    wins = group_wins(a, b, numbers_a, numbers_b)
    pairs = np.outer(np.bincount(numbers_a), np.bincount(numbers_b)).astype(np.float64)

    def share(u: np.ndarray, v: np.ndarray) -> float:
        return float(u @ wins @ v / (u @ pairs @ v))

    whole = share(np.ones(len(wins)), np.ones(wins.shape[1]))
    return TwoSample(whole, bootstrap(share, len(wins), wins.shape[1], rounds, seed))


def split_groups(groups: Integer[np.ndarray, " n"], seed: int = 0) -> Integer[np.ndarray, " n"]:
    """The fold of each row; all rows of a group share it. ValueError if there are fewer groups than
    folds.
    """
    names = np.unique(groups)
    if len(names) < FOLDS:
        raise ValueError(
            f"a two-sample test needs at least {FOLDS} subjects on either side, got {len(names)}:"
            " one would have to train and test the classifier; use more subjects"
        )
    fold = dict(
        zip(
            np.random.default_rng(seed).permutation(names),
            np.arange(len(names)) % FOLDS,
            strict=True,
        )
    )
    return np.array([fold[group] for group in groups])


# ---------------------------------------------------------------- classifiers


def logistic(
    rows: Float[np.ndarray, "n dim"],
    labels: Float[np.ndarray, " n"],
    new: Float[np.ndarray, "k dim"],
    seed: int = 0,
) -> Float[np.ndarray, " k"]:
    """Logits of scikit-learn's L2-regularised logistic regression (weight 1 on standardised
    rows).
    """
    from sklearn.linear_model import LogisticRegression  # slow to import

    mean, deviation = rows.mean(0), rows.std(0) + 1e-6
    model = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-8)
    return model.fit((rows - mean) / deviation, labels).decision_function((new - mean) / deviation)


def small_pictures(images: UInt8[np.ndarray, "n height width"]) -> Float[np.ndarray, "n side side"]:
    """Slices at the network's size, in [0, 1]."""
    return F.interpolate(as_floats(images), size=(PICTURE_SIDE, PICTURE_SIDE), mode="area")[
        :, 0
    ].numpy()


def network(
    rows: Float[np.ndarray, "n side side"],
    labels: Float[np.ndarray, " n"],
    new: Float[np.ndarray, "k side side"],
    seed: int = 0,
) -> Float[np.ndarray, " k"]:
    """Logits of a small convolutional network trained from nothing."""
    x, y = torch.from_numpy(rows)[:, None].float(), torch.from_numpy(labels).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.PixelUnshuffle(2),
            *_block(4, 24),
            *_block(24, 48),
            *_block(48, 64),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(256, 1),
        )
        optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(x)).split(32):
                optimiser.zero_grad()
                F.binary_cross_entropy_with_logits(model(x[batch])[:, 0], y[batch]).backward()
                optimiser.step()
    model.eval()
    with torch.inference_mode():
        return model(torch.from_numpy(new)[:, None].float())[:, 0].double().numpy()


def _block(channels: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, outputs, 4, 2, 1), nn.BatchNorm2d(outputs), nn.ReLU()
