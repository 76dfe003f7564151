"""The linear model of maps: exact moments, missing positions, few maps."""

import pytest
import torch

from oasis_utils.models import linear_maps
from oasis_utils.models.linear_maps import LinearMaps, fitted_rows


def planted(n=600, noise_dim=3, seed=0):
    """Maps (n, 2, 4, 4) of a known linear model at four positions, the positions, its mean and its
    directions.
    """
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(4, 2, 4, 4, generator=generator)
    axes = torch.linalg.qr(torch.randn(32, noise_dim, generator=generator))[0].t()
    directions = (axes * torch.tensor([3.0, 2.0, 1.0])[:, None]).view(noise_dim, 2, 4, 4)
    positions = torch.arange(n) % 4
    noise = torch.randn(n, noise_dim, generator=generator)
    return (
        mean[positions] + (noise @ directions.flatten(1)).view(n, 2, 4, 4),
        positions,
        mean,
        directions,
    )


def fitted(maps, positions, noise_dim=3, n_positions=4):
    model = LinearMaps(n_positions, noise_dim, *maps.shape[1:3])
    model.fit(maps, positions)
    return model


def test_a_planted_linear_model_is_found_again():
    maps, positions, mean, directions = planted(n=6000)
    model = fitted(maps, positions)
    torch.testing.assert_close(model.mean, mean, atol=0.15, rtol=0)
    found, planted_axes = model.directions.flatten(1), directions.flatten(1)
    covariance = found.t() @ found
    assert float((covariance - planted_axes.t() @ planted_axes).norm() / covariance.norm()) < 0.05


def test_all_directions_give_the_exact_covariance_of_the_maps():
    maps, positions, _, _ = planted(n=100)
    maps = maps + torch.randn(maps.shape, generator=torch.Generator().manual_seed(1))
    model = fitted(maps, positions, noise_dim=32)
    deviations = (maps - model.mean[positions]).flatten(1)
    found = model.directions.flatten(1)
    torch.testing.assert_close(
        found.t() @ found, deviations.t() @ deviations / 100, atol=1e-3, rtol=1e-3
    )


def test_a_map_is_mean_plus_noise_times_directions():
    maps, positions, _, _ = planted()
    model = fitted(maps, positions)
    noise = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, -2, 0]])
    drawn = model(noise, torch.tensor([2, 2, 1]))
    torch.testing.assert_close(drawn[0], model.mean[2])
    torch.testing.assert_close(drawn[1], model.mean[2] + model.directions[0])
    torch.testing.assert_close(drawn[2], model.mean[1] - 2 * model.directions[1])


@pytest.mark.parametrize("n", [1, 5])
def test_fewer_maps_than_directions_leave_the_rest_zero(n):
    maps, positions, _, _ = planted(n=n)
    model = fitted(maps, torch.zeros_like(positions), noise_dim=12)
    assert model.directions.isfinite().all() and model.directions[n:].abs().max() == 0


def test_a_position_without_maps_gets_the_mean_of_all():
    maps, positions, _, _ = planted()
    model = fitted(maps, positions, n_positions=6)
    for position in (4, 5):
        torch.testing.assert_close(model.mean[position], maps.mean(0))


def test_fitting_is_repeatable_and_leaves_the_random_state_alone():
    maps, positions, _, _ = planted()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = fitted(maps, positions)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert torch.equal(fitted(maps, positions).directions, first.directions)
    assert not list(first.parameters())  # fitted, not trained


def test_the_first_direction_is_the_regression_on_what_the_first_number_means():
    maps, positions, _, _directions = planted(n=6000)
    years = torch.randn(6000, generator=torch.Generator().manual_seed(5))
    growth = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(6))
    maps = maps + years[:, None, None, None] * growth
    years[::3] = torch.nan  # unknown of some
    model = LinearMaps(4, 5, 2, 4)
    model.fit(maps, positions, years)
    torch.testing.assert_close(model.directions[0], growth, atol=0.15, rtol=0)
    plain = LinearMaps(4, 5, 2, 4)
    plain.fit(maps, positions, torch.full_like(years, torch.nan))
    again = fitted(maps, positions, noise_dim=5)
    torch.testing.assert_close(plain.directions, again.directions)  # nothing known: as without


def test_each_position_may_have_a_covariance_of_its_own():
    """Maps that vary at one position only; further, shifted ones help to find the directions."""
    maps, positions, mean, _ = planted(n=6000)
    moving = (positions == 1)[:, None, None, None]
    maps = torch.where(moving, maps, mean[positions])
    shifted = maps + torch.randn(maps.shape, generator=torch.Generator().manual_seed(8))
    plain = torch.arange(12000) < 6000
    both, places = torch.cat([maps, shifted]), torch.cat([positions, positions])
    shared, own = LinearMaps(4, 12, 2, 4), LinearMaps(4, 12, 2, 4, per_position=True)
    for model in (shared, own):
        model.fit(both, places, plain=plain)
    noise = torch.randn(4000, 12, generator=torch.Generator().manual_seed(9))
    for position in range(4):
        drawn = [m(noise, torch.full((4000,), position)).var(0).sum() for m in (shared, own)]
        wanted = maps[positions == position].var(0).sum()
        assert abs(float(drawn[1] - wanted)) < 0.15 * float(maps[positions == 1].var(0).sum())
        assert abs(drawn[0] - wanted) > abs(drawn[1] - wanted)
        torch.testing.assert_close(
            own.mean[position], maps[positions == position].mean(0), atol=0.1, rtol=0
        )


@pytest.mark.parametrize("known", [0.5, 0.2])
def test_unknown_ages_do_not_blur_what_an_age_does_at_a_position(known):
    maps, positions, *_ = planted(n=8000)
    generator = torch.Generator().manual_seed(5)
    ages = torch.randn(8000, generator=generator)
    growth = torch.randn(2, 4, 4, generator=generator)
    slopes = torch.tensor([0.2, 1.6, 0.2, 1.0])
    maps = maps + (slopes[positions] * ages)[:, None, None, None] * growth
    ages[torch.rand(8000, generator=generator) > known] = torch.nan
    model = LinearMaps(4, 5, 2, 4, per_position=True)
    model.fit(maps, positions, ages)
    for position, slope in enumerate(slopes):
        place = torch.tensor([position])
        older, younger = (model(torch.eye(5)[:1] * years, place) for years in (1, -1))
        found = ((older - younger)[0] / 2 * growth).sum() / growth.square().sum()
        assert abs(float(found - slope)) < 0.2


def test_plain_maps_are_fitted_before_others(monkeypatch):
    monkeypatch.setattr(linear_maps, "MOST_FITTED_MAPS", 12)
    rows, plain = fitted_rows(40, torch.device("cpu"), 10)
    assert len(rows) == 12 and plain.sum() == 10
    assert set(rows[plain].tolist()) == set(range(10)) and (rows[~plain] >= 10).all()
    rows, plain = fitted_rows(40, torch.device("cpu"))
    assert len(set(rows.tolist())) == 12 and plain.all()
    assert fitted_rows(40, torch.device("cpu"), 0)[1].sum() == 0
