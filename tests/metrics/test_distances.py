"""Distances between sets: closed forms, brute force, reference formulas, and intervals over
subjects.
"""

import numpy as np
import pytest
import torch
from random_slices import blobs
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter

from oasis_utils.metrics import image_quality as metrics
from oasis_utils.metrics.frechet import (
    Moments,
    corrected_frechet,
    frechet,
    frechet_gaussians,
    frechet_interval,
)
from oasis_utils.metrics.kernel import KernelBlocks, kernel_distance, kid, kid_interval
from oasis_utils.metrics.neighbourhoods import Neighbourhoods
from oasis_utils.metrics.variety import pair_similarity


def vectors(n, seed, shift=0.0, dim=8):
    return (np.random.default_rng(seed).standard_normal((n, dim)) + shift).astype(np.float32)


def kernel(x, y):
    return (x.astype(np.float64) @ y.T.astype(np.float64) / x.shape[1] + 1) ** 3


# ---------------------------------------------------------------- kernel distance
def test_kid_is_the_unbiased_discrepancy_by_brute_force():
    a, b = vectors(20, 0), vectors(17, 1, 0.5)
    aa = np.mean(
        [kernel(a[i : i + 1], a[j : j + 1]) for i in range(20) for j in range(20) if i != j]
    )
    bb = np.mean(
        [kernel(b[i : i + 1], b[j : j + 1]) for i in range(17) for j in range(17) if i != j]
    )
    assert kid(a, b) == pytest.approx(aa + bb - 2 * kernel(a, b).mean())
    assert kid(a, b) == pytest.approx(kernel_distance(torch.from_numpy(a), torch.from_numpy(b)))


def test_kid_of_two_draws_of_one_distribution_is_near_zero():
    distances = [kid(vectors(100, 2 * seed), vectors(100, 2 * seed + 1)) for seed in range(20)]
    assert abs(np.mean(distances)) < 0.02 and min(distances) < 0 < max(distances)  # unbiased


def test_kid_grows_with_the_distance_and_is_symmetric():
    distances = [kid(vectors(100, 0), vectors(100, 1, shift)) for shift in (0.0, 0.5, 1.0, 2.0)]
    assert distances == sorted(distances) and distances[1] > 0.1 > abs(distances[0])
    assert kid(vectors(50, 0), vectors(30, 1)) == pytest.approx(kid(vectors(30, 1), vectors(50, 0)))


@pytest.mark.parametrize("sizes", [(15, 100), (100, 15), (1, 1)])
def test_too_few_images_are_refused(sizes):
    for distance in (kid, frechet):
        with pytest.raises(
            ValueError, match=rf"at least 16 images .* got {sizes[0]} and {sizes[1]}:"
        ):
            distance(vectors(sizes[0], 0), vectors(sizes[1], 1))


def test_a_resample_of_blocks_is_the_direct_computation():
    """Rows repeated as drawn; pairs within one copy of a group, and of a row with itself, are left
    out.
    """
    a, b = vectors(12, 0), vectors(15, 1, 0.3)
    groups_a, groups_b = np.repeat(np.arange(4), 3), np.repeat(np.arange(5), 3)
    weights_a, weights_b = np.array([2, 0, 1, 1]), np.array([0, 3, 1, 1, 0])

    def within(rows, groups, weights):
        copies = [(g, copy) for g, weight in enumerate(weights) for copy in range(weight)]
        drawn = [(i, (g, copy)) for g, copy in copies for i in np.flatnonzero(groups == g)]
        values = [
            kernel(rows[[i]], rows[[j]])[0, 0]
            for i, g in drawn
            for j, h in drawn
            if g != h and i != j
        ]
        return np.mean(values), rows[[i for i, _ in drawn]]

    (aa, rows_a), (bb, rows_b) = within(a, groups_a, weights_a), within(b, groups_b, weights_b)
    direct = aa + bb - 2 * kernel(rows_a, rows_b).mean()
    assert KernelBlocks.of(a, b, groups_a, groups_b).distance(
        weights_a, weights_b
    ) == pytest.approx(direct)


def test_a_single_group_has_no_distance():
    with pytest.raises(
        ValueError,
        match="compares slices of different people, and a side holds 1: use more subjects",
    ):
        kid(vectors(20, 0), vectors(20, 1), np.zeros(20, int), np.arange(20))
    with pytest.raises(ValueError, match="at least 2 groups on either side"):
        corrected_frechet(vectors(20, 0), vectors(20, 1), np.arange(20), np.zeros(20, int))


