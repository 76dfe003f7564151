"""Distances of simulated people and of independent rows, agreement with torchmetrics, refusals."""

import numpy as np
import pytest
import torch
from random_slices import vectors

from oasis_utils.metrics.frechet import (
    corrected_frechet,
    frechet,
)
from oasis_utils.metrics.kernel_distance import kid
from oasis_utils.metrics.neighbourhoods import Neighbourhoods


@pytest.mark.parametrize("sizes", [(15, 100), (100, 15), (1, 1)])
def test_too_few_images_are_refused(sizes):
    for distance in (kid, frechet):
        with pytest.raises(
            ValueError, match=rf"at least 16 images .* got {sizes[0]} and {sizes[1]}:"
        ):
            distance(vectors(sizes[0], 0), vectors(sizes[1], 1))


def test_a_single_group_has_no_distance():
    with pytest.raises(
        ValueError,
        match="compares slices of different people, and a side holds 1: use more subjects",
    ):
        kid(vectors(20, 0), vectors(20, 1), np.zeros(20, int), np.arange(20))
    with pytest.raises(ValueError, match="at least 2 groups on either side"):
        corrected_frechet(vectors(20, 0), vectors(20, 1), np.arange(20), np.zeros(20, int))


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
    """Slices of few people fall in clumps and cover less; stated in notebook 08."""
    people, generator = simulations[metric]
    assert 0 < generator.mean() - people.mean() < 0.06


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
