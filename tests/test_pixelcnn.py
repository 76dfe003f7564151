"""The PixelCNN: causality cell by cell, the exact cached sampler, draws from predicted distributions."""

import math

import pytest
import torch
import torch.nn.functional as F

from oasis_utils.config import PixelCNNConfig
from oasis_utils.incremental import RowCache, SamplingOptions, draw, uniform_noise
from oasis_utils.pixelcnn import PixelCNN, naive_receptive_field, receptive_field, resample

AGES = dict(age_mean=50.0, age_std=20.0)


def tiny(**changes):
    values = dict(grid=6, n_codes=10, n_positions=4, channels=8, blocks=3, first_kernel=5, kernel=3,
                  hidden=16, dropout=0.1) | changes
    torch.manual_seed(0)
    return PixelCNN(PixelCNNConfig(**values)).eval()


def random_maps(count, grid=6, n_codes=10, seed=0):
    return torch.randint(n_codes, (count, grid, grid), generator=torch.Generator().manual_seed(seed))


def sharpened(model, factor=20.0):
    """The same model with confident predictions, so that a wrong logit changes the samples."""
    with torch.no_grad():
        model.head[-1].weight.mul_(factor)
        model.cell_bias.normal_(generator=torch.Generator().manual_seed(1))
    return model


def exact_logits(model, maps, positions, ages=None):
    """Logits of the full forward pass in the precision of the model."""
    caught = []
    hook = model.head.register_forward_hook(lambda _module, _inputs, output: caught.append(output))
    model(maps, positions, ages)
    hook.remove()
    return caught[0]


def cached_logits(model, maps, positions, ages=None):
    """Logits of every cell when the cached sampler is led along given maps."""
    cache, found = RowCache(model, positions, ages), []
    for row in range(maps.shape[1]):
        cache.start_row(row, maps[:, row - 1] if row else None)
        for col in range(maps.shape[2]):
            found.append(cache.logits().clone())
            cache.accept(maps[:, row, col])
    return torch.stack(found, 2).view(len(maps), -1, *maps.shape[1:])


# ------------------------------------------------------------ causality

def dependence(model):
    """[i, j]: do the logits of cell i depend on the code in cell j? Cells are counted in raster order."""
    model = model.double()
    caught = []
    hook = model.embedding.register_forward_hook(lambda _module, _inputs, output: caught.append(output))
    grid = model.config.grid
    logits = model(random_maps(1, grid, model.config.n_codes), torch.tensor([1]))
    hook.remove()
    direction = torch.randn(model.config.n_codes, generator=torch.Generator().manual_seed(0))
    outputs = (logits[0] * direction[:, None, None]).sum(0).flatten()
    slopes = torch.stack([torch.autograd.grad(out, caught[0], retain_graph=True)[0][0] for out in outputs])
    return (slopes != 0).any(-1).flatten(1)


def earlier(grid):
    return torch.ones(grid * grid, grid * grid).tril(-1).bool()


@pytest.mark.parametrize("options", [
    dict(blocks=1), dict(blocks=2), dict(blocks=3), dict(blocks=2, first_kernel=3, kernel=5),
    dict(blocks=2, first_kernel=7, kernel=1), dict(blocks=8, first_kernel=3)])
def test_no_cell_depends_on_itself_or_a_later_cell(options):
    found = dependence(tiny(**options))
    assert not (found & ~earlier(6)).any()
    assert found[1:].any(1).all()  # every cell but the first depends on something


@pytest.mark.parametrize("options", [
    dict(blocks=6, first_kernel=5), dict(blocks=8, first_kernel=3), dict(blocks=4, first_kernel=7),
    dict(blocks=4, first_kernel=3, kernel=5)])
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
    for small, large in zip(fields, fields[1:], strict=False):
        assert (large | ~small).all() and large.sum() > small.sum()


@pytest.mark.parametrize("row, col", [(0, 0), (0, 3), (2, 0), (3, 4), (5, 5)])
def test_receptive_field_of_a_cell(row, col):
    model = tiny(blocks=6)
    field = receptive_field(model, row, col)
    assert torch.equal(field.flatten(), earlier(6)[row * 6 + col])


def test_changing_later_codes_does_not_change_a_logit():
    model, maps, positions = tiny().double(), random_maps(2), torch.tensor([0, 3])
    changed = maps.clone()
    changed[:, 3, 2] = (changed[:, 3, 2] + 1) % 10
    difference = (model(maps, positions) - model(changed, positions)).abs().amax((0, 1)).flatten()
    assert difference[:3 * 6 + 3].max() == 0 and difference[3 * 6 + 3] > 0


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
    assert found == {"nats_per_code": pytest.approx(float(model.surprise(maps, positions).mean()), rel=1e-5)}


