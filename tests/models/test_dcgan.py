"""The DCGAN: valid maps, the codebook, validation and files."""

import pytest
import torch
from small_dcgan import StandIn, batch, changed, normal, random_maps, tiny

from oasis_utils.metrics.kernel_distance import kernel_distance
from oasis_utils.models.checkpoints import load_model, save_model
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.diagnostics import code_divergence
from oasis_utils.models.quantizer import nearest_code


class Batches(list):
    batch_size = 6


# ------------------------------------------------------------ maps


@pytest.mark.parametrize("space", ["embedding", "index"])
@pytest.mark.parametrize("grid", [4, 8, 16])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_every_sampled_map_is_valid_indices(space, grid, scale):
    model = tiny(changed(space=space, grid=grid, spatial_noise=1)).eval()
    maps = model.sample(torch.arange(5), scale * model.noise([0, 1, 2, 3, 4]))
    assert maps.shape == (5, grid, grid) and maps.dtype == torch.int64
    assert maps.min() >= 0 and maps.max() < 12


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_any_map_of_vectors_quantises_to_valid_indices(scale):
    indices = tiny().quantize(scale * normal(4, 3, 8, 8))
    assert indices.shape == (4, 8, 8) and indices.min() >= 0 and indices.max() < 12


@pytest.mark.parametrize("n_codes", [2, 12, 512])
def test_index_space_cuts_the_output_range_into_equal_bins(n_codes):
    model = tiny(changed(space="index", n_codes=n_codes))
    levels = torch.linspace(-1, 1, 4 * n_codes + 1)[:-1] + 0.25 / n_codes  # four in each bin
    found = model.quantize(levels.view(1, 1, 4, -1))
    assert torch.equal(found.flatten(), torch.arange(n_codes).repeat_interleave(4))
    assert model.quantize(torch.tensor([-1.0, 1.0]).view(1, 1, 1, 2)).tolist() == [
        [[0, n_codes - 1]]
    ]
    assert torch.equal(model.quantize(model.embed(found)), found)


def test_index_space_draws_one_channel_within_the_range():
    model = tiny(changed(space="index"))
    drawn = model.generator(1e3 * normal(5, 6), torch.arange(5))
    assert drawn.shape == (5, 1, 8, 8) and drawn.abs().max() <= 1


def test_quantising_embedded_indices_is_the_identity():
    model, maps = tiny(), random_maps(4)
    embedded = model.embed(maps)
    assert embedded.shape == (4, 3, 8, 8)
    assert torch.equal(embedded[1, :, 2, 5], model.codebook[maps[1, 2, 5]])
    assert torch.equal(model.quantize(embedded), maps)


def test_same_seed_same_map_in_any_batch():
    model, seeds = tiny().eval(), [4, 8, 15, 16, 23]
    positions = torch.tensor([0, 1, 2, 3, 4])
    together = model.sample(positions, model.noise(seeds))
    for row in range(5):
        alone = model.sample(positions[row : row + 1], model.noise(seeds[row : row + 1]))
        assert torch.equal(alone[0], together[row])
    reversed_ = model.sample(positions.flip(0), model.noise(seeds[::-1]))
    assert torch.equal(reversed_.flip(0), together)


def test_noise_depends_on_the_seed_alone():
    model = tiny()
    noise = model.noise([3, 4, 3])
    torch.manual_seed(99)
    assert torch.equal(model.noise([3, 4, 3]), noise) and torch.equal(noise[0], noise[2])
    assert noise.shape == (3, 6) and not torch.equal(noise[0], noise[1])


def test_noise_and_position_change_the_drawn_vectors():
    generator = tiny().generator
    noise = normal(1, 6).expand(2, 6)
    same = generator(noise, torch.tensor([1, 1]))
    torch.testing.assert_close(same[0], same[1])
    by_position = generator(noise, torch.tensor([1, 2]))
    by_noise = generator(normal(2, 6), torch.tensor([1, 1]))
    assert (by_position[0] - by_position[1]).abs().max() > 1e-3
    assert (by_noise[0] - by_noise[1]).abs().max() > 1e-3


@pytest.mark.parametrize("positions", [[0, 5], [-1, 0], []])
def test_unknown_positions_are_refused(positions):
    positions = torch.tensor(positions, dtype=torch.long)
    with pytest.raises(ValueError, match=r"positions must be in \[0, 5\)"):
        tiny().sample(positions, torch.zeros(len(positions), 6))


# ------------------------------------------------------------ codebook


@pytest.fixture
def codes():
    """A codebook far from standard, and how often each code is used."""
    codebook = normal(12, 3) * torch.tensor([5.0, 1.0, 0.2]) + torch.tensor([10.0, -3.0, 0.0])
    return codebook, torch.arange(12).float()


