"""The layout of a map: measured, drawn, told to every cell, and what telling it costs."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from oasis_utils.config import PixelCNNConfig
from oasis_utils.models.drawing import SamplingOptions
from oasis_utils.models.linear_maps import at_positions
from oasis_utils.models.pixelcnn import PixelCNN

GRID, CODES, LAYOUT = 6, 9, 8  # more numbers than a row of cells has
NAN = float("nan")


def maps(n=48, seed=0):
    """Index maps, positions and ages (a fifth of them unknown) in which halves look alike."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.randint(CODES, (n, GRID, GRID // 2), generator=generator)
    ages = 40 + 40 * torch.rand(n, generator=generator)
    ages[::5] = NAN
    return torch.cat([left, left.flip(2)], dim=2), torch.arange(n) % 3, ages


def fitted(**fields):
    config = PixelCNNConfig(
        grid=GRID, n_codes=CODES, n_positions=3, channels=8, blocks=3, hidden=16, code_dim=3,
        layout=LAYOUT, age_mean=60.0, age_std=12.0, dropout=0.0, **fields,
    )  # fmt: skip
    torch.manual_seed(0)
    model = PixelCNN(config).eval()
    model.use_maps(torch.randn(CODES, 3), *maps())
    for parameter in model.parameters():
        parameter.data.mul_(3)  # so that cells and layouts matter
    return model


def test_layouts_of_training_maps_are_nearly_standard_normal():
    model = fitted()
    numbers, _ = model.layout.measure(*maps())
    known = numbers[maps()[2].isfinite()]
    assert known[:, 1:].mean(0).abs().max() < 0.2
    assert known[:, 1:].std(0).min() > 0.6 and known[:, 1:].std(0).max() < 1.2


def test_a_map_of_the_linear_model_tells_the_numbers_it_was_made_from():
    model = fitted()
    layout = model.layout
    wanted = torch.randn(5, LAYOUT, generator=torch.Generator().manual_seed(1))
    positions = torch.tensor([0, 1, 2, 0, 1])
    exact = layout.linear(wanted, positions)
    layout.embed = lambda indices: exact  # vectors that no code has
    layout.residual.fill_(1e-6)
    found, spread = layout.measure(torch.zeros(5, GRID, GRID).long(), positions)
    torch.testing.assert_close(found, wanted, atol=1e-2, rtol=1e-2)
    assert spread.abs().max() < 0.1


def test_a_known_age_is_the_first_number():
    model = fitted()
    indices, positions, ages = maps()
    numbers, _ = model.layout.measure(indices, positions, ages)
    known = ages.isfinite()
    torch.testing.assert_close(numbers[known, 0], (ages[known] - 60) / 12, atol=1e-2, rtol=1e-3)
    drawn = model.layout.drawn(torch.full((2, LAYOUT), 7.0), positions[:2], torch.tensor([72, NAN]))
    assert drawn[:, 0].tolist() == [1.0, 7.0]


def test_no_known_cell_leaves_the_standard_normal_distribution():
    model = fitted()
    indices, positions, _ = maps(4)
    mean, spread = model.layout.measure(
        indices, positions, keep=torch.zeros(4, GRID, GRID, dtype=torch.bool)
    )
    torch.testing.assert_close(mean, torch.zeros(4, LAYOUT))
    torch.testing.assert_close(spread, torch.eye(LAYOUT).expand(4, -1, -1))


def test_more_known_cells_tell_more():
    model = fitted()
    indices, positions, ages = maps()
    whole, _ = model.layout.measure(indices, positions, ages)
    errors, spreads = [], []
    for rows in (1, 3, GRID):
        keep = torch.zeros_like(indices, dtype=torch.bool)
        keep[:, :rows] = True
        mean, spread = model.layout.measure(indices, positions, ages, keep)
        errors.append(float((mean - whole).norm()))
        spreads.append(float(spread.norm()))
    assert errors[0] > errors[1] > errors[2] and spreads[0] > spreads[1] > spreads[2]
    torch.testing.assert_close(mean, whole, atol=1e-4, rtol=1e-4)