def test_kid_interval_holds_the_distance_and_repeats():
    a, b, groups = vectors(100, 0, 0.5), vectors(100, 1), np.arange(100) // 10
    low, high = kid_interval(a, b, np.arange(100), groups, 100)
    assert low < kid(a, b, None, groups) < high
    assert kid_interval(a, b, np.arange(100), groups, 100) == (low, high)


def test_intervals_of_one_distribution_hold_zero_as_often_as_they_say():
    """95 %, less what six groups a side cannot give."""
    groups = np.arange(60) // 10
    held = [
        low <= 0 <= high
        for low, high in (
            kid_interval(vectors(60, 2 * s), vectors(60, 2 * s + 1), groups, groups, 100)
            for s in range(40)
        )
    ]
    assert np.mean(held) >= 0.75


def test_intervals_of_two_people_a_side_hold_zero():
    groups, held = np.arange(64) // 32, []
    for seed in range(20):
        a, b = (
            np.repeat(vectors(2, 2 * seed + k), 32, axis=0) + vectors(64, 2 * seed + k + 100)
            for k in range(2)
        )
        low, high = kid_interval(a, b, groups, groups, 100)
        held.append(low <= 0 <= high)
    assert np.mean(held) >= 0.8


def test_slices_of_one_subject_do_not_count_as_independent():
    """Ten people of one distribution, ten nearly equal slices of each: only intervals over people
    hold 0.
    """
    groups, widths, held = np.arange(100) // 10, [], []
    for seed in range(0, 30, 3):
        a = vectors(100, seed)
        b = np.repeat(vectors(10, seed + 1), 10, axis=0) + 0.01 * vectors(100, seed + 2)
        ends = np.array(
            [kid_interval(a, b, np.arange(100), rows, 100) for rows in (groups, np.arange(100))]
        )
        widths.append(np.diff(ends)[:, 0])
        held.append((ends[:, 0] <= 0) & (ends[:, 1] >= 0))
    people, naive = np.mean(widths, axis=0)
    assert people > 1.5 * naive
    assert np.mean(held, axis=0).tolist() == [1.0, 0.0]


# ---------------------------------------------------------------- Frechet
def test_frechet_of_gaussians_in_closed_form():
    mean, cov = np.zeros(2), np.diag([4.0, 1.0])
    assert frechet_gaussians(mean, cov, np.array([3.0, 4.0]), np.diag([9.0, 1.0])) == pytest.approx(
        25 + 1
    )
    rng = np.random.default_rng(0)
    a, b = (x @ x.T for x in rng.standard_normal((2, 5, 7)))
    expected = np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_gaussians(np.zeros(5), a, np.zeros(5), b) == pytest.approx(expected)
    assert frechet_gaussians(np.ones(5), a, np.ones(5), a) == pytest.approx(0, abs=1e-6)


def test_frechet_is_biased_upwards_more_so_for_fewer_images():
    small, large = (
        np.mean([frechet(vectors(n, 2 * s), vectors(n, 2 * s + 1)) for s in range(5)])
        for n in (20, 400)
    )
    assert small > 5 * large > 0


def test_moments_of_a_resample_are_those_of_its_rows():
    rows, groups, weights = vectors(12, 0), np.repeat(np.arange(4), 3), np.array([2, 0, 1, 1])
    drawn = np.concatenate([rows[groups == g] for g, w in enumerate(weights) for _ in range(w)])
    mean, covariance = Moments.of(rows, groups).gaussian(weights)
    assert mean == pytest.approx(drawn.mean(0), abs=1e-6)
    assert covariance == pytest.approx(np.cov(drawn.astype(np.float64).T), abs=1e-6)


def test_frechet_interval_holds_the_distance():
    a, b, groups = vectors(100, 0, 0.5), vectors(100, 1), np.arange(100) // 10
    low, high = frechet_interval(a, b, groups, groups, 100)
    assert low < corrected_frechet(a, b, groups, groups) < high


