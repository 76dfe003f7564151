"""The PixelCNN: causality cell by cell, likelihood, conditions, sampling and completion."""

import itertools
import math

import pytest
import torch
from small_pixelcnn import AGES, random_maps, sharpened, tiny

from oasis_utils.models.drawing import SamplingOptions, draw, uniform_noise
from oasis_utils.models.pixelcnn import resample
from oasis_utils.models.receptive_field import naive_receptive_field, receptive_field

# ------------------------------------------------------------ causality


def dependence(model):
    """[i, j]: do the logits of cell i depend on the code in cell j? Cells are counted in raster
    order.
    """
    model = model.double()
    caught = []
    hook = model.embedding.register_forward_hook(
        lambda _module, _inputs, output: caught.append(output)
    )
    grid = model.config.grid
    logits = model(random_maps(1, grid, model.config.n_codes), torch.tensor([1]))
    hook.remove()
    direction = torch.randn(model.config.n_codes, generator=torch.Generator().manual_seed(0))
    outputs = (logits[0] * direction[:, None, None]).sum(0).flatten()
    slopes = torch.stack(
        [torch.autograd.grad(out, caught[0], retain_graph=True)[0][0] for out in outputs]
    )
    return (slopes != 0).any(-1).flatten(1)


def earlier(grid):
    return torch.ones(grid * grid, grid * grid).tril(-1).bool()


@pytest.mark.parametrize(
    "options",
    [
        dict(blocks=1),
        dict(blocks=2),
        dict(blocks=3),
        dict(blocks=2, first_kernel=3, kernel=5),
        dict(blocks=2, first_kernel=7, kernel=1),
        dict(blocks=8, first_kernel=3),
    ],
)
def test_no_cell_depends_on_itself_or_a_later_cell(options):
    found = dependence(tiny(**options))
    assert not (found & ~earlier(6)).any()
    assert found[1:].any(1).all()  # every cell but the first depends on something


@pytest.mark.parametrize(
    "options",
    [
        dict(blocks=6, first_kernel=5),
        dict(blocks=8, first_kernel=3),
        dict(blocks=4, first_kernel=7),
        dict(blocks=4, first_kernel=3, kernel=5),
    ],
)
def test_enough_blocks_see_every_earlier_cell_without_blind_spot(options):
    assert torch.equal(dependence(tiny(**options)), earlier(6))


@pytest.mark.parametrize("width", [3, 5, 7])
def test_a_single_block_sees_the_window_of_its_kernel(width):
    grid, reach = 6, width // 2
    cells = torch.arange(grid * grid)
    down = cells[:, None] // grid - cells // grid
    across = cells[:, None] % grid - cells % grid
    above = (down >= 1) & (down <= reach) & (across.abs() <= reach)
    left = (down == 0) & (across >= 1) & (across <= reach)
    assert torch.equal(dependence(tiny(blocks=1, first_kernel=width)), above | left)


def test_receptive_fields_only_grow_with_more_blocks():
    fields = [dependence(tiny(blocks=blocks, first_kernel=3)) for blocks in (1, 2, 3, 4)]
    for small, large in itertools.pairwise(fields):
        assert (large | ~small).all() and large.sum() > small.sum()


@pytest.mark.parametrize(("row", "col"), [(0, 0), (0, 3), (2, 0), (3, 4), (5, 5)])
def test_receptive_field_of_a_cell(row, col):
    model = tiny(blocks=6)
    field = receptive_field(model, row, col)
    assert torch.equal(field.flatten(), earlier(6)[row * 6 + col])


def test_changing_later_codes_does_not_change_a_logit():
    model, maps, positions = tiny().double(), random_maps(2), torch.tensor([0, 3])
    changed = maps.clone()
    changed[:, 3, 2] = (changed[:, 3, 2] + 1) % 10
    difference = (model(maps, positions) - model(changed, positions)).abs().amax((0, 1)).flatten()
    assert difference[: 3 * 6 + 3].max() == 0 and difference[3 * 6 + 3] > 0


# ------------------------------------------------------------ likelihood


@pytest.mark.parametrize("n_codes", [10, 64, 256])
def test_first_loss_is_the_surprise_of_a_uniform_guess(n_codes):
    model = tiny(n_codes=n_codes, channels=16, hidden=32).train()
    maps = random_maps(8, n_codes=n_codes)
    loss = model.step({"indices": maps, "positions": torch.arange(8) % 4}, "likelihood")["loss"]
    assert float(loss.detach()) == pytest.approx(math.log(n_codes), rel=0.04)


def test_surprise_is_minus_the_log_of_the_predicted_probability():
    model, maps, positions = tiny(), random_maps(3), torch.tensor([0, 1, 3])
    probabilities = model(maps, positions).softmax(1).gather(1, maps[:, None])[:, 0]
    torch.testing.assert_close(model.surprise(maps, positions), -probabilities.log().detach())


