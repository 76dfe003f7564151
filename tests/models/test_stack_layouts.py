"""The distribution of the layouts of whole stacks: planted Gaussian stacks are found again."""

import math

import pytest
import torch
from small_neighbours import KINDS, LAYOUT, POSITIONS, stacks, tiny_neighbour

from oasis_utils.config import NeighbourConfig
from oasis_utils.models.stack_layouts import StackLayouts, interpolated

SIZES = dict(grid=4, n_positions=5, layout=3)
NUMBERS = SIZES["n_positions"] * SIZES["layout"]


def layouts(directions=4, **fields):
    return StackLayouts(NeighbourConfig(**SIZES, stack_directions=directions, **fields))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planted(count=4000, directions=4, known=True):
    """(numbers, positions, ages, stacks) of Gaussian stacks, in mixed order, and what they were
    drawn from: (mean, slope, covariance).
    """
    mean, slope = normal(5, 3, seed=1), normal(5, 3, seed=2)
    axes = normal(directions, NUMBERS, seed=3)
    if known:  # the first number is the age itself
        mean[:, 0], slope[:, 0] = 0, 1
        axes.view(directions, 5, 3)[:, :, 0] = 0
    ages = 0.5 + 2 * normal(count, seed=4) if known else torch.full((count,), math.nan)
    table = mean + (normal(count, directions, seed=5) @ axes).view(count, 5, 3)
    table = table + ages.nan_to_num(0.0)[:, None, None] * slope
    order = torch.randperm(count * 5, generator=torch.Generator().manual_seed(6))
    names = torch.arange(count) * 7 + 3  # numbers of sessions need not follow each other
    given = (
        table.flatten(0, 1)[order],
        torch.arange(5).repeat(count)[order],
        ages.repeat_interleave(5)[order],
        names.repeat_interleave(5)[order],
    )
    return given, (mean, slope, axes.t() @ axes)


def covariance(model):
    directions = model.directions.flatten(1)
    return directions.t() @ directions


def test_mean_slope_and_covariance_of_gaussian_stacks_are_found():
    model, (given, (mean, slope, spread)) = layouts(age_std=10.0), planted()
    model.fit(*given)
    torch.testing.assert_close(model.mean, mean, atol=0.15, rtol=0.1)
    torch.testing.assert_close(model.slope, slope, atol=0.08, rtol=0.08)
    error = (covariance(model) - spread).norm() / spread.norm()
    assert error < 0.1
    assert torch.equal(model.directions[:, :, 0].abs() < 1e-3, torch.ones(4, 5, dtype=torch.bool))


def test_drawn_stacks_have_the_moments_of_the_given_ones():
    model, (given, (mean, slope, spread)) = layouts(age_std=10.0), planted()
    model.fit(*given)
    noise = normal(4000, model.noise_size, seed=8)
    drawn = model(noise, torch.full((4000,), 1.5))
    torch.testing.assert_close(drawn.mean(0), mean + 1.5 * slope, atol=0.25, rtol=0.1)
    error = (drawn.flatten(1).t().cov() - spread).norm() / spread.norm()
    assert error < 0.1


def test_without_ages_all_that_differs_is_covariance():
    model, (given, (mean, _, spread)) = layouts(), planted(known=False)
    model.fit(*given)
    torch.testing.assert_close(model.mean, mean, atol=0.15, rtol=0.1)
    assert not model.slope.any()
    assert (covariance(model) - spread).norm() / spread.norm() < 0.1
    noise, nobody = normal(3, model.noise_size), torch.full((3,), math.nan)
    drawn = model(noise, nobody)
    assert drawn.shape == (3, 5, 3) and drawn[:, :, 0].std(1).min() > 0.1  # a number as any other
    noise[:, -1] += 5  # of an age that this model has not
    assert torch.equal(model(noise, nobody), drawn)


@pytest.mark.parametrize("age", [math.nan, 0.7])
def test_the_first_number_is_the_known_age_or_one_that_is_drawn(age):
    model, (given, _) = layouts(age_std=10.0), planted(200)
    model.fit(*given)
    noise = normal(4, model.noise_size)
    ages = torch.tensor([age, 2.0, age, -1.0])
    expected = torch.where(ages.isfinite(), ages, noise[:, -1])
    drawn = model(noise, ages)
    assert torch.equal(drawn[:, :, 0], expected[:, None].expand(-1, 5))
    torch.testing.assert_close(model(noise, expected), drawn)  # the rest suits it
    alone = model(noise[1:2], ages[1:2])
    torch.testing.assert_close(alone[0], drawn[1])


