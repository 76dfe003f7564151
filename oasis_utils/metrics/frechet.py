"""Frechet distance of two sets of features (Heusel 2017, arXiv 1706.08500), corrected for its bias.

The features are never those of Inception, so values compare with one another but not with published
FIDs. Rows come in groups, the slices of a subject; every interval draws whole groups with
replacement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from oasis_utils.metrics.bootstrap import Weights, bootstrap, number_groups
from oasis_utils.metrics.slices import require_enough

JACKKNIFE_PARTS = 10  # of the groups, each left out once to estimate the bias of a Frechet distance


def frechet_gaussians(
    mean_a: Float[np.ndarray, " dim"],
    cov_a: Float[np.ndarray, "dim dim"],
    mean_b: Float[np.ndarray, " dim"],
    cov_b: Float[np.ndarray, "dim dim"],
) -> float:
    """Squared 2-Wasserstein distance of two Gaussians, |mean difference|² + tr(A + B - 2 (A½ B
    A½)½).
    """
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(min=0)).sum()
    return float(np.square(mean_a - mean_b).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


@dataclass(frozen=True)
class Moments:
    """Sums, and sums of outer products, of each group's features: all that a Frechet distance of a
    resample needs.
    """

    sizes: Integer[np.ndarray, " groups"]
    sums: Float[np.ndarray, "groups dim"]
    products: Float[np.ndarray, "groups dim dim"]

    @classmethod
    def of(cls, features: Float[np.ndarray, "n dim"], groups: Integer[np.ndarray, " n"]) -> Moments:
        """Sums of each group's rows, in double precision."""
        groups = number_groups(groups)
        members = [
            features[groups == group].astype(np.float64) for group in range(groups.max() + 1)
        ]
        return cls(
            np.array([len(x) for x in members]),
            np.stack([x.sum(0) for x in members]),
            np.stack([x.T @ x for x in members]),
        )

    def gaussian(self, weights: Weights | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(mean, covariance with n - 1) of a resample."""
        weights = np.ones(len(self.sizes)) if weights is None else weights
        n, total = weights @ self.sizes, weights @ self.sums
        mean = total / n
        return mean, (np.tensordot(weights, self.products, 1) - n * np.outer(mean, mean)) / (n - 1)

    def distance(
        self, other: Moments, weights: Weights | None = None, others: Weights | None = None
    ) -> float:
        """Frechet distance to another set, of a resample of both."""
        return frechet_gaussians(*self.gaussian(weights), *other.gaussian(others))

    def corrected_distance(self, other: Moments) -> float:
        """Frechet distance less its bias of first order in 1 / groups (delete-a-part jackknife,
        Quenouille 1956).
        """
        parts = min(JACKKNIFE_PARTS, len(self.sizes), len(other.sizes))
        mine, theirs = (
            np.random.default_rng(0).permutation(len(x.sizes)) % parts for x in (self, other)
        )
        left = [
            self.distance(other, (mine != part).astype(np.int64), (theirs != part).astype(np.int64))
            for part in range(parts)
        ]
        return parts * self.distance(other) - (parts - 1) * float(np.mean(left))


def frechet(a: Float[np.ndarray, "n dim"], b: Float[np.ndarray, "m dim"]) -> float:
    """Frechet distance as published (Heusel 2017): biased upwards, the more so the fewer the
    independent rows.

    ValueError for fewer than 16 rows on a side.
    """
    require_enough(len(a), len(b))
    return Moments.of(a, np.arange(len(a))).distance(Moments.of(b, np.arange(len(b))))


def corrected_frechet(
    a: Float[np.ndarray, "n dim"],
    b: Float[np.ndarray, "m dim"],
    groups_a: Integer[np.ndarray, " n"],
    groups_b: Integer[np.ndarray, " m"],
) -> float:
    """Frechet distance without its first-order bias: about 0 for one distribution, whether rows are
    independent or in groups; may be negative. (The bias, and extrapolating it away: Chong 2020,
    arXiv 1911.07023.)

    The bias depends on the number of groups, so the published distance of 8 people to 8 people is
    larger than that of a perfect generator to the same people. ValueError for fewer than 16 rows or
    2 groups on a side.
    """
    require_enough(len(a), len(b))
    first, second = Moments.of(a, groups_a), Moments.of(b, groups_b)
    if min(len(first.sizes), len(second.sizes)) < 2:
        raise ValueError(
            "a corrected Frechet distance needs at least 2 groups on either side: use more subjects"
        )
    return first.corrected_distance(second)


def frechet_interval(
    a: Float[np.ndarray, "n dim"],
    b: Float[np.ndarray, "m dim"],
    groups_a: Integer[np.ndarray, " n"],
    groups_b: Integer[np.ndarray, " m"],
    rounds: int,
) -> tuple[float, float]:
    """Central 95 % over resamples of whole groups, recentred on the corrected distance: repeated
    rows add a bias.
    """
    first, second = Moments.of(a, groups_a), Moments.of(b, groups_b)
    return bootstrap(
        lambda u, v: first.distance(second, u, v),
        len(first.sizes),
        len(second.sizes),
        rounds,
        centre=first.corrected_distance(second),
    )