def test_every_parameter_learns():
    model = tiny(dropout=0.0).train()
    batch = {"indices": random_maps(16), "positions": torch.arange(16) % 4}
    model.step(batch, "likelihood")["loss"].backward()
    still = {name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()}
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
def told():
    """Trained on maps whose every code is the slice position, with a marked column; and its last loss."""
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


def test_a_short_training_learns_the_conditional_distribution(told):
    model, maps, loss = told
    assert loss < 0.05 * math.log(6)
    positions = torch.arange(4)
    drawn = model.sample(positions, uniform_noise([7, 8, 9, 10], 4), SamplingOptions(temperature=0.0))
    assert torch.equal(drawn, maps)
    assert (model.surprise(maps, positions) < model.surprise(maps, positions.roll(1))).float().mean() > 0.6


# ------------------------------------------------------------ cache

@pytest.mark.parametrize("precision, tolerance", [(torch.float32, 1e-4), (torch.float64, 1e-12)])
@pytest.mark.parametrize("options", [
    dict(blocks=1), dict(blocks=2), dict(blocks=5), dict(blocks=3, first_kernel=3, kernel=5),
    dict(blocks=3, first_kernel=7, kernel=1), dict(blocks=3, kernel=7),
    dict(grid=9, blocks=4, channels=12, hidden=20)])
@pytest.mark.parametrize("positions", [[3], [0, 2, 2, 1, 3]])
def test_cached_logits_equal_the_full_forward_pass(options, positions, precision, tolerance):
    model = sharpened(tiny(**options)).to(precision)
    positions = torch.tensor(positions)
    maps = random_maps(len(positions), model.config.grid)
    with torch.no_grad():
        full, cached = exact_logits(model, maps, positions), cached_logits(model, maps, positions)
    assert cached.dtype == precision and full.std() > 0.5
    torch.testing.assert_close(cached, full, atol=tolerance, rtol=tolerance)


def test_cached_logits_do_not_depend_on_the_other_images_of_the_batch():
    model, maps, positions = tiny().double(), random_maps(3), torch.tensor([1, 0, 3])
    with torch.no_grad():
        together = cached_logits(model, maps, positions)
        alone = cached_logits(model, maps[1:2], positions[1:2])
    torch.testing.assert_close(alone[0], together[1], atol=1e-12, rtol=0)


# ------------------------------------------------------------ samples

@pytest.mark.parametrize("options", [
    SamplingOptions(), SamplingOptions(temperature=0.7), SamplingOptions(temperature=0.0),
    SamplingOptions(top_k=3), SamplingOptions(top_p=0.8),
    SamplingOptions(temperature=1.3, top_k=6, top_p=0.9)])
def test_cached_samples_equal_naive_ones(options):
    model = sharpened(tiny(), 5.0)
    positions, noise = torch.tensor([0, 1, 2, 3]), uniform_noise([1, 2, 3, 4], 6)
    maps = model.sample(positions, noise, options)
    assert torch.equal(maps, model.sample_naive(positions, noise, options))
    assert maps.dtype == torch.int64 and maps.min() >= 0 and maps.max() < 10 and len(maps.unique()) > 1


def test_same_seed_same_image_in_any_batch():
    model, seeds, positions = sharpened(tiny(), 5.0), [5, 6, 7, 8], torch.tensor([0, 1, 2, 3])
    together = model.sample(positions, uniform_noise(seeds, 6))
    for place in range(4):
        alone = model.sample(positions[place:place + 1], uniform_noise(seeds[place:place + 1], 6))
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
    cold, other = (model.sample(positions, uniform_noise(seeds, 6), SamplingOptions(temperature=0.0))
                   for seeds in ([1, 2], [8, 9]))
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
    maps = model.sample(torch.tensor([0, 1]), uniform_noise([1, 2], 6),
                        on_row=lambda row, so_far: calls.append((row, so_far.clone())))
    assert [row for row, _ in calls] == list(range(6))
    assert all(torch.equal(so_far[:, :row + 1], maps[:, :row + 1]) for row, so_far in calls)


def test_completion_keeps_the_given_cells_and_draws_the_others():
    model, positions, noise = sharpened(tiny(), 5.0), torch.tensor([0, 1]), uniform_noise([1, 2], 6)
    given = random_maps(2, seed=5)
    keep = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    maps = model.sample(positions, noise, given=given, keep=keep)
    assert torch.equal(maps[keep], given[keep]) and not torch.equal(maps[~keep], given[~keep])
    with torch.no_grad():
        logits = model(maps, positions).permute(0, 2, 3, 1)[~keep]
    assert torch.equal(draw(logits, noise[~keep], SamplingOptions()), maps[~keep])  # told what is kept


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