def test_codebook_has_unit_variance_under_the_counts(codes):
    model, (codebook, counts) = tiny(), codes
    model.use_codebook(codebook, counts)
    uses = model.codebook.double().repeat_interleave(
        counts.long(), 0
    )  # every code as often as it is used
    torch.testing.assert_close(uses.mean(0), torch.zeros(3, dtype=torch.double), atol=1e-5, rtol=0)
    assert float(uses.var(0, unbiased=False).mean()) == pytest.approx(1, abs=1e-5)


def test_one_scale_for_all_dimensions_keeps_the_nearest_codes(codes):
    model, (codebook, counts) = tiny(), codes
    model.use_codebook(codebook, counts)
    ratio = torch.pdist(model.codebook) / torch.pdist(codebook)
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-4, atol=0)
    points = normal(2000, 3, seed=1) * 4 + torch.tensor([10.0, -3.0, 0.0])
    moved = (points - codebook[0]) * ratio[0] + model.codebook[0]
    agree = nearest_code(points, codebook) == nearest_code(moved, model.codebook)
    assert agree.float().mean() > 0.999
    spread = codebook.std(0)  # one scale for each dimension would not do
    torn = nearest_code(points, codebook) == nearest_code(points / spread, codebook / spread)
    assert torn.float().mean() < 0.9


def test_codebook_is_saved_with_the_model(codes):
    model, loaded = tiny(), tiny()
    model.use_codebook(*codes)
    loaded.load_state_dict(model.state_dict())
    assert torch.equal(loaded.codebook, model.codebook) and not torch.equal(
        tiny().codebook, model.codebook
    )


# ------------------------------------------------------------ validation


def test_validation_draws_at_the_held_out_positions_and_pools_all_batches():
    model = tiny().eval()
    whole = batch(12)
    parts = Batches({name: value[i : i + 6] for name, value in whole.items()} for i in (0, 6))
    found = model.validate(parts)
    drawn = model.sample(whole["positions"], model.noise(list(range(12))))
    expected = kernel_distance(
        model.embed(whole["indices"]).flatten(1), model.embed(drawn).flatten(1)
    )
    assert found["kernel_distance"] == pytest.approx(expected, rel=1e-4)
    assert found["code_divergence"] == pytest.approx(code_divergence(whole["indices"], drawn, 12))
    assert found["distinct_codes"] == len(drawn.unique()) and model.monitor == (
        "kernel_distance",
        "min",
    )


def test_validation_of_a_perfect_generator_is_near_zero():
    model, real = tiny().eval(), random_maps(12)
    model.sample = lambda positions, noise, ages: random_maps(12, seed=1)[: len(positions)]
    batches = Batches([{"indices": real, "positions": torch.zeros(12, dtype=torch.long)}])
    fair = model.validate(batches)
    model.sample = lambda positions, noise, ages: torch.zeros_like(real)
    collapsed = model.validate(batches)
    assert abs(fair["kernel_distance"]) < 0.2 * collapsed["kernel_distance"]
    assert (
        fair["code_divergence"] < 0.05 < collapsed["code_divergence"]
        and collapsed["distinct_codes"] == 1
    )


def test_validation_names_the_variety_and_the_accuracy():
    model, real = tiny().eval(), random_maps(12)
    batches = Batches([{"indices": real, "positions": torch.arange(12) // 3}])
    model.sample = lambda positions, noise, ages: random_maps(12, seed=1)[: len(positions)]
    assert model.validate(batches)["variety"] == pytest.approx(1, abs=0.2)
    model.sample = lambda positions, noise, ages: real[positions]  # one map for each position
    assert model.validate(batches)["variety"] == pytest.approx(0, abs=1e-9)
    model.discriminator = StandIn(lambda maps: torch.zeros(len(maps)))
    assert model.validate(batches)["held_out_accuracy"] == 0


def test_variety_needs_two_maps_of_a_position():
    batches = Batches([{"indices": random_maps(5), "positions": torch.arange(5)}])
    assert "variety" not in tiny().eval().validate(batches)


@pytest.mark.parametrize(
    ("space", "loss", "noise_maps"),
    [("index", "bce", 0), ("embedding", "bce", 2), ("embedding", "relativistic", 2)],
)
def test_every_variant_draws_the_same_after_saving_and_loading(tmp_path, space, loss, noise_maps):
    model = tiny(changed(space=space, loss=loss, spatial_noise=noise_maps)).eval()
    save_model(tmp_path / "dcgan.safetensors", model)
    loaded, _ = load_model(tmp_path / "dcgan.safetensors", DCGAN)
    positions, maps = torch.arange(5), random_maps(5)
    assert torch.equal(
        loaded.sample(positions, loaded.noise(list(range(5)))),
        model.sample(positions, model.noise(list(range(5)))),
    )
    torch.testing.assert_close(
        loaded.discriminator(loaded.embed(maps), positions),
        model.discriminator(model.embed(maps), positions),
    )
