"""Samples and completions of the PixelCNN."""

import math

import pytest
import torch
from small_pixelcnn import random_maps, sharpened, tiny

from oasis_utils.models.drawing import SamplingOptions, draw, uniform_noise
from oasis_utils.models.pixelcnn import resample

# ------------------------------------------------------------ samples


@pytest.mark.parametrize(
    "options",
    [
        SamplingOptions(),
        SamplingOptions(temperature=0.7),
        SamplingOptions(temperature=0.0),
        SamplingOptions(top_k=3),
        SamplingOptions(top_p=0.8),
        SamplingOptions(temperature=1.3, top_k=6, top_p=0.9),
    ],
)
def test_cached_samples_equal_naive_ones(options):
    model = sharpened(tiny(), 5.0)
    positions, noise = torch.tensor([0, 1, 2, 3]), uniform_noise([1, 2, 3, 4], 6)
    maps = model.sample(positions, noise, options)
    assert torch.equal(maps, model.sample_naive(positions, noise, options))
    assert (
        maps.dtype == torch.int64 and maps.min() >= 0 and maps.max() < 10 and len(maps.unique()) > 1
    )


def test_same_seed_same_image_in_any_batch():
    model, seeds, positions = sharpened(tiny(), 5.0), [5, 6, 7, 8], torch.tensor([0, 1, 2, 3])
    together = model.sample(positions, uniform_noise(seeds, 6))
    for row in range(4):
        alone = model.sample(positions[row : row + 1], uniform_noise(seeds[row : row + 1], 6))
        assert torch.equal(alone[0], together[row])
    turned = model.sample(positions.flip(0), uniform_noise(seeds[::-1], 6))
    assert torch.equal(turned.flip(0), together)
    assert not torch.equal(model.sample(positions, uniform_noise([9, 10, 11, 12], 6)), together)


def test_noise_depends_on_the_seed_alone_and_is_uniform():
    noise = uniform_noise([3, 4, 3], 50)
    torch.manual_seed(99)
    assert torch.equal(uniform_noise([3, 4, 3], 50), noise)
    assert torch.equal(noise[0], noise[2]) and not torch.equal(noise[0], noise[1])
    assert noise.min() >= 0 and noise.max() < 1 and abs(float(noise.mean()) - 0.5) < 0.02


def test_temperature_zero_takes_the_likeliest_code_of_every_cell():
    model, positions = sharpened(tiny()), torch.tensor([0, 3])
    cold, other = (
        model.sample(positions, uniform_noise(seeds, 6), SamplingOptions(temperature=0.0))
        for seeds in ([1, 2], [8, 9])
    )
    with torch.no_grad():
        assert torch.equal(cold, model(cold, positions).argmax(1))
    assert torch.equal(cold, other)


def test_samples_follow_the_predicted_distribution():
    model = tiny(grid=2, n_codes=3, blocks=2, dropout=0.0)
    model = sharpened(model, 3.0)
    count = 20_000
    noise = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(0))
    position = torch.tensor([1])
    maps = model.sample(position.expand(count), noise)
    every = torch.cartesian_prod(*[torch.arange(3)] * 4)
    nats = model.surprisal(every.view(81, 2, 2), position.expand(81)).sum((1, 2))
    expected = torch.exp(-nats).double() * count
    found = (maps.view(-1, 4) @ torch.tensor([27, 9, 3, 1])).bincount(minlength=81)
    chi_square = float(((found - expected).square() / expected).sum())
    assert expected.min() > 5 and expected.max() > 3 * expected.min()
    assert chi_square < 80 + 4 * math.sqrt(160)  # 80 degrees of freedom


def test_on_row_is_called_once_a_row_with_the_maps_so_far():
    model, calls = tiny(), []
    maps = model.sample(
        torch.tensor([0, 1]),
        uniform_noise([1, 2], 6),
        on_row=lambda row, so_far: calls.append((row, so_far.clone())),
    )
    assert [row for row, _ in calls] == list(range(6))
    assert all(torch.equal(so_far[:, : row + 1], maps[:, : row + 1]) for row, so_far in calls)


def test_completion_keeps_the_given_cells_and_draws_the_others():
    model, positions, noise = sharpened(tiny(), 5.0), torch.tensor([0, 1]), uniform_noise([1, 2], 6)
    given = random_maps(2, seed=5)
    keep = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    maps = model.sample(positions, noise, given=given, keep=keep)
    assert torch.equal(maps[keep], given[keep]) and not torch.equal(maps[~keep], given[~keep])
    with torch.no_grad():
        logits = model(maps, positions).permute(0, 2, 3, 1)[~keep]
    assert torch.equal(
        draw(logits, noise[~keep], SamplingOptions()), maps[~keep]
    )  # given what is kept


def test_completion_of_everything_and_of_nothing():
    model, positions, noise = tiny(), torch.tensor([0, 1]), uniform_noise([1, 2], 6)
    given, nothing = random_maps(2, seed=5), torch.zeros(2, 6, 6, dtype=torch.bool)
    assert torch.equal(model.sample(positions, noise, given=given, keep=~nothing), given)
    drawn = model.sample(positions, noise, given=given, keep=nothing)
    assert torch.equal(drawn, model.sample(positions, noise))