def test_stacks_of_unknown_age_do_not_blur_those_of_known_age():
    model, other = layouts(age_std=10.0), layouts(age_std=10.0)
    (numbers, positions, ages, names), _ = planted(100)
    model.fit(numbers, positions, ages, names)
    hidden = torch.where(names % 2 == 0, math.nan, ages)
    seen = hidden.isfinite()
    other.fit(numbers, positions, hidden, names)
    model.fit(numbers[seen], positions[seen], ages[seen], names[seen])
    for name in ("mean", "slope", "directions"):
        torch.testing.assert_close(getattr(other, name), getattr(model, name))
    other.fit(numbers, positions, torch.full_like(ages, math.nan), names)  # no age is known
    assert not other.slope.any() and other.directions.any()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_fewer_stacks_than_directions_leave_the_others_zero(count):
    model, ((numbers, positions, ages, names), _) = layouts(6, age_std=10.0), planted(count)
    for _ in range(2):  # what an earlier fit has left is gone
        model.directions.fill_(9.0)
        model.fit(numbers, positions, ages, names)
    assert all(value.isfinite().all() for value in model.buffers())
    assert not model.directions[count:].any()
    assert model.directions[:count].abs().max() < 10 and model.noise_size == 7
    drawn = model(normal(2, 7), torch.tensor([0.0, math.nan]))
    assert drawn.shape == (2, 5, 3) and drawn.isfinite().all()


def test_the_same_stacks_give_the_same_distribution_in_any_order():
    model, again = layouts(age_std=10.0), layouts(age_std=10.0)
    given, _ = planted(50)
    state = torch.get_rng_state()
    model.fit(*given)
    assert torch.equal(torch.get_rng_state(), state)
    order = torch.randperm(len(given[0]))
    again.fit(*(part[order] for part in given))
    for name in ("mean", "slope", "directions"):
        torch.testing.assert_close(getattr(again, name), getattr(model, name))


def test_missing_positions_lie_between_those_that_are_there():
    table = torch.zeros(3, 6, 2)
    table[0, 1], table[0, 4] = torch.tensor([3.0, 30.0]), torch.tensor([9.0, 0.0])
    table[1, 2] = torch.tensor([5.0, 6.0])
    table[2] = normal(6, 2)
    table[0, 3] = 99  # not there
    there = torch.zeros(3, 6, dtype=torch.bool)
    there[0, [1, 4]], there[1, 2], there[2] = True, True, True
    found = interpolated(table, there)
    torch.testing.assert_close(
        found[0], torch.tensor([[3.0, 30], [3, 30], [5, 20], [7, 10], [9, 0], [9, 0]])
    )
    assert torch.equal(found[1], torch.tensor([5.0, 6.0]).expand(6, 2))
    assert torch.equal(found[2], table[2])


def test_stacks_with_gaps_count_as_interpolated_ones():
    (numbers, positions, ages, names), _ = planted(30)
    kept = ~((names % 3 == 0) & (positions == 2))
    filled = numbers.clone()
    at = {(int(s), int(p)): i for i, (s, p) in enumerate(zip(names, positions, strict=True))}
    for row in torch.where(~kept)[0].tolist():
        beside = [numbers[at[int(names[row]), p]] for p in (1, 3)]
        filled[row] = (beside[0] + beside[1]) / 2
    model, whole = layouts(age_std=10.0), layouts(age_std=10.0)
    model.fit(numbers[kept], positions[kept], ages[kept], names[kept])
    whole.fit(filled, positions, ages, names)
    torch.testing.assert_close(model.mean, whole.mean)
    torch.testing.assert_close(covariance(model), covariance(whole), atol=1e-3, rtol=1e-3)


# ------------------------------------------------------------ of a model


@pytest.mark.parametrize("kind", KINDS)
def test_layouts_of_heads_depend_on_seed_and_age_alone(kind):
    model = tiny_neighbour(**KINDS[kind])
    ages = torch.tensor([30.0, math.nan, 70.0]) if model.config.knows_age else None
    found = model.layouts_of_heads([2**63 - 1, 7, 7], ages)
    if model.layout is None:
        assert found is None
        return
    assert found.shape == (3, POSITIONS, LAYOUT) and found.isfinite().all()
    torch.manual_seed(5)
    alone = model.layouts_of_heads([7], None if ages is None else ages[1:2])
    torch.testing.assert_close(alone[0], found[1])
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found[1], found[2]) == (ages is None)
    if ages is not None:
        assert found[0, :, 0].tolist() == [-1.0] * POSITIONS  # (30 - 50) / 20
        assert found[2, :, 0].tolist() == [1.0] * POSITIONS
        unknown = model.layouts_of_heads([7], None)
        assert torch.equal(unknown, model.layouts_of_heads([7], torch.tensor([math.nan])))


def test_stacks_are_fitted_to_the_layouts_of_all_maps(monkeypatch):
    """In parts, to save memory."""
    from oasis_utils.models import neighbour_pixelcnn

    model, known = tiny_neighbour(**KINDS["layouts and ages"]), stacks(12, seed=9)
    given = known["indices"], known["positions"], known["ages"], known["stacks"]
    model.use_stacks(*given)
    numbers, _ = model.layout.measure(*given[:3])
    standard = model.layout.standardize(known["ages"], known["positions"])
    expected = StackLayouts(model.config)
    expected.fit(numbers, known["positions"], standard, known["stacks"])
    monkeypatch.setattr(neighbour_pixelcnn, "MEASURED_AT_ONCE", 7)
    again = tiny_neighbour(**KINDS["layouts and ages"])
    again.use_stacks(*given)
    for other in (model.stack_layouts, again.stack_layouts):
        torch.testing.assert_close(other.mean, expected.mean, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(other.slope, expected.slope, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(covariance(other), covariance(expected), atol=1e-3, rtol=1e-3)
    assert model.stack_layouts.directions.any()