def test_the_correction_leaves_a_large_distance_as_it_is():
    a, b, groups = vectors(2000, 0, 3.0), vectors(2000, 1), np.arange(2000)
    assert corrected_frechet(a, b, groups, groups) == pytest.approx(frechet(a, b), rel=0.01)
    assert corrected_frechet(a, b, groups, groups) == pytest.approx(8 * 9, rel=0.03)


# ---------------------------------------------------------------- simulated people
RUNS = 40


def simulated(seed, people, slices, independent=False, dim=8):
    """Slices of people who differ as much as a person's slices do; independent: every slice is of
    somebody else.
    """
    rng, n = np.random.default_rng(seed), people * slices
    owners = np.arange(n) if independent else np.repeat(np.arange(people), slices)
    person = rng.standard_normal((owners.max() + 1, dim))
    return ((person[owners] + rng.standard_normal((n, dim))) / 2**0.5).astype(np.float32), owners


@pytest.fixture(scope="module", params=[(8, 32), (32, 8)], ids=["8 people", "32 people"])
def simulations(request):
    """{metric: (real vs real, perfect generator vs real)}, arrays over runs; all sets of one
    distribution.
    """
    found = {}
    for run in range(RUNS):
        (real, whose), (other, others) = (simulated(3 * run + k, *request.param) for k in range(2))
        drawn, own = simulated(3 * run + 2, *request.param, independent=True)
        near = [
            Neighbourhoods.of(x, real, groups, whose).means()
            for x, groups in ((other, others), (drawn, own))
        ]
        pairs = {
            "kid": [kid(x, real, groups, whose) for x, groups in ((other, others), (drawn, own))],
            "pairs of one person counted": [kid(x, real) for x in (other, drawn)],
            "frechet": [
                corrected_frechet(x, real, g, whose) for x, g in ((other, others), (drawn, own))
            ],
            "published frechet": [frechet(x, real) for x in (other, drawn)],
            **{name: [side[name] for side in near] for name in near[0]},
        }
        for name, pair in pairs.items():
            found.setdefault(name, []).append(pair)
    return {name: np.array(values).T for name, values in found.items()}


@pytest.mark.parametrize("metric", ["kid", "frechet"])
def test_one_distribution_has_distance_zero_whether_rows_are_people_or_independent(
    simulations, metric
):
    for values in simulations[metric]:
        assert abs(values.mean()) < 3 * values.std() / RUNS**0.5
        assert values.min() < 0 < values.max()


@pytest.mark.parametrize("metric", ["kid", "frechet", "density", "precision"])
def test_a_perfect_generator_is_below_real_vs_real_in_about_half_of_the_runs(simulations, metric):
    people, generator = simulations[metric]
    assert 0.3 <= (generator < people).mean() <= 0.7


@pytest.mark.parametrize("metric", ["pairs of one person counted", "published frechet"])
def test_distances_that_ignore_people_favour_the_generator(simulations, metric):
    """What the two above correct: seen without groups, independent slices seem nearer to people
    than people do.
    """
    people, generator = simulations[metric]
    assert (generator < people).mean() > 0.8 and people.mean() > 1.4 * generator.mean() > 0


@pytest.mark.parametrize("metric", ["coverage", "recall"])
def test_coverage_and_recall_favour_independent_slices_by_little(simulations, metric):
    """Slices of few people fall in clumps and cover less; stated in notebook 07."""
    people, generator = simulations[metric]
    assert 0 < generator.mean() - people.mean() < 0.06


# ---------------------------------------------------------------- torchmetrics
class AsItIs(torch.nn.Module):
    """Stands where torchmetrics expects an Inception network, and passes features on."""

    num_features = 8

    def forward(self, features):
        return features


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save")
@pytest.mark.filterwarnings("ignore:Metric `FrechetInceptionDistance` will save")
def test_kid_and_frechet_agree_with_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    a, b = vectors(60, 0), vectors(60, 1, 0.4)
    theirs = {
        "kid": KernelInceptionDistance(AsItIs(), subsets=1, subset_size=60),
        "frechet": FrechetInceptionDistance(AsItIs()),
    }
    for metric in theirs.values():
        metric.update(torch.from_numpy(a).double(), real=True)
        metric.update(torch.from_numpy(b).double(), real=False)
    assert kid(a, b) == pytest.approx(float(theirs["kid"].compute()[0]), rel=1e-4)
    assert frechet(a, b) == pytest.approx(float(theirs["frechet"].compute()), rel=1e-4)


