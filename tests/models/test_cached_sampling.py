"""The incremental sampler: exact at every cell, its step on fixed addresses."""

import math

import pytest
import torch
from small_pixelcnn import AGES, random_maps, sharpened, tiny

from oasis_utils.models.cached_sampling import RowCache, ScaledGate
from oasis_utils.models.drawing import SamplingOptions
from oasis_utils.models.gated_network import GatedBlock
from oasis_utils.models.kept_steps import Step


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


def addresses(step, cache):
    return [
        tensor.data_ptr()
        for tensor in (
            step.ready_first,
            step.ready,
            step.noise,
            cache.codes_left,
            cache.inputs_left,
            cache.inputs,
        )
    ]


def test_a_step_reads_and_writes_the_same_addresses_for_every_cell():
    model, positions = tiny(), torch.tensor([1, 2])
    with torch.no_grad():
        cache = RowCache(model, positions)
        step = Step(cache, SamplingOptions())
        before = addresses(step, cache)
        for row in range(2):
            cache.start_row(row, torch.tensor([[1] * 6, [2] * 6]) if row else None)
            for _ in range(6):
                step(torch.rand(2))
    assert addresses(step, cache) == before


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
