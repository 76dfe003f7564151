"""The PixelCNN that is told the neighbouring slice: exact sampling, causality, start."""

import copy
import dataclasses

import pytest
import torch
from small_neighbours import (
    CODES,
    GRID,
    KINDS,
    LAYOUT,
    SIZES,
    tiny_neighbour,
    tiny_start,
    told,
)
from small_pixelcnn import AGES, random_maps
from small_trainings import (
    same_weights,
)

from oasis_utils.config import NeighbourConfig
from oasis_utils.models.cached_sampling import RowCache
from oasis_utils.models.checkpoints import load_model, save_model
from oasis_utils.models.drawing import SamplingOptions, draw
from oasis_utils.models.neighbour_pixelcnn import (
    NO_SLICE,
    NeighbourPixelCNN,
)

CHOICES = [
    SamplingOptions(),
    SamplingOptions(temperature=0.0),
    SamplingOptions(1.3, top_k=6, top_p=0.9),
]


@pytest.fixture(params=KINDS, scope="module")
def model(request):
    """Of each kind in turn; the tests leave it as it is."""
    return tiny_neighbour(**KINDS[request.param])


# ------------------------------------------------------------ sampling


def cached_logits(model, maps, positions, ages, neighbours):
    """Logits of every cell when the cached sampler is led along given maps."""
    cache, found = RowCache(model, positions, ages, neighbours), []
    for row in range(GRID):
        cache.start_row(row, maps[:, row - 1] if row else None)
        for col in range(GRID):
            found.append(cache.logits().clone())
            cache.accept(maps[:, row, col])
    return torch.stack(found, 2).view(len(maps), -1, GRID, GRID)


