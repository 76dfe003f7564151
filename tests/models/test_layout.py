"""The layout of a map: measured, drawn, told to every cell, and what telling it costs."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from oasis_utils.config import PixelCNNConfig
from oasis_utils.models.drawing import SamplingOptions
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
    model.use_layouts(torch.randn(CODES, 3), *maps())
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
    exact = layout.map_of(wanted, positions)
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
    model.use_layouts(torch.randn(CODES, 16), *maps()[:2])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(name.startswith("layout") for name in before)