@pytest.mark.parametrize("positions", [[0, 4], [-1, 0], []])
@pytest.mark.parametrize("sampler", ["sample", "sample_naive"])
def test_unknown_positions_are_refused(sampler, positions):
    positions = torch.tensor(positions, dtype=torch.long)
    with pytest.raises(ValueError, match=r"positions must be in \[0, 4\)"):
        getattr(tiny(), sampler)(positions, torch.zeros(len(positions), 6, 6))


@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 6, 7), (2, 12, 12)])
def test_noise_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"noise must have shape \(2, 6, 6\), not"):
        tiny().sample(torch.tensor([0, 1]), torch.zeros(shape))


@pytest.mark.parametrize(
    ("given", "keep"),
    [
        ((2, 5, 6), (2, 6, 6)),
        ((2, 6, 6), (2, 6, 5)),
        ((1, 6, 6), (1, 6, 6)),
        ((2, 12, 12), (2, 12, 12)),
    ],
)
@pytest.mark.parametrize("method", ["sample", "complete"])
def test_maps_of_the_wrong_size_are_not_completed(method, given, keep):
    given, keep = torch.zeros(given, dtype=torch.long), torch.zeros(keep, dtype=torch.bool)
    start = uniform_noise([1, 2], 6) if method == "sample" else [1, 2]
    with pytest.raises(
        ValueError, match=r"given and keep must have shape \(2, 6, 6\), one 6x6 map"
    ):
        getattr(tiny(), method)(torch.tensor([0, 1]), start, given=given, keep=keep)


# ---------------------------------------------------------------- completion and later cells


def test_one_particle_of_nothing_given_is_a_plain_sample():
    model, positions = sharpened(tiny(), 5.0), torch.tensor([0, 3])
    nothing = torch.zeros(2, 6, 6, dtype=torch.bool)
    maps = model.complete(positions, [5, 6], random_maps(2), nothing, particles=1)
    assert torch.equal(maps, model.sample(positions, uniform_noise([5, 6], 6)))


@pytest.mark.parametrize("particles", [1, 5])
def test_completion_by_particles_keeps_what_is_given_and_depends_on_the_seed_alone(particles):
    model, given = sharpened(tiny(), 5.0), random_maps(3, seed=5)
    keep = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    positions = torch.tensor([0, 1, 2])
    maps = model.complete(positions, [7, 8, 9], given, keep, particles=particles)
    assert torch.equal(maps[keep], given[keep]) and maps.min() >= 0 and maps.max() < 10
    alone = model.complete(positions[1:2], [8], given[1:2], keep[1:2], particles=particles)
    assert torch.equal(alone[0], maps[1])
    assert torch.equal(
        model.complete(positions, [1, 2, 3], given, torch.ones_like(keep), particles=particles),
        given,
    )


def test_completion_by_particles_follows_the_distribution_given_all_cells():
    model = sharpened(tiny(grid=2, n_codes=3, blocks=2, dropout=0.0), 12.0)
    with torch.no_grad():
        for weight in (model.embedding.weight, *(block.vertical.weight for block in model.blocks)):
            weight.mul_(4)  # rows that depend on each other
    count, keep = 2000, torch.tensor([[False, False], [True, True]])
    given, position = torch.tensor([[0, 0], [2, 1]]), torch.tensor([1])
    every = torch.cartesian_prod(
        torch.arange(3), torch.arange(3), torch.tensor([2]), torch.tensor([1])
    ).view(9, 2, 2)
    exact = (-model.surprisal(every, position.expand(9)).sum((1, 2))).softmax(0)

    def shares(particles):
        maps = model.complete(
            position.expand(count),
            list(range(count)),
            given.expand(count, 2, 2),
            keep.expand(count, 2, 2),
            particles=particles,
        )
        return (3 * maps[:, 0, 0] + maps[:, 0, 1]).bincount(minlength=9) / count

    alone, together = (float((shares(n) - exact).abs().sum()) for n in (1, 32))
    assert together < 0.1 and alone > 0.25


def test_no_particles_is_an_error():
    nothing = torch.zeros(1, 6, 6, dtype=torch.bool)
    with pytest.raises(ValueError, match="particles must be 1 or more, not 0"):
        tiny().complete(torch.tensor([0]), [1], random_maps(1), nothing, particles=0)


def test_resampling_leaves_even_weights_alone_and_follows_uneven_ones():
    weights = torch.log(torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.97, 0.01, 0.01, 0.01]]))
    parents, left = resample(weights, torch.tensor([0.5, 0.5]))
    assert parents.tolist() == [0, 1, 2, 3, 4, 4, 4, 4]
    assert torch.equal(left[0], weights[0]) and left[1].tolist() == [0, 0, 0, 0]
    picks = (torch.arange(1000) + 0.5) / 1000
    chosen, _ = resample(
        torch.log(torch.tensor([[0.5, 0.3, 0.2]])).expand(1000, 3), picks, last=True
    )
    counts = (chosen.view(1000, 3)[:, 0] % 3).bincount()
    assert (counts - torch.tensor([500, 300, 200])).abs().max() <= 1