@pytest.mark.parametrize(
    ("precision", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-12)]
)
def test_cached_logits_equal_the_full_forward_pass(model, precision, tolerance):
    model = copy.deepcopy(model).to(precision)
    positions, ages, neighbours = told(model)
    maps = random_maps(5, GRID, CODES)
    with torch.no_grad():
        full = model(maps, positions, ages, neighbours)
        cached = cached_logits(model, maps, positions, ages, neighbours)
    assert cached.dtype == full.dtype == precision and full.std() > 0.5
    torch.testing.assert_close(cached, full, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("options", CHOICES, ids=str)
def test_samples_are_what_whole_passes_draw_cell_by_cell(model, options):
    positions, ages, neighbours = told(model)
    noise, naive = model.noise([1, 2, 3, 4, 5]), torch.zeros(5, GRID, GRID, dtype=torch.long)
    with torch.no_grad():
        for row in range(GRID):
            for col in range(GRID):
                logits = model(naive, positions, ages, neighbours)[:, :, row, col]
                naive[:, row, col] = draw(logits, noise[:, row, col], options)
    for _ in range(2):  # the second time with the step that was kept
        assert torch.equal(model.sample(positions, noise, neighbours, options, ages), naive)


def test_a_map_depends_on_its_own_noise_and_neighbour_alone(model):
    positions, ages, neighbours = told(model)
    noise = model.noise([1, 2, 3, 4, 5])
    together = model.sample(positions, noise, neighbours, ages=ages)
    for row in range(5):
        one = slice(row, row + 1)
        parts = type(neighbours)(*(None if part is None else part[one] for part in neighbours))
        alone = model.sample(
            positions[one], noise[one], parts, ages=None if ages is None else ages[one]
        )
        assert torch.equal(alone[0], together[row])


def test_kept_steps_take_the_next_neighbours_in_any_mode(model):
    positions, ages, neighbours = told(model)
    noise, drawn = model.noise([1, 2, 3, 4, 5]), []
    others = told(model, seed=8)[2]
    fresh = copy.deepcopy(model)
    assert len(fresh.kept_steps) == 0
    expected = fresh.sample(positions, noise, others, ages=ages)
    for mode in (torch.inference_mode, torch.no_grad, torch.inference_mode):
        with mode():
            inside = type(others)(*(None if part is None else part.clone() for part in others))
            model.sample(positions, noise, neighbours, ages=ages)
            drawn.append(model.sample(positions, noise, inside, ages=ages))
    assert all(torch.equal(maps, expected) for maps in drawn)
    assert not torch.equal(model.sample(positions, noise, neighbours, ages=ages), expected)


def test_what_is_kept_for_all_cells_is_of_the_precision_of_the_weights(model):
    """Else a step that was made under autocast would round in all later draws."""
    positions, ages, neighbours = told(model)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        cache = RowCache(model, positions, ages, neighbours)
    assert cache.skip.dtype == cache.bias.dtype == torch.float32


def test_on_row_is_called_once_a_row_with_the_maps_so_far():
    model, calls = tiny_neighbour(), []
    positions, _, neighbours = told(model)
    maps = model.sample(
        positions,
        model.noise([1, 2, 3, 4, 5]),
        neighbours,
        on_row=lambda row, so_far: calls.append((row, so_far.clone())),
    )
    assert [row for row, _ in calls] == list(range(GRID))
    assert all(torch.equal(so_far[:, : row + 1], maps[:, : row + 1]) for row, so_far in calls)


def test_sides_and_layouts_change_the_map(model):
    positions, ages, neighbours = told(model)
    noise = model.noise([1, 2, 3, 4, 5])
    maps = model.sample(positions, noise, neighbours, ages=ages)
    turned = neighbours._replace(sides=1 - neighbours.sides)
    assert not torch.equal(model.sample(positions, noise, turned, ages=ages), maps)
    if model.layout is not None:
        other = neighbours._replace(layouts=-neighbours.layouts)
        assert not torch.equal(model.sample(positions, noise, other, ages=ages), maps)


def test_what_does_not_fit_is_refused():
    model = tiny_neighbour(layout=LAYOUT)
    positions, _, neighbours = told(model)
    noise = model.noise([1, 2, 3, 4, 5])
    with pytest.raises(ValueError, match=r"positions must be in \[0, 4\)"):
        model.sample(positions + 1, noise, neighbours)
    with pytest.raises(ValueError, match=r"must have shape \(5, 6, 6\), one map for each"):
        model.sample(positions, noise[:, :5], neighbours)
    with pytest.raises(ValueError, match="trained without ages"):
        model.sample(positions, noise, neighbours, ages=torch.full((5,), 40.0))
    with pytest.raises(ValueError, match="trained without ages"):
        model.layouts_of_heads([1], torch.tensor([40.0]))
    for code in (CODES, NO_SLICE):
        wrong = neighbours._replace(indices=torch.full_like(neighbours.indices, code))
        with pytest.raises(ValueError, match=r"codes of neighbours must be in \[0, 10\)"):
            model.sample(positions, noise, wrong)
    with pytest.raises(ValueError, match="this model is told the layout of each map: give"):
        model.sample(positions, noise, neighbours._replace(layouts=None))


# ------------------------------------------------------------ what is read


def test_a_cell_sees_the_cells_before_it_and_the_whole_neighbour(monkeypatch):
    """By the gradient of one cell's logits: of its own map no cell from itself on, of the
    neighbouring one every cell.
    """
    model = tiny_neighbour().double()
    with torch.no_grad():  # else few pass the rectifiers of the small network
        for parameter in model.neighbour_network.parameters():
            parameter.abs_().mul_(0.05)
    positions, _, neighbours = told(model, 1)
    maps, seen = random_maps(1, GRID, CODES), {}
    for name, embedding in (
        ("map", model.embedding),
        ("neighbour", model.neighbour_network.embedding),
    ):

        def watched(indices, weight=embedding.weight, name=name):
            seen[name] = weight[indices].detach().requires_grad_()
            return seen[name]

        monkeypatch.setattr(embedding, "forward", watched)
    row, col = 2, 3
    model(maps, positions, None, neighbours)[0, :, row, col].square().sum().backward()
    reached = {name: codes.grad[0].abs().sum(-1) > 0 for name, codes in seen.items()}
    order = torch.arange(GRID * GRID).view(GRID, GRID)
    assert not reached["map"][order >= row * GRID + col].any()
    assert reached["map"][row, col - 1] and reached["map"][row - 1, col + 1]
    near = reached["neighbour"][row - 3 + 1 : row + 4, col - 3 : col + 4]
    assert near.all()  # two layers of 5 and 3 cells
    first = torch.autograd.grad(
        model(maps, positions, None, neighbours)[0, :, -1, -1].square().sum(), seen["neighbour"]
    )[0]
    assert (first[0].abs().sum(-1) > 0).all()  # through the cells before, of the whole map


def test_probabilities_of_all_maps_sum_to_one():
    small = dict(grid=2, n_codes=3)
    torch.manual_seed(0)
    model = NeighbourPixelCNN(NeighbourConfig(**SIZES | small)).eval()
    every = torch.cartesian_prod(*[torch.arange(3)] * 4).view(81, 2, 2)
    batch = {
        "indices": every,
        "positions": torch.full((81,), 2),
        "below": torch.tensor([[2, 0], [1, 1]]).expand(81, 2, 2),
        "above": torch.full((81, 2, 2), NO_SLICE),
    }
    nats = model.surprisal_of(batch).sum((1, 2))
    assert float(torch.exp(-nats).sum()) == pytest.approx(1, abs=1e-5)


# ------------------------------------------------------------ start


@pytest.mark.parametrize("kind", KINDS)
def test_without_its_neighbour_it_is_the_pixelcnn_it_starts_from(kind):
    start = tiny_start(**KINDS[kind])
    model = tiny_neighbour(start)
    assert torch.equal(model.neighbour_network.embedding.weight, 2 * start.embedding.weight)
    with torch.no_grad():
        for layer in (model.neighbour_network.to_gates, model.neighbour_network.to_head):
            layer.weight.zero_()
            layer.bias.zero_()
        positions, ages, neighbours = told(model)
        maps = random_maps(5, GRID, CODES)
        assert torch.equal(
            model(maps, positions, ages, neighbours),
            start(maps, positions, ages, neighbours.layouts),
        )


@pytest.mark.parametrize(
    "changes",
    [dict(channels=12), dict(blocks=2), dict(kernel=5), dict(layout=0), dict(age_std=0.0)],
)
def test_a_pixelcnn_of_other_sizes_is_no_start(changes):
    start = tiny_start(layout=LAYOUT, **AGES)
    config = dataclasses.replace(NeighbourConfig().sized_as(start.config), **changes)
    with pytest.raises(ValueError, match="other sizes: use the configuration"):
        NeighbourPixelCNN(config).start_from(start)


def test_a_pixelcnn_that_counts_ages_otherwise_is_no_start():
    start = tiny_start(**AGES)
    config = dataclasses.replace(NeighbourConfig().sized_as(start.config), age_mean=51.0)
    with pytest.raises(ValueError, match="counts ages from another mean"):
        NeighbourPixelCNN(config).start_from(start)


def test_sizes_of_a_configuration_are_those_of_the_pixelcnn():
    start = tiny_start(layout=LAYOUT, **AGES).config
    config = NeighbourConfig(neighbour_noise=0.4, stack_directions=7).sized_as(start)
    assert (config.neighbour_noise, config.stack_directions) == (0.4, 7)
    assert all(getattr(config, f.name) == getattr(start, f.name) for f in dataclasses.fields(start))


# ------------------------------------------------------------ copies


def test_a_checkpoint_holds_everything_that_sampling_needs(tmp_path, model):
    path = tmp_path / "model.safetensors"
    save_model(path, model)
    again, _ = load_model(path, NeighbourPixelCNN)
    assert same_weights(again, model) and again.config == model.config
    positions, ages, neighbours = told(model)
    noise = model.noise([1, 2, 3, 4, 5])
    assert torch.equal(
        again.sample(positions, noise, neighbours, ages=ages),
        model.sample(positions, noise, neighbours, ages=ages),
    )
    if model.layout is not None:
        assert torch.equal(
            again.layouts_of_heads([4, 5], None), model.layouts_of_heads([4, 5], None)
        )


def test_a_copy_that_is_trained_on_draws_by_its_own_weights():
    model = tiny_neighbour()
    positions, _, neighbours = told(model)
    noise = model.noise([1, 2, 3, 4, 5])
    before = model.sample(positions, noise, neighbours)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.neighbour_network.to_head.weight.neg_()
    assert not torch.equal(other.sample(positions, noise, neighbours), before)
    with torch.no_grad():  # the same step, now of other weights
        model.neighbour_network.to_head.weight.neg_()
    assert torch.equal(
        other.sample(positions, noise, neighbours), model.sample(positions, noise, neighbours)
    )