# ------------------------------------------------------------ options and draws

@pytest.mark.parametrize("values, message", [
    ({"temperature": -0.1}, r"temperature must be 0 \(likeliest code\) or more, not -0.1"),
    ({"top_k": -1}, r"top_k must be 0 \(all codes\) or more, not -1"),
    ({"top_p": 0.0}, r"top_p must be in \(0, 1\], not 0.0"), ({"top_p": 1.5}, "top_p"),
    ({"top_p": -0.5}, "top_p"),
])
def test_bad_sampling_options_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SamplingOptions(**values)


LOGITS = 2 * torch.randn(12, generator=torch.Generator().manual_seed(3))
COUNT = 20_000


def shares_drawn(options, logits=LOGITS):
    """How often each code is drawn for evenly spread noise: inversion is exact to one draw per code."""
    noise = (torch.arange(COUNT) + 0.5) / COUNT
    return draw(logits.expand(COUNT, -1), noise, options).bincount(minlength=len(logits)) / COUNT


def shares_of_likeliest(count):
    """The distribution once all but this many likeliest codes are struck out."""
    struck_out = LOGITS.argsort(descending=True)[count:]
    return LOGITS.index_fill(0, struck_out, -torch.inf).softmax(0)


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=2.5 / COUNT, rtol=0)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_draws_reproduce_the_distribution_at_any_temperature(temperature):
    close(shares_drawn(SamplingOptions(temperature=temperature)), (LOGITS / temperature).softmax(0))


@pytest.mark.parametrize("top_k", [2, 5, 11])
def test_top_k_keeps_the_likeliest_codes_in_proportion(top_k):
    close(shares_drawn(SamplingOptions(top_k=top_k)), shares_of_likeliest(top_k))


@pytest.mark.parametrize("top_k", [0, 12, 13, 1000])
def test_top_k_of_all_codes_or_more_changes_nothing(top_k):
    close(shares_drawn(SamplingOptions(top_k=top_k)), LOGITS.softmax(0))


@pytest.mark.parametrize("top_p", [0.3, 0.6, 0.9, 0.99])
def test_top_p_keeps_the_fewest_likeliest_codes_with_that_mass(top_p):
    ordered = LOGITS.softmax(0).sort(descending=True).values
    kept = next(n for n in range(1, 13) if ordered[:n].sum() >= top_p)
    close(shares_drawn(SamplingOptions(top_p=top_p)), shares_of_likeliest(kept))


def test_top_p_counts_the_mass_that_top_k_leaves():
    ordered = shares_of_likeliest(4).sort(descending=True).values
    count = next(n for n in range(1, 5) if ordered[:n].sum() >= 0.7)
    close(shares_drawn(SamplingOptions(top_k=4, top_p=0.7)), shares_of_likeliest(count))


@pytest.mark.parametrize("options", [SamplingOptions(temperature=0.0), SamplingOptions(top_k=1),
                                     SamplingOptions(top_p=1e-6), SamplingOptions(temperature=1e-3)])
def test_the_narrowest_options_take_the_likeliest_code(options):
    logits = torch.randn(500, 12, generator=torch.Generator().manual_seed(0))
    logits[torch.arange(500), logits.argmax(1)] += 0.1  # no near ties
    noise = torch.rand(500, generator=torch.Generator().manual_seed(1))
    assert torch.equal(draw(logits, noise, options), logits.argmax(1))
    assert not torch.equal(draw(logits, noise, SamplingOptions()), logits.argmax(1))


@pytest.mark.parametrize("noise", [0.0, 1 - 2**-24])
@pytest.mark.parametrize("options", [SamplingOptions(), SamplingOptions(top_k=3), SamplingOptions(top_p=0.5)])
def test_noise_at_the_ends_draws_a_code_that_is_kept(options, noise):
    logits = torch.randn(300, 12, generator=torch.Generator().manual_seed(0))
    logits[:, 5] = -torch.inf  # never
    chosen = draw(logits, torch.full((300,), noise), options)
    shares = logits.softmax(1).gather(1, chosen[:, None])[:, 0]
    assert shares.min() > 0


def test_each_row_is_drawn_from_its_own_distribution():
    logits = 50 * F.one_hot(torch.tensor([3, 1, 4, 1, 5]), 7).float()
    for noise in (0.01, 0.5, 0.99):
        assert draw(logits, torch.full((5,), noise), SamplingOptions()).tolist() == [3, 1, 4, 1, 5]