# ---------------------------------------------------------------- neighbourhoods
def brute_force(fake, real, k):
    """Naeem 2020, with loops."""

    def reach(x):
        return [np.sort(np.linalg.norm(x - row, axis=1))[k] for row in x]

    radius_real, radius_fake = reach(real), reach(fake)
    distance = np.linalg.norm(fake[:, None] - real[None], axis=2)
    inside = distance < np.array(radius_real)
    return {
        "precision": inside.any(1).mean(),
        "recall": (distance < np.array(radius_fake)[:, None]).any(0).mean(),
        "density": inside.sum() / k / len(fake),
        "coverage": (distance.min(0) < np.array(radius_real)).mean(),
    }


def test_neighbourhoods_by_brute_force():
    fake, real = vectors(30, 0, 0.3).astype(np.float64), vectors(40, 1).astype(np.float64)
    assert Neighbourhoods.of(fake, real).means() == pytest.approx(brute_force(fake, real, 5))


def test_a_collapsed_set_is_precise_and_recalls_nothing():
    real = vectors(200, 0, dim=2)
    means = Neighbourhoods.of(0.01 * vectors(200, 1, dim=2), real).means()
    assert means["precision"] > 0.9 and means["recall"] < 0.1 and means["coverage"] < 0.2


def test_neighbourhoods_reach_beyond_the_own_subject():
    """Slices that huddle by subject: without groups each ball ends inside its own huddle."""
    real, fake = (np.repeat(vectors(8, s), 10, axis=0) + 0.01 * vectors(80, s + 2) for s in (0, 1))
    groups = np.arange(80) // 10
    assert Neighbourhoods.of(fake, real).means()["coverage"] == 0
    assert Neighbourhoods.of(fake, real, groups, groups).means()["coverage"] > 0.6


def test_neighbourhoods_need_neighbours():
    with pytest.raises(ValueError, match="neighbourhoods of 5 need more than 5 images"):
        Neighbourhoods.of(vectors(5, 0), vectors(30, 1))


# ---------------------------------------------------------------- variety
@pytest.mark.parametrize("measure", [metrics.ssim, metrics.ms_ssim])
def test_pairs_share_the_position_and_not_the_owner(measure):
    images = blobs(4, 0)[[0, 0, 1, 1]]
    assert pair_similarity(images, np.array([0, 0, 1, 1]), np.arange(4), measure) == pytest.approx(
        1.0
    )
    assert pair_similarity(images, np.array([0, 1, 0, 1]), np.arange(4), measure) < 0.9
    assert pair_similarity(images, np.array([0, 0, 0, 0]), np.array([5, 5, 6, 6]), measure) < 0.9
    assert np.isnan(pair_similarity(blobs(3, 0), np.arange(3), np.arange(3), measure))


def plain_ms_ssim(a, b, weights):
    """Wang 2003 with scipy's filter; means over whole windows only."""

    def smooth(x):
        return gaussian_filter(x, 1.5, truncate=3.5)[5:-5, 5:-5]

    result = 1.0
    for scale, weight in enumerate(weights):
        mean_a, mean_b = smooth(a), smooth(b)
        var_a, var_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
        part = (2 * (smooth(a * b) - mean_a * mean_b) + 0.03**2) / (var_a + var_b + 0.03**2)
        if scale == len(weights) - 1:
            part = part * (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        result *= part.mean() ** weight
        a, b = (x.reshape(len(x) // 2, 2, len(x) // 2, 2).mean((1, 3)) for x in (a, b))
    return result


@pytest.mark.parametrize(("size", "scales"), [(192, 5), (128, 4), (64, 3), (16, 1)])
def test_ms_ssim_of_as_many_scales_as_fit(size, scales):
    a, b = (torch.from_numpy(blobs(1, s, size))[:, None].double() / 255 for s in (0, 1))
    b = 0.7 * a + 0.3 * b
    weights = np.array(metrics.SCALE_WEIGHTS[:scales]) / sum(metrics.SCALE_WEIGHTS[:scales])
    expected = plain_ms_ssim(a[0, 0].numpy(), b[0, 0].numpy(), weights)
    assert float(metrics.ms_ssim(a, b)) == pytest.approx(expected, abs=1e-5)
    assert float(metrics.ms_ssim(a, a)) == pytest.approx(1)