def test_probabilities_of_all_maps_sum_to_one():
    model = tiny(grid=2, n_codes=3)
    every = torch.cartesian_prod(*[torch.arange(3)] * 4).view(81, 2, 2)
    nats = model.surprise(every, torch.full((81,), 2)).sum((1, 2))
    assert float(torch.exp(-nats).sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("sizes", [(5,), (1, 4), (3, 2)])
def test_validation_is_the_mean_over_all_cells_of_all_batches(sizes):
    model, maps, positions = tiny(), random_maps(5), torch.arange(5) % 4
    parts = zip(maps.split(sizes), positions.split(sizes), strict=True)
    found = model.validate([{"indices": a, "positions": b} for a, b in parts])
    assert found == {
        "nats_per_code": pytest.approx(float(model.surprise(maps, positions).mean()), rel=1e-5)
    }


def test_every_parameter_learns():
    model = tiny(dropout=0.0).train()
    batch = {"indices": random_maps(16), "positions": torch.arange(16) % 4}
    model.step(batch, "likelihood")["loss"].backward()
    still = {
        name
        for name, value in model.named_parameters()
        if value.grad is None or not value.grad.any()
    }
    assert still == set()


# ------------------------------------------------------------ condition


def test_positions_change_the_logits():
    model, maps = tiny(), random_maps(1).expand(4, 6, 6)
    with torch.no_grad():
        logits = model(maps, torch.arange(4))
        same = model(maps, torch.tensor([2, 2, 2, 2]))
    torch.testing.assert_close(same[0], same[3])
    torch.testing.assert_close(same[0], logits[2])
    assert all((logits[i] - logits[j]).abs().max() > 1e-3 for i in range(4) for j in range(i))


@pytest.fixture(scope="module")
def trained():
    """Trained on maps whose every code is the slice position, with a marked column; and its last
    loss.
    """
    model = tiny(grid=4, n_codes=6, blocks=2, channels=16, dropout=0.0).train()
    positions = torch.arange(16) % 4
    maps = positions[:, None, None].expand(16, 4, 4).clone()
    maps[:, :, 2] = 5
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model.step({"indices": maps, "positions": positions}, "likelihood")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), maps[:4], float(loss.detach())


def test_a_short_training_learns_the_conditional_distribution(trained):
    model, maps, loss = trained
    assert loss < 0.05 * math.log(6)
    positions = torch.arange(4)
    drawn = model.sample(
        positions, uniform_noise([7, 8, 9, 10], 4), SamplingOptions(temperature=0.0)
    )
    assert torch.equal(drawn, maps)
    assert (
        model.surprise(maps, positions) < model.surprise(maps, positions.roll(1))
    ).float().mean() > 0.6


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
    for place in range(4):
        alone = model.sample(
            positions[place : place + 1], uniform_noise(seeds[place : place + 1], 6)
        )
        assert torch.equal(alone[0], together[place])
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
    nats = model.surprise(every.view(81, 2, 2), position.expand(81)).sum((1, 2))
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


# ------------------------------------------------------------ age

AGED = torch.tensor([25.0, 50.0, 90.0, math.nan])


def test_age_changes_the_logits_and_nan_is_the_learned_unknown():
    model, maps, positions = (
        tiny(**AGES),
        random_maps(1).expand(4, 6, 6),
        torch.ones(4, dtype=torch.long),
    )
    torch.nn.init.normal_(model.age_features.unknown, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, unknown = model(maps, positions, AGED), model(maps, positions)
    torch.testing.assert_close(unknown[0], logits[3])
    assert all((logits[i] - logits[j]).abs().max() > 1e-3 for i in range(4) for j in range(i))
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_hidden_ages_train_the_vector_of_the_unknown(shared):
    model = tiny(**AGES, age_dropout=shared).train()
    batch = {
        "indices": random_maps(16),
        "positions": torch.arange(16) % 4,
        "ages": torch.full((16,), 60.0),
    }
    torch.manual_seed(0)
    model.step(batch, "likelihood")["loss"].backward()
    assert bool(model.age_features.unknown.grad.any()) == (shared > 0)
    assert torch.isfinite(model.age_features.spread.weight.grad).all()


def test_cached_samples_equal_naive_ones_at_any_age():
    model = sharpened(tiny(**AGES), 5.0)
    positions, noise = torch.ones(4, dtype=torch.long), uniform_noise([1, 1, 1, 1], 6)
    maps = model.sample(positions, noise, ages=AGED)
    assert torch.equal(maps, model.sample_naive(positions, noise, ages=AGED))
    assert not torch.equal(maps[0], maps[2])


def test_a_model_without_ages_refuses_one_but_trains_on_data_that_have_them():
    model, positions = tiny(), torch.tensor([0])
    with pytest.raises(ValueError, match="trained without ages"):
        model.sample(positions, uniform_noise([0], 6), ages=torch.tensor([40.0]))
    batch = {"indices": random_maps(1), "positions": positions}
    with_age = model.validate([{**batch, "ages": torch.tensor([40.0])}])
    assert with_age == model.validate([batch])


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
    exact = (-model.surprise(every, position.expand(9)).sum((1, 2))).softmax(0)

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


# ------------------------------------------------------------ blind spot


def test_the_naive_stack_has_a_blind_spot_that_ours_has_not():
    naive, ours = naive_receptive_field(8, 6, 4, 2), receptive_field(tiny(blocks=6), 4, 2)
    missed = {tuple(cell) for cell in (ours & ~naive).nonzero().tolist()}
    assert missed == {(3, 4), (3, 5), (2, 5)}  # above, ever further to the right
    assert not (naive & ~ours).any()