def test_telling_a_layout_costs_the_divergence_of_the_noise_from_the_prior():
    model = fitted(layout_noise=0.4)
    numbers = torch.randn(3, LAYOUT, generator=torch.Generator().manual_seed(2))
    costs = kl_divergence(Normal(numbers, 0.4), Normal(0.0, 1.0))
    ages = torch.tensor([50.0, NAN, 80.0])
    expected = costs.sum(1) - torch.where(ages.isfinite(), costs[:, 0], 0)
    torch.testing.assert_close(model.layout.nats(numbers, torch.zeros(3).long(), ages), expected)


def test_surprisal_holds_the_cost_of_the_layout():
    model = fitted()
    indices, positions, ages = maps(6)
    numbers, _ = model.layout.measure(indices, positions, ages)
    cost = model.layout.nats(numbers, positions, ages)
    found = model.surprisal(indices, positions, ages)
    assert torch.equal(found, model.surprisal(indices, positions, ages))
    model.layout.nats = lambda *args: torch.zeros(6)
    without = model.surprisal(indices, positions, ages)
    torch.testing.assert_close((found - without).sum((1, 2)), cost, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("options", [SamplingOptions(), SamplingOptions(top_p=0.9)])
def test_the_cache_draws_what_whole_passes_draw(options):
    model = fitted()
    _, positions, ages = maps(7)
    noise = model.noise(list(range(7)))
    drawn = model.sample(positions, noise, options, ages=ages)
    assert torch.equal(drawn, model.sample_naive(positions, noise, options, ages))
    for row in range(7):
        one = slice(row, row + 1)
        assert torch.equal(
            model.sample(positions[one], noise[one], options, ages=ages[one]), drawn[one]
        )
    turned = model.sample(positions.flip(0), noise.flip(0), options, ages=ages.flip(0))
    assert torch.equal(turned, drawn.flip(0))


def test_layout_rows_of_the_noise_change_the_map_and_surplus_numbers_do_not():
    model = fitted()
    positions, noise = torch.zeros(4, dtype=torch.long), model.noise([1, 2, 3, 4])
    assert noise.shape == (4, GRID + 2, GRID)  # 8 numbers in rows of 6
    drawn = model.sample(positions, noise)
    other, surplus = noise.clone(), noise.clone()
    other[:, GRID] = 1 - other[:, GRID]
    surplus[:, GRID + 1, 2:] = 0.5
    assert not torch.equal(model.sample(positions, other), drawn)
    assert torch.equal(model.sample(positions, surplus), drawn)


@pytest.mark.parametrize("particles", [1, 4])
def test_completion_keeps_what_is_given(particles):
    model = fitted()
    indices, positions, ages = maps(5)
    keep = torch.zeros_like(indices, dtype=torch.bool)
    keep[:, :, : GRID // 2] = True
    filled = model.complete(
        positions, list(range(5)), indices, keep, ages=ages, particles=particles
    )
    assert torch.equal(filled[keep], indices[keep])


def test_given_cells_tell_the_layout_of_what_is_filled_in():
    model = fitted()
    indices, positions, ages = maps(24)
    keep = torch.zeros_like(indices, dtype=torch.bool)
    keep[:, :, : GRID // 2] = True
    noise = model.noise(list(range(24)))
    own, _ = model.layout.measure(indices, positions, ages)
    told = model._drawn_layouts(noise, positions, ages, indices, keep)
    free = model._drawn_layouts(noise, positions, ages)
    assert (told - own)[:, 1:].norm() < 0.8 * (free - own)[:, 1:].norm()


def test_noise_of_another_shape_is_refused():
    model = fitted()
    with pytest.raises(ValueError, match="noise must have shape"):
        model.sample(torch.tensor([0]), torch.rand(1, GRID, GRID))


def test_a_model_without_layouts_ignores_training_maps():
    model = PixelCNN(PixelCNNConfig(grid=GRID, n_codes=CODES, n_positions=3, channels=4, blocks=2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.use_maps(torch.randn(CODES, 16), *maps()[:2])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(name.startswith("layout") for name in before)


# ---------------------------------------------------------------- positions


def planted_numbers(counts=(4000, 4000, 0, 1), size=4, seed=0):
    """Numbers whose first is an age, with a mean, slope and covariance of their own at each
    position, and those.
    """
    generator = torch.Generator().manual_seed(seed)
    positions = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    ages = torch.randn(len(positions), generator=generator)
    means, slopes = torch.randn(2, len(counts), size - 1, generator=generator)
    spreads = torch.tensor([0.3, 1.5, 1.0, 1.0])
    noise = torch.randn(len(positions), size - 1, generator=generator)
    noise[:, 1] = 0.8 * noise[:, 0] + 0.6 * noise[:, 1]
    free = (
        means[positions] + slopes[positions] * ages[:, None] + spreads[positions][:, None] * noise
    )
    return torch.cat([ages[:, None], free], 1), positions, means, slopes, spreads


def test_each_position_has_its_mean_its_slope_with_age_and_its_covariance():
    numbers, positions, means, slopes, spreads = planted_numbers()
    centre, mixing = at_positions(numbers, positions, 4, True)
    for position in (0, 1):
        covariance = mixing[position, 1:, 1:].t() @ mixing[position, 1:, 1:]
        planted = torch.eye(3)
        planted[0, 1] = planted[1, 0] = 0.8
        torch.testing.assert_close(
            covariance, spreads[position] ** 2 * planted, atol=0.15, rtol=0.05
        )
        torch.testing.assert_close(centre[position, 1:], means[position], atol=0.1, rtol=0)
        torch.testing.assert_close(mixing[position, 0, 1:], slopes[position], atol=0.1, rtol=0)
    assert centre[:, 0].abs().max() == 0 and (mixing[:, 0, 0] == 1).all()
    assert mixing[:, 1:, 0].abs().max() == 0  # the age is given, not mixed


def test_a_position_with_few_maps_has_the_spread_of_all():
    numbers, positions, *_ = planted_numbers()
    centre, mixing = at_positions(numbers, positions, 4, True)
    covariances = mixing[:, 1:, 1:].mT @ mixing[:, 1:, 1:]
    pooled = 0.5 * (covariances[0] + covariances[1])
    torch.testing.assert_close(covariances[2], pooled, atol=0.02, rtol=0.02)
    assert centre[2].abs().max() == 0  # no map
    one = torch.linalg.eigvalsh(covariances[3] - 0.75 * pooled)  # three numbers: three maps of all
    assert one[:2].abs().max() < 0.02 and one[2] > 0  # and one map


def test_without_ages_the_covariance_is_of_all_numbers():
    numbers, positions, *_ = planted_numbers((4000, 4000, 0, 0))
    centre, mixing = at_positions(numbers, positions, 4, False)
    for position in (0, 1):
        here = numbers[positions == position]
        torch.testing.assert_close(centre[position], here.mean(0), atol=0.02, rtol=0)
        covariance = mixing[position].t() @ mixing[position]
        torch.testing.assert_close(covariance, here.t().cov(), atol=0.05, rtol=0.05)


def test_drawn_layouts_are_like_those_of_plain_maps():
    """Further maps, which differ more, widen the linear model but not what is drawn."""
    generator = torch.Generator().manual_seed(3)
    base = torch.randint(CODES, (1, GRID, GRID), generator=generator).expand(96, -1, -1)
    chance = torch.rand(96, GRID, GRID, generator=generator)
    share = torch.tensor([0.05, 0.6]).repeat_interleave(48)[:, None, None]
    other = torch.randint(CODES, (96, GRID, GRID), generator=generator)
    indices, positions = torch.where(chance < share, other, base), torch.arange(96) % 3
    codebook = torch.randn(CODES, 3, generator=generator)
    spreads = []
    for n_plain in (48, None):
        layout = fitted().layout
        layout.fit(codebook, indices, positions, n_plain=n_plain)
        drawn = layout.linear(
            torch.randn(3000, LAYOUT, generator=generator), torch.zeros(3000).long()
        )
        spreads.append(float(drawn.std(0).mean()))
        numbers, _ = layout.measure(indices[:48], positions[:48])
        plain = layout.linear(numbers, positions[:48])
        within = torch.stack([plain[positions[:48] == p].std(0) for p in range(3)]).mean()
    assert spreads[0] < 0.7 * spreads[1]
    assert within < spreads[1]
