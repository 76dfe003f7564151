"""The incremental sampler: exact at every cell, its step on fixed addresses, draws from predicted
distributions.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from small_pixelcnn import AGES, random_maps, sharpened, tiny

from oasis_utils.models.cached_sampling import RowCache, SamplingOptions, ScaledGate, Step, draw
from oasis_utils.models.pixelcnn import GatedBlock


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


# ------------------------------------------------------------ cache


@pytest.mark.parametrize(
    ("precision", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-12)]
)
@pytest.mark.parametrize(
    "options",
    [
        dict(blocks=1),
        dict(blocks=2),
        dict(blocks=5),
        dict(blocks=3, first_kernel=3, kernel=5),
        dict(blocks=3, first_kernel=7, kernel=1),
        dict(blocks=3, kernel=7),
        dict(blocks=3, kernel=1),
        dict(grid=9, blocks=4, channels=12, hidden=20),
        dict(blocks=3, **AGES),
    ],
)
@pytest.mark.parametrize("positions", [[3], [0, 2, 2, 1, 3]])
def test_cached_logits_equal_the_full_forward_pass(options, positions, precision, tolerance):
    model = sharpened(tiny(**options)).to(precision)
    positions = torch.tensor(positions)
    maps = random_maps(len(positions), model.config.grid)
    ages = (
        torch.tensor([30.0, math.nan, 81.0, 55.0, 20.0])[: len(positions)]
        if "age_std" in options
        else None
    )
    with torch.no_grad():
        full, cached = (
            exact_logits(model, maps, positions, ages),
            cached_logits(model, maps, positions, ages),
        )
    assert cached.dtype == precision and full.std() > 0.5
    torch.testing.assert_close(cached, full, atol=tolerance, rtol=tolerance)


def test_cached_logits_do_not_depend_on_the_other_images_of_the_batch():
    model, maps, positions = tiny().double(), random_maps(3), torch.tensor([1, 0, 3])
    with torch.no_grad():
        together = cached_logits(model, maps, positions)
        alone = cached_logits(model, maps[1:2], positions[1:2])
    torch.testing.assert_close(alone[0], together[1], atol=1e-12, rtol=0)


def test_scaled_gate_is_the_gate_of_inputs_whose_first_half_is_scaled():
    x = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scaled = torch.cat([-2 * x[:, :4], x[:, 4:]], dim=1)
    torch.testing.assert_close(
        ScaledGate(torch.empty_like(scaled))(scaled), GatedBlock.gate(x), atol=1e-14, rtol=0
    )


def test_a_step_reads_and_writes_the_same_addresses_for_every_cell():
    model, positions = tiny(), torch.tensor([1, 2])
    with torch.no_grad():
        cache = RowCache(model, positions)
        step = Step(cache, SamplingOptions())
        fixed = [
            step.ready_first,
            step.ready,
            step.noise,
            cache.codes_left,
            cache.inputs_left,
            cache.inputs,
        ]
        before = [tensor.data_ptr() for tensor in fixed]
        for row in range(2):
            cache.start_row(row, torch.tensor([[1] * 6, [2] * 6]) if row else None)
            for _ in range(6):
                step(torch.rand(2))
    after = [
        step.ready_first,
        step.ready,
        step.noise,
        cache.codes_left,
        cache.inputs_left,
        cache.inputs,
    ]
    assert [tensor.data_ptr() for tensor in after] == before


def test_trial_runs_of_a_step_leave_nothing_behind():
    model, positions, noise = sharpened(tiny()), torch.tensor([1, 2]), torch.rand(2, 6)
    with torch.no_grad():
        codes = []
        for trials in (0, 3):
            cache = RowCache(model, positions)
            step = Step(cache, SamplingOptions())
            for _ in range(trials):  # as before the recording of a graph
                step._compute()
            cache.start_row(0)
            codes.append(torch.stack([step(noise[:, col]).clone() for col in range(6)]))
    assert torch.equal(*codes)


def test_going_on_with_some_maps_of_the_batch():
    model, positions, maps = tiny().double(), torch.tensor([1, 1, 1]), random_maps(3)
    parents = torch.tensor([2, 0, 2])
    with torch.no_grad():
        cache = RowCache(model, positions)
        for row in range(3):
            cache.start_row(row, maps[:, row - 1] if row else None)
        cache.keep_only(parents)
        cache.start_row(3, maps[parents, 2])
        found, full = cache.logits(), exact_logits(model, maps[parents], positions)[:, :, 3, 0]
    torch.testing.assert_close(found, full, atol=1e-12, rtol=0)


# ------------------------------------------------------------ options and draws


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -0.1}, r"temperature must be 0 \(likeliest code\) or more, not -0.1"),
        ({"top_k": -1}, r"top_k must be 0 \(all codes\) or more, not -1"),
        ({"top_p": 0.0}, r"top_p must be in \(0, 1\], not 0.0"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_p": -0.5}, "top_p"),
    ],
)
def test_bad_sampling_options_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SamplingOptions(**values)


LOGITS = 2 * torch.randn(12, generator=torch.Generator().manual_seed(3))
COUNT = 20_000


def shares_drawn(options, logits=LOGITS):
    """How often each code is drawn for evenly spread noise: inversion is exact to one draw per
    code.
    """
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


@pytest.mark.parametrize(
    "options",
    [
        SamplingOptions(temperature=0.0),
        SamplingOptions(top_k=1),
        SamplingOptions(top_p=1e-6),
        SamplingOptions(temperature=1e-3),
    ],
)
def test_the_narrowest_options_take_the_likeliest_code(options):
    logits = torch.randn(500, 12, generator=torch.Generator().manual_seed(0))
    logits[torch.arange(500), logits.argmax(1)] += 0.1  # no near ties
    noise = torch.rand(500, generator=torch.Generator().manual_seed(1))
    assert torch.equal(draw(logits, noise, options), logits.argmax(1))
    assert not torch.equal(draw(logits, noise, SamplingOptions()), logits.argmax(1))


@pytest.mark.parametrize("noise", [0.0, 1 - 2**-24])
@pytest.mark.parametrize(
    "options", [SamplingOptions(), SamplingOptions(top_k=3), SamplingOptions(top_p=0.5)]
)
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
