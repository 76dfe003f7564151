"""Distances between two sets of slices, and their variety: KID, Frechet distance, precision,
recall, density, coverage.

KID: Binkowski 2018 (arXiv 1801.01401). Frechet: Heusel 2017 (1706.08500), here never on Inception
features, so the values are comparable with one another but not with published FIDs. Precision and
recall: Kynkaanniemi 2019 (1904.06991). Density and coverage: Naeem 2020 (2002.09797). Slices of one
subject are not independent: pairs of them are left out, and every interval draws whole subjects
with replacement. Generated slices are independent, each its own group.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8

from oasis_utils.metrics.baselines import other_subject
from oasis_utils.metrics.bootstrap import Weights, bootstrap, mean_interval, number_groups
from oasis_utils.metrics.features import as_floats
from oasis_utils.metrics.image_quality import ms_ssim
from oasis_utils.metrics.kernel import polynomial_kernel

MINIMUM = 16  # images of either side below which a distance says nothing

NEIGHBOURS = 5  # k of the neighbourhoods

PARTS = 10  # of the groups, each left out once to estimate the bias of a Frechet distance


# ---------------------------------------------------------------- kernel distance
@dataclass(frozen=True)
class KernelBlocks:
    """Kernel sums over each pair of groups: a resample of groups then costs a few small products,
    exactly.

    Pairs within a group are left out on both sides. Slices of one person resemble each other,
    generated slices have no such partners, and a perfect generator would seem nearer to real people
    than real people are to one another. In a resample, the copies of a group that is drawn twice
    are two people; a row is never paired with itself.
    """

    aa: Float[np.ndarray, "A A"]  # the diagonal holds pairs of different rows of one group
    ab: Float[np.ndarray, "A B"]
    bb: Float[np.ndarray, "B B"]
    sizes_a: Integer[np.ndarray, " A"]
    sizes_b: Integer[np.ndarray, " B"]

    @classmethod
    def of(
        cls,
        a: Float[np.ndarray, "n dim"],
        b: Float[np.ndarray, "m dim"],
        groups_a: Integer[np.ndarray, " n"],
        groups_b: Integer[np.ndarray, " m"],
    ) -> KernelBlocks:
        """ValueError if a side holds a single group: it has no pairs of different people."""
        a, b = (torch.from_numpy(np.ascontiguousarray(x)) for x in (a, b))
        hot_a, hot_b = (
            np.eye(groups.max() + 1)[groups] for groups in map(number_groups, (groups_a, groups_b))
        )
        for hot in (hot_a, hot_b):
            if hot.shape[1] < 2:
                raise ValueError(
                    "a kernel distance compares slices of different people, and a side holds 1: use"
                    " more subjects, or give every independent row a group of its own"
                )
        grams = [polynomial_kernel(x, x).fill_diagonal_(0).numpy() for x in (a, b)]
        aa, bb = (hot.T @ gram @ hot for hot, gram in zip((hot_a, hot_b), grams, strict=True))
        sizes = [hot.sum(0).astype(np.int64) for hot in (hot_a, hot_b)]
        return cls(aa, hot_a.T @ polynomial_kernel(a, b).numpy() @ hot_b, bb, *sizes)

    def distance(self, weights_a: Weights | None = None, weights_b: Weights | None = None) -> float:
        """The unbiased squared maximum mean discrepancy of the resample; nan where it holds a
        single row.
        """
        a = np.ones(len(self.sizes_a)) if weights_a is None else weights_a
        b = np.ones(len(self.sizes_b)) if weights_b is None else weights_b
        across = (a @ self.ab @ b) / ((a @ self.sizes_a) * (b @ self.sizes_b))
        return float(
            _pair_mean(self.aa, self.sizes_a, a) + _pair_mean(self.bb, self.sizes_b, b) - 2 * across
        )


def _pair_mean(sums: np.ndarray, sizes: np.ndarray, weights: np.ndarray) -> float:
    """Mean over pairs of different rows of different groups, or of different copies of one."""
    pairs, times = np.outer(sizes, sizes), np.outer(weights, weights)
    np.fill_diagonal(pairs, sizes * (sizes - 1))
    np.fill_diagonal(times, weights * (weights - 1))
    count = (times * pairs).sum()
    return float((times * sums).sum() / count) if count else float("nan")


def require_enough(n: int, m: int) -> None:
    """ValueError if either side is too small for a distance."""
    if min(n, m) < MINIMUM:
        raise ValueError(
            f"a distance between sets needs at least {MINIMUM} images on either side, got {n} and"
            f" {m}: with fewer its error is larger than what it measures; generate more or use a"
            " larger split"
        )


def kid(
    a: Float[np.ndarray, "n dim"],
    b: Float[np.ndarray, "m dim"],
    groups_a: Integer[np.ndarray, " n"] | None = None,
    groups_b: Integer[np.ndarray, " m"] | None = None,
) -> float:
    """Kernel distance of two sets of features; 0 is expected for one distribution, so it may be
    negative.

    groups: people; pairs of slices of one person are left out. None: every row is an independent
    draw. ValueError for fewer than 16 rows or a single group on a side.
    """
    require_enough(len(a), len(b))
    return KernelBlocks.of(a, b, _groups(a, groups_a), _groups(b, groups_b)).distance()


def _groups(rows: np.ndarray, groups: np.ndarray | None) -> Integer[np.ndarray, " n"]:
    return np.arange(len(rows)) if groups is None else groups


def kid_interval(
    a: Float[np.ndarray, "n dim"],
    b: Float[np.ndarray, "m dim"],
    groups_a: Integer[np.ndarray, " n"],
    groups_b: Integer[np.ndarray, " m"],
    rounds: int,
) -> tuple[float, float]:
    """Central 95 % of the kernel distance over resamples of whole groups of both sides, recentred
    on the estimate: copies of a group that is drawn twice add a bias.
    """
    blocks = KernelBlocks.of(a, b, groups_a, groups_b)
    return bootstrap(
        blocks.distance, len(blocks.sizes_a), len(blocks.sizes_b), rounds, centre=blocks.distance()
    )


# ---------------------------------------------------------------- Frechet distance
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
        parts = min(PARTS, len(self.sizes), len(other.sizes))
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


# ---------------------------------------------------------------- neighbourhoods
@dataclass(frozen=True)
class Neighbourhoods:
    """Who lies in whose neighbourhood: the ball that reaches to the k-th nearest slice of the same
    set.

    With groups, to the k-th nearest slice of *another* group: the nearest neighbours of a slice are
    its subject's next slices, and a neighbourhood of one subject holds nobody else, however real.
    """

    precise: Bool[np.ndarray, " n"]  # a generated slice lies in some real neighbourhood
    density: Float[np.ndarray, " n"]  # in how many of them, divided by k
    recalled: Bool[np.ndarray, " m"]  # a real slice lies in some generated neighbourhood
    covered: Bool[np.ndarray, " m"]  # a real slice has a generated one in its own neighbourhood

    @classmethod
    def of(
        cls,
        fake: Float[np.ndarray, "n dim"],
        real: Float[np.ndarray, "m dim"],
        fake_groups: Integer[np.ndarray, " n"] | None = None,
        real_groups: Integer[np.ndarray, " m"] | None = None,
        k: int = NEIGHBOURS,
    ) -> Neighbourhoods:
        """Without groups, the published definitions. ValueError if a set has no k neighbours."""
        if min(len(fake), len(real)) <= k:
            raise ValueError(
                f"neighbourhoods of {k} need more than {k} images on either side, got {len(fake)}"
                f" and {len(real)}: generate more"
            )
        fake, real = (torch.from_numpy(np.ascontiguousarray(x)).double() for x in (fake, real))
        reach_fake, reach_real = _reach(fake, fake_groups, k), _reach(real, real_groups, k)
        distance = _distances(fake, real)
        inside = distance < reach_real
        return cls(
            inside.any(1).numpy(),
            (inside.sum(1) / k).double().numpy(),
            (distance < reach_fake[:, None]).any(0).numpy(),
            inside.any(0).numpy(),
        )

    def means(self) -> dict[str, float]:
        return {
            "precision": float(self.precise.mean()),
            "recall": float(self.recalled.mean()),
            "density": float(self.density.mean()),
            "coverage": float(self.covered.mean()),
        }

    def intervals(
        self,
        fake_groups: Integer[np.ndarray, " n"],
        real_groups: Integer[np.ndarray, " m"],
        rounds: int,
    ) -> dict[str, tuple[float, float]]:
        """Central 95 % over whole groups of the slices that each metric averages, the other set
        held fixed.
        """
        sides = {
            "precision": (self.precise, fake_groups),
            "recall": (self.recalled, real_groups),
            "density": (self.density, fake_groups),
            "coverage": (self.covered, real_groups),
        }
        return {
            name: mean_interval(values.astype(np.float64), groups, rounds)
            for name, (values, groups) in sides.items()
        }


def _reach(x: torch.Tensor, groups: np.ndarray | None, k: int) -> torch.Tensor:
    """Distance of each row to its k-th nearest of another group."""
    groups = torch.arange(len(x)) if groups is None else torch.from_numpy(number_groups(groups))
    distance = _distances(x, x).masked_fill(groups[:, None] == groups, torch.inf)
    return distance.kthvalue(k).values


def _distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.cdist(
        a, b, compute_mode="donot_use_mm_for_euclid_dist"
    )  # the product form loses close pairs


# ---------------------------------------------------------------- variety within a position
def pair_scores(
    images: UInt8[np.ndarray, "n height width"],
    positions: Integer[np.ndarray, " n"],
    owners: Integer[np.ndarray, " n"],
    measure: Callable = ms_ssim,
) -> Float[np.ndarray, " n"]:
    """Similarity of each slice to one at the same position with another owner; nan where nobody
    else has it.
    """
    partner = other_subject(torch.from_numpy(owners), torch.from_numpy(positions)).numpy()
    paired = np.flatnonzero(partner >= 0)
    scores = np.full(len(images), np.nan)
    if len(paired):
        scores[paired] = measure(
            as_floats(images[paired]), as_floats(images[partner[paired]])
        ).numpy()
    return scores


def pair_similarity(
    images: UInt8[np.ndarray, "n height width"],
    positions: Integer[np.ndarray, " n"],
    owners: Integer[np.ndarray, " n"],
    measure: Callable = ms_ssim,
) -> float:
    """Mean similarity of such pairs: much above real means too little variety. nan if no position
    occurs twice.
    """
    scores = pair_scores(images, positions, owners, measure)
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")
